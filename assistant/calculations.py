"""ROI calculations: a model's inputs are filled from records that the reader sees or asked for, and what comes out is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.model import RoiCalculation
from domain.accounts import Account
from domain.commerce import Order, PriceBookEntry, Product, Quote, QuoteLine
from domain.custom_fields import CustomField, CustomFieldEntity
from domain.deals import Opportunity
from domain.kernel import (
    Actor,
    Base,
    Conflict,
    Database,
    Invalid,
    Money,
    Ref,
    Text,
    UnitOfWork,
    field_visible,
    load,
    money,
    not_found,
    rows_visible,
)
from domain.leads import Lead
from knowledge import (
    Computation,
    Computed,
    Given,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    RoiInput,
    RoiModel,
    Source,
    Taken,
    Told,
    compute,
    fits,
    model_of,
)

Value = tuple[Decimal | Money, Ref]


@dataclass(frozen=True, slots=True)
class About:
    """For what is calculated: a deal, a customer, a deal with its customer, a lead, or nobody in particular."""

    account_id: UUID | None = None
    opportunity_id: UUID | None = None
    lead_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What one version of a model gives: the computation, the record that each input is of, and what records gave in vain."""

    item_id: UUID
    version_number: int
    about: About
    computation: Computation
    records: dict[str, Ref] = field(default_factory=dict)
    notes: tuple[Told, ...] = ()


class IncompleteError(Exception):
    """A calculation that cannot be kept: something is to be asked first or was refused."""

    def __init__(self, reckoned: Reckoned) -> None:
        super().__init__("the calculation is not complete")
        self.reckoned = reckoned


async def model_in_use(
    session: AsyncSession, actor: Actor, item_id: UUID | None
) -> tuple[KnowledgeItem, int, RoiModel]:
    """The entry, the number of its version and its model: the published version, or a first draft for who sees it.

    Raises NotFound for an entry that is absent or not the reader's, Invalid for one that is no ROI model.
    """
    item = await load(session, actor, KnowledgeItem, item_id, path=("item",))
    if item.kind is not KnowledgeKind.ROI_MODEL:
        raise Invalid(Text("该条目不是 ROI 模型", "the entry is no ROI model"), ("item",))
    number = item.published_number or item.draft_number or 1
    wanted = (KnowledgeVersion.item_id == item.id) & (KnowledgeVersion.number == number)
    seen = select(KnowledgeVersion.body).where(wanted, rows_visible(KnowledgeVersion, actor))
    body = (await session.execute(seen)).scalar_one_or_none()
    if body is None:
        raise not_found("KnowledgeItem", ("item",))
    try:
        return item, number, model_of(body)
    except Invalid as refused:
        raise Invalid(refused.text, ("item", *refused.path)) from None


async def read_model_in_use(
    database: Database, actor: Actor, item_id: UUID | None
) -> tuple[KnowledgeItem, int, RoiModel]:
    """The same, on a connection of its own."""
    async with database.read(actor) as connection, AsyncSession(connection, expire_on_commit=False) as session:
        return await model_in_use(session, actor, item_id)


async def preview(
    database: Database, actor: Actor, item_id: UUID | None, answers: Mapping[str, Decimal], about: About
) -> Reckoned:
    """What the model gives with these answers and with what the records say; nothing is kept.

    Raises NotFound for an entry or record that is absent or foreign, Invalid for what `calculate` would not take.
    """
    async with database.read(actor) as connection, AsyncSession(connection, expire_on_commit=False) as session:
        return await _reckon(session, actor, database.clock(), item_id, answers, about)


async def calculate(
    uow: UnitOfWork, *, item_id: UUID | None, answers: Mapping[str, Decimal], about: About
) -> RoiCalculation:
    """Keep what the published version of a model gives, with where each input came from.

    Raises IncompleteError where something is asked or refused, Conflict for a model that is not in use now.
    """
    reckoned = await _reckon(uow.session, uow.actor, uow.now, item_id, answers, about)
    item = await load(uow.session, uow.actor, KnowledgeItem, reckoned.item_id, path=("item",))
    begun = item.effective_from is None or item.effective_from <= uow.now
    over = item.expires_at is not None and item.expires_at <= uow.now
    if item.state is not KnowledgeState.PUBLISHED or not begun or over:
        raise Conflict(Text("该模型当前未在使用，不能留存测算", "the model is not in use: nothing is kept"), ("item",))
    done = reckoned.computation
    if done.questions or done.refused or uow.actor.user_id is None:
        raise IncompleteError(reckoned)
    row = RoiCalculation(
        id=uow.new_id(), item_id=item.id, version_number=reckoned.version_number, account_id=reckoned.about.account_id,
        opportunity_id=reckoned.about.opportunity_id, lead_id=reckoned.about.lead_id, calculated_by_id=uow.actor.user_id, calculated_at=uow.now,
        inputs=[_taken(each, reckoned.records.get(each.key)) for each in done.inputs],
        steps=[_computed(each) for each in done.steps], results=[_computed(each) for each in done.results],
    )  # fmt: skip
    uow.session.add(row)
    uow.note("roi.calculated", row, {"item": str(item.id), "version": reckoned.version_number})
    await uow.session.flush()
    return row


