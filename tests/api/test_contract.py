"""Everything that clients rely on is in the schema as it was promised."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    build_schema,
    is_introspection_type,
    is_required_argument,
    is_specified_scalar_type,
    print_ast,
)

from api.schema import schema

CONTRACT = build_schema((Path(__file__).parent / "contract.graphql").read_text(encoding="utf-8"))
OURS = build_schema(schema.as_str())


def _default(input: Any) -> str | None:
    node = input.ast_node.default_value
    return None if node is None else print_ast(node)


def _arguments(path: str, promised: Any, found: Any) -> Iterator[str]:
    for name, argument in promised.args.items():
        own = found.args.get(name)
        if own is None:
            yield f"{path}({name}:) is missing"
        elif str(own.type) != str(argument.type) or _default(own) != _default(argument):
            yield f"{path}({name}: {own.type} = {_default(own)}), promised {argument.type} = {_default(argument)}"
    for name, own in found.args.items():
        if name not in promised.args and is_required_argument(own):
            yield f"{path}({name}:) is required and was not promised"


def _fields(promised: Any, found: Any) -> Iterator[str]:
    for name, field in promised.fields.items():
        own, path = found.fields.get(name), f"{promised.name}.{name}"
        if own is None:
            yield f"{path} is missing"
        elif str(own.type) != str(field.type):
            yield f"{path}: {own.type}, promised {field.type}"
        elif isinstance(promised, GraphQLInputObjectType):
            if _default(own) != _default(field):
                yield f"{path} = {_default(own)}, promised {_default(field)}"
        else:
            yield from _arguments(path, field, own)


def _differences(promised: GraphQLNamedType, found: GraphQLNamedType | None) -> Iterator[str]:
    if found is None:
        yield f"{promised.name} is missing"
    elif type(found) is not type(promised):
        yield f"{promised.name} is another kind of type"
    elif isinstance(promised, GraphQLEnumType) and isinstance(found, GraphQLEnumType):
        yield from (f"{promised.name}.{value} is missing" for value in promised.values if value not in found.values)
    elif isinstance(promised, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
        yield from _fields(promised, found)
        own = {interface.name for interface in getattr(found, "interfaces", ())}
        for interface in getattr(promised, "interfaces", ()):
            if interface.name not in own:
                yield f"{promised.name} does not implement {interface.name}"


def _all_differences() -> set[str]:
    kept = (
        kind
        for kind in CONTRACT.type_map.values()
        if not is_introspection_type(kind) and not is_specified_scalar_type(kind)
    )
    return {line for kind in kept for line in _differences(kind, OURS.type_map.get(kind.name))}


def test_everything_promised_is_there() -> None:
    assert sorted(_all_differences()) == []


def _described(kind: GraphQLNamedType) -> Iterator[tuple[str, str | None]]:
    yield kind.name, kind.description
    if isinstance(kind, GraphQLEnumType):
        yield from ((f"{kind.name}.{name}", value.description) for name, value in kind.values.items())
    for name, field in getattr(kind, "fields", {}).items():
        yield f"{kind.name}.{name}", field.description
        for argument, own in getattr(field, "args", {}).items():
            yield f"{kind.name}.{name}({argument}:)", own.description


OWN_TYPES = [
    kind for kind in OURS.type_map.values() if not is_introspection_type(kind) and not is_specified_scalar_type(kind)
]


@pytest.mark.parametrize("kind", OWN_TYPES, ids=lambda kind: kind.name)
def test_everything_is_described(kind: GraphQLNamedType) -> None:
    assert [path for path, description in _described(kind) if not (description or "").strip()] == []


def test_custom_scalars_say_what_specifies_them() -> None:
    scalars = [kind for kind in OWN_TYPES if hasattr(kind, "specified_by_url")]
    assert {kind.name for kind in scalars} >= {"DateTime", "Date", "Decimal", "JSON"}
    assert [kind.name for kind in scalars if not kind.specified_by_url] == []
