"""What is known of documents by their text: each is parsed, measured and validated once, whichever path answers it."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
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

from api.limits import (
    KEPT_CHARACTERS,
    KEPT_DOCUMENTS,
    NESTING,
    VALIDATION_ERRORS,
    Kept,
    Limits,
    Measure,
    Measuring,
    nesting,
)

KEPT_MEASURES = 64
"""Measures of one document at most, by the values of its page sizes."""


@dataclass(eq=False)
class Document:
    """One operation of a document: its parts, what is wrong with it, and what others keep with it."""

    text: str
    name: str | None
    schema: GraphQLSchema
    ast: DocumentNode
    operation: OperationDefinitionNode | None
    errors: list[GraphQLError]
    plans: dict[str, Any] = field(default_factory=dict)
    """What is forgotten together with the document."""
    _sizes: frozenset[str] | None = None
    _measures: Kept[Measure] = field(default_factory=lambda: Kept(KEPT_MEASURES))

    @property
    def fragments(self) -> Mapping[str, FragmentDefinitionNode]:
        """The fragments by their names."""
        found = (one for one in self.ast.definitions if isinstance(one, FragmentDefinitionNode))
        return {one.name.value: one for one in found}

    def measure(self, variables: Mapping[str, Any]) -> Measure:
        """What the operation asks for, with these page sizes."""
        assert self.operation is not None  # noqa: S101 - there is nothing to measure without one
        operation = self.operation

        def made() -> Measure:
            return Measuring(self.schema, self.ast, variables).operation(operation)

        if self._sizes is None:
            self._sizes = made().sizes
        values = tuple(variables.get(name) for name in sorted(self._sizes))
        if not all(isinstance(value, int | float | None) for value in values):
            return made()
        return self._measures.get(values, made)


class Documents:
    """The documents of one schema, the least recently used forgotten first; trusted ones are known from the start and stay."""

    def __init__(self, schema: GraphQLSchema, trusted: Collection[str] = ()) -> None:
        self._schema = schema
        self._known: Kept[Document] = Kept(KEPT_DOCUMENTS)
        self._trusted = frozenset(trusted)
        self._staying: dict[Hashable, Document] = {}
        for text in trusted:
            self.find(text, None, Limits())

    def find(self, text: str, operation_name: str | None, limits: Limits) -> Document | None:
        """The operation of that name in a text; None for a text that cannot be parsed within the caller's limits."""
        key = (text, operation_name, limits.tokens)
        known = self._known.find(key) or self._staying.get(key)
        if known is not None:
            return known
        made = self._made(text, operation_name, limits)
        if made is not None and made.operation is not None and text in self._trusted:
            return self._staying.setdefault(key, made)
        return made if made is None or len(text) > KEPT_CHARACTERS else self._known.keep(key, made)

    def _made(self, text: str, name: str | None, limits: Limits) -> Document | None:
        if nesting(text) > NESTING:
            return None
        try:
            ast = parse(text, max_tokens=limits.tokens)
        except GraphQLSyntaxError:
            return None
        found = [
            one
            for one in ast.definitions
            if isinstance(one, OperationDefinitionNode) and (name is None or (one.name and one.name.value == name))
        ]
        operation = found[0] if len(found) == 1 else None
        document = Document(text, name, self._schema, ast, operation, [])
        # A document that asks for too much is not validated: that takes time which is not linear.
        if operation is not None and document.measure({}).cost <= limits.cost:
            errors = validate(self._schema, ast, specified_rules, max_errors=VALIDATION_ERRORS)
            document.errors = errors[:VALIDATION_ERRORS]
        else:
            document.operation = None
        return document
