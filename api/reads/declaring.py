"""Fields declared with their source, and their arguments."""

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Annotated, Any

import strawberry
from sqlalchemy import literal
from sqlalchemy.types import TypeEngine

from api.context import Info
from api.reads.list_sources import Input
from api.reads.sources import Source


def declare(source: Source, description: str, resolver: Callable[..., Any] | None = None) -> Any:
    """A field of the schema that carries its source."""
    metadata = {"source": source}
    if resolver is None:
        return strawberry.field(description=description, metadata=metadata)
    return strawberry.field(resolver=resolver, description=description, metadata=metadata)


def parameter(name: str, kind: Any, description: str, default: Any = Parameter.empty) -> Parameter:
    """An argument as a resolver's signature holds it."""
    annotation = Annotated[kind, strawberry.argument(description=description)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


FIRST = parameter("first", int, "How many rows at most: 1 to 100.", 20)
AFTER = parameter(
    "after", str | None, "The cursor after which to begin: `endCursor` of the page before.", strawberry.UNSET
)
LAST = parameter("last", int, "How many at most, newest first: 1 to 100.", 20)


def taking(resolver: Callable[..., Any], *arguments: Parameter) -> Callable[..., Any]:
    """The resolver with the arguments that the schema is to show."""
    fixed = [
        Parameter("root", Parameter.POSITIONAL_OR_KEYWORD),
        Parameter("info", Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
    ]
    resolver.__signature__ = Signature([*fixed, *arguments])  # type: ignore[attr-defined]
    return resolver


def argument(
    name: str,
    kind: Any,
    description: str,
    default: Any = Parameter.empty,
    *,
    as_sql: TypeEngine[Any] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> Input:
    """An argument of a listing; with a type of SQL its value is a parameter of the statement, else part of it: booleans, enums."""
    return Input(parameter(name, kind, description, default), as_sql, convert)


def put(given: Input, value: Any) -> Any:
    """An argument's value as a listing's statement takes it; None where it was left out."""
    if value is None or value is strawberry.UNSET:
        return None
    found = given.convert(value) if given.convert else value
    return found if given.kind is None or found is None else literal(found, given.kind)
