"""The life of a quote: drafted, approved where it goes below the floor, issued, answered, revised."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select

from domain import custom_fields, signals
from domain.commerce.model import ISSUED, PriceBookEntry, Quote, QuoteLine, QuoteStatus
from domain.commerce.policy import STANDARD_PAYMENT_TERMS_DAYS, ApprovalReason, approval_reasons
from domain.commerce.service.lines import RUN, Item, check_number, check_products, check_terms, line, next_number, total
from domain.deals import Opportunity
from domain.kernel import SYSTEM, Conflict, Database, Forbidden, Invalid, Money, Ref, Role, Text, UnitOfWork, load

SELLING = (Role.REP, Role.MANAGER)
"""Who makes offers."""
APPROVING = (Role.MANAGER, Role.FINANCE)
"""Who lets an offer go below the floor; long payment terms are for FINANCE alone."""
SIGNAL_SOURCE = "quotes"


async def record_quote(
    uow: UnitOfWork, *, number: str, opportunity_id: UUID, items: Sequence[Item], payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS,
    issued_at: datetime | None = None, valid_until: date | None = None, status: QuoteStatus = QuoteStatus.ISSUED,
) -> Quote:  # fmt: skip
    """Take in an offer that was made elsewhere, under its own number and as it stands, on a deal that the actor sees.

    Raises NotFound for a foreign deal or an unknown product, Conflict for a number that is taken, Invalid for an empty
    number, lines that make no offer, or payment terms below zero.
    """
    opportunity = await load(uow.session, uow.actor, Opportunity, opportunity_id, path=("opportunityId",))
    check_number(number)
    if (await uow.session.execute(select(Quote.id).where(Quote.number == number))).first():
        raise Conflict(Text(f"报价编号 {number} 已存在", f"there is a quote {number} already"), ("number",))
    issued = (issued_at or uow.now) if status in ISSUED else None
    quote = await _put(
        uow, opportunity, items, number=number, status=status, payment_terms_days=payment_terms_days, issued_at=issued, valid_until=valid_until,
    )  # fmt: skip
    uow.note("quote.issued" if issued else "quote.drafted", quote)
    return quote


async def create_quote(
    uow: UnitOfWork, *, opportunity_id: UUID, items: Sequence[Item], payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS, valid_until: date | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Quote:  # fmt: skip
    """Draft an offer on a deal that the actor sells, under the next number.

    Raises NotFound for a foreign deal or an unknown product, Conflict for a discontinued one, Invalid for lines that make
    no offer, payment terms out of bounds, or a last day that is over.
    """
    actor = uow.actor.only(*SELLING)
    opportunity = await load(uow.session, actor, Opportunity, opportunity_id, path=("opportunityId",))
    _check_validity(uow, valid_until)
    number = await next_number(uow, Quote, "Q")
    taken = await custom_fields.apply(uow, Quote.entity(), None, custom, new=custom is not None)
    quote = await _put(
        uow, opportunity, items, sold_now=True, number=number, status=QuoteStatus.DRAFT, payment_terms_days=payment_terms_days, valid_until=valid_until,
        custom=taken,
    )  # fmt: skip
    uow.note("quote.drafted", quote)
    return quote


async def _put(
    uow: UnitOfWork, opportunity: Opportunity, items: Sequence[Item], *, sold_now: bool = False, **columns: Any
) -> Quote:
    check_terms(columns["payment_terms_days"])
    sum_ = total(items, ("lines",))
    await check_products(uow, items, sold_now=sold_now)
    quote = Quote(
        id=uow.new_id(), account_id=opportunity.account_id, opportunity_id=opportunity.id, total_minor=sum_.amount_minor, currency=sum_.currency, **columns
    )  # fmt: skip
    uow.session.add(quote)
    await uow.session.flush()
    uow.session.add_all(QuoteLine(quote_id=quote.id, **line(uow, item)) for item in items)
    await uow.session.flush()
    return quote


def _check_validity(uow: UnitOfWork, valid_until: date | None) -> None:
    if valid_until is not None and valid_until < uow.now.date():
        raise Invalid(Text("有效期不能早于今天", "the last day of validity is over"), ("validUntil",))


async def _at(
    uow: UnitOfWork, id: UUID, expected_version: int, roles: Sequence[Role], states: Collection[QuoteStatus]
) -> Quote:
    """The quote, if it is one of the roles' and stands where the step begins.

    Raises NotFound, StaleVersion, Conflict.
    """
    quote = await load(uow.session, uow.actor.only(*roles), Quote, id, expected_version=expected_version, lock=True)
    if quote.status not in states:
        words = Text(
            f"报价 {quote.number} 的状态是 {quote.status.value}，不能这样做",
            f"quote {quote.number} is {quote.status.value}: this step does not start there",
        )
        raise Conflict(words, ("id",))
    return quote


async def update_quote(uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]) -> Quote:
    """Change a draft's `payment_terms_days`, `valid_until` or `custom`, or replace all its lines by `items`.

    Raises NotFound, StaleVersion, Conflict when it is no draft any more, Invalid as `create_quote` does.
    """
    quote = await _at(uow, id, expected_version, SELLING, {QuoteStatus.DRAFT})
    values = dict(changes)
    if "payment_terms_days" in values:
        if values["payment_terms_days"] is None:
            raise Invalid(Text("账期不能为空", "payment terms are needed"), ("paymentTermsDays",))
        check_terms(values["payment_terms_days"])
    _check_validity(uow, values.get("valid_until"))
    if "custom" in values:
        values["custom"] = await custom_fields.apply(uow, Quote.entity(), quote.custom, values["custom"])
    changed = False
    if "items" in values:
        changed = await _replace_lines(uow, quote, values.pop("items") or ())
    if quote.change(values) or changed:
        uow.note("quote.updated", quote)
    await uow.session.flush()
    return quote


async def _lines(uow: UnitOfWork, quote: Quote) -> list[QuoteLine]:
    of_quote = select(QuoteLine).where(QuoteLine.quote_id == quote.id).order_by(QuoteLine.id)
    return list((await uow.session.execute(of_quote)).scalars())


def _item(quote: Quote, row: QuoteLine) -> Item:
    return Item(row.product_id, row.quantity, Money(row.unit_price_minor, quote.currency))


async def _replace_lines(uow: UnitOfWork, quote: Quote, items: Sequence[Item]) -> bool:
    sum_ = total(items, ("lines",))
    await check_products(uow, items, sold_now=True)
    old = await _lines(uow, quote)
    if [_item(quote, row) for row in old] == list(items):
        return False
    for row in old:
        await uow.session.delete(row)
    uow.session.add_all(QuoteLine(quote_id=quote.id, **line(uow, item)) for item in items)
    quote.change({"total_minor": sum_.amount_minor, "currency": sum_.currency})
    quote.touch()
    return True


# ---- approval --------------------------------------------------------------------------------------------------------


async def _reasons(uow: UnitOfWork, quote: Quote) -> list[ApprovalReason]:
    """Why the quote needs approval today."""
    lines = await _lines(uow, quote)
    entry = PriceBookEntry
    in_force: ColumnElement[bool] = (entry.valid_from <= uow.now) & or_(
        entry.valid_to.is_(None), entry.valid_to > uow.now
    )
    of_lines = entry.product_id.in_({row.product_id for row in lines}) & (entry.currency == quote.currency)
    rows = await uow.session.execute(
        select(entry.product_id, entry.floor_minor).where(of_lines, in_force).order_by(entry.valid_from, entry.id)
    )
    floors: dict[UUID, int] = {row.product_id: row.floor_minor for row in rows}
    prices = [(row.unit_price_minor, floors.get(row.product_id)) for row in lines]
    return approval_reasons(prices, quote.payment_terms_days)


async def submit_quote(uow: UnitOfWork, id: UUID, *, expected_version: int) -> Quote:
    """Hand a draft in: to approval where prices or terms need it, else it counts as approved at once.

    Raises NotFound, StaleVersion, Conflict when it is no draft.
    """
    quote = await _at(uow, id, expected_version, SELLING, {QuoteStatus.DRAFT})
    _check_validity(uow, quote.valid_until)
    reasons = await _reasons(uow, quote)
    quote.status = QuoteStatus.IN_APPROVAL if reasons else QuoteStatus.APPROVED
    quote.approval_reasons = [reason.value for reason in reasons]
    quote.submitted_by_id, quote.reason = uow.actor.user_id, None
    uow.note("quote.submitted", quote)
    await uow.session.flush()
    return quote


async def approve_quote(uow: UnitOfWork, id: UUID, *, expected_version: int) -> Quote:
    """Let an offer go out below the floor or with long payment terms; somebody else than who handed it in does.

    Raises NotFound, StaleVersion, Conflict when it waits for no approval, Forbidden for who handed it in, and for others than
    FINANCE where terms are long.
    """
    quote = await _at(uow, id, expected_version, APPROVING, {QuoteStatus.IN_APPROVAL})
    if uow.actor.user_id is not None and uow.actor.user_id == quote.submitted_by_id:
        raise Forbidden(Text("提交人不能审批自己的报价", "who handed a quote in does not approve it"), ("id",))
    if ApprovalReason.LONG_TERMS in (quote.approval_reasons or ()) and not uow.actor.has(Role.FINANCE):
        raise Forbidden(
            Text("账期超过标准，须由财务审批", "terms beyond the standard are for finance to approve"), ("id",)
        )
    quote.status, quote.approved_by_id, quote.approved_at = QuoteStatus.APPROVED, uow.actor.user_id, uow.now
    uow.note("quote.approved", quote)
    await uow.session.flush()
    return quote


async def return_quote(uow: UnitOfWork, id: UUID, *, expected_version: int, reason: str | None = None) -> Quote:
    """Turn what was handed in or approved back into a draft, to be changed; the approval is void.

    Raises NotFound, StaleVersion, Conflict when it is neither.
    """
    states = {QuoteStatus.IN_APPROVAL, QuoteStatus.APPROVED}
    quote = await _at(uow, id, expected_version, (*SELLING, *APPROVING), states)
    quote.status, quote.reason = QuoteStatus.DRAFT, reason
    quote.approval_reasons = quote.submitted_by_id = quote.approved_by_id = quote.approved_at = None
    uow.note("quote.returned", quote)
    await uow.session.flush()
    return quote


# ---- towards the customer --------------------------------------------------------------------------------------------


async def issue_quote(uow: UnitOfWork, id: UUID, *, expected_version: int) -> Quote:
    """Give the customer an approved quote, or a draft that needs no approval; from now on it stands.

    An issued revision before it expires. The signal `quote_sent` says so on the deal.

    Raises NotFound, StaleVersion, Conflict for a quote that stands elsewhere or needs approval first.
    """
    quote = await _at(uow, id, expected_version, SELLING, {QuoteStatus.DRAFT, QuoteStatus.APPROVED})
    _check_validity(uow, quote.valid_until)
    if quote.status is QuoteStatus.DRAFT and await _reasons(uow, quote):
        zh, en = (
            "价格低于底价或账期超过标准，须先提交审批",
            "below the floor or beyond standard terms: submit it for approval",
        )
        raise Conflict(Text(zh, en), ("id",))
    quote.status, quote.issued_at, quote.reason = QuoteStatus.ISSUED, uow.now, None
    uow.note("quote.issued", quote)
    before = (Quote.number == quote.number) & (Quote.id != quote.id) & (Quote.status == QuoteStatus.ISSUED)
    for older in (await uow.session.execute(select(Quote).where(before))).scalars():
        older.status = QuoteStatus.EXPIRED
        uow.note("quote.expired", older, {"revised_by": str(quote.id)})
    await uow.session.flush()
    await signals.record(
        uow, type="quote_sent", subject=Ref("Opportunity", quote.opportunity_id), source=SIGNAL_SOURCE, dedupe_key=f"{quote.id.hex}/sent", occurred_at=uow.now,
        payload={"number": quote.number},
    )  # fmt: skip
    return quote


async def _answer(
    uow: UnitOfWork, id: UUID, expected_version: int, status: QuoteStatus, reason: str | None = None
) -> Quote:
    quote = await _at(uow, id, expected_version, SELLING, {QuoteStatus.ISSUED})
    if status is QuoteStatus.ACCEPTED and quote.valid_until is not None and quote.valid_until < uow.now.date():
        raise Conflict(Text("报价已过有效期，请修订后再发", "the quote is out of date: revise it"), ("id",))
    quote.status, quote.decided_at, quote.reason = status, uow.now, reason
    uow.note(f"quote.{status.value.lower()}", quote)
    await uow.session.flush()
    return quote


async def accept_quote(uow: UnitOfWork, id: UUID, *, expected_version: int) -> Quote:
    """Note that the customer takes an issued quote.

    Raises NotFound, StaleVersion, Conflict when it is not issued or out of date.
    """
    return await _answer(uow, id, expected_version, QuoteStatus.ACCEPTED)


async def reject_quote(uow: UnitOfWork, id: UUID, *, expected_version: int, reason: str | None = None) -> Quote:
    """Note that the customer does not take an issued quote, and why.

    Raises NotFound, StaleVersion, Conflict when it is not issued.
    """
    return await _answer(uow, id, expected_version, QuoteStatus.REJECTED, reason)


async def expire_quote(uow: UnitOfWork, id: UUID, *, expected_version: int, reason: str | None = None) -> Quote:
    """Let an issued quote hold no longer.

    Raises NotFound, StaleVersion, Conflict when it is not issued.
    """
    return await _answer(uow, id, expected_version, QuoteStatus.EXPIRED, reason)


async def expire_quotes(database: Database) -> int:
    """Let every issued quote expire whose last day (of UTC) is over. Returns how many there were.

    Nothing is written, and nobody waits, where there is none.
    """
    done = 0
    while True:
        async with database.read(SYSTEM) as connection:
            over = (Quote.status == QuoteStatus.ISSUED) & (Quote.valid_until < database.clock().date())
            ids = list((await connection.execute(select(Quote.id).where(over).limit(RUN))).scalars())
        if not ids:
            return done
        async with database.open_uow(SYSTEM) as uow:
            still = select(Quote).where(Quote.id.in_(ids), over).with_for_update()
            for quote in (await uow.session.execute(still)).scalars():
                quote.status, quote.decided_at = QuoteStatus.EXPIRED, uow.now
                uow.note("quote.expired", quote)
                done += 1


async def revise_quote(uow: UnitOfWork, id: UUID, *, expected_version: int) -> Quote:
    """Draft the next revision of an issued, rejected or expired quote: the same number, its lines and terms to begin with.

    Raises NotFound, StaleVersion, Conflict for another quote, or one that has a later revision.
    """
    old = await _at(uow, id, expected_version, SELLING, ISSUED - {QuoteStatus.ACCEPTED})
    await uow.wait_turn(f"revision\0{old.number}")
    last = select(func.max(Quote.revision)).where(Quote.number == old.number)
    if (await uow.session.execute(last)).scalar_one() != old.revision:
        raise Conflict(Text("这份报价已有更新的修订", "there is a later revision of this quote"), ("id",))
    actor = uow.actor.only(*SELLING)
    opportunity = await load(uow.session, actor, Opportunity, old.opportunity_id, path=("id",))
    items = [_item(old, row) for row in await _lines(uow, old)]
    lasting = old.valid_until if old.valid_until is not None and old.valid_until >= uow.now.date() else None
    quote = await _put(
        uow, opportunity, items, number=old.number, revision=old.revision + 1, revises_id=old.id, status=QuoteStatus.DRAFT,
        payment_terms_days=old.payment_terms_days, valid_until=lasting, custom=old.custom,
    )  # fmt: skip
    uow.note("quote.revised", quote, {"revision": quote.revision})
    return quote
