"""What one operation may ask for: measured once, in time linear in the document, however its fragments nest."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_list_type,
)
from graphql.type import GraphQLField, get_nullable_type
from pydantic import BaseModel, ConfigDict, Field

from domain.kernel import ErrorCode, Language, Text

V = TypeVar("V")

UNSIZED = 10
"""What a list without a page size is reckoned to hold."""
PAGE = 100
"""Rows of one page, and of a newest-rows list, at most, unless an installation decides otherwise."""
VALIDATION_ERRORS = 5
KEPT_DOCUMENTS, KEPT_CHARACTERS = 512, 20_000
"""How many documents are remembered, and up to which length: longer ones are seldom sent twice."""
LARGEST = 1 << 53
"""Where counting stops: a larger number says no more."""
SIZES = ("first", "last")
WEIGHTS: Mapping[str, int] = {
    "searchKnowledge": 20, "searchRecords": 20, "assistantMetrics": 20, "verifyLedger": 200, "draftVisitBrief": 100, "draftObjectionReply": 100,
    "draftReactivationScript": 100, "draftGeneration": 100, "generationStream": 100,
}  # fmt: skip
"""Roots that cost more than a row."""


class Limits(BaseModel):
    """What a caller's operations may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(default=4_000, ge=1)
    depth: int = Field(default=12, ge=1)
    introspection_depth: int = Field(default=16, ge=0)
    aliases: int = Field(default=60, ge=0)
    fields: int = Field(default=500, ge=1)
    directives: int = Field(default=50, ge=0)
    cost: int = Field(default=10_000, ge=1)
    page: int = Field(default=PAGE, ge=1, le=10_000)
    seconds: float = Field(default=10, gt=0)


ANONYMOUS = Limits(tokens=1_000, aliases=15, introspection_depth=0)
"""Introspection needs a token."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a selection asks for; `sizes` are the variables that its cost depends on."""

    depth: int = 0
    introspection_depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    cost: int = 0
    sizes: frozenset[str] = field(default=frozenset())

    def beside(self, other: "Measure") -> "Measure":
        """Both, side by side in one selection."""
        return Measure(
            max(self.depth, other.depth),
            max(self.introspection_depth, other.introspection_depth),
            min(self.aliases + other.aliases, LARGEST),
            min(self.fields + other.fields, LARGEST),
            min(self.directives + other.directives, LARGEST),
            min(self.cost + other.cost, LARGEST),
            self.sizes | other.sizes,
        )


