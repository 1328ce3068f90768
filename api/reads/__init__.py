"""Declared reads: a type of the schema says where its fields come from, and one set of resolvers serves them all."""

from api.reads.fields import (
    Money,
    batched,
    column,
    connection,
    derived,
    listing,
    load_one,
    load_ref,
    load_self,
    localized,
    looked_up,
    many,
    money,
    newest,
    part,
    to_any,
    to_one,
)
from api.reads.filters import contains, contains_in, equals, holds, matching, names, names_any, since, until
from api.reads.ids import PREFIXES, expect, global_id, id_of, read_id
from api.reads.lists import Connection, Edge, PageInfo, check_size
from api.reads.shapes import SHAPES, STAMPS, Node, Shape, Source, computed, node, roots, shape_of
from api.reads.sql import NOW, TODAY
from api.reads.view import Order, View, by

__all__ = [
    "NOW", "PREFIXES", "SHAPES", "STAMPS", "TODAY", "Connection", "Edge", "Money", "Node", "Order", "PageInfo", "Shape", "Source", "View", "batched", "by", "check_size", "column", "computed", "connection", "contains", "contains_in", "derived",
    "equals", "expect", "global_id", "holds", "id_of", "listing", "load_one", "load_ref", "load_self", "localized", "looked_up", "many", "matching", "money", "names", "names_any", "newest", "node", "part",
    "read_id", "roots", "shape_of", "since", "to_any", "to_one", "until",
]  # fmt: skip
