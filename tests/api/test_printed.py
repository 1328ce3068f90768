"""What is committed beside the schema is what it is."""

import pytest

from api.printed import ACCESS_FILE, SCHEMA_FILE, access_table, printed_schema
from api.reads import PREFIXES, SHAPES, Shape
from domain.kernel import declared

AGAIN = "changed: run `python -m api.printed` and look at the difference"
EACH = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))


def test_the_committed_schema_is_the_schema() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == printed_schema(), AGAIN


def test_the_committed_access_table_is_the_declared_access() -> None:
    assert ACCESS_FILE.read_text(encoding="utf-8") == access_table(), AGAIN


@EACH
def test_each_column_is_shown_or_named_as_hidden(shape: Shape) -> None:
    columns = {column.name for column in shape.model.__table__.columns} - {"id"}
    shown = {column for source in shape.sources for column in source.columns}
    assert columns - shown - shape.hidden == set(), "say in the type what to do with these columns"
    assert shape.hidden - columns == set(), "hidden, and not there"


@EACH
def test_each_field_that_may_be_withheld_is_listed_for_some_role(shape: Shape) -> None:
    assert set(shape.withheld) - declared(shape.model).all_fields() == set(), "nobody would ever see these"


@EACH
def test_each_node_has_a_prefix_of_its_own(shape: Shape) -> None:
    assert not shape.is_node or shape.entity in PREFIXES
    assert len(set(PREFIXES.values())) == len(PREFIXES)
