"""Documents that belong to a record, by reference: where they are, what they are, never their bytes."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Account, Contact
from domain.activities import Activity
from domain.commerce import Order, Quote
from domain.deals import Opportunity
from domain.kernel import (
    PERSONAL,
    Access,
    Forbidden,
    Invalid,
    Record,
    Ref,
    Role,
    Text,
    ThroughSubject,
    UnitOfWork,
    load,
    not_found,
    sights,
)
from domain.leads import Lead


class AttachmentKind(StrEnum):
    """What a document is."""

    CONTRACT = "CONTRACT"
    PROPOSAL = "PROPOSAL"
    QUOTE = "QUOTE"
    ORDER = "ORDER"
    INVOICE = "INVOICE"
    SPECIFICATION = "SPECIFICATION"
    PRESENTATION = "PRESENTATION"
    MINUTES = "MINUTES"
    PHOTO = "PHOTO"
    RECORDING = "RECORDING"
    OTHER = "OTHER"


SUBJECTS: dict[str, type[Record]] = {
    "Account": Account, "Contact": Contact, "Lead": Lead, "Opportunity": Opportunity, "Quote": Quote, "Order": Order, "Activity": Activity,
}  # fmt: skip
"""The records that documents belong to."""
COMMERCIAL = ("Quote", "Order")
ATTACHING = (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS, Role.FINANCE)
"""Who adds documents to what they see."""
ATTACHMENT_FIELDS = frozenset({"url", "document_id", "media_type", "size_bytes", "sha256", "subject", "added_by"})
TITLE_LENGTH, URL_LENGTH = 300, 2000
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


class Attachment(Record):
    """One document of one record, under a web address or the id that a document store gave it."""

    __tablename__ = "attachments"
    __person__ = "contact_id"
    __access__ = Access(
        sights((Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS), ThroughSubject(tuple(SUBJECTS)), ATTACHMENT_FIELDS)
        | sights((Role.FINANCE,), ThroughSubject(COMMERCIAL), ATTACHMENT_FIELDS)
    )

    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"), index=True)
    kind: Mapped[AttachmentKind]
    title: Mapped[str] = mapped_column(info=PERSONAL)
    url: Mapped[str | None] = mapped_column(info=PERSONAL)
    document_id: Mapped[str | None] = mapped_column(info=PERSONAL)
    media_type: Mapped[str | None]
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None]

    __table_args__ = (Index("ix_attachments_subject", "subject_id", "id"),)


# ---- what makes a reference ------------------------------------------------------------------------------------------


def check_url(url: str) -> str:
    """A web address under which browsers may be sent: https, with a host, without credentials or hidden characters.

    Raises Invalid.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        sound = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and parts.password is None
        _ = parts.port
    except ValueError:
        sound = False
    if not sound or _UNSEEN.search(text) or "\\" in text or len(text) > URL_LENGTH:
        words = Text(
            "链接须是不含账号密码的 https 地址，不超过 2000 个字符",
            "the address must be https, without credentials, of 2000 characters at most",
        )
        raise Invalid(words, ("url",))
    return text


