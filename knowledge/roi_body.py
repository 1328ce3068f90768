"""The text of a ROI model, YAML or JSON, read strictly and held against its JSON Schema."""

import json
import re
from collections.abc import Hashable
from decimal import Decimal
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from domain.kernel.errors import Invalid, Text

LONGEST = 100_000
_DIGITS = 24
_SCHEMA = Draft202012Validator(json.loads((files("knowledge") / "roi_model.schema.json").read_text("utf-8")))
_NUMBER = re.compile(r"[-+]?[0-9]{1,24}(\.[0-9]{0,24})?([eE][-+]?[0-9]{1,2})?")

_SAYS = {
    "required": "缺少必需的字段",
    "additionalProperties": "有不认识的字段",
    "type": "类型不对",
    "pattern": "写法不对：小写字母开头，只含小写字母、数字和下划线",
    "minItems": "至少要有一项",
    "minProperties": "至少要有一项",
    "maxItems": "项数太多",
    "minLength": "不能为空",
    "maxLength": "太长",
    "minimum": "太小",
    "maximum": "太大",
}


def read_body(text: str) -> dict[str, Any]:
    """The mapping that a body holds, numbers as exact Decimals, valid by the schema.

    Raises Invalid, with line or path, for what is no YAML, too long, aliased, holds a key twice, or departs from the schema.
    """
    if len(text) > LONGEST:
        raise Invalid(Text(f"正文不能超过 {LONGEST} 个字符", f"the body has at most {LONGEST} characters"))
    body = _plain(text)
    for departure in sorted(_SCHEMA.iter_errors(body), key=lambda each: [str(part) for part in each.absolute_path]):
        raise _departs(departure)
    return dict(body)


def _plain(text: str) -> Any:
    try:
        if text.lstrip().startswith("{"):
            return json.loads(
                text, parse_float=_exact, parse_int=_exact, parse_constant=_exact, object_pairs_hook=_once
            )
        # A subclass of the safe loader, which makes nothing but plain values.
        return yaml.load(text, Loader=_Strict)  # noqa: S506
    except yaml.MarkedYAMLError as refused:
        line = refused.problem_mark.line + 1 if refused.problem_mark else 1
        raise Invalid(Text(f"第 {line} 行读不懂", f"line {line} cannot be read: {refused.problem}")) from None
    except (yaml.YAMLError, ValueError, RecursionError) as refused:
        why = str(refused)[:200]
        raise Invalid(
            Text(f"正文不是可用的 YAML 或 JSON：{why}", f"the body is no YAML or JSON that is taken: {why}")
        ) from None


def _exact(written: str) -> Decimal | int:
    """The number as written. Raises ValueError for what is none or has more than 24 digits on either side of the point."""
    if not _NUMBER.fullmatch(written):
        raise ValueError(f"“{written[:40]}” is no number that is taken")
    value = Decimal(written)
    if value.adjusted() > _DIGITS or int(value.as_tuple().exponent) < -_DIGITS:
        raise ValueError(f"“{written[:40]}” is too large or too small")
    return int(value) if value == value.to_integral_value() else value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice")
    return made


def _departs(departure: ValidationError) -> Invalid:
    path = tuple(str(part) for part in departure.absolute_path)
    where = ".".join(path)
    why = _SAYS.get(str(departure.validator), "不合格式")
    return Invalid(Text(f"{where or '正文'}：{why}", f"{where or 'the body'}: {departure.message[:300]}"), path)


class _Strict(yaml.SafeLoader):
    """A YAML loader without aliases, tags, keys that come twice, or words that turn into dates and floats."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="aliases and tags are not taken", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if not isinstance(key, str) or key in keys[:place]:
                raise yaml.MarkedYAMLError(
                    problem=f"the key “{key}” comes twice", problem_mark=node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep=deep)


_Strict.add_implicit_resolver("!number", re.compile(rf"^(?:{_NUMBER.pattern})$"), list("-+0123456789"))
_Strict.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Strict.add_constructor("!number", lambda _, node: _exact(node.value))
