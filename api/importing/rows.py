"""What each row of a CRM export says, checked by itself and against the rows before it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from api.importing.mapping import (
    AccountPart,
    ActivityPart,
    AgentPart,
    ContactPart,
    LeadPart,
    Mapping,
    OpportunityPart,
    ProductPart,
    StagePart,
)
from api.importing.persons import ActivityRow, ContactRow, LeadRow, read_activity, read_contact, read_lead
from api.importing.report import Findings
from api.importing.sheet import Cells, Sheet, open_sheet
from domain import people
from domain.accounts import Channel, match_key, normal_domain
from domain.kernel import Invalid, Money, Text


class Keyed(Protocol):
    """A row with the id under which its export knows it."""

    @property
    def key(self) -> str:
        """The external id."""
        ...


Row = TypeVar("Row", bound=Keyed)
AnyPart = AgentPart | AccountPart | ProductPart | OpportunityPart | ContactPart | LeadPart | ActivityPart


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One sales agent: where they sell, and for whom."""

    key: str
    id: str | None
    territory: str
    manager: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; parent and owner as the export calls them."""

    key: str
    name: str
    domain: str | None
    industry: str | None
    region: str | None
    employees: int | None
    annual_revenue: Money | None
    parent: str | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product with its prices."""

    key: str
    name: str
    series: str | None
    list_price: Money
    floor_price: Money


@dataclass(frozen=True, slots=True)
class DealRow:
    """One opportunity; agent, account and product as the export calls them."""

    key: str
    name: str | None
    agent: str | None
    account: str | None
    product: str | None
    stage: StagePart
    opened_on: date | None
    close_date: date | None
    amount: Money | None


@dataclass(slots=True)
class Part(Generic[Row]):
    """One file of an export with the rows that can be taken from it, each key once."""

    sheet: Sheet
    rows: list[tuple[Cells, Row]]


@dataclass(frozen=True, slots=True)
class Export:
    """All that was read of an export; None for a file that the mapping leaves out."""

    findings: Findings
    agents: Part[AgentRow] | None
    accounts: Part[AccountRow] | None
    products: Part[ProductRow] | None
    deals: Part[DealRow] | None
    contacts: Part[ContactRow] | None = None
    leads: Part[LeadRow] | None = None
    activities: tuple[Part[ActivityRow], ...] = ()

    def parts(self) -> dict[str, Part[Any]]:
        """Every file that was read, by what it holds."""
        named: dict[str, Part[Any] | None] = {
            "agents": self.agents, "accounts": self.accounts, "contacts": self.contacts, "products": self.products, "opportunities": self.deals,
            "leads": self.leads,
        }  # fmt: skip
        numbered = {f"activities {at}": part for at, part in enumerate(self.activities, 1)}
        return {name: part for name, part in named.items() if part is not None} | numbered

    def sheets(self) -> list[Sheet]:
        """The files."""
        return [part.sheet for part in self.parts().values()]


def read_export(directory: Path, mapping: Mapping, today: date) -> Export:
    """Read every file that the mapping names, and take or reject each row.

    Raises Invalid for a directory or file that cannot be read at all.
    """
    if not directory.is_dir():
        raise Invalid(Text(f"{directory} 不是文件夹", f"{directory} is no directory"))
    findings = Findings()

    def whole(chosen: AnyPart, read: Callable[[Cells], Row]) -> Part[Row]:
        sheet = open_sheet(directory, chosen, chosen.fields, mapping, findings)
        return Part(sheet, _unique(sheet, read))

    def part(chosen: AnyPart | None, read: Callable[[Cells], Row]) -> Part[Row] | None:
        return None if chosen is None else whole(chosen, read)

    share = mapping.products.floor_share if mapping.products else None
    stages = {word: stage for stage in (mapping.pipeline.stages if mapping.pipeline else ()) for word in stage.values}
    return Export(
        findings,
        part(mapping.agents, _agent),
        part(mapping.accounts, _account),
        part(mapping.products, lambda cells: _product(cells, share)),
        part(mapping.opportunities, lambda cells: _deal(cells, stages, today)),
        part(mapping.contacts, read_contact),
        part(mapping.leads, lambda cells: read_lead(cells, mapping.leads)),
        tuple(whole(one, partial(read_activity, kind=one.kind)) for one in mapping.activities),
    )


def _unique(sheet: Sheet, read: Callable[[Cells], Row]) -> list[tuple[Cells, Row]]:
    first: dict[str, tuple[Cells, Row]] = {}
    for cells, row in sheet.taken(read):
        known = first.setdefault(row.key, (cells, row))
        if known[0] is not cells:
            line = known[0].line.number
            zh = f"“{row.key}”与第 {line} 行重复"
            sheet.reject(cells.line, Text(zh, f"“{row.key}” stands in line {line} already"))
    return list(first.values())


