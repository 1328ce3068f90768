"""What is known of documents by their text: each is parsed, measured and validated once, whichever way it is answered."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from api.limits import (
    KEPT_CHARACTERS,
    KEPT_DOCUMENTS,
    NESTING,
    TOO_NESTED,
    VALIDATION_ERRORS,
    Kept,
    Limits,
    Measure,
    Measuring,
    first_excess,
    nesting,
)
from domain.kernel import ErrorCode

NOTHING = DocumentNode(definitions=())
KEPT_MEASURES = 64
"""Measures of one document at most, by the values of its page sizes."""


@dataclass(eq=False)
class Document:
    """One operation of a document: its parts, what is wrong with it, and what others keep with it."""

    text: str
    name: str | None
    schema: GraphQLSchema
    ast: DocumentNode
    """Empty for a text that is no document, or too nested to be read as one."""
    operation: OperationDefinitionNode | None
    """The operation of that name; None where there is none, or where it is not clear which."""
    plans: dict[str, Any] = field(default_factory=dict)
    """What is forgotten together with the document."""
    _measures: Kept[Measure] = field(default_factory=lambda: Kept(KEPT_MEASURES))

    @property
    def fragments(self) -> Mapping[str, FragmentDefinitionNode]:
        """The fragments by their names."""
        found = (one for one in self.ast.definitions if isinstance(one, FragmentDefinitionNode))
        return {one.name.value: one for one in found}

    @cached_property
    def errors(self) -> list[GraphQLError]:
        """What validation finds. It takes time which is not linear: whoever asks has held the document to limits before."""
        return validate(self.schema, self.ast, specified_rules, max_errors=VALIDATION_ERRORS)[:VALIDATION_ERRORS]

    def is_sound(self, limits: Limits) -> bool:
        """Whether the operation is there and valid; one that costs more than the limits allow is not even looked at."""
        if self.operation is None or ("errors" not in vars(self) and self.measure({}).cost > limits.cost):
            return False
        return not self.errors

    @cached_property
    def _sizes(self) -> tuple[str, ...]:
        return tuple(sorted(self._measured({}).sizes))

    def measure(self, variables: Mapping[str, Any]) -> Measure:
        """What the operation asks for, with these page sizes."""
        values = tuple(variables.get(name) for name in self._sizes)
        if not all(isinstance(value, int | float | None) for value in values):
            return self._measured(variables)
        return self._measures.get(values, lambda: self._measured(variables))

    def _measured(self, variables: Mapping[str, Any]) -> Measure:
        assert self.operation is not None  # noqa: S101 - there is nothing to measure without one
        return Measuring(self.schema, self.ast, variables).operation(self.operation)


class Documents:
    """The documents of one schema, the least recently used forgotten first; trusted ones are known from the start and stay."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: Kept[Document] = Kept(KEPT_DOCUMENTS)
        self._trusted: frozenset[str] = frozenset()
        self._staying: dict[Hashable, Document] = {}

    def trust(self, texts: Collection[str]) -> None:
        """Know these documents from now on; they are not forgotten for others."""
        self._trusted = frozenset(texts)
        for text in self._trusted:
            self.find(text, None, Limits())

    def find(self, text: str, operation_name: str | None, limits: Limits) -> Document:
        """What is known of the operation of that name in a text."""
        key = (text, operation_name, limits.tokens)
        known = self._known.find(key) or self._staying.get(key)
        if known is not None:
            return known
        made = self._made(text, operation_name, limits)
        if made.operation is not None and text in self._trusted:
            return self._staying.setdefault(key, made)
        return made if len(text) > KEPT_CHARACTERS else self._known.keep(key, made)

    def _made(self, text: str, name: str | None, limits: Limits) -> Document:
        if nesting(text) > NESTING:
            return Document(text, name, self._schema, NOTHING, None)
        try:
            ast = parse(text, max_tokens=limits.tokens)
        except GraphQLSyntaxError:
            return Document(text, name, self._schema, NOTHING, None)
        found = [
            one
            for one in ast.definitions
            if isinstance(one, OperationDefinitionNode) and (name is None or (one.name and one.name.value == name))
        ]
        return Document(text, name, self._schema, ast, found[0] if len(found) == 1 else None)


class Limited(SchemaExtension):
    """Holds each operation to the caller's limits, and echoes its cost."""

    _document: Document
    _cost: int | None = None

    def on_parse(self) -> Iterator[None]:
        """Take what is known of the document; what is none is refused."""
        running = self.execution_context
        documents: Documents = running.schema.documents  # type: ignore[attr-defined]
        text, context = running.query or "", running.context
        self._document = documents.find(text, running.operation_name, context.limits)
        if self._document.ast is not NOTHING:
            running.graphql_document = self._document.ast
        elif nesting(text) > NESTING:
            words = TOO_NESTED.words(context.language).format(limit=NESTING)
            raise GraphQLError(words, extensions={"code": ErrorCode.TOO_COSTLY.value})
        else:
            # Strawberry meets the error where it began, and tells it in the way of each protocol.
            running.parse_options["max_tokens"] = context.limits.tokens
        yield

    def on_validate(self) -> Iterator[None]:
        """Measure before anything else looks at the document: validation itself is not linear."""
        running = self.execution_context
        document, context = self._document, running.context
        if document.operation is not None and running.pre_execution_errors is None:
            context.changes = running.operation_type is OperationType.MUTATION
            if running.operation_type is OperationType.SUBSCRIPTION and context.timer is not None:
                context.timer.reschedule(None)
            measure = document.measure(running.variables or {})
            self._cost = measure.cost
            excess = first_excess(measure, context.limits, context.language, signed_in=context.actor is not None)
            running.pre_execution_errors = [excess] if excess else list(map(_again, document.errors))
        yield

    def get_results(self) -> dict[str, Any]:
        """The cost of the operation and what the caller may ask for."""
        if self._cost is None:
            return {}
        return {"cost": {"requested": self._cost, "limit": self.execution_context.context.limits.cost}}


def _again(error: GraphQLError) -> GraphQLError:
    return GraphQLError(error.message, error.nodes, extensions=error.extensions)