def _told(value: Any, field: str, pattern: re.Pattern[str], zh: str, en: str) -> str | None:
    if value is None:
        return None
    text = str(value).strip().lower()
    if not pattern.fullmatch(text):
        raise Invalid(Text(zh, en), (field,))
    return text


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a document, as it is stored.

    Raises Invalid for a title that is empty or too long, an address, media type, size or digest that cannot be one.
    """
    values = dict(given)
    if "title" in values:
        values["title"] = (values["title"] or "").strip()
        if not 0 < len(values["title"]) <= TITLE_LENGTH:
            words = Text(f"标题须为 1 到 {TITLE_LENGTH} 个字符", f"a title has 1 to {TITLE_LENGTH} characters")
            raise Invalid(words, ("title",))
    if values.get("url") is not None:
        values["url"] = check_url(values["url"])
    if "document_id" in values:
        values["document_id"] = (values["document_id"] or "").strip() or None
    if "kind" in values and values["kind"] is None:
        raise Invalid(Text("须说明是什么文件", "say what kind of document it is"), ("kind",))
    if "media_type" in values:
        zh, en = "媒体类型须形如 application/pdf", "a media type looks like application/pdf"
        values["media_type"] = _told(values["media_type"], "mediaType", _MEDIA_TYPE, zh, en)
    if "sha256" in values:
        zh, en = "sha256 须为 64 位十六进制数", "sha256 has 64 hexadecimal digits"
        values["sha256"] = _told(values["sha256"], "sha256", _SHA256, zh, en)
    if (size := values.get("size_bytes")) is not None:
        if not 0 <= size < 1 << 53 or size != int(size):
            raise Invalid(Text("文件大小须为不小于 0 的整数", "a size is a whole number of bytes"), ("sizeBytes",))
        values["size_bytes"] = int(size)
    return values


def _check_place(attachment: Attachment) -> None:
    if (attachment.url is None) == (attachment.document_id is None):
        words = Text("链接与文档编号须填且只填一项", "give either an address or a document id")
        raise Invalid(words, ("url",))


# ---- operations ------------------------------------------------------------------------------------------------------


async def add_attachment(uow: UnitOfWork, *, subject: Ref, title: str, kind: AttachmentKind, **more: Any) -> Attachment:
    """Add a document to a record that the actor sees; `more` are the other columns that say where and what it is.

    Raises NotFound for an absent or foreign record, Invalid for what makes no reference.
    """
    model = SUBJECTS.get(subject.kind)
    if model is None:
        raise not_found("record", ("subjectId",))
    actor = uow.actor.only(*ATTACHING)
    record = await load(uow.session, actor, model, subject.id, path=("subjectId",))
    values = _checked({"title": title, "kind": kind} | more)
    attachment = Attachment(
        id=uow.new_id(), subject_kind=subject.kind, subject_id=subject.id, **_links(record), **values
    )  # fmt: skip
    _check_place(attachment)
    uow.session.add(attachment)
    uow.note("attachment.added", attachment, {"subject": str(subject)})
    await uow.session.flush()
    # A role may see a record and none of its documents; then it adds none either.
    return await load(uow.session, actor, Attachment, attachment.id, path=("subjectId",))


def _links(record: Record) -> dict[str, UUID | None]:
    links: dict[str, UUID | None] = {name: getattr(record, name, None) for name in ("account_id", "contact_id")}
    own = f"{record.entity().lower()}_id"
    return links | ({own: record.id} if own in links else {})


async def _mine(uow: UnitOfWork, id: UUID, expected_version: int) -> Attachment:
    """The document, if the actor added it or leads who did."""
    actor = uow.actor.only(*ATTACHING)
    attachment = await load(uow.session, actor, Attachment, id, expected_version=expected_version, lock=True)
    if attachment.created_by_id != uow.actor.user_id and not uow.actor.has(Role.MANAGER, Role.SALES_OPS):
        words = Text(
            "只有添加者、经理或销售运营可以更改附件",
            "who added it, a manager or sales operations change an attachment",
        )
        raise Forbidden(words, ("id",))
    return attachment


async def update_attachment(
    uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]
) -> Attachment:
    """Change what is said of a document, or where it is.

    Raises NotFound, StaleVersion, Forbidden for somebody else's, Invalid for what makes no reference.
    """
    attachment = await _mine(uow, id, expected_version)
    if attachment.change(_checked(changes)):
        _check_place(attachment)
        uow.note("attachment.updated", attachment)
    await uow.session.flush()
    return attachment


async def remove_attachment(uow: UnitOfWork, id: UUID, *, expected_version: int) -> None:
    """Take a document off its record; the ledger keeps that it was there.

    Raises NotFound, StaleVersion, Forbidden for somebody else's.
    """
    attachment = await _mine(uow, id, expected_version)
    await uow.session.delete(attachment)
    uow.note("attachment.removed", attachment, {"subject": f"{attachment.subject_kind}:{attachment.subject_id.hex}"})
    await uow.session.flush()
