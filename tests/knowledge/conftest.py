"""The real embedding model, converted once into the repository's ignored state directory; a filled library."""

import os
from pathlib import Path

import pytest

from domain.kernel import Database, Role
from knowledge import Library
from knowledge.embedding import ModelDirectory, SentenceTransformerEmbedder, resolve_model
from tests.factories import add_colleague
from tests.knowledge.shelf import Shelf

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def model_directory() -> ModelDirectory:
    return resolve_model(Path(os.environ.get("SORTIE_HOME") or REPOSITORY / "var"))


@pytest.fixture(scope="session")
def embedder(model_directory: ModelDirectory) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(model_directory)


@pytest.fixture
async def shelf(database: Database) -> Shelf:
    curator, second = [await add_colleague(database, name, Role.CURATOR) for name in ("赵宇", "徐兰")]
    made = Shelf(database, curator, second, await add_colleague(database, "张磊", Role.REP), Library(database))
    await made.fill()
    return made
