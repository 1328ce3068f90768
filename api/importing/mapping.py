"""The mapping file: which file and column of another system's export feeds which field of ours; see docs/import-mapping.md."""

import codecs
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from domain.deals import ForecastCategory
from domain.kernel import Invalid, Language, Text, money

MAVEN = Path(__file__).with_name("maven.yaml")
KEY = r"^[a-z0-9]+(?:[_-][a-z0-9]+)*$"
Key = Annotated[str, Field(pattern=KEY, max_length=60)]
Word = Annotated[str, Field(min_length=1, max_length=300)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """Where one field comes from: a column, with words to replace and a factor, or the same text for every row."""

    column: Word | None = None
    constant: Word | None = None
    values: dict[str, str] = {}
    unit: Annotated[Decimal, Field(gt=0)] = Decimal(1)

    @model_validator(mode="after")
    def _one_origin(self) -> "Column":
        if (self.column is None) == (self.constant is None):
            raise ValueError("`column` or `constant` is needed, and not both")
        return self


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
    manager: From | None = None
    email: From | None = None


class AccountFields(_Part):
    """The columns of an account; without `id` its name is its id."""

    name: From
    id: From | None = None
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


class AgentPart(_Part):
    """The file of sales agents."""

    file: Word
    fields: AgentFields


class AccountPart(_Part):
    """The file of accounts."""

    file: Word
    fields: AccountFields


class ProductPart(_Part):
    """The file of products; `floor_share` of the list price is the floor where no column gives one."""

    file: Word
    fields: ProductFields
    floor_share: Annotated[Decimal, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _some_floor(self) -> "ProductPart":
        if self.floor_share is None and self.fields.floor_price is None:
            raise ValueError("`floor_share` is needed where no column feeds `floor_price`")
        return self


class OpportunityPart(_Part):
    """The file of opportunities; `won_makes_order` turns each won deal with a value into an order."""

    file: Word
    fields: OpportunityFields
    won_makes_order: bool = True


class UserPart(_Part):
    """How the people whom the export names sign in."""

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
    empty: tuple[str, ...] = ()
    users: UserPart = UserPart()
    territories: dict[str, Label] = {}
    pipeline: PipelinePart | None = None
    agents: AgentPart | None = None
    accounts: AccountPart | None = None
    products: ProductPart | None = None
    opportunities: OpportunityPart | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Mapping":
        if self.opportunities is not None and self.pipeline is None:
            raise ValueError("`pipeline` is needed where `opportunities` is")
        if not any((self.agents, self.accounts, self.products, self.opportunities)):
            raise ValueError("nothing is mapped: agents, accounts, products and opportunities are all absent")
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
        for form in formats:
            if not all(part in form for part in ("%Y", "%m", "%d")):
                raise ValueError(f"a date format needs %Y, %m and %d: {form!r}")
        return formats


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
