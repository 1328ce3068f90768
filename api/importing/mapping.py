"""The mapping file: which file and column of another system's export feeds which field of ours; see docs/import-mapping.md."""

import codecs
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from domain.activities import ActivityKind
from domain.deals import ForecastCategory
from domain.kernel import Invalid, Language, Text, money
from domain.leads import LeadStatus

MAVEN = Path(__file__).with_name("maven.yaml")
KEY = r"^[a-z0-9]+(?:[_-][a-z0-9]+)*$"
Key = Annotated[str, Field(pattern=KEY, max_length=60)]
Word = Annotated[str, Field(min_length=1, max_length=300)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """Where one field comes from: a column, several joined by “ · ”, or the same text for every row.

    `values` replaces words, `empty` names those that say nothing (0 for no link), `dates` stands for the mapping's own;
    `cut` keeps the first characters alone (Salesforce writes an id with 15 or 18), `person` joins first and last name.
    """

    column: Word | None = None
    columns: tuple[Word, ...] = ()
    constant: Word | None = None
    values: dict[str, str] = {}
    empty: tuple[str, ...] = ()
    dates: tuple[Word, ...] = ()
    cut: Annotated[int, Field(ge=1)] | None = None
    person: bool = False
    unit: Annotated[Decimal, Field(gt=0)] = Decimal(1)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.column,) if self.column is not None else self.columns

    @model_validator(mode="after")
    def _one_origin(self) -> "Column":
        if (self.column is not None) + (self.constant is not None) + bool(self.columns) != 1:
            raise ValueError("`column` or `constant` is needed, and not both")
        return self

    @field_validator("dates")
    @classmethod
    def _whole_dates(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return _dates(formats)


def _dates(formats: tuple[str, ...]) -> tuple[str, ...]:
    for form in formats:
        if not (any(year in form for year in ("%Y", "%y")) and all(part in form for part in ("%d", "%m"))):
            # Months by name are as good as by number.
            if any(year in form for year in ("%Y", "%y")) and "%d" in form and ("%b" in form or "%B" in form):
                continue
            raise ValueError(f"a date format needs %Y (or %y), %m (or %b) and %d: {form!r}")
    return formats


def _column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


From = Annotated[Column, BeforeValidator(_column)]


class Label(_Part):
    """A key with its name in both languages."""

    key: Key
    zh: Word
    en: Word

    @property
    def text(self) -> Text:
        """The name."""
        return Text(self.zh, self.en)


class StagePart(Label):
    """One stage of the pipeline, and the words by which the export calls it."""

    values: tuple[Word, ...]
    closed: bool = False
    won: bool = False
    expected_days: Annotated[int, Field(ge=1)] | None = None
    forecast: ForecastCategory = ForecastCategory.PIPELINE
    zero_is_unknown: bool = False

    @model_validator(mode="after")
    def _won_is_closed(self) -> "StagePart":
        if self.won and not self.closed:
            raise ValueError("a stage that is won is closed")
        return self


class PipelinePart(Label):
    """The pipeline into which the deals come; `worked_stage` is where a closed deal was before it closed."""

    stages: tuple[StagePart, ...]
    worked_stage: Key | None = None

    @model_validator(mode="after")
    def _known_stages(self) -> "PipelinePart":
        keys = [stage.key for stage in self.stages]
        words = [word for stage in self.stages for word in stage.values]
        if len(set(keys)) != len(keys) or len(set(words)) != len(words):
            raise ValueError("two stages have the same key or value")
        if self.worked_stage is not None and self.worked_stage not in keys:
            raise ValueError(f"worked_stage {self.worked_stage!r} is no stage of the pipeline")
        return self


class AgentFields(_Part):
    """The columns of a sales agent."""

    name: From
    territory: From
    id: From | None = None
    manager: From | None = None
    email: From | None = None


class AccountFields(_Part):
    """The columns of an account; without `id` its name is its id."""

    name: From
    id: From | None = None
    domain: From | None = None
    industry: From | None = None
    region: From | None = None
    employees: From | None = None
    annual_revenue: From | None = None
    parent: From | None = None
    owner: From | None = None


class ProductFields(_Part):
    """The columns of a product; without `code` its name is its code."""

    name: From
    list_price: From
    code: From | None = None
    series: From | None = None
    floor_price: From | None = None


class OpportunityFields(_Part):
    """The columns of an opportunity; without `name` it is called after its account and product."""

    id: From
    stage: From
    name: From | None = None
    agent: From | None = None
    account: From | None = None
    product: From | None = None
    opened_on: From | None = None
    close_date: From | None = None
    amount: From | None = None


class PersonFields(_Part):
    """The columns of a person: one name or two, and addresses; without `id` the address or the name is the id."""

    id: From | None = None
    name: From | None = None
    first_name: From | None = None
    last_name: From | None = None
    email: From | None = None
    phone: From | None = None
    mobile: From | None = None

    @model_validator(mode="after")
    def _named(self) -> "PersonFields":
        if self.name is None and self.last_name is None:
            raise ValueError("`name` or `last_name` is needed")
        return self


class ContactFields(PersonFields):
    """The columns of a contact."""

    title: From | None = None
    account: From | None = None


class LeadFields(PersonFields):
    """The columns of a lead."""

    company: From | None = None
    status: From | None = None
    industry: From | None = None
    region: From | None = None
    owner: From | None = None
    interest: From | None = None
    captured_on: From | None = None


class ActivityFields(_Part):
    """The columns of an activity; it is related to the first of opportunity, lead, contact and account that is known."""

    id: From
    subject: From
    occurred_at: From
    body: From | None = None
    owner: From | None = None
    opportunity: From | None = None
    lead: From | None = None
    contact: From | None = None
    account: From | None = None


class FilePart(_Part):
    """A file; `ignore` names the columns of which nothing need be said, `custom` those that feed custom fields."""

    file: Word
    ignore: tuple[Word, ...] = ()
    custom: dict[str, From] = {}


class AgentPart(FilePart):
    """The file of sales agents."""

    fields: AgentFields


class AccountPart(FilePart):
    """The file of accounts."""

    fields: AccountFields


class ContactPart(FilePart):
    """The file of contacts."""

    fields: ContactFields


class LeadPart(FilePart):
    """The file of leads; `statuses` are the export's words for where a lead stands."""

    fields: LeadFields
    statuses: dict[str, LeadStatus] = {}


class ActivityPart(FilePart):
    """A file of activities of one kind."""

    kind: ActivityKind
    fields: ActivityFields


class ProductPart(FilePart):
    """The file of products; `floor_share` of the list price is the floor where no column gives one."""

    fields: ProductFields
    floor_share: Annotated[Decimal, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _some_floor(self) -> "ProductPart":
        if self.floor_share is None and self.fields.floor_price is None:
            raise ValueError("`floor_share` is needed where no column feeds `floor_price`")
        return self


class OpportunityPart(FilePart):
    """The file of opportunities; `won_makes_order` turns each won deal with a value into an order."""

    fields: OpportunityFields
    won_makes_order: bool = True


class UnknownOwner(StrEnum):
    """What becomes of a record whose owner is nobody here."""

    REJECT = "REJECT"
    UNOWNED = "UNOWNED"


class UserPart(_Part):
    """How the people whom the export names sign in, and what becomes of records of people whom nobody knows."""

    unknown: UnknownOwner = UnknownOwner.REJECT

    domain: Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")] = "example.com"
    language: Language = Language.ZH
    time_zone: Word = "Asia/Shanghai"


class Mapping(_Part):
    """One export's mapping, checked."""

    source: Key
    currency: str
    encoding: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    dates: tuple[Word, ...] = ("%Y-%m-%d",)
    pivot: Annotated[int, Field(ge=0, le=100)] = 69
    """Two-digit years from here on are of the last century."""
    empty: tuple[str, ...] = ()
    users: UserPart = UserPart()
    territories: dict[str, Label] = {}
    pipeline: PipelinePart | None = None
    agents: AgentPart | None = None
    accounts: AccountPart | None = None
    products: ProductPart | None = None
    opportunities: OpportunityPart | None = None
    contacts: ContactPart | None = None
    leads: LeadPart | None = None
    activities: tuple[ActivityPart, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> "Mapping":
        if self.opportunities is not None and self.pipeline is None:
            raise ValueError("`pipeline` is needed where `opportunities` is")
        parts = (self.agents, self.accounts, self.products, self.opportunities, self.contacts, self.leads)
        if not any((*parts, self.activities)):
            raise ValueError(
                "nothing is mapped: agents, accounts, contacts, products, opportunities, leads are all absent"
            )
        money(Decimal(0), self.currency)
        return self

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        try:
            return None if encoding is None else codecs.lookup(encoding).name
        except LookupError as error:
            raise ValueError(f"unknown encoding {encoding!r}") from error

    @field_validator("dates")
    @classmethod
    def _whole_dates(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return _dates(formats)


def load_mapping(path: Path) -> Mapping:
    """The mapping in a YAML file; every value is read as text, so that `no` and 2016 stay what they are.

    Raises Invalid that names the file and place of what is wrong.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)  # noqa: S506 - makes strings alone
    except OSError as error:
        raise _wrong(path, "", error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise _wrong(path, f"line {mark.line + 1}" if mark else "", str(error).splitlines()[0]) from error
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong(path, ".".join(map(str, first["loc"])), first["msg"], MESSAGES.get(first["type"])) from error
    except Invalid as error:
        raise Invalid(Text(f"映射文件 {path}：{error.text.zh}", f"the mapping {path}: {error.text.en}")) from error


MESSAGES = {
    "missing": "缺少这一项",
    "extra_forbidden": "没有这个字段名",
    "string_pattern_mismatch": "格式不对",
    "string_too_short": "不能为空",
    "model_type": "这里应是一组键值",
}
"""pydantic's error types in Chinese; its own English words stand for the others."""


def _wrong(path: Path, place: str, message: str, chinese: str | None = None) -> Invalid:
    where = f" {place}" if place else ""
    return Invalid(Text(f"映射文件 {path}{where}：{chinese or message}", f"the mapping {path}{where}: {message}"))