class Measuring:
    """A walk over one document in which every fragment is visited once; `visits` counts the selections it looked at."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._defaults: dict[str, Any] = {}
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Measure] = {}
        self._open: set[str] = set()
        self.visits = 0

    def operation(self, node: OperationDefinitionNode) -> Measure:
        """What an operation asks for."""
        self._defaults = {
            definition.variable.name.value: int(definition.default_value.value)
            for definition in node.variable_definitions or ()
            if isinstance(definition.default_value, IntValueNode)
        }
        root = self._schema.get_root_type(node.operation)
        return Measure(directives=len(node.directives or ())).beside(self._selection(node.selection_set, root))

    def _selection(self, node: SelectionSetNode, parent: GraphQLNamedType | None) -> Measure:
        total = Measure()
        for selection in node.selections:
            self.visits += 1
            total = total.beside(Measure(directives=len(selection.directives or ())))
            if isinstance(selection, FieldNode):
                total = total.beside(self._field(selection, parent))
            elif isinstance(selection, FragmentSpreadNode):
                total = total.beside(self._fragment(selection.name.value))
            elif isinstance(selection, InlineFragmentNode):
                named = selection.type_condition
                inner = self._schema.get_type(named.name.value) if named else parent
                total = total.beside(self._selection(selection.selection_set, inner))
        return total

    def _fragment(self, name: str) -> Measure:
        if name in self._known:
            return self._known[name]
        definition = self._fragments.get(name)
        if definition is None or name in self._open:
            # Unknown fragments and circles are for the validation to refuse.
            return Measure()
        self._open.add(name)
        kind = self._schema.get_type(definition.type_condition.name.value)
        self._known[name] = self._selection(definition.selection_set, kind)
        self._open.discard(name)
        return self._known[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Measure:
        name = node.name.value
        aliased = node.alias is not None
        if name.startswith("__"):
            below = self._selection(node.selection_set, None) if node.selection_set else Measure()
            deep = 1 + max(below.depth, below.introspection_depth) if node.selection_set else 0
            return Measure(1, deep, aliased + below.aliases, 1, below.directives, 0)
        declared = parent.fields.get(name) if isinstance(parent, GraphQLObjectType) else _interface_field(parent, name)
        size, variables = self._size(node, declared)
        inner = get_named_type(declared.type) if declared is not None else None
        below = self._selection(node.selection_set, inner) if node.selection_set else Measure()
        base = WEIGHTS.get(name, self._base(parent, inner))
        return Measure(
            1 + below.depth,
            below.introspection_depth,
            min(aliased + below.aliases, LARGEST),
            min(1 + below.fields, LARGEST),
            below.directives,
            min(base + size * below.cost, LARGEST),
            below.sizes | variables,
        )

    @staticmethod
    def _base(parent: GraphQLNamedType | None, inner: GraphQLNamedType | None) -> int:
        """A row or object costs 1; what only leads to rows, and plain values, cost nothing."""
        wraps = parent is not None and parent.name.endswith("Connection")
        return 0 if wraps or inner is None or not is_composite_type(inner) else 1

    def _size(self, node: FieldNode, declared: GraphQLField | None) -> tuple[int, frozenset[str]]:
        """How many rows the field has at most, and the variables that say so, whatever they hold this time."""
        if declared is None:
            return 1, frozenset()
        said, variables, declares = [], set(), [name for name in SIZES if name in declared.args]
        for argument in node.arguments or ():
            if argument.name.value in declares and isinstance(argument.value, IntValueNode):
                said.append(int(argument.value.value[:16]))
            elif argument.name.value in declares and isinstance(argument.value, VariableNode):
                name = argument.value.name.value
                variables.add(name)
                known = self._variables.get(name, self._defaults.get(name))
                # GraphQL takes 100.0 for an Int as well.
                if isinstance(known, int | float) and math.isfinite(known):
                    said.append(int(known))
        if said:
            return max(1, min(max(said), LARGEST)), frozenset(variables)
        if declares:
            defaults = [declared.args[name].default_value for name in declares]
            return max((one for one in defaults if isinstance(one, int)), default=UNSIZED), frozenset(variables)
        inner = get_named_type(declared.type)
        is_list = is_list_type(get_nullable_type(declared.type))
        # The rows of a connection were counted where its size stands.
        unsized = is_list and is_composite_type(inner) and not inner.name.endswith("Edge")
        return (UNSIZED if unsized else 1), frozenset()


def _interface_field(parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    fields: Mapping[str, GraphQLField] = getattr(parent, "fields", {})
    return fields.get(name)


EXCEEDED: Mapping[str, Text] = {
    "depth": Text("查询嵌套 {found} 层，最多 {limit} 层", "the query nests {found} levels, at most {limit}"),
    "introspection_depth": Text("自省查询嵌套 {found} 层，最多 {limit} 层", "the introspection nests {found} levels, at most {limit}"),
    "aliases": Text("查询有 {found} 个别名，最多 {limit} 个", "the query has {found} aliases, at most {limit}"),
    "fields": Text("查询有 {found} 个字段，最多 {limit} 个", "the query has {found} fields, at most {limit}"),
    "directives": Text("查询有 {found} 个指令，最多 {limit} 个", "the query has {found} directives, at most {limit}"),
    "cost": Text("查询的代价是 {found}，最多 {limit}；请减小 first 或少取几层", "the query costs {found}, at most {limit}: ask for smaller pages or fewer levels"),
}  # fmt: skip
TOO_NESTED = Text("查询的括号嵌套超过 {limit} 层", "the query nests its brackets more than {limit} deep")
NESTING = 200
"""Brackets within brackets at most: a parser that descends would run out of stack on more."""
_ASIDE = re.compile(r'"""(?:\\"""|(?!""").)*"""|"(?:\\.|[^"\\\n\r])*"|#[^\n\r]*', re.DOTALL)


def nesting(text: str) -> int:
    """How deep the brackets of a document nest, outside strings and comments."""
    deepest = depth = 0
    for character in _ASIDE.sub("", text):
        if character in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}])":
            depth -= 1
    return deepest


INTROSPECTION = Text("查看模式需要登录", "introspection needs a token: sign in first")


def first_excess(measure: Measure, limits: Limits, language: Language, *, signed_in: bool) -> GraphQLError | None:
    """The first limit that a measure exceeds, as the error that says so."""
    if measure.introspection_depth and not signed_in:
        return GraphQLError(INTROSPECTION.words(language), extensions={"code": ErrorCode.UNAUTHENTICATED.value})
    for name, text in EXCEEDED.items():
        found, limit = getattr(measure, name), getattr(limits, name)
        if found > limit:
            words = text.words(language).format(found=found, limit=limit)
            extensions = {
                "code": ErrorCode.TOO_COSTLY.value,
                "limit": name,
                "found": min(found, LARGEST),
                "allowed": limit,
            }
            return GraphQLError(words, extensions=extensions)
    return None


class Kept(Generic[V]):
    """A bounded memory in which the least recently used goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: Hashable) -> V | None:
        """The value of a key, if it is there."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def keep(self, key: Hashable, value: V) -> V:
        """Remember a value."""
        self._values[key] = value
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return value

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key, made if it is not there."""
        known = self.find(key)
        return self.keep(key, make()) if known is None else known
