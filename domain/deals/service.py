"""Deals' operations: opened, changed, moved through stages, imported."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import custom_fields, people
from domain.accounts import Account
from domain.deals.model import (
    SELLERS,
    Competitor,
    ForecastCategory,
    Opportunity,
    Stage,
    StageTransition,
)
from domain.deals.pipelines import check_in_use, stage_to_open
from domain.deals.policy import CATEGORY_LABELS, category_fits
from domain.kernel import (
    ActorKind,
    Base,
    Forbidden,
    Invalid,
    Money,
    Role,
    Text,
    UnitOfWork,
    load,
)

WRITERS = (Role.REP, Role.MANAGER, Role.SALES_OPS)
"""Who changes what a deal says; whoever sells moves it."""
REASON_LENGTH, STEP_LENGTH = 2000, 1000
WHOLE = 100
MANAGER_ONLY = Text("只有该区域的经理可以这样做", "only the manager of its territory may do this")


# ---- opening ---------------------------------------------------------------------------------------------------------


async def create_opportunity(
    uow: UnitOfWork, *, name: str, account_id: UUID, pipeline_id: UUID | None = None, stage_id: UUID | None = None, stage_key: str | None = None,
    amount: Money | None = None, close_date: date | None = None, owner_id: UUID | None = None, primary_competitor: str | None = None,
    next_step: str | None = None, declared_probability: int | None = None, lead_id: UUID | None = None, opened_at: datetime | None = None,
    custom: Mapping[str, Any] | None = None, path: tuple[str, ...] = ("accountId",),
) -> Opportunity:  # fmt: skip
    """Open a deal with an account that the actor sees, in the stage given or the first open one of the territory's pipeline.

    It belongs to the rep who opens it, else to the account's owner; another owner is a manager's to name.

    Raises NotFound for a foreign account, an unknown pipeline or stage, Forbidden for an owner whom the actor may not name,
    Invalid for values that cannot be and for a stage where deals end, Conflict for a retired stage.
    """
    account = await load(uow.session, uow.actor.only(*SELLERS), Account, account_id, path=path)
    owner = await _owner(uow, account, owner_id)
    stage = await stage_to_open(
        uow, account.territory_id, pipeline_id=pipeline_id, stage_id=stage_id, stage_key=stage_key
    )
    said: dict[str, Any] = {
        "primary_competitor": primary_competitor,
        "next_step": next_step,
        "declared_probability": declared_probability,
    }
    await _check_words(uow, said)
    return await open_opportunity(
        uow, name=name, stage=stage, account_id=account_id, amount=amount, close_date=close_date, owner_id=owner, lead_id=lead_id,
        opened_at=opened_at, custom=custom, **said,
    )  # fmt: skip


async def _owner(uow: UnitOfWork, account: Account, owner_id: UUID | None) -> UUID | None:
    me = uow.actor.user_id if uow.actor.kind is ActorKind.USER else None
    if owner_id is None:
        return me if uow.actor.has(Role.REP) and me is not None else account.owner_id or me
    if owner_id != me:
        if not uow.actor.manages(account.territory_id):
            raise Forbidden(MANAGER_ONLY, ("ownerId",))
        await people.check_seller(uow, owner_id, None, path=("ownerId",))
    return owner_id


async def open_opportunity(
    uow: UnitOfWork, *, name: str, stage: Stage, account_id: UUID | None = None, amount: Money | None = None, close_date: date | None = None,
    owner_id: UUID | None = None, opened_at: datetime | None = None, primary_competitor: str | None = None, lead_id: UUID | None = None,
    next_step: str | None = None, declared_probability: int | None = None, custom: Mapping[str, Any] | None = None,
) -> Opportunity:  # fmt: skip
    """Open a deal in a stage, in its account's territory.

    Whoever gives values for custom fields, if none, gives the required ones.
    """
    if not name.strip():
        raise Invalid(Text("商机名称不能为空", "an opportunity needs a name"), ("name",))
    _check_amount(amount)
    account = await load(uow.session, uow.actor, Account, account_id, path=("accountId",)) if account_id else None
    entered = opened_at or uow.now
    opportunity = Opportunity(
        id=uow.new_id(), name=name.strip(), account_id=account_id, pipeline_id=stage.pipeline_id, stage_id=stage.id,
        amount_minor=amount.amount_minor if amount else None, currency=amount.currency if amount else None, close_date=close_date,
        owner_id=owner_id or (account.owner_id if account else None), territory_id=account.territory_id if account else None, lead_id=lead_id,
        primary_competitor=primary_competitor, forecast_category=stage.default_forecast_category, opened_at=entered, stage_entered_at=entered,
        closed_at=entered if stage.is_closed else None, next_step=next_step, declared_probability=declared_probability,
        custom=await custom_fields.apply(uow, Opportunity.entity(), None, custom, new=custom is not None),
    )  # fmt: skip
    uow.session.add(opportunity)
    uow.session.add(
        StageTransition(id=uow.new_id(), opportunity_id=opportunity.id, to_stage_id=stage.id, entered_at=entered)
    )
    uow.note("opportunity.opened", opportunity, {"stage": stage.key})
    await uow.session.flush()
    return opportunity


def _check_amount(amount: Money | None) -> None:
    if amount is not None and amount.amount_minor < 0:
        raise Invalid(Text("金额不能为负", "the amount cannot be negative"), ("amount", "amount"))


async def _check_words(uow: UnitOfWork, said: Mapping[str, Any]) -> None:
    percent, step, competitor = (said.get(name) for name in ("declared_probability", "next_step", "primary_competitor"))
    if percent is not None and not 0 <= percent <= WHOLE:
        raise Invalid(Text("把握程度须在 0 到 100 之间", "a probability is from 0 to 100"), ("declaredProbability",))
    if step is not None and len(step) > STEP_LENGTH:
        limit = Text(f"下一步不能超过 {STEP_LENGTH} 个字符", f"the next step has at most {STEP_LENGTH} characters")
        raise Invalid(limit, ("nextStep",))
    known = select(Competitor.id).where(Competitor.key == competitor)
    if competitor is not None and await uow.session.scalar(known) is None:
        words = Text(f"没有 key 为“{competitor}”的竞品", f"no competitor has the key “{competitor}”")
        raise Invalid(words, ("primaryCompetitor",))


# ---- changing --------------------------------------------------------------------------------------------------------


async def deal_to_change(
    uow: UnitOfWork, id: UUID, *roles: Role, expected_version: int | None = None, path: tuple[str, ...] = ("id",)
) -> Opportunity:
    """A deal that the actor sees in one of the roles, locked.

    Raises NotFound where they see none, StaleVersion when it was changed since the version.
    """
    actor = uow.actor.only(*roles)
    return await load(uow.session, actor, Opportunity, id, path=path, expected_version=expected_version, lock=True)


async def update_opportunity(
    uow: UnitOfWork, id: UUID, *, changes: Mapping[str, Any], expected_version: int | None = None
) -> Opportunity:
    """Set what is given of name, amount, close_date, owner_id, primary_competitor, forecast_category, declared_probability, next_step and custom.

    No category means the one of the deal's stage. An update that changes nothing is no event.

    Raises Invalid for values that cannot be, Forbidden for an owner whom the actor may not name.
    """
    opportunity = await deal_to_change(uow, id, *WRITERS, expected_version=expected_version)
    await _check_words(uow, changes)
    for name, value in changes.items():
        await _set(uow, opportunity, name, value)
    if uow.session.is_modified(opportunity):
        uow.note("opportunity.updated", opportunity)
        await uow.session.flush()
    return opportunity


async def _set(uow: UnitOfWork, opportunity: Opportunity, name: str, value: Any) -> None:
    if name == "name":
        if not (value or "").strip():
            raise Invalid(Text("商机名称不能为空", "an opportunity needs a name"), ("name",))
        opportunity.name = value.strip()
    elif name == "amount":
        _check_amount(value)
        opportunity.amount_minor = value.amount_minor if value else None
        opportunity.currency = value.currency if value else None
    elif name == "owner_id":
        await _hand_over(uow, opportunity, value)
    elif name == "forecast_category":
        await _categorise(uow, opportunity, value)
    elif name == "custom":
        opportunity.custom = await custom_fields.apply(uow, opportunity.entity(), opportunity.custom, value)
    elif name in {"close_date", "primary_competitor", "declared_probability", "next_step"}:
        setattr(opportunity, name, value)
    else:
        raise LookupError(f"nobody changes a deal's {name}")


async def _hand_over(uow: UnitOfWork, opportunity: Opportunity, owner_id: UUID | None) -> None:
    if owner_id is None:
        raise Invalid(Text("商机须有负责人", "a deal has an owner"), ("ownerId",))
    if owner_id == opportunity.owner_id:
        return
    if not uow.actor.manages(opportunity.territory_id):
        raise Forbidden(MANAGER_ONLY, ("ownerId",))
    await people.check_seller(uow, owner_id, None, path=("ownerId",))
    opportunity.owner_id = owner_id


async def _categorise(uow: UnitOfWork, opportunity: Opportunity, category: ForecastCategory | None) -> None:
    stage = await uow.session.get_one(Stage, opportunity.stage_id)
    default = stage.default_forecast_category
    wanted = category or default
    if not category_fits(wanted, default, is_closed=stage.is_closed):
        label = CATEGORY_LABELS[wanted]
        words = Text(
            f"阶段“{stage.label_zh}”的商机不能归为“{label.zh}”",
            f"a deal in “{stage.label_en}” does not count as {label.en}",
        )
        raise Invalid(words, ("forecastCategory",))
    opportunity.forecast_category = wanted


async def follow_account(uow: UnitOfWork, account: Account) -> None:
    """Bring the open deals of an account into its territory; closed ones stay where they were won or lost."""
    elsewhere = Opportunity.territory_id.is_distinct_from(account.territory_id)
    open_there = (Opportunity.account_id == account.id) & Opportunity.closed_at.is_(None) & elsewhere
    found = await uow.session.execute(select(Opportunity).where(open_there).order_by(Opportunity.id).with_for_update())
    for opportunity in found.scalars():
        opportunity.territory_id = account.territory_id
        uow.note("opportunity.territory_followed", opportunity)
    await uow.session.flush()


# ---- moving ----------------------------------------------------------------------------------------------------------


async def move_opportunity(
    uow: UnitOfWork,
    opportunity: Opportunity,
    stage: Stage,
    *,
    at: datetime | None = None,
    loss_reason: str | None = None,
) -> None:
    """Move a deal into another stage of its pipeline and keep the stay in the one it leaves.

    Raises Invalid for a stage of another pipeline, for an instant before the deal entered the stage that it leaves or ahead of
    now, for a loss without its reason or a reason without a loss; Conflict for a retired stage; Forbidden for a closed deal
    that is not reopened by the manager of its territory.
    """
    if stage.pipeline_id != opportunity.pipeline_id:
        raise Invalid(Text("目标阶段不属于该商机的销售漏斗", "the stage belongs to another pipeline"), ("stageId",))
    if stage.id == opportunity.stage_id:
        return
    check_in_use(stage, ("stageId",))
    reason = _reason(stage, loss_reason)
    moment = _moment(uow, opportunity, at)
    if opportunity.closed_at is not None and not uow.actor.manages(opportunity.territory_id):
        raise Forbidden(Text("已关闭的商机只有经理可以重新打开", "a closed deal is reopened by a manager"), ("id",))
    staying = (StageTransition.opportunity_id == opportunity.id) & StageTransition.left_at.is_(None)
    for stay in (await uow.session.execute(select(StageTransition).where(staying))).scalars():
        stay.left_at = moment
    uow.session.add(
        StageTransition(
            id=uow.new_id(),
            opportunity_id=opportunity.id,
            from_stage_id=opportunity.stage_id,
            to_stage_id=stage.id,
            entered_at=moment,
        )
    )
    opportunity.stage_id, opportunity.stage_entered_at = stage.id, moment
    opportunity.forecast_category = stage.default_forecast_category
    opportunity.closed_at = moment if stage.is_closed else None
    opportunity.loss_reason = reason
    uow.note("opportunity.moved", opportunity, {"stage": stage.key})
    await uow.session.flush()


def _reason(stage: Stage, loss_reason: str | None) -> str | None:
    reason = (loss_reason or "").strip()
    if stage.is_lost and not reason:
        raise Invalid(Text("丢单须填写原因", "a loss needs its reason"), ("lossReason",))
    if reason and not stage.is_lost:
        raise Invalid(Text("只有丢单才有丢单原因", "only a loss has a reason"), ("lossReason",))
    if len(reason) > REASON_LENGTH:
        limit = Text(f"原因不能超过 {REASON_LENGTH} 个字符", f"the reason has at most {REASON_LENGTH} characters")
        raise Invalid(limit, ("lossReason",))
    return reason or None


def _moment(uow: UnitOfWork, opportunity: Opportunity, at: datetime | None) -> datetime:
    moment = at or uow.now
    if moment < opportunity.stage_entered_at:
        raise Invalid(
            Text("换阶段的时间早于进入当前阶段的时间", "the deal would leave its stage before it entered it"), ("at",)
        )
    if moment > uow.now:
        raise Invalid(Text("换阶段的时间不能晚于现在", "the deal cannot have moved in the future"), ("at",))
    return moment


# ---- imported --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportedDeal:
    """One deal as another system exports it; `worked_in` is the stage of a closed deal before it closed, if known."""

    external_id: str
    name: str
    account_id: UUID | None
    owner_id: UUID | None
    territory_id: UUID | None
    stage: Stage
    worked_in: Stage | None
    amount: Money | None
    opened_at: datetime
    closed_at: datetime | None
    close_date: date | None


def imported_rows(
    uow: UnitOfWork, source: str, deals: Iterable[tuple[UUID, ImportedDeal]]
) -> dict[type[Base], list[dict[str, Any]]]:
    """The rows of deals with given ids, each with its stays in stages as far as the export tells of them."""
    opportunities, stays = [], []
    for id, deal in deals:
        opportunities.append({
            "id": id, "name": deal.name, "account_id": deal.account_id, "pipeline_id": deal.stage.pipeline_id, "stage_id": deal.stage.id,
            "amount_minor": deal.amount.amount_minor if deal.amount else None, "currency": deal.amount.currency if deal.amount else None,
            "close_date": deal.close_date, "owner_id": deal.owner_id, "territory_id": deal.territory_id,
            "forecast_category": deal.stage.default_forecast_category, "opened_at": deal.opened_at,
            "stage_entered_at": deal.closed_at or deal.opened_at, "closed_at": deal.closed_at, "source": source, "external_id": deal.external_id,
        })  # fmt: skip
        stays += [{"id": uow.new_id(), "opportunity_id": id} | stay for stay in _stays(deal)]
    return {Opportunity: opportunities, StageTransition: stays}


def _stays(deal: ImportedDeal) -> list[dict[str, Any]]:
    last = {"from_stage_id": None, "to_stage_id": deal.stage.id, "entered_at": deal.opened_at, "left_at": None}
    if deal.closed_at is None:
        return [last]
    if deal.worked_in is None:
        return [last | {"entered_at": deal.closed_at}]
    worked = last | {"to_stage_id": deal.worked_in.id, "left_at": deal.closed_at}
    return [worked, last | {"from_stage_id": deal.worked_in.id, "entered_at": deal.closed_at}]
