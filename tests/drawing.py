"""Documents drawn from the schema by a seed: valid ones, with variables, of every kind that clients write."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_leaf_type,
)

SKIPPED = frozenset({
    "searchKnowledge", "contactability", "assistantMetrics", "verifyLedger", "jobs", "knowledgeCoverage", "knowledgeGaps", "staleKnowledge", "unusedKnowledge",
    "roiModel", "roiPreview", "battlecardSets", "exemplarMedia", "knowledgeDifference", "knowledgeIndex", "publicationPreview",
})  # fmt: skip
"""Fields that are left to the resolvers by design, and that no document asks for."""
SIZES = (1, 2, 3, 5)
HOSTILE = (
    "'; DROP TABLE accounts; --", '"', "\\", "%", "_", "100%", "${1}", "$1", "?1", ":x", "名称'或\"1\"=\"1", "😀", "a" * 300, "--", "/*", "\t\n",
)  # fmt: skip
ABSENT = ("", "nonsense", "acc_00000000000000000000000000000000", "opp_zz", "xxx_0000000000000000000000000000000a")


@dataclass
class World:
    """What documents can ask about: the ids and words in a database, and cursors of its lists."""

    ids: Sequence[str]
    words: Sequence[str]
    cursors: dict[str, list[str]] = field(default_factory=dict)
    """The cursors of a root's rows in its usual order, by the root."""


@dataclass(frozen=True)
class Drawn:
    """One document with its variables."""

    document: str
    variables: Mapping[str, Any]


