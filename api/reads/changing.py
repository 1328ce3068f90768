"""Mutations: each root is executed as its room wrote it, and what its payload selects is read by one statement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any
from uuid import UUID

import orjson
from graphql import GraphQLError, GraphQLSchema
from graphql.error import located_error
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path, is_awaitable
from graphql.type import GraphQLResolveInfo

from api.context import Context
from api.documents import Document
from api.errors import report
from api.reads.compiling import Asking, Change
from api.reads.filters import NOBODY

Texts = tuple[bytes | str | None, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One root of a mutation, ready to be executed."""

    change: Change
    statement: Any
    """The plan that reads the payload's records; None where there are none."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one root: its payload, or the error in its place."""

    payload: Any
    error: GraphQLError | None


async def execute(
    schema: GraphQLSchema, document: Document, step: Step, variables: VariableValues, context: Context
) -> Done:
    """Execute one root, as GraphQL would."""
    kind: Any = schema.mutation_type
    change = step.change
    declared = kind.fields[change.name]
    path = Path(None, change.key, kind.name)
    nothing: Any = None
    operation: Any = document.operation
    info: Any = GraphQLResolveInfo(
        change.name, change.nodes, declared.type, kind, path, schema, dict(document.fragments), None, operation, variables, context,
        is_awaitable, nothing, nothing,
    )  # fmt: skip
    try:
        given = get_argument_values(declared, change.nodes[0], variables)
        found = declared.resolve(None, info, **given)
        return Done(await found if isawaitable(found) else found, None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer tells of it
        told = located_error(error, change.nodes, path.as_list())
        report(told, context)
        return Done(None, told)


def wanted(step: Step, payload: Any) -> list[UUID]:
    """The ids of the payload's records, in the order of the statement's texts."""
    records = (getattr(payload, one.attribute) for one in step.change.fields if one.text is not None)
    return [NOBODY if record is None else record.row_id for record in records]


def written(step: Step, payload: Any, texts: Texts, asking: Asking) -> bytes:
    """The payload as JSON."""
    parts = []
    for one in step.change.fields:
        if one.text is None:
            value = getattr(payload, one.attribute) if one.attribute else None
            words = orjson.dumps(one.finish(value, asking) if one.finish else value)
        else:
            words = _record(texts[one.text], one.finish, asking)
        parts.append(b'"%b":%b' % (one.key.encode(), words))
    return b"{" + b",".join(parts) + b"}"


def _record(text: bytes | str | None, finish: Callable[[Any, Asking], Any] | None, asking: Asking) -> bytes:
    if text is None:
        return b"null"
    if finish is None:
        return text if isinstance(text, bytes) else text.encode()
    return orjson.dumps(finish(orjson.loads(text), asking))


def answer(parts: Mapping[str, bytes], errors: list[GraphQLError], tail: bytes) -> bytes:
    """The whole answer of the roots' parts."""
    data = b",".join(b'"%b":%b' % (key.encode(), words) for key, words in parts.items())
    told = b',"errors":' + orjson.dumps([error.formatted for error in errors]) if errors else b""
    return b'{"data":{' + data + b"}" + told + tail
