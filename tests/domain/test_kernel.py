"""The unit of work on real databases: nothing changed unsaid, nothing half-written."""

from domain.kernel import Database, Role
from tests.factories import add_colleague, add_territories


async def test_smoke(database: Database) -> None:
    made = await add_territories(database)
    actor = await add_colleague(database, "张磊", Role.REP, territories=[made["east-china"]])
    assert actor.display_name == "张磊"
