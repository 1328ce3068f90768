"""A field's arguments in a document: what they are now, how later requests' variables give them, and what of them makes another plan."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues
from graphql.utilities import coerce_input_literal, type_from_ast

from api.reads.view import cursor_values
from domain.kernel import Invalid

Variables = Mapping[str, Any]
Read = Callable[[Variables], Any]

JSON_SCALAR = "JSON"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it is now, and how to read the one of a later request that differs in nothing that makes another plan."""

    value: Any
    read: Read
    parts: Mapping[str, "Given"] = field(default_factory=dict)
    """The fields of an input object, as far as they are given."""


def arguments(declared: GraphQLField, node: FieldNode, variables: VariableValues) -> dict[str, Given]:
    """The arguments of a field that are given or have a default, by their names in the schema."""
    nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
    found: dict[str, Given] = {}
    for name, argument in declared.args.items():
        value = nodes.get(name)
        if value is None or (isinstance(value, VariableNode) and value.name.value not in variables.coerced):
            if argument.default_value is not Undefined:
                found[name] = _constant(argument.default_value)
        else:
            found[name] = _given(value, argument.type, variables)
    return found


def _constant(value: Any) -> Given:
    return Given(value, lambda _variables: value)


def _given(node: ValueNode, kind: GraphQLInputType, variables: VariableValues) -> Given:
    if isinstance(node, VariableNode):
        name = node.name.value
        return _stored(variables.coerced.get(name), lambda held: held.get(name))
    value = coerce_input_literal(node, kind, variables)
    if not isinstance(node, ObjectValueNode) or not isinstance(value, dict):
        return _constant(value)
    inner: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    nodes = {part.name.value: part.value for part in node.fields}
    parts = {
        name: _given(nodes[name], inner.fields[name].type, variables) if name in nodes else _constant(one)
        for name, one in value.items()
    }

    def read(held: Variables) -> Any:
        return {name: part.read(held) for name, part in parts.items()}

    return Given(value, read, parts)


def _stored(value: Any, read: Read) -> Given:
    if not isinstance(value, dict):
        return Given(value, read)
    return Given(value, read, {name: _stored(one, _step(read, name)) for name, one in value.items()})


def _step(read: Read, name: str) -> Read:
    return lambda held: read(held)[name]


# ---- what makes another plan -----------------------------------------------------------------------------------------

Outline = Callable[[Any], Hashable]
"""What of a variable's value makes another plan: whether it is null, and the values of booleans, enums and page sizes."""

BY_VALUE = frozenset({"first", "last"})
"""Arguments whose value stands in the statement, since the best way to read depends on it."""


class _Uses(Visitor):
    """Looks for variables whose use asks for more than their type does."""

    def __init__(self) -> None:
        super().__init__()
        self.outlines: dict[str, Outline] = {}

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        if isinstance(node.value, VariableNode):
            name = node.name.value
            special = _same if name in BY_VALUE else {"after": _outline_of_cursor, "id": _kind_of_id}.get(name)
            if special is not None:
                self.outlines[node.value.name.value] = special


def _same(value: Hashable) -> Hashable:
    return value


def _outline_of_cursor(value: Any) -> Hashable:
    """Which of its values are null; None where there is no cursor."""
    try:
        return tuple(part is None for part in cursor_values(value)) if value else None
    except Invalid:
        return "wrong"


def _kind_of_id(value: Any) -> Hashable:
    return value[:4] if isinstance(value, str) else None


def _is_given(value: Any) -> Hashable:
    """Whether there is something: nothing at all and an empty text often ask the same."""
    return None if value is None else bool(value != "")


def _by_type(kind: GraphQLInputType) -> Outline:
    kind = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if kind is GraphQLBoolean or isinstance(kind, GraphQLEnumType):
        return _same
    if isinstance(kind, GraphQLList):
        inner = _by_type(kind.of_type)
        return lambda value: None if value is None else tuple(map(inner, value))
    if isinstance(kind, GraphQLInputObjectType):
        fields: dict[str, Outline] = {}

        def outline(value: Any) -> Hashable:
            if value is None:
                return None
            # Made when they are needed, because input types may lead back to themselves.
            for name in value:
                if name not in fields:
                    fields[name] = _by_type(kind.fields[name].type)
            return tuple((name, fields[name](one)) for name, one in value.items())

        return outline
    return orjson.dumps if kind.name == JSON_SCALAR else _is_given


class Outlines:
    """What of an operation's variables makes another plan."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        uses = _Uses()
        visit(document, uses)
        self._outlines: list[tuple[str, Outline]] = []
        for definition in operation.variable_definitions or ():
            name: str = definition.variable.name.value
            kind: Any = type_from_ast(schema, definition.type)
            self._outlines.append((name, uses.outlines.get(name) or _by_type(kind)))

    def of(self, variables: Variables) -> Hashable:
        """The outline of coerced variables."""
        return tuple([outline(variables[name]) if name in variables else Undefined for name, outline in self._outlines])


# ---- plain variables -------------------------------------------------------------------------------------------------

INT32 = 1 << 31


def _is_text(value: Any) -> bool:
    return type(value) is str and "\0" not in value and value.isprintable()


def _is_int(value: Any) -> bool:
    return type(value) is int and -INT32 <= value < INT32


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "ID": _is_text,
    "String": _is_text,
    "Int": _is_int,
    "Boolean": lambda value: type(value) is bool,
}


def plain_variables(
    schema: GraphQLSchema, definitions: Iterable[VariableDefinitionNode]
) -> Callable[[Variables], Variables | None]:
    """What takes the variables of an operation as they are where they are plain, and returns None where they are not.

    GraphQL's own reading of them, which comes to the same, costs ten times as much.
    """
    checks: list[tuple[str, Callable[[Any], bool], bool]] = []
    for definition in definitions:
        kind: Any = type_from_ast(schema, definition.type)
        is_needed = isinstance(kind, GraphQLNonNull)
        check = _PLAIN.get(getattr(kind.of_type if is_needed else kind, "name", ""))
        if check is None:
            return lambda _raw: None
        checks.append((definition.variable.name.value, check, is_needed))
    needed = len(checks)

    def taken(raw: Variables) -> Variables | None:
        if len(raw) != needed:
            return None
        for name, check, is_needed in checks:
            value = raw.get(name)
            if not (check(value) or (value is None and not is_needed and name in raw)):
                return None
        return raw

    return taken