class Drawing:
    """One document on its way."""

    def __init__(self, schema: GraphQLSchema, world: World, seed: int) -> None:
        self.random = random.Random(seed)
        self.schema = schema
        self.world = world
        self.definitions: list[str] = []
        self.fragments: list[str] = []
        self.variables: dict[str, Any] = {}
        self.aliases = 0

    def drawn(self) -> Drawn:
        """The document."""
        query: Any = self.schema.query_type
        roots = sorted(set(query.fields) - SKIPPED)
        chosen = self.random.sample(roots, self.random.choice((1, 1, 1, 2, 3)))
        parts = [self._field(name, query.fields[name], self.random.randint(1, 3), root=True) for name in chosen]
        if self._maybe(0.1):
            parts.append("__typename")
        head = f"query Drawn({', '.join(self.definitions)})" if self.definitions else "query Drawn"
        return Drawn(" ".join([head, "{", *parts, "}", *self.fragments]), self.variables)

    def _maybe(self, share: float) -> bool:
        return self.random.random() < share

    # ---- selections ----------------------------------------------------------------------------------------------

    def _alias(self) -> str:
        self.aliases += 1
        return f"a{self.aliases}"

    def _field(self, name: str, declared: GraphQLField, depth: int, *, root: bool = False, named: bool = False) -> str:
        kind = get_named_type(declared.type)
        # Two fields of one name and other arguments would be one field of the answer.
        aliased = bool(declared.args) or root or named or self._maybe(0.2)
        asked = f"{self._alias()}: {name}" if aliased else name
        asked += self._arguments(name, declared, root=root) + self._directive(0.05)
        return asked if is_leaf_type(kind) else f"{asked} {self._selection(kind, depth)}"

    def _selection(self, kind: Any, depth: int) -> str:
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            return self._abstract(kind, depth)
        parts = [self._one(kind, name, depth) for name in self._chosen(kind, depth)]
        if self._maybe(0.15) or not parts:
            parts.append("__typename")
        if len(parts) > 1 and self._maybe(0.15):
            parts.append(self._fragment(kind, parts.pop()))
        if self._maybe(0.1):
            # What is asked twice comes once.
            leaves = [name for name in kind.fields if is_leaf_type(get_named_type(kind.fields[name].type))]
            plain = [name for name in leaves if not kind.fields[name].args]
            parts += self.random.sample(plain, 1) * 2 if plain else []
        return "{ " + " ".join(parts) + " }"

    def _chosen(self, kind: GraphQLObjectType, depth: int) -> list[str]:
        names = [name for name in kind.fields if name not in SKIPPED]
        if kind.name.endswith("Connection"):
            return [name for name in names if name == "edges" or self._maybe(0.4)]
        if depth <= 0:
            names = [name for name in names if is_leaf_type(get_named_type(kind.fields[name].type))]
        return self.random.sample(names, min(len(names), self.random.randint(1, 5)))

    def _one(self, kind: GraphQLObjectType, name: str, depth: int, *, named: bool = False) -> str:
        deeper = depth if kind.name.endswith(("Connection", "Edge")) else depth - 1
        return self._field(name, kind.fields[name], deeper, named=named)

    def _abstract(self, kind: GraphQLInterfaceType | GraphQLUnionType, depth: int) -> str:
        possible = sorted(self.schema.get_possible_types(kind), key=lambda one: one.name)
        parts = ["__typename"]
        for one in self.random.sample(possible, min(len(possible), 3)):
            # Types of one place in the answer may not give one name to different things.
            fields = [self._one(one, name, depth, named=True) for name in self._chosen(one, depth)]
            parts.append(f"... on {one.name}{self._directive(0.1)} {{ {' '.join(fields or ['__typename'])} }}")
        if isinstance(kind, GraphQLInterfaceType):
            parts.append("id" if self._maybe(0.5) else "... on Node { id }")
        return "{ " + " ".join(parts) + " }"

    def _fragment(self, kind: GraphQLObjectType, part: str) -> str:
        if self._maybe(0.5):
            return f"... {self._directive(0.3)} {{ {part} }}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {kind.name} {{ {part} }}")
        return f"...{name}"

    def _directive(self, share: float) -> str:
        if not self._maybe(share):
            return ""
        word, wanted = self.random.choice(("skip", "include")), self._maybe(0.5)
        if self._maybe(0.5):
            return f" @{word}(if: ${self._variable('Boolean!', wanted)})"
        return f" @{word}(if: {str(wanted).lower()})"

    # ---- arguments -----------------------------------------------------------------------------------------------

    def _arguments(self, name: str, declared: GraphQLField, *, root: bool) -> str:
        given = dict(self._given(name, declared, root=root))
        return f"({', '.join(f'{key}: {words}' for key, words in given.items())})" if given else ""

    def _given(self, name: str, declared: GraphQLField, *, root: bool) -> Iterator[tuple[str, str]]:
        cursors = self.world.cursors.get(name, ()) if root and "after" in declared.args else ()
        begins = bool(cursors) and self._maybe(0.3)
        for key, argument in declared.args.items():
            needed = isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined
            if key == "after":
                if begins:
                    yield key, self._put(argument, self.random.choice(list(cursors)))
            elif key == "orderBy" and begins:
                continue
            elif key in {"first", "last"}:
                yield key, self._put(argument, self.random.choice(SIZES))
            elif needed or self._maybe(0.5):
                yield key, self._put(argument, self._value(argument.type, key))

    def _put(self, argument: GraphQLArgument, value: Any) -> str:
        """A value as a literal, or as a variable that holds it, has it as its default, is null or is not there."""
        if self._maybe(0.6):
            return self._literal(argument.type, value)
        if not isinstance(argument.type, GraphQLNonNull) and self._maybe(0.15):
            name = self._variable(str(argument.type), None)
            if self._maybe(0.5):
                del self.variables[name]
            return f"${name}"
        default = self._literal(argument.type, value) if self._maybe(0.2) else None
        name = self._variable(str(argument.type), value, default)
        if default is not None and self._maybe(0.5):
            del self.variables[name]
        return f"${name}"

    def _variable(self, kind: str, value: Any, default: str | None = None) -> str:
        name = f"v{len(self.definitions)}"
        self.definitions.append(f"${name}: {kind}" + (f" = {default}" if default is not None else ""))
        self.variables[name] = value
        return name

    def _value(self, kind: Any, name: str) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return self._value(kind.of_type, name)
        if isinstance(kind, GraphQLList):
            return [self._value(kind.of_type, name) for _ in range(self.random.randint(0, 3))]
        if isinstance(kind, GraphQLEnumType):
            return self.random.choice(sorted(kind.values))
        if isinstance(kind, GraphQLInputObjectType):
            return self._input(kind)
        if name == "currency":
            return self.random.choice(("CNY", "USD", "JPY"))
        month = self.random.randint(1, 12)
        plain = {
            "Boolean": self._maybe(0.5), "Int": self.random.randint(0, 90), "Decimal": str(self.random.randint(0, 3_000_000)),
            "DateTime": f"2026-{month:02}-11T08:30:00+08:00", "Date": f"2026-{month:02}-11",
            "ID": self.random.choice([*self.world.ids, *ABSENT]),
        }  # fmt: skip
        words = [*self.world.words, *self.world.words, *HOSTILE]
        return plain[kind.name] if kind.name in plain else self.random.choice(words)

    def _input(self, kind: GraphQLInputObjectType) -> dict[str, Any]:
        # Conditions on custom fields are looked up before they are asked, which one statement cannot.
        names = [name for name in kind.fields if name != "custom" or self._maybe(0.02)]
        needed = [name for name in names if isinstance(kind.fields[name].type, GraphQLNonNull)]
        chosen = {*needed, *self.random.sample(names, min(len(names), self.random.choice((0, 1, 1, 2))))}
        return {
            name: None if name not in needed and self._maybe(0.1) else self._value(kind.fields[name].type, name)
            for name in names
            if name in chosen
        }

    def _literal(self, kind: Any, value: Any) -> str:
        if isinstance(kind, GraphQLNonNull):
            return self._literal(kind.of_type, value)
        if value is None:
            return "null"
        if isinstance(kind, GraphQLList):
            return f"[{', '.join(self._literal(kind.of_type, one) for one in value)}]"
        if isinstance(kind, GraphQLInputObjectType):
            return (
                "{"
                + ", ".join(f"{name}: {self._literal(kind.fields[name].type, one)}" for name, one in value.items())
                + "}"
            )
        return str(value) if isinstance(kind, GraphQLEnumType) else orjson.dumps(value).decode()


def draw(schema: GraphQLSchema, world: World, seed: int) -> Drawn:
    """The document of a seed."""
    return Drawing(schema, world, seed).drawn()
