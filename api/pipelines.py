"""How pipelines and their stages are kept."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from api.context import Info
from api.deals import Pipeline, Stage
from api.mutations import UserError, changes, create_once, given, mutation, refusals, text
from api.reads import expect, selected
from domain import deals
from domain.deals import LABEL_LENGTH, ForecastCategory, StagePlan
from domain.kernel import Invalid, Role, Text

KEY_LENGTH = 60


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


def _version() -> Any:
    return strawberry.field(description="The `version` on which the change is made.")


# ---- inputs ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A name in business language.")
class LabelInput:
    """A label as it comes in."""

    zh: str = text("In Chinese.", LABEL_LENGTH, required=True)
    en: str | None = text("In English; the Chinese one without it.", LABEL_LENGTH)


@strawberry.input(description="A stage to set up.")
class StageInput:
    """A stage as it comes in."""

    label: LabelInput = strawberry.field(description="What people call it.")
    key: str | None = text("Its key, unique in the pipeline; made without one.", KEY_LENGTH)
    is_closed: bool = strawberry.field(default=False, description="Whether deals end here; it never changes.")
    is_won: bool = strawberry.field(default=False, description="Whether deals that end here are won; it never changes.")
    expected_days: int | None = _optional("In how many days a deal is expected to leave it.")
    forecast_category: ForecastCategory | None = _optional(
        "How a deal counts that enters it; PIPELINE, CLOSED or OMITTED by its kind without it."
    )


@strawberry.input(description="A pipeline to set up: with an open stage at least, one for won and one for lost deals.")
class CreatePipelineInput:
    """What setting up takes."""

    client_key: strawberry.ID = text("The caller's key: the same one sets up once.", 200, required=True)
    label: LabelInput = strawberry.field(description="What people call it.")
    stages: list[StageInput] = strawberry.field(description="Its stages in their order.")
    key: str | None = text("Its key, unique; made without one.", KEY_LENGTH)
    region: str | None = text("The region that it is for, by key or label; all without it.", 200)


@strawberry.input(description="What to change in a pipeline; what is left out stays.")
class UpdatePipelineInput:
    """What updating takes."""

    id: strawberry.ID = strawberry.field(description="The pipeline.")
    expected_version: int = _version()
    label: LabelInput | None = _optional("What people call it.")
    region: str | None = text("The region that it is for, by key or label; null: all.", 200)


@strawberry.input(description="A stage to add to a pipeline.")
class AddStageInput:
    """What adding takes."""

    client_key: strawberry.ID = text("The caller's key: the same one adds once.", 200, required=True)
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline.")
    stage: StageInput = strawberry.field(description="The stage.")
    position: int | None = _optional("Its place among the stages in use, from 0; the last without it.")


@strawberry.input(description="What to change in a stage; what is left out stays.")
class UpdateStageInput:
    """What updating a stage takes."""

    id: strawberry.ID = strawberry.field(description="The stage.")
    expected_version: int = _version()
    label: LabelInput | None = _optional("What people call it.")
    expected_days: int | None = _optional("In how many days a deal is expected to leave it.")
    forecast_category: ForecastCategory | None = _optional("How a deal counts that enters it from now on.")


@strawberry.input(description="The order of a pipeline's stages.")
class ReorderStagesInput:
    """What ordering takes."""

    id: strawberry.ID = strawberry.field(description="The pipeline.")
    expected_version: int = _version()
    stage_ids: list[strawberry.ID] = strawberry.field(description="Each of its stages in use, once, in the new order.")


@strawberry.input(description="A stage that no deal is to enter any more.")
class RetireStageInput:
    """What retiring takes."""

    id: strawberry.ID = strawberry.field(description="The stage.")
    expected_version: int = _version()


# ---- answers ---------------------------------------------------------------------------------------------------------


@strawberry.type(description="The pipeline as it is now, or why it is not.")
class PipelinePayload:
    """The answer about a pipeline."""

    pipeline: Pipeline | None = strawberry.field(default=None, description="The pipeline.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The stage as it is now, or why it is not.")
class StagePayload:
    """The answer about a stage."""

    stage: Stage | None = strawberry.field(default=None, description="The stage.")
    errors: list[UserError] = refusals()


def _label(input: LabelInput) -> Text:
    return Text(input.zh, given(input.en) or input.zh)


def _plan(input: StageInput) -> StagePlan:
    natural = ForecastCategory.PIPELINE
    if input.is_closed:
        natural = ForecastCategory.CLOSED if input.is_won else ForecastCategory.OMITTED
    return StagePlan(
        given(input.key) or "", _label(input.label), input.is_closed, input.is_won, given(input.expected_days),
        given(input.forecast_category) or natural,
    )  # fmt: skip


def _labelled(words: dict[str, Any]) -> dict[str, Any]:
    for name in ("label", "category"):
        if name in words and words[name] is None:
            field = "forecastCategory" if name == "category" else name
            raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be null"), (field,))
    return words | ({"label": _label(words["label"])} if "label" in words else {})


async def _pipeline(info: Info, id: UUID) -> PipelinePayload:
    return PipelinePayload(pipeline=selected(info, Pipeline, id))


async def _stage(info: Info, id: UUID) -> StagePayload:
    return StagePayload(stage=selected(info, Stage, id))


@strawberry.type
class PipelineMutations:
    """What sales operations do with pipelines."""

    @mutation("Set up a pipeline once.", Role.SALES_OPS)
    async def create_pipeline(
        self, info: Info, input: Annotated[CreatePipelineInput, strawberry.argument(description="The pipeline.")]
    ) -> PipelinePayload | None:
        """Set it up."""
        words = {
            "label": _label(input.label),
            "stages": tuple(_plan(stage) for stage in input.stages),
            "key": given(input.key),
            "region": given(input.region),
        }
        return await _pipeline(info, await create_once(info, input, deals.Pipeline, deals.create_pipeline, words))

    @mutation("Change a pipeline's name or region.", Role.SALES_OPS)
    async def update_pipeline(
        self, info: Info, input: Annotated[UpdatePipelineInput, strawberry.argument(description="The change.")]
    ) -> PipelinePayload | None:
        """Change it."""
        id, words = expect("Pipeline", input.id, "id"), _labelled(changes(input, "label", "region"))
        async with info.context.open_uow() as uow:
            await deals.update_pipeline(uow, id, changes=words, expected_version=input.expected_version)
        return await _pipeline(info, id)

    @mutation("Add a stage to a pipeline once.", Role.SALES_OPS)
    async def add_stage(
        self, info: Info, input: Annotated[AddStageInput, strawberry.argument(description="The stage and its place.")]
    ) -> StagePayload | None:
        """Add it."""
        words = {
            "pipeline_id": expect("Pipeline", input.pipeline_id, "pipelineId"),
            "plan": _plan(input.stage),
            "position": given(input.position),
        }
        return await _stage(info, await create_once(info, input, deals.Stage, deals.add_stage, words))

    @mutation("Change a stage's name, expected days or forecast category.", Role.SALES_OPS)
    async def update_stage(
        self, info: Info, input: Annotated[UpdateStageInput, strawberry.argument(description="The change.")]
    ) -> StagePayload | None:
        """Change it."""
        id = expect("Stage", input.id, "id")
        words = _labelled(changes(input, "label", "expected_days", forecast_category="category"))
        async with info.context.open_uow() as uow:
            await deals.update_stage(uow, id, changes=words, expected_version=input.expected_version)
        return await _stage(info, id)

    @mutation("Put the stages of a pipeline in another order.", Role.SALES_OPS)
    async def reorder_stages(
        self, info: Info, input: Annotated[ReorderStagesInput, strawberry.argument(description="The order.")]
    ) -> PipelinePayload | None:
        """Reorder them."""
        id = expect("Pipeline", input.id, "id")
        wanted = [expect("Stage", stage_id, "stageIds", str(at)) for at, stage_id in enumerate(input.stage_ids)]
        async with info.context.open_uow() as uow:
            await deals.reorder_stages(uow, id, wanted, expected_version=input.expected_version)
        return await _pipeline(info, id)

    @mutation("Let no deal enter a stage any more; open deals are moved out of it first.", Role.SALES_OPS)
    async def retire_stage(
        self, info: Info, input: Annotated[RetireStageInput, strawberry.argument(description="The stage.")]
    ) -> StagePayload | None:
        """Retire it."""
        id = expect("Stage", input.id, "id")
        async with info.context.open_uow() as uow:
            await deals.retire_stage(uow, id, expected_version=input.expected_version)
        return await _stage(info, id)