def _agent(cells: Cells) -> AgentRow:
    email = cells.text("email")
    try:
        checked = people.normal_email(match_key(Channel.EMAIL, email)) if email else None
    except Invalid as error:
        raise cells.wrong("email", error.text) from error
    return AgentRow(cells.needed("name"), cells.text("id"), cells.needed("territory"), cells.text("manager"), checked)


def _account(cells: Cells) -> AccountRow:
    name = cells.needed("name")
    return AccountRow(
        cells.text("id") or name, name, _domain(cells), cells.text("industry"), cells.text("region"), cells.whole("employees"),
        cells.amount("annual_revenue"), cells.text("parent"), cells.text("owner"),
    )  # fmt: skip


def _domain(cells: Cells) -> str | None:
    written = cells.text("domain")
    try:
        return None if written is None else normal_domain(written)
    except Invalid:
        cells.sheet.findings.add(Text("网址不是域名，未导入", "web sites that are no domain, left out"), cells.place)
        return None


def _product(cells: Cells, floor_share: Decimal | None) -> ProductRow:
    name, listed, floor = cells.needed("name"), cells.amount("list_price"), cells.amount("floor_price")
    if listed is None or listed.amount_minor == 0:
        raise cells.wrong("list_price", Text("目录价须为正数", "the list price must be positive"))
    if floor is None and floor_share is not None:
        share = f"{floor_share * 100:f}".rstrip("0").rstrip(".")
        cells.sheet.findings.add(
            Text(f"没有底价，按目录价的 {share}% 计", f"no floor price: {share} % of list is taken"), name
        )
        floor = listed.times(floor_share)
    if floor is None or not 0 < floor.amount_minor <= listed.amount_minor:
        raise cells.wrong(
            "list_price", Text("底价须为正且不高于目录价", "the floor must be positive and not above list")
        )
    return ProductRow(cells.text("code") or name, name, cells.text("series"), listed, floor)


def _deal(cells: Cells, stages: dict[str, StagePart], today: date) -> DealRow:
    word = cells.needed("stage")
    if word not in stages:
        known = ", ".join(stages)
        raise cells.wrong(
            "stage", Text(f"未知阶段“{word}”；映射中有：{known}", f"unknown stage “{word}”; there are: {known}")
        )
    stage, key = stages[word], cells.needed("id")
    opened, closes = cells.day("opened_on"), cells.day("close_date")
    _check_days(cells, stage, opened, closes, today)
    row = DealRow(
        key, cells.text("name"), cells.text("agent"), cells.text("account"), cells.text("product"), stage, opened, closes,
        _amount(cells, stage),
    )  # fmt: skip
    _warn(cells, row)
    return row


def _check_days(cells: Cells, stage: StagePart, opened: date | None, closes: date | None, today: date) -> None:
    if stage.closed and closes is None:
        raise Invalid(Text("已关闭的商机没有关闭日期", "a closed deal has no close date"))
    # East of Greenwich it is tomorrow already.
    tomorrow = today + timedelta(days=1)
    if (opened is not None and opened > tomorrow) or (stage.closed and closes is not None and closes > tomorrow):
        raise Invalid(Text("日期在将来", "the date lies in the future"))
    if opened is not None and closes is not None and closes < opened:
        zh = f"关闭日期 {closes} 早于开始日期 {opened}"
        raise Invalid(Text(zh, f"it closes on {closes}, before it opens on {opened}"))


def _amount(cells: Cells, stage: StagePart) -> Money | None:
    amount = cells.amount("amount")
    if amount is not None and amount.amount_minor == 0 and stage.zero_is_unknown:
        zh = f"“{stage.zh}”商机的金额为 0，按未知处理"
        cells.sheet.findings.add(Text(zh, f"deals in “{stage.en}” with the amount 0, taken as unknown"), cells.place)
        return None
    return amount


def _warn(cells: Cells, row: DealRow) -> None:
    zh, en = ("已关闭", "closed") if row.stage.closed else ("未关闭", "open")
    told = []
    if row.account is None:
        told.append(Text(f"{zh}的商机没有客户，照常导入", f"{en} deals without an account, taken without one"))
    if row.opened_on is None:
        since = Text("关闭日期", "the close date") if row.stage.closed else Text("导入时刻", "the import")
        told.append(
            Text(
                f"{zh}的商机没有开始日期，以{since.zh}为准",
                f"{en} deals without an opening date: {since.en} stands for it",
            )
        )
    if row.close_date is None:
        told.append(Text(f"{zh}的商机没有关闭日期", f"{en} deals without a close date"))
    if row.amount is None and not row.stage.zero_is_unknown:
        told.append(Text(f"{zh}的商机没有金额", f"{en} deals without an amount"))
    for text in told:
        cells.sheet.findings.add(text, cells.place)