# ---- what is kept ----------------------------------------------------------------------------------------------------


def _taken(each: Taken, record: Ref | None) -> dict[str, Any]:
    told = {
        "key": each.key,
        "zh": each.label.zh,
        "en": each.label.en,
        "unit": each.unit.name,
        "value": f"{each.value:f}",
    }
    of = {"kind": record.kind, "id": str(record.id)} if record and each.source is Source.RECORD else None
    return told | {"source": each.source.value, "record": of}


def _computed(each: Computed) -> dict[str, Any]:
    return {
        "key": each.key, "zh": each.label.zh, "en": each.label.en, "unit": each.unit.name, "decimals": each.decimals,
        "value": None if each.value is None else f"{each.value:f}", "why": {"zh": each.why.zh, "en": each.why.en} if each.why else None,
        "formula": each.formula, "uses": list(each.uses),
    }  # fmt: skip


# ---- filling ---------------------------------------------------------------------------------------------------------


async def _reckon(
    session: AsyncSession, actor: Actor, now: datetime, item_id: UUID | None, answers: Mapping[str, Decimal], about: About
) -> Reckoned:  # fmt: skip
    item, number, model = await model_in_use(session, actor, item_id)
    about = await _seen(session, actor, about)
    records = _Records(session, actor, now, about)
    given, of, notes = {key: Given(value) for key, value in answers.items()}, dict[str, Ref](), list[Told]()
    for each in model.inputs:
        found = await records.value(each, each.source) if each.source and each.key not in given else None
        if found is None:
            continue
        _, wrong = fits(each, found[0])
        if wrong is None:
            given[each.key], of[each.key] = Given(found[0], Source.RECORD), found[1]
        else:
            notes.append(
                Told(each.key, Text(f"记录中的值没有采用：{wrong.zh}", f"the record’s value is not taken: {wrong.en}"))
            )
    return Reckoned(item.id, number, about, compute(model, given), of, tuple(notes))


async def _seen(session: AsyncSession, actor: Actor, about: About) -> About:
    """What is named, if the reader sees it all; a deal brings its customer along.

    Raises NotFound for what is absent, foreign, or does not belong together, Invalid for a lead beside a deal or customer.
    """
    if about.lead_id is not None:
        if about.account_id is not None or about.opportunity_id is not None:
            raise Invalid(Text("线索不能与客户或商机同时给出", "a lead goes with no account or opportunity"), ("lead",))
        await load(session, actor, Lead, about.lead_id, path=("lead",))
        return about
    account_id = about.account_id
    if about.opportunity_id is not None:
        deal = await load(session, actor, Opportunity, about.opportunity_id, path=("opportunity",))
        if account_id not in {None, deal.account_id}:
            raise not_found("Opportunity", ("opportunity",))
        account_id = deal.account_id
    if about.account_id is not None:
        await load(session, actor, Account, about.account_id, path=("account",))
    return About(account_id, about.opportunity_id)


