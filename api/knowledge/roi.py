"""ROI models and calculations in the schema: what is asked, what came of it, and where each input is from."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import strawberry

from api.accounts import Account
from api.context import Info
from api.deals import Opportunity
from api.knowledge.entries import KnowledgeItem
from api.leads import Lead
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    PREFIXES,
    STAMPS,
    Connection,
    Node,
    by,
    column,
    computed,
    equals,
    expect,
    global_id,
    in_words,
    listing,
    load_one,
    names,
    node,
    roots,
    selected,
    shape_of,
    to_one,
)
from api.scalars import enum
from assistant import calculations, model
from assistant.calculations import About, IncompleteError, Reckoned
from domain.kernel import Invalid, Language, OvertakenError, Role, Text, once
from knowledge import Computed, RoiInput, RoiModel, Source, Taken, Told

CALCULATING = (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS, Role.CURATOR, Role.LEGAL, Role.ADMIN)
INPUTS, KEY_LENGTH = 40, 40

enum(
    Source,
    "Where the value of an input comes from.",
    RECORD="From a record that the reader sees.",
    ANSWER="Somebody gave it.",
    DEFAULT="The model says so where nobody says otherwise.",
)


# ---- the model -------------------------------------------------------------------------------------------------------


@strawberry.type(description="One value that a ROI model takes.")
class RoiModelInput:
    """An input with its bounds."""

    key: str = strawberry.field(description="The key by which it is given.")
    label: str = strawberry.field(description="What it is, in the reader's language.")
    unit: str = strawberry.field(description="Its unit, such as `hours/months` or `CNY`.")
    least: Decimal = strawberry.field(description="The least that is taken.")
    most: Decimal = strawberry.field(description="The most that is taken.")
    default: Decimal | None = strawberry.field(description="What holds where nothing is given; null: it is asked.")
    filled_from: str | None = strawberry.field(description="The field of a record that fills it, if one does.")
    question: str = strawberry.field(description="How a customer is asked for it, in the reader's language.")


@strawberry.type(description="One named formula of a ROI model.")
class RoiModelStep:
    """A step with its formula."""

    key: str = strawberry.field(description="Its key, by which later formulas name it.")
    label: str = strawberry.field(description="What it is, in the reader's language.")
    unit: str = strawberry.field(description="Its unit.")
    decimals: int = strawberry.field(description="The decimals that its value is rounded to.")
    formula: str = strawberry.field(description="The formula in CEL.")


@strawberry.type(description="A key with its value; null for what cannot be computed.")
class RoiValue:
    """One value of a worked example."""

    key: str = strawberry.field(description="The key of the input or step.")
    value: Decimal | None = strawberry.field(description="The value, exact.")


@strawberry.type(description="A worked example of a ROI model; a model whose examples do not hold is not kept.")
class RoiModelExample:
    """Inputs and the results that they give."""

    label: str = strawberry.field(description="What the example is, in the reader's language.")
    inputs: list[RoiValue] = strawberry.field(description="What is given.")
    results: list[RoiValue] = strawberry.field(description="What comes out.")


@strawberry.type(description="A ROI model: what it asks, how it computes, what it shows.")
class RoiModelView:
    """One version of a model."""

    item: KnowledgeItem | None = strawberry.field(description="The entry.")
    version_number: int = strawberry.field(description="The version: the published one, or a first draft.")
    inputs: list[RoiModelInput] = strawberry.field(description="What it takes.")
    steps: list[RoiModelStep] = strawberry.field(description="Its formulas, in their order.")
    results: list[RoiModelStep] = strawberry.field(description="What it shows of them, each in the unit shown.")
    examples: list[RoiModelExample] = strawberry.field(description="Its worked examples.")


def _input(each: RoiInput, language: Language) -> RoiModelInput:
    return RoiModelInput(
        key=each.key, label=each.label.words(language), unit=each.unit.name, least=each.least, most=each.most, default=each.default,
        filled_from=each.source, question=each.question.words(language),
    )  # fmt: skip


def _values(held: Mapping[str, Decimal | None]) -> list[RoiValue]:
    return [RoiValue(key=key, value=value) for key, value in held.items()]


def _shown_model(item: Any, number: int, told: RoiModel, language: Language) -> RoiModelView:
    formulas = {step.key: step.formula for step in told.steps}
    steps = [
        RoiModelStep(key=each.key, label=each.label.words(language), unit=each.unit.name, decimals=each.decimals, formula=each.formula) for each in told.steps
    ]  # fmt: skip
    results = [
        RoiModelStep(key=each.step, label=each.label.words(language), unit=each.unit.name, decimals=each.decimals, formula=formulas[each.step]) for each in told.results
    ]  # fmt: skip
    examples = [
        RoiModelExample(label=each.label.words(language), inputs=_values(each.inputs), results=_values(each.results))
        for each in told.examples
    ]
    return RoiModelView(
        item=item, version_number=number, inputs=[_input(each, language) for each in told.inputs], steps=steps, results=results, examples=examples
    )  # fmt: skip


# ---- what came of it -------------------------------------------------------------------------------------------------


@strawberry.type(description="What is told of one input: a question to answer, or why a value was not taken.")
class RoiTold:
    """A key and words."""

    key: str = strawberry.field(description="The key of the input.")
    text: str = strawberry.field(description="The words, in the reader's language.")


@strawberry.type(description="The value with which an input was computed.")
class RoiUsedInput:
    """An input as it was used."""

    key: str = strawberry.field(description="Its key.")
    label: str = strawberry.field(description="What it is, in the reader's language.")
    unit: str = strawberry.field(description="Its unit.")
    value: Decimal = strawberry.field(description="The value, exact.")
    source: Source = strawberry.field(description="Where it comes from.")
    record_id: strawberry.ID | None = strawberry.field(description="The record that it comes from, if it is of one.")


@strawberry.type(description="The value of one step or result.")
class RoiFigure:
    """A computed figure."""

    key: str = strawberry.field(description="The key of the step.")
    label: str = strawberry.field(description="What it is, in the reader's language.")
    unit: str = strawberry.field(description="Its unit.")
    value: Decimal | None = strawberry.field(description="The value, exact; null where it cannot be computed.")
    why: str | None = strawberry.field(description="Why it cannot be computed, in the reader's language.")
    formula: str = strawberry.field(description="The formula in CEL.")
    uses: list[str] = strawberry.field(description="The inputs and steps that the formula names.")


@strawberry.type(description="What a ROI model gives: what is still asked, or inputs, steps and results.")
class RoiReckoning:
    """A computation that is not kept."""

    version_number: int = strawberry.field(description="The version of the model.")
    questions: list[RoiTold] = strawberry.field(description="What is to be asked before anything is computed.")
    refused: list[RoiTold] = strawberry.field(description="The values that cannot be taken, and why.")
    notes: list[RoiTold] = strawberry.field(description="The values of records that were left aside, and why.")
    inputs: list[RoiUsedInput] = strawberry.field(description="What it was computed with.")
    steps: list[RoiFigure] = strawberry.field(description="Every step.")
    results: list[RoiFigure] = strawberry.field(description="What is shown of them.")


def _told(each: Iterable[Told], language: Language) -> list[RoiTold]:
    return [RoiTold(key=one.key, text=one.text.words(language)) for one in each]


def _used(each: Taken, record: strawberry.ID | None, language: Language) -> RoiUsedInput:
    return RoiUsedInput(
        key=each.key, label=each.label.words(language), unit=each.unit.name, value=each.value, source=each.source, record_id=record
    )  # fmt: skip


def _figure(each: Computed, language: Language) -> RoiFigure:
    return RoiFigure(
        key=each.key, label=each.label.words(language), unit=each.unit.name, value=each.value, why=each.why.words(language) if each.why else None,
        formula=each.formula, uses=list(each.uses),
    )  # fmt: skip


def _reckoning(reckoned: Reckoned, language: Language) -> RoiReckoning:
    done = reckoned.computation
    of = {
        key: strawberry.ID(global_id(ref.kind, ref.id)) for key, ref in reckoned.records.items() if ref.kind in PREFIXES
    }
    return RoiReckoning(
        version_number=reckoned.version_number, questions=_told(done.questions, language), refused=_told(done.refused, language),
        notes=_told(reckoned.notes, language), inputs=[_used(each, of.get(each.key), language) for each in done.inputs],
        steps=[_figure(each, language) for each in done.steps], results=[_figure(each, language) for each in done.results],
    )  # fmt: skip


# ---- what is kept ----------------------------------------------------------------------------------------------------


def _label(held: Mapping[str, Any], language: Language) -> str:
    return Text(held["zh"], held["en"]).words(language)


def _kept_inputs(language: Language, held: list[Mapping[str, Any]]) -> list[RoiUsedInput]:
    return [
        RoiUsedInput(
            key=each["key"], label=_label(each, language), unit=each["unit"], value=Decimal(each["value"]), source=Source(each["source"]),
            record_id=strawberry.ID(f"{PREFIXES[each['record']['kind']]}_{each['record']['id'].replace('-', '')}") if each["record"] else None,
        )
        for each in held
    ]  # fmt: skip


def _kept_figures(language: Language, held: list[Mapping[str, Any]]) -> list[RoiFigure]:
    return [
        RoiFigure(
            key=each["key"], label=_label(each, language), unit=each["unit"], value=None if each["value"] is None else Decimal(each["value"]),
            why=_label(each["why"], language) if each["why"] else None, formula=each["formula"], uses=list(each["uses"]),
        )
        for each in held
    ]  # fmt: skip


@node(model.RoiCalculation, hidden=STAMPS, order=by("-calculated_at", "-id"))
class RoiCalculation(Node):
    """What one version of a ROI model gave for a deal, customer or lead; it never changes."""

    item: KnowledgeItem | None = to_one("item_id", "The model's entry; null where the reader does not see it now.")
    version_number: int = column("The version of the model that it was computed with.")
    account: Account | None = to_one("account_id", "For which customer.")
    opportunity: Opportunity | None = to_one("opportunity_id", "For which deal.")
    lead: Lead | None = to_one("lead_id", "For which lead.")
    calculated_by: User | None = to_one("calculated_by_id", "Who had it computed.")
    calculated_at: datetime = column("When.")
    inputs: list[RoiUsedInput] | None = in_words(("inputs",), _kept_inputs, "What it was computed with.")
    steps: list[RoiFigure] | None = in_words(("steps",), _kept_figures, "Every step.")
    results: list[RoiFigure] | None = in_words(("results",), _kept_figures, "What is shown of them.")


@strawberry.input(description="Which calculations; all conditions hold together.")
class RoiCalculationFilter:
    """Conditions on calculations."""

    item: strawberry.ID | None = names("KnowledgeItem", "item_id", "The model's entry.")
    version_number: int | None = equals("version_number", "The version of the model.")
    account: strawberry.ID | None = names("Account", "account_id", "For which customer.")
    opportunity: strawberry.ID | None = names("Opportunity", "opportunity_id", "For which deal.")
    lead: strawberry.ID | None = names("Lead", "lead_id", "For which lead.")
    calculated_by: strawberry.ID | None = names("User", "calculated_by_id", "Who had them computed.")


@strawberry.input(description="One value that is given to a ROI model.")
class RoiInputValue:
    """A key with its value."""

    key: str = text("The key of the input.", KEY_LENGTH, required=True)
    value: Decimal = strawberry.field(description="The value, in the unit of the input.")


@strawberry.input(description="What a ROI model is given; records fill what they can, the rest is asked.")
class PreviewRoiInput:
    """What a preview takes."""

    item: strawberry.ID = strawberry.field(description="The model's entry.")
    inputs: list[RoiInputValue] = strawberry.field(default_factory=list, description="What somebody answered.")
    opportunity: strawberry.ID | None = text("For which deal.")
    account: strawberry.ID | None = text("For which customer.")
    lead: strawberry.ID | None = text("For which lead.")


@strawberry.input(description="What a ROI model is given for a calculation that is kept.")
class CalculateRoiInput(PreviewRoiInput):
    """What a calculation takes."""

    client_key: strawberry.ID | None = text("The caller's key: the same one calculates once.", 200)


@strawberry.type(description="The calculation, or what is missing for it.")
class CalculateRoiPayload:
    """The answer to a calculation."""

    calculation: RoiCalculation | None = strawberry.field(default=None, description="The calculation.")
    questions: list[RoiTold] = strawberry.field(
        default_factory=list, description="What is to be asked first; nothing was kept."
    )
    refused: list[RoiTold] = strawberry.field(
        default_factory=list, description="The values that cannot be taken, and why; nothing was kept."
    )
    notes: list[RoiTold] = strawberry.field(
        default_factory=list, description="The values of records that were left aside, and why."
    )
    errors: list[UserError] = refusals()


def _answers(told: list[RoiInputValue]) -> dict[str, Decimal]:
    answers = {one.key: one.value for one in told}
    if len(told) > INPUTS or len(answers) < len(told):
        words = Text(f"输入最多 {INPUTS} 项且 key 不能重复", f"at most {INPUTS} inputs, each key once")
        raise Invalid(words, ("inputs",))
    return answers


def _about(input: PreviewRoiInput) -> About:
    named = (("Account", "account"), ("Opportunity", "opportunity"), ("Lead", "lead"))
    said = [(kind, name, given(getattr(input, name))) for kind, name in named]
    return About(*(expect(kind, one, name) if one else None for kind, name, one in said))


@roots
class RoiQueries:
    """What is asked of ROI models."""

    roi_calculations: Connection[RoiCalculation] = listing(
        "The ROI calculations that the reader sees, newest first.", filter=RoiCalculationFilter
    )

    @computed("A ROI model: its published version, or a first draft for who sees it.")
    async def roi_model(
        self, info: Info, item: Annotated[strawberry.ID, strawberry.argument(description="The model's entry.")]
    ) -> RoiModelView:
        """Read the model, and the entry as the reader sees it."""
        context, id = info.context, expect("KnowledgeItem", item, "item")
        _, number, told = await calculations.read_model_in_use(context.database, context.reader, id)
        return _shown_model(await load_one(context, shape_of(KnowledgeItem), id), number, told, context.language)

    @computed("What a ROI model gives with these inputs and with what records say; nothing is kept.")
    async def roi_preview(
        self, info: Info, input: Annotated[PreviewRoiInput, strawberry.argument(description="What it is given.")]
    ) -> RoiReckoning:
        """Compute it."""
        context, id = info.context, expect("KnowledgeItem", input.item, "item")
        reckoned = await calculations.preview(
            context.database, context.reader, id, _answers(input.inputs), _about(input)
        )
        return _reckoning(reckoned, context.language)


@strawberry.type
class RoiMutations:
    """What is kept of ROI models."""

    @mutation("Keep what a published ROI model gives, with where each input came from.", *CALCULATING)
    async def calculate_roi(
        self, info: Info, input: Annotated[CalculateRoiInput, strawberry.argument(description="What it is given.")]
    ) -> CalculateRoiPayload | None:
        """Keep it once under its client key, or say what is missing."""
        id, answers, about = expect("KnowledgeItem", input.item, "item"), _answers(input.inputs), _about(input)
        words = {"item": str(id), "inputs": {key: f"{value:f}" for key, value in sorted(answers.items())}, "about": [str(one) for one in (about.account_id, about.opportunity_id, about.lead_id)]}  # fmt: skip
        make = partial(calculations.calculate, item_id=id, answers=answers, about=about)
        try:
            async with info.context.open_uow() as uow:
                row = await once(
                    uow, given(input.client_key), "calculateRoi", words, model.RoiCalculation, partial(make, uow)
                )
        except IncompleteError as incomplete:
            if info.context.hopeful:
                # The key may have come before, with other words or when the records said more.
                raise OvertakenError from None
            shown = _reckoning(incomplete.reckoned, info.context.language)
            return CalculateRoiPayload(questions=shown.questions, refused=shown.refused, notes=shown.notes)
        return CalculateRoiPayload(calculation=selected(info, RoiCalculation, row.id))
