"""The demo company's files as they are written: each key known, each value of its kind, before anything is loaded."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domain.accounts import BuyingRole, Channel, LifecycleStage
from domain.activities import ActivityKind
from domain.consent import ConsentStatus
from domain.custom_fields import CustomFieldEntity, CustomFieldKind
from domain.deals import ForecastCategory, Stance
from domain.kernel import Invalid, Language, Role, Text
from domain.leads import LeadGrade, LeadStatus
from knowledge import KnowledgeKind

FOLDER = Path(__file__).parent
Days = Annotated[int, Field(ge=0, le=2_000)]
"""Days before now."""
Pair = tuple[str, str]
"""Chinese and English."""
Step = Literal["page_viewed", "document_downloaded", "email_opened", "event_attended", "usage_reported"]
"""What a customer does with our material, as signals call it."""
T = TypeVar("T")


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Labelled(_Written):
    key: str
    zh: str
    en: str

    @property
    def label(self) -> Text:
        """The label in both languages."""
        return Text(self.zh, self.en)


# ---- the seller ------------------------------------------------------------------------------------------------------


class ChoiceRecord(_Labelled):
    """One value that a custom field takes."""


class CustomFieldRecord(_Labelled):
    """A field that the seller added to one kind of record."""

    entity: CustomFieldEntity
    kind: CustomFieldKind
    choices: list[ChoiceRecord] = []


class TerritoryRecord(_Labelled):
    """A sales region, inside another one or not."""

    parent: str | None = None


class UserRecord(_Written):
    """A colleague; the address is `mail` at example.com."""

    mail: str
    name: str
    roles: list[Role]
    territories: list[str] = []


class StageRecord(_Labelled):
    """A step of a pipeline with the days that a deal is expected to stay."""

    days: int | None = None
    category: ForecastCategory
    closed: bool = False
    won: bool = False


class PipelineRecord(_Labelled):
    """A pipeline with its stages in order."""

    stages: list[StageRecord]


class ProductRecord(_Written):
    """A product with list and floor price in yuan."""

    code: str
    zh: str
    en: str
    series: str
    list: Decimal
    floor: Decimal


class MaterialRecord(_Written):
    """What customers read, open and use around one product."""

    product: str
    words: list[str]
    usage_reported: list[Pair]
    page_viewed: list[Pair]
    document_downloaded: list[Pair]
    email_opened: list[Pair]
    event_attended: list[Pair]

    def titles(self, step: Step) -> list[Pair]:
        """The titles for what a customer does."""
        return getattr(self, step)  # type: ignore[no-any-return]


class Company(_Written):
    """The seller: people, places, pipelines, prices, material."""

    territories: list[TerritoryRecord]
    users: list[UserRecord]
    brands: list[_Labelled]
    custom_fields: list[CustomFieldRecord]
    competitors: list[_Labelled]
    pipelines: list[PipelineRecord]
    products: list[ProductRecord]
    material: list[MaterialRecord]
    customer_steps: dict[str, list[Step]]


# ---- customers -------------------------------------------------------------------------------------------------------


class ConsentRecord(_Written):
    """What a person said about one purpose on one channel."""

    purpose: str
    channel: Channel
    status: ConsentStatus
    days: Days
    source: str
    evidence: str | None = None
    expires_in_days: int | None = None


class ContactRecord(_Written):
    """A person at an account; `key` names them within the file."""

    key: str
    name: str
    title: str
    role: BuyingRole
    phone: str | None = None
    wechat: str | None = None
    email: str | None = None
    consents: list[ConsentRecord] = []

    def points(self) -> Iterator[tuple[Channel, str]]:
        """The addresses that are known."""
        for channel, value in (
            (Channel.PHONE, self.phone),
            (Channel.WECHAT, self.wechat),
            (Channel.EMAIL, self.email),
        ):
            if value is not None:
                yield channel, value


class LineRecord(_Written):
    """A product, how many, and the price of one in yuan."""

    code: str
    quantity: int
    price: Decimal


class OrderRecord(_Written):
    """A purchase."""

    number: str
    days: Days
    lines: list[LineRecord]


class QuoteRecord(_Written):
    """An offer; `valid_in_days` counts from now and is negative when it has run out."""

    number: str
    days: Days
    valid_in_days: int
    terms_days: int
    lines: list[LineRecord]


class SeatRecord(_Written):
    """A member of a buying committee."""

    contact: str
    role: BuyingRole
    stance: Stance
    covered_days: Days | None = None


class ActivityRecord(_Written):
    """Something that the owner did."""

    kind: ActivityKind
    days: Days
    subject: str
    body: str | None = None
    contact: str | None = None


class ConcernRecord(_Written):
    """What a customer worries about, in their words."""

    category: str
    words: str
    days: Days
    resolved_days: Days | None = None


class MentionRecord(_Written):
    """A competitor whom a customer named."""

    key: str
    words: str
    days: Days


class OpportunityRecord(_Written):
    """A deal with the stages that it went through and the day on which each was entered."""

    name: str
    pipeline: str
    path: Annotated[list[tuple[str, Days]], Field(min_length=1)]
    amount: Decimal
    close_in_days: int
    next_step: str | None = None
    probability: int | None = None
    competitor: str | None = None
    loss_reason: str | None = None
    custom: dict[str, Any] = {}
    seats: list[SeatRecord] = []
    quotes: list[QuoteRecord] = []
    activities: list[ActivityRecord] = []
    concerns: list[ConcernRecord] = []
    competitors: list[MentionRecord] = []


class AccountRecord(_Written):
    """A customer with everything below it."""

    name: str
    industry: str
    region: str
    owner: str
    lifecycle: LifecycleStage
    credit_grade: str
    employees: int
    brand: str
    custom: dict[str, Any] = {}
    contacts: list[ContactRecord]
    orders: list[OrderRecord] = []
    opportunities: list[OpportunityRecord] = []
    activities: list[ActivityRecord] = []


class LeadSignalRecord(_Written):
    """What a lead looked at, or what it asked in its own words."""

    type: str
    days: Days
    title: str | None = None
    text: str | None = None

    def payload(self) -> dict[str, str]:
        """What the signal holds."""
        return self.model_dump(include={"title", "text"}, exclude_none=True)


class LeadRecord(_Written):
    """An expression of interest; `reason` tells why it was given up, `deal` names what it became."""

    name: str
    company: str | None = None
    source: str
    channel: Channel | None = None
    region: str
    industry: str | None = None
    interest: str
    days: Days
    phone: str | None = None
    wechat: str | None = None
    email: str | None = None
    budget: Decimal | None = None
    owner: str | None = None
    status: LeadStatus | None = None
    grade: LeadGrade | None = None
    reason: str = ""
    deal: str = ""
    signals: list[LeadSignalRecord] = []
    competitors: list[MentionRecord] = []
    consents: list[ConsentRecord] = []
    activities: list[ActivityRecord] = []


# ---- knowledge -------------------------------------------------------------------------------------------------------


class EntryRecord(_Written):
    """A knowledge entry: its front matter, and below it the body."""

    key: str
    kind: KnowledgeKind
    language: Language
    title: str
    concerns: list[str]
    stages: list[str]
    roles: list[str]
    industries: list[str]
    regions: list[str]
    competitors: list[str]
    owner: str
    expires_in_days: int | None = None
    effective_days_ago: int | None = None
    body: str
    model: str | None = None

    @property
    def whole_body(self) -> str:
        """The body with the ROI model that the front matter names, as a curator puts it in."""
        if self.model is None:
            return self.body
        model = (FOLDER / "roi_models" / f"{self.model}.yaml").read_text(encoding="utf-8")
        return f"{self.body}\n\n```roi\n{model.rstrip()}\n```"


class CalculationRecord(_Written):
    """What a rep computed with a customer: the model's entry, the deal, and what was answered; records give the rest."""

    model: str
    deal: str
    by: str
    answers: dict[str, Decimal]