@dataclass(frozen=True, slots=True)
class _Records:
    """The values that records give, as far as one reader sees rows and fields."""

    session: AsyncSession
    actor: Actor
    now: datetime
    about: About

    async def value(self, each: RoiInput, source: str) -> Value | None:
        """What fills an input; None where nothing does."""
        owner, _, name = source.partition(".")
        if name.startswith("custom."):
            return await self._custom(owner, name.removeprefix("custom."))
        if source == "account.employees":
            return await self._employees()
        if source == "product.list_price":
            return await self._list_price(each.unit.name)
        amounts = {
            "account.annual_revenue": (self._revenue, Account),
            "opportunity.amount": (self._amount, Opportunity),
            "quote_total": (self._latest_quote, Quote),
            "order_total": (self._latest_order, Order),
        }
        asked, model = amounts[source]
        return await self._money(asked(), model)

    def _seen(self, model: type[Base], name: str, *columns: Any) -> Select[Any]:
        """Columns of the rows that the reader sees, where they see the field as well."""
        seen = (rows_visible(model, self.actor), field_visible(model, name, self.actor))
        return select(model.__table__.c.id, *columns).where(*seen)

    def _of(self, model: type[Base], id: UUID | None, name: str, *columns: Any) -> Select[Any]:
        return self._seen(model, name, *columns).where(model.__table__.c.id == id)

    async def _money(self, asked: Select[Any], model: type[Base]) -> Value | None:
        found = (await self.session.execute(asked)).first()
        if found is None or found[1] is None or found[2] is None:
            return None
        return Money(found[1], found[2]), Ref(model.entity(), found[0])

    async def _employees(self) -> Value | None:
        asked = self._of(Account, self.about.account_id, "employees", Account.employees)
        found = (await self.session.execute(asked)).first()
        return None if found is None or found[1] is None else (Decimal(found[1]), Ref("Account", found[0]))

    def _revenue(self) -> Select[Any]:
        columns = (Account.annual_revenue_minor, Account.currency)
        return self._of(Account, self.about.account_id, "annual_revenue", *columns)

    def _amount(self) -> Select[Any]:
        columns = (Opportunity.amount_minor, Opportunity.currency)
        return self._of(Opportunity, self.about.opportunity_id, "amount", *columns)

    def _latest_order(self) -> Select[Any]:
        of = (Order.account_id == self.about.account_id, Order.ordered_at <= self.now)
        orders = self._seen(Order, "total", Order.total_minor, Order.currency).where(*of)
        return orders.order_by(Order.ordered_at.desc(), Order.id.desc()).limit(1)

    def _latest_quote(self) -> Select[Any]:
        """The deal's latest quote; what the customer has comes before what is still being drafted."""
        latest = (Quote.issued_at.is_(None), Quote.created_at.desc(), Quote.id.desc())
        of_deal = Quote.opportunity_id == self.about.opportunity_id
        return self._seen(Quote, "total", Quote.total_minor, Quote.currency).where(of_deal).order_by(*latest).limit(1)

    async def _custom(self, owner: str, key: str) -> Value | None:
        """A number or an amount in a field of the company's own that is in use."""
        models: dict[str, tuple[type[Account | Opportunity], CustomFieldEntity, UUID | None]] = {
            "account": (Account, CustomFieldEntity.ACCOUNT, self.about.account_id),
            "opportunity": (Opportunity, CustomFieldEntity.OPPORTUNITY, self.about.opportunity_id),
        }
        model, entity, id = models[owner]
        declared = (CustomField.entity_name == entity, CustomField.key == key, CustomField.retired_at.is_(None))
        in_use = select(CustomField.id).where(*declared, rows_visible(CustomField, self.actor)).exists()
        asked = self._of(model, id, "custom_fields", model.custom).where(in_use)
        found = (await self.session.execute(asked)).first()
        held = (found[1] or {}).get(key) if found else None
        if found is None or held is None or isinstance(held, bool | str):
            return None
        amount = money(Decimal(held["amount"]), held["currency"]) if isinstance(held, dict) else Decimal(str(held))
        return amount, Ref(model.entity(), found[0])

    async def _list_price(self, currency: str) -> Value | None:
        """Today's list price of the product of the deal's latest quote; of a quote for several there is no one price."""
        quoted = self._latest_quote().subquery()
        lines = select(QuoteLine.product_id).where(
            QuoteLine.quote_id == select(quoted.c.id).scalar_subquery(), rows_visible(QuoteLine, self.actor)
        )
        products = list((await self.session.execute(lines.distinct())).scalars())
        in_force = or_(PriceBookEntry.valid_to.is_(None), PriceBookEntry.valid_to > self.now)
        columns: tuple[Any, ...] = (PriceBookEntry.product_id, PriceBookEntry.list_minor, PriceBookEntry.currency)
        price = select(*columns).where(
            PriceBookEntry.product_id.in_(products), PriceBookEntry.currency == currency, PriceBookEntry.valid_from <= self.now, in_force,
            rows_visible(PriceBookEntry, self.actor),
        )  # fmt: skip
        return (
            await self._money(price.order_by(PriceBookEntry.valid_from.desc()).limit(1), Product)
            if len(products) == 1
            else None
        )
