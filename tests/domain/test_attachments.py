"""Attachments on real databases: references that make sense, on records that one sees, personal where the record is."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import accounts, activities, attachments, commerce, deals, erasure, leads, ledger
from domain.attachments import Attachment, AttachmentKind, check_url
from domain.commerce import Item
from domain.deals import StagePlan
from domain.kernel import (
    ERASED,
    SYSTEM,
    Actor,
    Database,
    ErrorCode,
    Invalid,
    Money,
    Ref,
    Role,
    SalesError,
    Text,
    new_id,
    rows_visible,
)
from domain.ledger import AuditEvent
from tests.factories import START, add_colleague, add_territories

URL = "https://docs.example.cn/合同/2026-03.pdf?v=2"


@dataclass
class Company:
    """One account of Lei's with everything that documents belong to; Na works elsewhere."""

    database: Database
    people: dict[str, Actor]
    subjects: dict[str, Ref]

    async def add(self, who: str, subject: str | Ref = "Opportunity", **changes: Any) -> Attachment:
        """A contract, by its address."""
        ref = self.subjects[subject] if isinstance(subject, str) else subject
        words: dict[str, Any] = {"title": "采购合同（草案）", "kind": AttachmentKind.CONTRACT, "url": URL}
        async with self.database.open_uow(self.people[who]) as uow:
            return await attachments.add_attachment(uow, subject=ref, **words | changes)

    async def update(self, who: str, attachment: Attachment, **changes: Any) -> Attachment:
        """Another entry for a document."""
        async with self.database.open_uow(self.people[who]) as uow:
            return await attachments.update_attachment(
                uow, attachment.id, expected_version=changes.pop("version", attachment.version), changes=changes
            )

    async def remove(self, who: str, attachment: Attachment) -> None:
        """Take a document off."""
        async with self.database.open_uow(self.people[who]) as uow:
            await attachments.remove_attachment(uow, attachment.id, expected_version=attachment.version)

    async def sees(self, who: str) -> int:
        """How many documents somebody sees."""
        seen = select(func.count()).select_from(Attachment.__table__)
        async with self.database.read() as connection:
            visible = rows_visible(Attachment, self.people[who])
            return (await connection.execute(seen.where(visible))).scalar_one()

    async def counts(self) -> list[int]:
        """How many documents and events there are."""
        async with self.database.read() as connection:
            found = [await connection.execute(select(func.count()).select_from(m)) for m in (Attachment, AuditEvent)]
        return [one.scalar_one() for one in found]

    async def refused(self, operation: Awaitable[object]) -> SalesError:
        """The error of an operation that must change nothing."""
        before = await self.counts()
        with pytest.raises(SalesError) as caught:
            await operation
        assert await self.counts() == before
        return caught.value


@pytest.fixture
async def company(database: Database) -> Company:
    territories = await add_territories(database)
    east, south = territories["east-china"], territories["south-china"]
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[east]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[south]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=[east]),
    }
    for role in Role:
        if role not in {Role.REP, Role.MANAGER}:
            people[role.value] = await add_colleague(database, role.value, role)
    async with database.open_uow(SYSTEM) as uow:
        stages = await deals.ensure_pipeline(
            uow, "new_business", Text("新签", "New business"), [StagePlan("proposal", Text("方案报价", "Proposal"))]
        )
        lei = people["lei"].user_id
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei)
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈芳", account_id=account.id)
        await uow.session.flush()
        deal = await deals.open_opportunity(
            uow, name="监护仪采购", stage=stages["proposal"], account_id=account.id, owner_id=lei
        )
        product = await commerce.add_product(
            uow, code="PM8", name=Text("监护仪", "Monitor"), list_price=Money(2, "CNY"), floor_price=Money(1, "CNY")
        )
        items = [Item(product.id, 1, Money(2, "CNY"))]
        quote = await commerce.record_quote(uow, number="Q-1", opportunity_id=deal.id, items=items)
        order = await commerce.place_order(uow, number="O-1", account_id=account.id, items=items)
        lead = await leads.capture(
            uow, source="官网", external_id="1", name="周琳", phone="13900001234", region="华东", owner_id=lei
        )
        visit = await activities.log(
            uow, related_to=contact.ref(), kind=activities.ActivityKind.VISIT, subject="看产线", owner_id=lei, occurred_at=START - timedelta(days=1),
        )  # fmt: skip
        subjects = {
            row.entity(): row.ref() for row in (account, contact, deal, quote, order, lead, visit)
        }  # fmt: skip
    return Company(database, people, subjects)


