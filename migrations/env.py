"""Runs inside Alembic: configures it for the connection that `migrations` opened."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Enum
from sqlalchemy.types import TypeEngine

from domain.kernel import Base, UtcDateTime
from migrations import import_models, objects


def _render(kind: str, item: object, autogenerating: AutogenContext) -> str | Literal[False]:
    """Keep the product's own types out of the steps: a step must run long after they have changed."""
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, Enum):
        return f"sa.String({item.length})"
    if isinstance(item, JSON):
        autogenerating.imports.add("from sqlalchemy.dialects import postgresql")
        return "sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), 'postgresql')"
    return False


def _same_type(
    _context: Any, _column: Any, _metadata_column: Any, inspected: TypeEngine[Any], declared: TypeEngine[Any]
) -> bool | None:
    """SQLite gives instants back as plain date-times; everything else is compared as usual."""
    return False if isinstance(declared, UtcDateTime) and inspected.python_type is declared.python_type else None


def _only_real(_context: object, _revision: object, directives: list[Any]) -> None:
    if directives[0].upgrade_ops.is_empty():
        directives.clear()


import_models()
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_type=_same_type,
    render_item=_render,
    include_name=objects.is_of_models,
    render_as_batch=connection.dialect.name == "sqlite",
    process_revision_directives=_only_real,
    on_version_apply=context.config.attributes.get("on_version_apply"),
)
context.run_migrations()
