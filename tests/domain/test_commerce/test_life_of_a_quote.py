"""A quote is drafted, approved where it goes below the floor, issued, answered and revised; each step only where it begins."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from domain import commerce
from domain.commerce import Item, Quote, QuoteLine, QuoteStatus
from domain.kernel import SYSTEM, ErrorCode, Money
from domain.ledger import AuditEvent
from domain.signals import Signal
from tests.domain.test_commerce.conftest import Company, Refused, cny
from tests.factories import START

Step = Callable[..., Awaitable[Quote]]


async def draft(company: Company, who: str = "lei", **changes: Any) -> Quote:
    words: dict[str, Any] = {"opportunity_id": company.deals["hospital"], "items": company.items()}
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.create_quote(uow, **words | changes)


async def step(company: Company, step: Step, quote: Quote, who: str = "lei", **more: Any) -> Quote:
    async with company.database.open_uow(company.people[who]) as uow:
        return await step(uow, quote.id, expected_version=more.pop("version", quote.version), **more)


async def update(company: Company, quote: Quote, who: str = "lei", **changes: Any) -> Quote:
    return await step(company, commerce.update_quote, quote, who, changes=changes)


def below(company: Company) -> list[Item]:
    """One monitor a yuan below its floor of 31,500."""
    return [Item(company.monitor.id, 1, cny(31_499))]


async def actions(company: Company, quote_id: UUID) -> list[str]:
    events = select(AuditEvent.action).where(AuditEvent.subject_id == quote_id).order_by(AuditEvent.id)
    async with company.database.read() as connection:
        return list((await connection.execute(events)).scalars())


async def status_of(company: Company, quote: Quote) -> QuoteStatus:
    async with company.database.read() as connection:
        return (await connection.execute(select(Quote.status).where(Quote.id == quote.id))).scalar_one()


async def test_drafts_are_numbered_in_turn_and_skip_numbers_from_elsewhere(company: Company) -> None:
    first = await draft(company)
    await company.quote(number="Q-2026-000002")
    second = await draft(company, "min")
    assert [first.number, second.number] == ["Q-2026-000001", "Q-2026-000003"]
    assert (first.status, first.revision, first.payment_terms_days, first.total) == (
        QuoteStatus.DRAFT, 1, 30, cny(389_500),
    )  # fmt: skip
    assert await actions(company, first.id) == ["quote.drafted"]


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"valid_until": (START - timedelta(days=1)).date()}, ErrorCode.INVALID, ("validUntil",)),
        ({"payment_terms_days": 3651}, ErrorCode.INVALID, ("paymentTermsDays",)),
        ({"items": []}, ErrorCode.INVALID, ("lines",)),
        ({"items": [Item(UUID(int=1), 1, cny(1))]}, ErrorCode.NOT_FOUND, ("lines", "productId")),
        ({"items": [Item(UUID(int=1), 2**31, cny(10**12))]}, ErrorCode.INVALID, ("lines",)),
    ],
)
async def test_what_makes_no_draft_is_refused(
    company: Company, refused: Refused, changes: dict[str, Any], code: ErrorCode, path: tuple[str, ...]
) -> None:
    error = await refused(draft(company, **changes))
    assert (error.code, error.path) == (code, path)


async def test_nobody_drafts_on_a_foreign_deal_or_without_selling(company: Company, refused: Refused) -> None:
    for who in ("na", "FINANCE", "SALES_OPS"):
        assert (await refused(draft(company, who))).code is ErrorCode.NOT_FOUND, who


async def test_a_discontinued_product_is_offered_no_more(company: Company, refused: Refused) -> None:
    async with company.database.open_uow(company.people["SALES_OPS"]) as uow:
        await commerce.update_product(uow, company.monitor.id, expected_version=1, changes={"discontinued": True})
    error = await refused(draft(company))
    assert (error.code, error.text.zh) == (ErrorCode.CONFLICT, "产品 CM-PM8 已停售")


async def test_a_draft_changes_and_its_version_grows(company: Company) -> None:
    quote = await draft(company)
    day = (START + timedelta(days=30)).date()
    later = await update(company, quote, payment_terms_days=60, valid_until=day)
    assert (later.payment_terms_days, later.valid_until, later.version) == (60, day, quote.version + 1)
    same = await update(company, later, payment_terms_days=60)
    assert same.version == later.version
    assert await actions(company, quote.id) == ["quote.drafted", "quote.updated"]


async def test_new_lines_replace_all_lines_even_with_the_same_sum(company: Company) -> None:
    quote = await draft(company, items=[Item(company.monitor.id, 2, cny(36_000))])
    swapped = await update(company, quote, items=[Item(company.monitor.id, 1, cny(72_000))])
    assert (swapped.total, swapped.version) == (quote.total, quote.version + 1)
    async with company.database.read() as connection:
        lines = (await connection.execute(select(QuoteLine.quantity, QuoteLine.unit_price_minor))).all()
    assert [tuple(line) for line in lines] == [(1, 72_000_00)]
    again = await update(company, swapped, items=[Item(company.monitor.id, 1, cny(72_000))])
    assert again.version == swapped.version


async def test_an_edit_of_an_older_version_is_stale(company: Company, refused: Refused) -> None:
    quote = await draft(company)
    await update(company, quote, payment_terms_days=60)
    error = await refused(update(company, quote, payment_terms_days=90))
    assert (error.code, error.path) == (ErrorCode.STALE_VERSION, ("expectedVersion",))


async def test_a_sound_offer_goes_out_at_once_and_says_so(company: Company) -> None:
    quote = await step(company, commerce.issue_quote, await draft(company))
    assert (quote.status, quote.issued_at) == (QuoteStatus.ISSUED, START)
    async with company.database.read() as connection:
        signal = (await connection.execute(select(Signal.__table__).where(Signal.type == "quote_sent"))).one()
    assert (signal.subject_kind, signal.subject_id, signal.payload) == (
        "Opportunity", company.deals["hospital"], {"number": "Q-2026-000001"},
    )  # fmt: skip
    assert signal.account_id == company.accounts["hospital"]


async def test_below_the_floor_somebody_else_must_agree(company: Company, refused: Refused) -> None:
    quote = await draft(company, items=below(company))
    error = await refused(step(company, commerce.issue_quote, quote))
    assert (error.code, error.text.zh) == (ErrorCode.CONFLICT, "价格低于底价或账期超过标准，须先提交审批")
    quote = await step(company, commerce.submit_quote, quote)
    assert (quote.status, quote.submitted_by_id) == (QuoteStatus.IN_APPROVAL, company.people["lei"].user_id)
    assert (await refused(step(company, commerce.issue_quote, quote))).code is ErrorCode.CONFLICT
    assert (await refused(step(company, commerce.approve_quote, quote))).code is ErrorCode.NOT_FOUND
    quote = await step(company, commerce.approve_quote, quote, "FINANCE")
    assert (quote.status, quote.approved_by_id) == (QuoteStatus.APPROVED, company.people["FINANCE"].user_id)
    quote = await step(company, commerce.issue_quote, quote)
    assert await actions(company, quote.id) == ["quote.drafted", "quote.submitted", "quote.approved", "quote.issued"]


async def test_nobody_approves_what_they_handed_in(company: Company, refused: Refused) -> None:
    quote = await step(company, commerce.submit_quote, await draft(company, "min", items=below(company)), "min")
    error = await refused(step(company, commerce.approve_quote, quote, "min"))
    assert (error.code, error.text.zh) == (ErrorCode.FORBIDDEN, "提交人不能审批自己的报价")


async def test_long_payment_terms_are_for_finance_to_approve(company: Company, refused: Refused) -> None:
    quote = await draft(company, payment_terms_days=180)
    assert (await refused(step(company, commerce.issue_quote, quote))).code is ErrorCode.CONFLICT
    quote = await step(company, commerce.submit_quote, quote)
    assert (quote.status, quote.approval_reasons) == (QuoteStatus.IN_APPROVAL, ["LONG_TERMS"])
    error = await refused(step(company, commerce.approve_quote, quote, "min"))
    assert (error.code, error.text.zh) == (ErrorCode.FORBIDDEN, "账期超过标准，须由财务审批")
    assert (await step(company, commerce.approve_quote, quote, "FINANCE")).status is QuoteStatus.APPROVED


async def test_at_the_floor_no_approval_is_needed(company: Company) -> None:
    quote = await draft(company, items=[Item(company.monitor.id, 1, cny(31_500))])
    quote = await step(company, commerce.submit_quote, quote)
    assert (quote.status, quote.approval_reasons) == (QuoteStatus.APPROVED, [])


async def test_without_a_floor_in_the_currency_approval_is_needed(company: Company) -> None:
    dollars = Item(company.monitor.id, 1, Money(9_000_00, "USD"))
    quote = await step(company, commerce.submit_quote, await draft(company, items=[dollars]))
    assert quote.status is QuoteStatus.IN_APPROVAL


async def test_what_is_returned_is_a_draft_again_and_its_approval_is_void(company: Company) -> None:
    quote = await step(company, commerce.submit_quote, await draft(company, items=below(company)))
    quote = await step(company, commerce.approve_quote, quote, "min")
    quote = await step(company, commerce.return_quote, quote, "min", reason="账期太长")
    assert (quote.status, quote.reason, quote.approved_by_id, quote.submitted_by_id) == (
        QuoteStatus.DRAFT, "账期太长", None, None,
    )  # fmt: skip
    assert (await update(company, quote, items=company.items())).total == cny(389_500)


ANSWERS: dict[QuoteStatus, Step] = {
    QuoteStatus.ACCEPTED: commerce.accept_quote, QuoteStatus.REJECTED: commerce.reject_quote, QuoteStatus.EXPIRED: commerce.expire_quote,
}  # fmt: skip


@pytest.mark.parametrize("status", list(ANSWERS))
async def test_an_issued_quote_is_answered_once(company: Company, refused: Refused, status: QuoteStatus) -> None:
    quote = await step(company, commerce.issue_quote, await draft(company))
    quote = await step(company, ANSWERS[status], quote)
    assert (quote.status, quote.decided_at) == (status, START)
    for again in ANSWERS.values():
        assert (await refused(step(company, again, quote))).code is ErrorCode.CONFLICT
    for step_ in (commerce.issue_quote, commerce.submit_quote, commerce.return_quote):
        assert (await refused(step(company, step_, quote))).code is ErrorCode.CONFLICT
    error = await refused(update(company, quote, payment_terms_days=60))
    assert error.text.zh == f"报价 Q-2026-000001 的状态是 {status.value}，不能这样做"


async def test_a_quote_out_of_date_is_not_accepted(company: Company, refused: Refused) -> None:
    day = (START + timedelta(days=3)).date()
    quote = await step(company, commerce.issue_quote, await draft(company, valid_until=day))
    company.database.clock.advance(days=3)  # type: ignore[attr-defined]
    on_its_last_day = await step(company, commerce.revise_quote, quote)
    assert on_its_last_day.valid_until == day
    company.database.clock.advance(days=1)  # type: ignore[attr-defined]
    error = await refused(step(company, commerce.accept_quote, quote))
    assert (error.code, error.text.zh) == (ErrorCode.CONFLICT, "报价已过有效期，请修订后再发")


async def test_quotes_expire_by_themselves_after_their_last_day(company: Company) -> None:
    day = (START + timedelta(days=3)).date()
    lasting = await step(company, commerce.issue_quote, await draft(company))
    ending = await step(company, commerce.issue_quote, await draft(company, valid_until=day))
    drafted = await draft(company, valid_until=day)
    company.database.clock.advance(days=3)  # type: ignore[attr-defined]
    before = await company.counts()
    assert await commerce.expire_quotes(company.database) == 0
    assert await company.counts() == before
    company.database.clock.advance(days=1)  # type: ignore[attr-defined]
    assert [await commerce.expire_quotes(company.database) for _ in range(2)] == [1, 0]
    assert [await status_of(company, quote) for quote in (lasting, ending, drafted)] == [
        QuoteStatus.ISSUED, QuoteStatus.EXPIRED, QuoteStatus.DRAFT,
    ]  # fmt: skip
    assert (await actions(company, ending.id))[-1] == "quote.expired"


async def test_a_revision_keeps_the_number_and_overtakes_what_was_issued(company: Company, refused: Refused) -> None:
    first = await step(company, commerce.issue_quote, await draft(company))
    second = await step(company, commerce.revise_quote, first)
    assert (second.number, second.revision, second.revises_id, second.status, second.total) == (
        first.number, 2, first.id, QuoteStatus.DRAFT, first.total,
    )  # fmt: skip
    assert await status_of(company, first) is QuoteStatus.ISSUED
    error = await refused(step(company, commerce.revise_quote, first))
    assert (error.code, error.text.zh) == (ErrorCode.CONFLICT, "这份报价已有更新的修订")
    second = await update(company, second, items=[Item(company.monitor.id, 3, cny(36_000))])
    await step(company, commerce.issue_quote, second)
    assert [await status_of(company, quote) for quote in (first, second)] == [QuoteStatus.EXPIRED, QuoteStatus.ISSUED]
    assert (await actions(company, first.id))[-1] == "quote.expired"


async def test_an_accepted_quote_is_not_revised(company: Company, refused: Refused) -> None:
    quote = await step(company, commerce.accept_quote, await company.quote())
    assert (await refused(step(company, commerce.revise_quote, quote))).code is ErrorCode.CONFLICT


@pytest.mark.parametrize("way", ["changed", "deleted"])
async def test_the_lines_of_an_issued_quote_stand(company: Company, refused: Refused, way: str) -> None:
    quote = await step(company, commerce.issue_quote, await draft(company))

    async def touch() -> None:
        async with company.database.open_uow(SYSTEM) as uow:
            line = (await uow.session.execute(select(QuoteLine).limit(1))).scalar_one()
            if way == "deleted":
                await uow.session.delete(line)
            else:
                line.quantity += 1
            uow.note("quote.changed", quote)

    assert (await refused(touch())).code is ErrorCode.CONFLICT
