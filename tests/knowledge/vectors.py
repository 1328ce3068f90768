"""Passages without entries, for tests of what holds their vectors."""

from collections.abc import Iterable

from domain.kernel import Database
from tests.factories import execute


async def add_passages(database: Database, ids: Iterable[int]) -> None:
    """Passages of these numbers, in a PostgreSQL that does not ask for their entries."""
    rows = ", ".join(f"({number}, gen_random_uuid(), 1, 1, '', '段落', '{number:064x}')" for number in ids)
    if rows:
        columns = "number, item_id, version_number, position, title_path, text, content_hash"
        skip = "SET LOCAL session_replication_role = replica"
        await execute(database, skip, f"INSERT INTO passages ({columns}) VALUES {rows}")