SUBJECTS = sorted(attachments.SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_document_belongs_to_a_record_and_is_seen_with_it(company: Company, subject: str) -> None:
    document = await company.add("lei", subject, media_type="Application/PDF", size_bytes=1_250_000, sha256="A" * 64)
    assert (document.title, document.url, document.media_type, document.sha256) == (
        "采购合同（草案）", URL, "application/pdf", "a" * 64,
    )  # fmt: skip
    assert [await company.sees(who) for who in ("lei", "min", "na", "LEGAL", "AUDITOR", "EXECUTIVE")] == [
        1,
        1,
        0,
        0,
        0,
        0,
    ]
    assert await company.sees("FINANCE") == (subject in {"Quote", "Order"})
    assert await company.sees("SALES_OPS") == (subject not in {"Lead", "Activity"})


async def test_documents_are_added_to_what_one_sees_with_its_documents(company: Company) -> None:
    for who, subject in (("na", "Account"), ("LEGAL", "Contact"), ("FINANCE", "Account"), ("SALES_OPS", "Lead")):
        error = await company.refused(company.add(who, subject))
        assert (error.code, error.path) == (ErrorCode.NOT_FOUND, ("subjectId",)), (who, subject)
    for ref in (Ref("Account", new_id()), Ref("User", company.people["lei"].user_id or new_id())):
        assert (await company.refused(company.add("lei", ref))).code is ErrorCode.NOT_FOUND
    await company.add("FINANCE", "Quote")
    await company.add("SALES_OPS", "Account")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"title": " "}, "title"),
    ({"title": "长" * 301}, "title"),
    ({"url": None}, "url"),
    ({"document_id": "DOC-1"}, "url"),
    ({"url": "http://docs.example.cn/a.pdf"}, "url"),
    ({"media_type": "pdf"}, "mediaType"),
    ({"media_type": "text/<b>"}, "mediaType"),
    ({"size_bytes": -1}, "sizeBytes"),
    ({"size_bytes": 1.5}, "sizeBytes"),
    ({"sha256": "g" * 64}, "sha256"),
    ({"sha256": "a" * 63}, "sha256"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
async def test_what_makes_no_reference_is_refused(company: Company, changes: dict[str, Any], field: str) -> None:
    error = await company.refused(company.add("lei", **changes))
    assert (error.code, error.path) == (ErrorCode.INVALID, (field,))
    document = await company.add("lei")
    error = await company.refused(company.update("lei", document, **changes))
    assert (error.code, error.path) == (ErrorCode.INVALID, (field,))


WRONG_URLS = (
    "", "docs.example.cn", "http://a.cn", "javascript:alert(1)", "data:text/html,x", "https://", "https:///a", "https://user:pass@a.cn/", "https://user@a.cn/",
    "https://a.cn:port/", "https://a.cn/\u202egpj.exe", "https://a.cn/ b", "https://a.cn\\@evil.cn/", "https://[::1", "ftp://a.cn/x", "https://a.cn/\x00",
    "https://a.cn/" + "x" * 2000,
)  # fmt: skip


@pytest.mark.parametrize("url", WRONG_URLS)
def test_an_address_to_which_no_browser_should_be_sent_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_url(url)
    assert (caught.value.path, caught.value.text.zh) == (
        ("url",), "链接须是不含账号密码的 https 地址，不超过 2000 个字符",
    )  # fmt: skip


@given(st.text(max_size=80))
def test_whatever_is_taken_for_an_address_is_https_with_a_host(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            taken = check_url(url)
        except Invalid:
            continue
        assert taken.lower().startswith("https://")
        assert not any(ord(letter) <= ord(" ") for letter in taken)
        assert "@" not in taken.removeprefix("https://").partition("/")[0].partition("?")[0].partition("#")[0]


async def test_an_entry_changes_and_moves_from_address_to_document_id(company: Company) -> None:
    document = await company.add("lei")
    moved = await company.update("lei", document, url=None, document_id=" DOC-2026-1 ", title="采购合同（盖章）")
    assert (moved.url, moved.document_id, moved.title, moved.version) == (None, "DOC-2026-1", "采购合同（盖章）", 2)
    same = await company.update("lei", moved, title="采购合同（盖章）")
    assert same.version == 2
    assert (await company.refused(company.update("lei", moved, version=1, title="旧"))).code is ErrorCode.STALE_VERSION


async def test_others_change_no_document_but_managers_do(company: Company) -> None:
    document = await company.add("min", "Quote")
    for operation in (company.update("lei", document, title="改"), company.remove("lei", document)):
        assert (await company.refused(operation)).code is ErrorCode.FORBIDDEN
    assert (await company.refused(company.remove("na", document))).code is ErrorCode.NOT_FOUND
    lei = await company.add("lei", "Quote")
    assert (await company.update("min", lei, title="改")).title == "改"


async def test_what_is_removed_is_gone_and_the_ledger_says_that_it_was_there(company: Company) -> None:
    document = await company.add("lei")
    await company.remove("lei", document)
    assert (await company.counts())[0] == 0
    events = select(AuditEvent.action).where(AuditEvent.subject_id == document.id).order_by(AuditEvent.id)
    async with company.database.read() as connection:
        assert list((await connection.execute(events)).scalars()) == ["attachment.added", "attachment.removed"]


@pytest.mark.parametrize("subject", ["Contact", "Lead", "Activity"])
async def test_documents_of_a_person_are_erased_with_them(company: Company, subject: str) -> None:
    document = await company.add("lei", subject, title="陈芳的名片")
    async with company.database.open_uow(SYSTEM) as uow:
        row = (await uow.session.execute(select(Attachment).where(Attachment.id == document.id))).scalar_one()
        contact_id = row.contact_id
        event = (await uow.session.execute(select(AuditEvent).where(AuditEvent.subject_id == document.id))).scalar_one()
        assert "陈芳" not in str(event.detail)
        revealed = await ledger.reveal(uow.session, event)
        assert "陈芳的名片" in str(revealed)
    async with company.database.open_uow(company.people["DPO"]) as uow:
        await erasure.erase_person(uow, contact_id)
    async with company.database.open_uow(SYSTEM) as uow:
        row = (await uow.session.execute(select(Attachment).where(Attachment.id == document.id))).scalar_one()
        assert (row.title, row.url, row.document_id) == (ERASED, None, None)
        event = (
            await uow.session.execute(select(AuditEvent).where(AuditEvent.action == "attachment.added"))
        ).scalar_one()
        assert "陈芳的名片" not in str(await ledger.reveal(uow.session, event))
