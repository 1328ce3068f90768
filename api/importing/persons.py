"""What the rows of contacts, leads and activities say."""

from dataclasses import dataclass
from datetime import datetime

from api.importing.mapping import LeadPart
from api.importing.sheet import Cells, joined_name
from domain.accounts import Channel, match_key
from domain.activities import ActivityKind
from domain.kernel import Invalid, Text
from domain.leads import LeadStatus

LINKS = ("opportunity", "lead", "contact", "account")
Point = tuple[Channel, str, str]
"""Channel, the address as written, the form in which equals are found."""


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One contact; the account as the export calls it."""

    key: str
    name: str
    points: tuple[Point, ...]
    title: str | None
    account: str | None


@dataclass(frozen=True, slots=True)
class LeadRow:
    """One lead; the owner as the export calls them."""

    key: str
    name: str
    points: tuple[Point, ...]
    company: str | None
    status: LeadStatus
    industry: str | None
    region: str | None
    owner: str | None
    interest: str | None
    captured_at: datetime | None


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """One activity; `links` are what it is about as the export calls it, the closest first."""

    key: str
    kind: ActivityKind
    subject: str
    body: str | None
    occurred_at: datetime | None
    owner: str | None
    links: tuple[tuple[str, str], ...]


def _name(cells: Cells) -> str:
    name = cells.text("name") or joined_name(cells.text("first_name"), cells.text("last_name"))
    if name is None:
        raise cells.wrong(
            "name" if "name" in cells.sheet.columns else "last_name", Text("不能为空", "must not be empty")
        )
    return name


def _points(cells: Cells) -> tuple[Point, ...]:
    found: dict[tuple[Channel, str], Point] = {}
    for field, channel in (("email", Channel.EMAIL), ("phone", Channel.PHONE), ("mobile", Channel.PHONE)):
        written = cells.text(field)
        if written is not None:
            try:
                form = match_key(channel, written)
            except Invalid as error:
                raise cells.wrong(field, error.text) from error
            found.setdefault((channel, form), (channel, written, form))
    return tuple(found.values())


def _key(cells: Cells, name: str, points: tuple[Point, ...], at: str | None) -> str:
    """The export's id; else what tells the person from others: an address, or the name at the company."""
    return cells.text("id") or (points[0][2] if points else " · ".join(filter(None, (at, name))))


def read_contact(cells: Cells) -> ContactRow:
    """The contact in a row.

    Raises Invalid for one without a name, or with an address that cannot be one.
    """
    name, points, account = _name(cells), _points(cells), cells.text("account")
    return ContactRow(_key(cells, name, points, account), name, points, cells.text("title"), account)


def read_lead(cells: Cells, part: LeadPart | None) -> LeadRow:
    """The lead in a row; without a word about it, it is new.

    Raises Invalid for one without a name, a wrong address, or a status that the mapping does not know.
    """
    name, points, company = _name(cells), _points(cells), cells.text("company")
    word, statuses = cells.text("status"), part.statuses if part else {}
    if word is not None and word not in statuses:
        known = ", ".join(statuses)
        raise cells.wrong(
            "status", Text(f"未知状态“{word}”；映射中有：{known}", f"unknown status “{word}”; there are: {known}")
        )
    status = LeadStatus.NEW if word is None else statuses[word]
    return LeadRow(
        _key(cells, name, points, company), name, points, company, status, cells.text("industry"), cells.text("region"),
        cells.text("owner"), cells.text("interest"), cells.instant("captured_on"),
    )  # fmt: skip


def read_activity(cells: Cells, kind: ActivityKind) -> ActivityRow:
    """The activity in a row.

    Raises Invalid for one without an id, a subject or anything that it is about.
    """
    links = tuple((link, word) for link in LINKS if (word := cells.text(link)) is not None)
    if not links:
        raise Invalid(Text("没有说明与哪条记录相关", "it is about no record"))
    return ActivityRow(
        cells.needed("id"),
        kind,
        cells.needed("subject"),
        cells.text("body"),
        cells.instant("occurred_at"),
        cells.text("owner"),
        links,
    )
