"""Documents nobody thought of: twenty of Q2's size, drawn from the schema by a seed, and what a row of each costs beside a row of Q2."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    NameNode,
    SelectionSetNode,
    Visitor,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    parse,
    print_ast,
    visit,
)
from rich import box
from rich.table import Table

from bench.cells import Cell, Target, answers
from bench.operations import OPERATIONS, Deal

COUNT, SEED, ASKED, NESTED, DEPTH = 20, 20_261_123, 50, 3, 2
SIZES, AT_MOST, TRIES, SECONDS, LONGEST = (0.5, 2.0), 1.5, 600, 2, 120
"""How many of Q2's rows an answer has, at least and at most; how many times Q2's processor time a row may cost."""
SKIPPED = frozenset({"searchKnowledge", "contactability", "assistantMetrics", "verifyLedger"})
ROW = "row__"
SCHEMA = Path(__file__).parent.parent / "api" / "schema.graphql"


@dataclass(frozen=True)
class Drawn:
    """One drawn document: its rows, and the processor time a row in µs, of the server and with PostgreSQL."""

    document: str
    rows: float
    row_us: float
    whole_us: float


class Drawing:
    """Documents of one seed: a connection of the root with fifty rows, some columns, some relations, some short lists."""

    def __init__(self, schema: GraphQLSchema, seed: int) -> None:
        self._random = random.Random(seed)
        query = schema.query_type
        self._roots = sorted(name for name in query.fields if self._pages(query.fields[name])) if query else []
        self._query: Any = query

    def document(self) -> str:
        """The next document."""
        name = self._random.choice(self._roots)
        return f"{{ {name}(first: {ASKED}) {self._page(get_named_type(self._query.fields[name].type), DEPTH)} }}"

    @staticmethod
    def _pages(field: GraphQLField) -> bool:
        required = [name for name, argument in field.args.items() if is_required_argument(argument)]
        return get_named_type(field.type).name.endswith("Connection") and not required

    def _page(self, connection: Any, depth: int) -> str:
        node = get_named_type(get_named_type(connection.fields["edges"].type).fields["node"].type)
        return f"{{ edges {{ node {self._selection(node, depth)} }} }}"

    def _selection(self, type: Any, depth: int) -> str:
        fields = {name: field for name, field in type.fields.items() if self._takes(name, field)}
        leaves = [name for name in fields if is_leaf_type(get_named_type(fields[name].type))]
        others = [name for name in fields if name not in leaves] if depth else []
        chosen = self._random.sample(leaves, min(len(leaves), self._random.randint(2, 6)))
        chosen += self._random.sample(others, min(len(others), self._random.randint(1, 3)))
        return "{ " + " ".join(self._field(name, fields[name], depth - 1) for name in chosen) + " }"

    def _field(self, name: str, field: GraphQLField, depth: int) -> str:
        size = next((f"({word}: {NESTED})" for word in ("first", "last") if word in field.args), "")
        of: Any = get_named_type(field.type)
        if is_leaf_type(of):
            return name
        return f"{name}{size} " + (
            self._page(of, depth) if of.name.endswith("Connection") else self._selection(of, depth)
        )

    @staticmethod
    def _takes(name: str, field: GraphQLField) -> bool:
        of = get_named_type(field.type)
        whole = is_leaf_type(of) or isinstance(of, GraphQLObjectType)
        return whole and name not in SKIPPED and not any(map(is_required_argument, field.args.values()))


# ---- rows ------------------------------------------------------------------------------------------------------------


class _Typed(Visitor):
    """Has every selection say its type."""

    def enter_selection_set(self, node: SelectionSetNode, *_rest: Any) -> SelectionSetNode:
        """Ask for it beside what is asked."""
        asked = FieldNode(alias=NameNode(value=ROW), name=NameNode(value="__typename"), arguments=(), directives=())
        return SelectionSetNode(selections=(*node.selections, asked))


def _types(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        if ROW in data:
            yield data[ROW]
        data = list(data.values())
    for value in data if isinstance(data, list) else ():
        yield from _types(value)


def _rows(target: Target, token: str, document: str, variables: dict[str, Any], records: frozenset[str]) -> int | None:
    """How many records an answer has; None for no whole answer."""
    typed = print_ast(visit(parse(document), _Typed()))
    ((status, found),) = answers(target, [(token, orjson.dumps({"query": typed, "variables": variables}))])
    if status != 200 or found.get("errors"):
        return None
    return sum(name in records for name in _types(found["data"]))


# ---- cost ------------------------------------------------------------------------------------------------------------


def measure(
    target: Target, token: str, deals: Sequence[Deal], folder: Path, seed: int = SEED
) -> tuple[Drawn, list[Drawn]]:
    """Q2, and as many drawn documents of its size; one connection asks, so that nothing is shared.

    Raises RuntimeError where the schema yields too few.
    """
    schema = build_schema(SCHEMA.read_text(encoding="utf-8"))
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)  # noqa: S101 - the schema says so
    records = frozenset(type.name for type in schema.get_implementations(node).objects)
    usual = next(one for one in OPERATIONS if one.name == "Q2")
    lines = list(usual.lines(deals, lambda _: token))
    sizes = [_rows(target, token, usual.ours, orjson.loads(body)["variables"], records) for _, body in lines[:20]]
    rows = sum(size or 0 for size in sizes) / len(sizes)
    q2 = _cost(Cell(target, lines, usual.our_answer, connections=1), usual.ours, rows, folder)
    drawing, found = Drawing(schema, seed), list[Drawn]()
    for _ in range(TRIES):
        document = drawing.document()
        size = _rows(target, token, document, {}, records)
        if size is not None and SIZES[0] * rows <= size <= SIZES[1] * rows:
            line = (token, orjson.dumps({"query": document, "variables": {}}))
            found.append(_cost(Cell(target, [line], lambda data: data, connections=1), document, size, folder))
        if len(found) == COUNT:
            return q2, found
    raise RuntimeError(f"{len(found)} documents of Q2's size in {TRIES}")


def _cost(cell: Cell, document: str, rows: float, folder: Path) -> Drawn:
    cell.warm_up(1, folder)
    cell.run(SECONDS, folder)
    row_us, database_us = cell.median("cpu_us") / rows, cell.median("database_us") / rows
    return Drawn(document, rows, row_us, row_us + database_us)


def printed(q2: Drawn, drawn: Sequence[Drawn], seed: int = SEED) -> Table:
    """The documents as a table, the dearest row first."""
    columns = ("document", "rows", "server CPU µs a row", "× Q2", "with PostgreSQL µs a row", "× Q2")
    table = Table(*columns, box=box.SIMPLE, title=f"Documents drawn by seed {seed}")
    for one in (q2, *sorted(drawn, key=lambda one: -one.row_us)):
        shown = "Q2" if one is q2 else " ".join(one.document.split())[:LONGEST]
        table.add_row(
            shown, f"{one.rows:.0f}", f"{one.row_us:.2f}", f"{one.row_us / q2.row_us:.2f}", f"{one.whole_us:.2f}", f"{one.whole_us / q2.whole_us:.2f}",
        )  # fmt: skip
    return table


def shortfalls(q2: Drawn, drawn: Sequence[Drawn]) -> list[str]:
    """The documents whose rows cost more than is allowed."""
    dear = [one for one in drawn if one.row_us > AT_MOST * q2.row_us]
    return [f"{one.row_us / q2.row_us:.2f} times Q2's cost a row, {AT_MOST} allowed: {one.document}" for one in dear]
