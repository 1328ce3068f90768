"""What is generated from the schema and committed beside it: its text, and the table of who sees what."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from api.reads import SHAPES, Shape
from api.schema import schema
from domain.kernel import Access, Role, declared

ROOT = Path(__file__).parent.parent
SCHEMA_FILE = ROOT / "api" / "schema.graphql"
ACCESS_FILE = ROOT / "docs" / "access.md"

HEAD = """# Who sees what

Generated from the access declarations (`python -m api.printed`); a test compares. One table a type: ● the role sees the
field on the rows that it sees, · it is withheld (null, or an empty list). A role without a column has no sight of the type.
Several roles of one person add up. Below each table stand the rows of each role.
"""


def printed_schema() -> str:
    """The schema as it is committed."""
    return schema.as_str() + "\n"


def rule_words(rule: Any) -> str:
    """A row rule in short: its name, with what differs from its defaults."""
    parts = getattr(rule, "rules", None)
    if parts is not None:
        return " or ".join(rule_words(part) for part in parts)
    told = [_told(getattr(rule, one.name)) for one in fields(rule) if _differs(rule, one)]
    return f"{type(rule).__name__}({', '.join(told)})" if told else type(rule).__name__


def _differs(rule: Any, one: Any) -> bool:
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return bool(getattr(rule, one.name) != default)


def _told(value: Any) -> str:
    if hasattr(value, "clause"):
        return rule_words(value)
    return " / ".join(str(one) for one in value) if isinstance(value, tuple) else str(value)


def _table(shape: Shape) -> Iterator[str]:
    access: Access = declared(shape.model)
    roles = [role for role in Role if role in set(access)]
    yield f"\n## {get_object_definition(shape.kind, strict=True).name}\n\n"
    yield f"| field | {' | '.join(role.value for role in roles)} |\n|---{'|:-:' * len(roles)}|\n"
    names = (["id"] if shape.is_node else []) + [source.name for source in shape.sources]
    for name in names:
        marks = ["●" if name not in shape.withheld or name in access.fields(role) else "·" for role in roles]
        yield f"| {to_camel_case(name)} | {' | '.join(marks)} |\n"
    by_rule: dict[str, list[str]] = {}
    for role in roles:
        by_rule.setdefault(rule_words(access.rule(role)), []).append(role.value)
    yield "\n"
    for rule, holders in by_rule.items():
        yield f"- {', '.join(holders)}: {rule}\n"


def access_table() -> str:
    """The matrix of role, type and field."""
    return HEAD + "".join(part for name in sorted(SHAPES) for part in _table(SHAPES[name]))


if __name__ == "__main__":
    SCHEMA_FILE.write_text(printed_schema(), encoding="utf-8")
    ACCESS_FILE.write_text(access_table(), encoding="utf-8")
