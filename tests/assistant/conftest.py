"""A small company on each database, with a handful of knowledge."""

import pytest

from domain.kernel import Database
from tests.assistant.company import Company, build


@pytest.fixture
async def company(database: Database) -> Company:
    """The company, fresh for each test."""
    return await build(database)