# ---- reading ---------------------------------------------------------------------------------------------------------


def _checked(kind: type[T], told: Any, path: Path) -> T:
    name = path.relative_to(FOLDER).as_posix()
    try:
        return TypeAdapter(kind).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid(Text(f"{name}：{where} 不对（{first['msg']}）", f"{name}: {where}: {first['msg']}")) from error


def _read(kind: type[T], path: Path) -> T:
    return _checked(kind, yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader), path)


def company() -> Company:
    """The seller.

    Raises Invalid, as all readers here do, with file and place of what cannot be taken.
    """
    return _read(Company, FOLDER / "company.yaml")


def accounts() -> dict[str, AccountRecord]:
    """The customers by the names of their files."""
    return {path.stem: _read(AccountRecord, path) for path in sorted((FOLDER / "accounts").glob("*.yaml"))}


def leads() -> list[LeadRecord]:
    """The leads in the order of the file."""
    return _read(list[LeadRecord], FOLDER / "leads.yaml")


def entries() -> dict[Path, EntryRecord]:
    """The knowledge entries by their files."""
    return {path: _entry(path) for path in sorted((FOLDER / "knowledge").rglob("*.md"))}


def calculations() -> list[CalculationRecord]:
    """The ROI calculations in the order of the file."""
    return _read(list[CalculationRecord], FOLDER / "calculations.yaml")


def _entry(path: Path) -> EntryRecord:
    opening, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    if opening:
        name = path.relative_to(FOLDER).as_posix()
        raise Invalid(Text(f"{name}：开头有多余文字", f"{name}: text before the front matter"))
    return _checked(EntryRecord, yaml.load(front, yaml.CSafeLoader) | {"body": body.strip()}, path)
