"""Pipelines and their stages: set up, named in business language, varied by region, reordered and retired."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from domain import people
from domain.deals.model import Competitor, ForecastCategory, Opportunity, Pipeline, Stage
from domain.deals.policy import StagePlan, is_whole
from domain.kernel import Conflict, Invalid, NotFound, Role, Text, UnitOfWork, load, not_found

KEY = re.compile(r"[a-z0-9_]{1,60}")
LABEL_LENGTH = 100
STAGES_LIMIT = 50
NOT_WHOLE = Text(
    "销售漏斗至少要有一个进行中阶段、一个赢单阶段和一个丢单阶段，且进行中阶段不能算赢单",
    "a pipeline needs an open stage, one where deals are won and one where they are lost; no open stage is won",
)


# ---- finding ---------------------------------------------------------------------------------------------------------


async def stage_in_use(
    uow: UnitOfWork, pipeline_id: UUID, *, id: UUID | None = None, key: str | None = None, path: tuple[str, ...]
) -> Stage:
    """The stage of a pipeline that has the id or the key and is not retired; it stays so until this transaction ends.

    Raises NotFound where there is none, Conflict for one that is retired.
    """
    wanted = Stage.id == id if id is not None else Stage.key == key
    statement = select(Stage).where(wanted, Stage.pipeline_id == pipeline_id).with_for_update(read=True)
    stage = (await uow.session.execute(statement)).scalar_one_or_none()
    if stage is None and key is not None:
        there = "、".join(found.key for found in await stages_of(uow, pipeline_id, in_use=True))
        raise NotFound(
            Text(f"该漏斗没有阶段“{key}”；现有：{there}", f"this pipeline has no stage “{key}”, only: {there}"), path
        )
    if stage is None:
        raise not_found("Stage", path)
    check_in_use(stage, path)
    return stage


def check_in_use(stage: Stage, path: tuple[str, ...]) -> None:
    """Check that deals may enter a stage.

    Raises Conflict when it is retired.
    """
    if stage.retired_at is not None:
        words = Text(f"阶段“{stage.label_zh}”已停用", f"the stage “{stage.label_en}” is retired")
        raise Conflict(words, path)


async def pipeline_for(uow: UnitOfWork, territory_id: UUID | None, id: UUID | None = None) -> Pipeline:
    """The pipeline with the id, or without one the nearest to a territory: its own, that of a territory above, the oldest of all.

    Raises NotFound for an unknown id, Invalid for a pipeline of another territory or where there is none at all.
    """
    above = await people.with_ancestors(uow, territory_id) if territory_id is not None else []
    rank: dict[UUID | None, int] = {territory: at for at, territory in enumerate(above)} | {None: len(above)}
    if id is not None:
        pipeline = await load(uow.session, uow.actor, Pipeline, id, path=("pipelineId",))
        if pipeline.territory_id not in rank:
            raise Invalid(Text("该销售漏斗不用于这个区域", "this pipeline is not for this territory"), ("pipelineId",))
        return pipeline
    found = (await uow.session.execute(select(Pipeline).order_by(Pipeline.id))).scalars()
    serving = [pipeline for pipeline in found if pipeline.territory_id in rank]
    if not serving:
        raise Invalid(Text("还没有可用的销售漏斗", "there is no pipeline to use yet"), ("pipelineId",))
    return min(serving, key=lambda pipeline: rank[pipeline.territory_id])


async def stage_to_open(
    uow: UnitOfWork,
    territory_id: UUID | None,
    *,
    pipeline_id: UUID | None = None,
    stage_id: UUID | None = None,
    stage_key: str | None = None,
) -> Stage:
    """The stage in which a deal of a territory begins: the one given, or the first open one of its pipeline.

    Raises NotFound, Conflict and Invalid as `pipeline_for` and `stage_in_use` do, Invalid for a stage where deals end.
    """
    path = ("stageKey",) if stage_id is None else ("stageId",)
    if stage_id is not None and pipeline_id is None:
        pipeline_id = (await load(uow.session, uow.actor, Stage, stage_id, path=path)).pipeline_id
    pipeline = await pipeline_for(uow, territory_id, pipeline_id)
    if stage_id is None and stage_key is None:
        first = Stage.retired_at.is_(None) & Stage.is_closed.is_(False) & (Stage.pipeline_id == pipeline.id)
        stage_id = await uow.session.scalar(select(Stage.id).where(first).order_by(Stage.position, Stage.id).limit(1))
    stage = await stage_in_use(uow, pipeline.id, id=stage_id, key=stage_key, path=path)
    if stage.is_closed:
        raise Invalid(Text("新商机只能从进行中的阶段开始", "a new deal begins in an open stage"), path)
    return stage


async def stages_of(uow: UnitOfWork, pipeline_id: UUID, *, in_use: bool = False) -> list[Stage]:
    """The stages of a pipeline in their order, those that are retired among them or not."""
    statement = select(Stage).where(Stage.pipeline_id == pipeline_id).order_by(Stage.position, Stage.id)
    return [stage for stage in (await uow.session.execute(statement)).scalars() if not (in_use and stage.retired_at)]


# ---- setting up ------------------------------------------------------------------------------------------------------


async def ensure_pipeline(uow: UnitOfWork, key: str, label: Text, stages: Iterable[StagePlan]) -> dict[str, Stage]:
    """The stages by key of the pipeline that has the key, which is set up first if it is not there."""
    await uow.wait_turn(f"pipeline\0{key}")
    pipeline = (await uow.session.execute(select(Pipeline).where(Pipeline.key == key))).scalar_one_or_none()
    if pipeline is None:
        pipeline = await _set_up(uow, key, label, stages, None)
    return {stage.key: stage for stage in await stages_of(uow, pipeline.id)}


async def create_pipeline(
    uow: UnitOfWork, *, label: Text, stages: Sequence[StagePlan], key: str | None = None, region: str | None = None
) -> Pipeline:
    """Set up a pipeline, for everywhere or for the territory that a region names.

    Raises Invalid for labels, keys or stages that make no pipeline and for an unknown region, Conflict for a key that is taken.
    """
    check_label(label, ("label",))
    if len(stages) > STAGES_LIMIT:
        words = Text(f"阶段不能超过 {STAGES_LIMIT} 个", f"a pipeline has at most {STAGES_LIMIT} stages")
        raise Invalid(words, ("stages",))
    for number, plan in enumerate(stages):
        _check_plan(plan, ("stages", str(number)))
    keys = [plan.key for plan in stages if plan.key]
    if len(set(keys)) < len(keys):
        raise Invalid(Text("阶段的 key 重复", "two stages have the same key"), ("stages",))
    if not is_whole([(plan.is_closed, plan.is_won) for plan in stages]):
        raise Invalid(NOT_WHOLE, ("stages",))
    territory = await _territory(uow, region)
    chosen = key or f"pipeline_{uow.new_id().hex[-12:]}"
    _check_key(chosen, ("key",))
    await uow.wait_turn(f"pipeline\0{chosen}")
    if (await uow.session.execute(select(Pipeline.id).where(Pipeline.key == chosen))).first():
        raise Conflict(Text(f"key“{chosen}”已被使用", f"there is a pipeline {chosen} already"), ("key",))
    return await _set_up(uow, chosen, label, stages, territory)


async def _set_up(
    uow: UnitOfWork, key: str, label: Text, stages: Iterable[StagePlan], territory: people.Territory | None
) -> Pipeline:
    pipeline = Pipeline(
        id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en, region=territory.key if territory else None,
        territory_id=territory.id if territory else None,
    )  # fmt: skip
    uow.session.add(pipeline)
    await uow.session.flush()
    for position, plan in enumerate(stages):
        uow.session.add(_stage(uow, pipeline.id, plan, position))
    uow.note("pipeline.set_up", pipeline)
    await uow.session.flush()
    return pipeline


def _stage(uow: UnitOfWork, pipeline_id: UUID, plan: StagePlan, position: int) -> Stage:
    id = uow.new_id()
    return Stage(
        id=id, pipeline_id=pipeline_id, key=plan.key or f"stage_{id.hex[-12:]}", label_zh=plan.label.zh, label_en=plan.label.en, position=position,
        is_closed=plan.is_closed, is_won=plan.is_won, expected_days=plan.expected_days, default_forecast_category=plan.category,
    )  # fmt: skip


def check_label(label: Text, path: tuple[str, ...]) -> None:
    """Check that a label says something in both languages.

    Raises Invalid when it does not, or at too great length.
    """
    for field, words in (("zh", label.zh), ("en", label.en)):
        if not words.strip() or len(words) > LABEL_LENGTH:
            limit = Text(
                f"名称须为 1 到 {LABEL_LENGTH} 个字符", f"a label has 1 to {LABEL_LENGTH} characters, not only blanks"
            )
            raise Invalid(limit, (*path, field))


def _check_key(key: str, path: tuple[str, ...]) -> None:
    if not KEY.fullmatch(key):
        raise Invalid(
            Text("key 只能用小写字母、数字和下划线", "a key holds small letters, digits and underscores"), path
        )


def _check_plan(plan: StagePlan, path: tuple[str, ...]) -> None:
    check_label(plan.label, (*path, "label"))
    if plan.key:
        _check_key(plan.key, (*path, "key"))
    _check_days(plan.expected_days, (*path, "expectedDays"))


def _check_days(days: int | None, path: tuple[str, ...]) -> None:
    if days is not None and not 1 <= days <= 3650:  # noqa: PLR2004 - ten years
        raise Invalid(Text("预计天数须在 1 到 3650 之间", "the expected days are from 1 to 3650"), path)


async def _territory(uow: UnitOfWork, region: str | None) -> people.Territory | None:
    territory = await people.find_territory(uow.session, region)
    if region and territory is None:
        raise Invalid(Text(f"没有名为“{region}”的区域", f"no territory is called “{region}”"), ("region",))
    return territory


# ---- changing --------------------------------------------------------------------------------------------------------


async def _pipeline(uow: UnitOfWork, id: UUID, expected_version: int | None = None) -> Pipeline:
    """A pipeline that the actor keeps, locked: its stages change one after another."""
    keeper = uow.actor.only(Role.SALES_OPS)
    return await load(uow.session, keeper, Pipeline, id, expected_version=expected_version, lock=True)


async def _kept_stage(uow: UnitOfWork, id: UUID, expected_version: int | None) -> tuple[Pipeline, Stage]:
    keeper = uow.actor.only(Role.SALES_OPS)
    known = await load(uow.session, keeper, Stage, id)
    pipeline = await _pipeline(uow, known.pipeline_id)
    return pipeline, await load(uow.session, keeper, Stage, id, expected_version=expected_version, lock=True)


async def update_pipeline(
    uow: UnitOfWork, id: UUID, *, changes: Mapping[str, Any], expected_version: int | None = None
) -> Pipeline:
    """Set what is given of label and region; one that changes nothing is no event.

    Raises Invalid for a label that says nothing and an unknown region.
    """
    pipeline = await _pipeline(uow, id, expected_version)
    if "label" in changes:
        check_label(changes["label"], ("label",))
        pipeline.label_zh, pipeline.label_en = changes["label"].zh, changes["label"].en
    if "region" in changes:
        territory = await _territory(uow, changes["region"])
        pipeline.region = territory.key if territory else None
        pipeline.territory_id = territory.id if territory else None
    if uow.session.is_modified(pipeline):
        uow.note("pipeline.updated", pipeline)
        await uow.session.flush()
    return pipeline


async def add_stage(uow: UnitOfWork, pipeline_id: UUID, plan: StagePlan, *, position: int | None = None) -> Stage:
    """Add a stage to a pipeline at a position among those in use, at the end without one.

    Raises Invalid for a label, key or position that cannot be, Conflict for a key that is taken.
    """
    _check_plan(plan, ())
    if plan.is_won and not plan.is_closed:
        raise Invalid(NOT_WHOLE, ("isWon",))
    pipeline = await _pipeline(uow, pipeline_id)
    stages = await stages_of(uow, pipeline.id)
    if plan.key in {stage.key for stage in stages}:
        words = Text(f"该漏斗已有阶段“{plan.key}”", f"the pipeline has a stage {plan.key} already")
        raise Conflict(words, ("key",))
    if len(stages) >= STAGES_LIMIT:
        words = Text(f"阶段不能超过 {STAGES_LIMIT} 个", f"a pipeline has at most {STAGES_LIMIT} stages")
        raise Conflict(words, ("pipelineId",))
    used = [stage for stage in stages if stage.retired_at is None]
    place = len(used) if position is None else position
    if not 0 <= place <= len(used):
        words = Text(f"位置须在 0 到 {len(used)} 之间", f"the position is from 0 to {len(used)}")
        raise Invalid(words, ("position",))
    stage = _stage(uow, pipeline.id, plan, place)
    uow.session.add(stage)
    _number([*used[:place], stage, *used[place:]], [each for each in stages if each.retired_at])
    pipeline.touch()
    uow.note("pipeline.stage_added", pipeline, {"stage": stage.key})
    await uow.session.flush()
    return stage


def _number(used: Iterable[Stage], retired: Iterable[Stage]) -> None:
    """Give each stage its place: those in use first, those retired behind them."""
    for position, stage in enumerate([*used, *retired]):
        stage.position = position


async def update_stage(
    uow: UnitOfWork, id: UUID, *, changes: Mapping[str, Any], expected_version: int | None = None
) -> Stage:
    """Set what is given of label, expected days and default forecast category; one that changes nothing is no event.

    Whether deals end in a stage never changes: it would rewrite what they were. Raises Invalid for values that cannot be.
    """
    pipeline, stage = await _kept_stage(uow, id, expected_version)
    if "label" in changes:
        check_label(changes["label"], ("label",))
        stage.label_zh, stage.label_en = changes["label"].zh, changes["label"].en
    if "expected_days" in changes:
        _check_days(changes["expected_days"], ("expectedDays",))
        stage.expected_days = changes["expected_days"]
    if "category" in changes:
        category: ForecastCategory = changes["category"]
        if not stage.is_closed and category is ForecastCategory.CLOSED:
            raise Invalid(
                Text("进行中的阶段不能算已成交", "an open stage does not count as closed"), ("forecastCategory",)
            )
        stage.default_forecast_category = category
    if uow.session.is_modified(stage):
        uow.note("pipeline.stage_updated", pipeline, {"stage": stage.key})
        await uow.session.flush()
    return stage


async def reorder_stages(
    uow: UnitOfWork, pipeline_id: UUID, stage_ids: Sequence[UUID], *, expected_version: int | None = None
) -> Pipeline:
    """Put the stages in use in an order that names each of them once.

    Raises Conflict for any other list, StaleVersion when the pipeline got, lost or reordered stages since the version.
    """
    pipeline = await _pipeline(uow, pipeline_id, expected_version)
    stages = {stage.id: stage for stage in await stages_of(uow, pipeline.id)}
    used = {id for id, stage in stages.items() if stage.retired_at is None}
    if len(stage_ids) != len(used) or set(stage_ids) != used:
        words = Text("请列出该漏斗当前使用的全部阶段，每个一次", "list each stage in use of the pipeline once")
        raise Conflict(words, ("stageIds",))
    _number([stages[id] for id in stage_ids], [stage for stage in stages.values() if stage.retired_at])
    if any(uow.session.is_modified(stage) for stage in stages.values()):
        pipeline.touch()
        uow.note("pipeline.reordered", pipeline)
        await uow.session.flush()
    return pipeline


async def retire_stage(uow: UnitOfWork, id: UUID, *, expected_version: int | None = None) -> Stage:
    """Let no deal enter a stage any more; those that went through it keep it in their story.

    Raises Conflict while open deals stand in it, and for the last stage of a kind that a pipeline needs.
    """
    pipeline, stage = await _kept_stage(uow, id, expected_version)
    if stage.retired_at is not None:
        return stage
    standing = select(func.count()).select_from(Opportunity).where(Opportunity.stage_id == stage.id)
    count = 0 if stage.is_closed else (await uow.session.execute(standing)).scalar_one()
    if count:
        words = Text(
            f"还有 {count} 个商机停留在该阶段，请先移走", f"{count} deals stand in this stage: move them first"
        )
        raise Conflict(words, ("id",))
    stages = await stages_of(uow, pipeline.id)
    used = [each for each in stages if each.retired_at is None and each is not stage]
    if not is_whole([(each.is_closed, each.is_won) for each in used]):
        raise Conflict(NOT_WHOLE, ("id",))
    stage.retired_at = uow.now
    pipeline.touch()
    _number(used, [each for each in stages if each.retired_at])
    uow.note("pipeline.stage_retired", pipeline, {"stage": stage.key})
    await uow.session.flush()
    return stage


async def ensure_competitor(uow: UnitOfWork, key: str, label: Text) -> Competitor:
    """The competitor that has the key, added first if it is not there."""
    competitor = (await uow.session.execute(select(Competitor).where(Competitor.key == key))).scalar_one_or_none()
    if competitor is None:
        competitor = Competitor(id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en)
        uow.session.add(competitor)
        uow.note("competitor.added", competitor)
        await uow.session.flush()
    return competitor
