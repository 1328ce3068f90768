"""Compiled pages: the edges of a connection, where its page stands, and how many rows there are."""

from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLObjectType,
)
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    case,
    func,
    literal,
    literal_column,
    select,
)

from api.reads import sql
from api.reads.compiling.base import Base
from api.reads.compiling.pieces import NULL, Piece, Row, between, finish_list, object_type, one
from api.reads.view import Order, View


class Page:
    """One page of a connection on its way into the statement."""

    def __init__(
        self,
        compiler: Base,
        declared: GraphQLField,
        details: list[FieldDetails],
        order: Order,
        first: int,
        *,
        begins_after: bool,
    ) -> None:
        self.compiler = compiler
        self.kind: GraphQLObjectType = object_type(declared)
        self.fields = compiler.below(self.kind, details)
        self.named = {details[0].node.name.value for details in self.fields.values()}
        self.order = order
        self.first = first
        self.begins_after = "true" if begins_after else "false"
        self.number: ColumnElement[int] = literal_column("NULL")

    @property
    def numbered(self) -> bool:
        """Whether the rows need numbers: one more than the page is read then, which says whether there is more."""
        return "pageInfo" in self.named

    def empty(self) -> Piece:
        """A page of nothing."""
        nothing = {"hasNextPage": "false", "hasPreviousPage": self.begins_after, "startCursor": NULL, "endCursor": NULL}

        def write(_key: str, details: list[FieldDetails]) -> Piece:
            name = details[0].node.name.value
            if name != "pageInfo":
                return Piece(sql.quoted("0" if name == "totalCount" else "[]"))
            info = object_type(self.kind.fields[name])
            return self.compiler.fields(
                info,
                self.compiler.below(info, details),
                lambda _key, found: Piece(sql.quoted(nothing[found[0].node.name.value])),
            )

        return self.compiler.fields(self.kind, self.fields, write)

    def compiled(
        self,
        raw: View,
        chosen: Callable[..., Select[Any]],
        shown: Callable[[FromClause], Row],
        total: Callable[[], ColumnElement[str]],
    ) -> Piece:
        """The rows of the page, where it stands and how many rows there are, as far as they are asked for."""
        numbers = []
        if self.numbered:
            numbers.append(func.row_number().over(order_by=raw.order_by(self.order)).label("row_number"))
        inner = chosen(self.first + self.numbered, *numbers).subquery()
        row = shown(inner)
        if self.numbered:
            self.number = inner.c.row_number

        def write(_key: str, details: list[FieldDetails]) -> Piece:
            declared = self.kind.fields[details[0].node.name.value]
            match details[0].node.name.value:
                case "edges":
                    return self._edges(declared, details, row, numbered=self.numbered)
                case "pageInfo":
                    return self._page_info(declared, details, row)
                case _:
                    return Piece(total())

        piece = self.compiler.fields(self.kind, self.fields, write)
        if not self._asks_for_rows():
            return piece
        return Piece(select(piece.text).select_from(inner).correlate_except(inner).scalar_subquery(), piece.finish)

    def _asks_for_rows(self) -> bool:
        """Whether anything that is asked for is made of the page's rows; what is not must not be said once a row."""
        if "edges" in self.named:
            return True
        infos = [found for found in self.fields.values() if found[0].node.name.value == "pageInfo"]
        asked = [self.compiler.below(object_type(self.kind.fields["pageInfo"]), found) for found in infos]
        named = {found[0].node.name.value for fields in asked for found in fields.values()}
        return bool(named - {"hasPreviousPage", "__typename"})

    def _edges(self, declared: GraphQLField, details: list[FieldDetails], row: Row, *, numbered: bool) -> Piece:
        kind = object_type(declared)

        def write(_key: str, found: list[FieldDetails]) -> Piece:
            if found[0].node.name.value == "cursor":
                return Piece(sql.in_quotes(self._place(row.view)))
            inner = object_type(kind.fields["node"])
            return self.compiler.object(inner, found, row)

        piece = self.compiler.fields(kind, self.compiler.below(kind, details), write)
        text = case((self.number <= self.first, piece.text)) if numbered else piece.text
        listed = sql.join("[", func.coalesce(sql.list_of(text), ""), "]")
        return Piece(listed, finish_list(piece.finish))

    def _page_info(self, declared: GraphQLField, details: list[FieldDetails], row: Row) -> Piece:
        kind = object_type(declared)
        place = self._place(row.view)
        numbered = sql.join(sql.whole(literal(10**6, Integer()) + self.number), place)
        last = func.substr(func.max(case((self.number <= self.first, numbered))), 8)
        begin = func.max(case((self.number == 1, place)))
        words: dict[str, ColumnElement[str]] = {
            "hasNextPage": sql.truth(func.count() > self.first),
            "hasPreviousPage": sql.quoted(self.begins_after),
            "startCursor": func.coalesce(sql.in_quotes(begin), NULL),
            "endCursor": func.coalesce(sql.in_quotes(last), NULL),
        }
        fields = self.compiler.below(kind, details)
        return self.compiler.fields(kind, fields, lambda _key, found: Piece(words[found[0].node.name.value]))

    def _place(self, view: View) -> ColumnElement[str]:
        """The row's cursor, as `write_cursor` writes it."""
        values = [sql.bare(view.column(key.column)) for key in self.order.keys]
        return sql.cursor_of(sql.join(f'["{self.order.words}",', *between(",", values), "]"))

    @staticmethod
    def total(table: FromClause, asked: list[ColumnElement[bool]]) -> ColumnElement[str]:
        """How many rows there are on all pages."""
        return one(sql.whole(func.count()), table, *asked)
