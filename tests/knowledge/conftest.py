"""The real embedding model, converted once into the repository's ignored state directory."""

import os
from pathlib import Path

import pytest

from knowledge.embedding import ModelDirectory, SentenceTransformerEmbedder, resolve_model

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def model_directory() -> ModelDirectory:
    return resolve_model(Path(os.environ.get("SORTIE_HOME") or REPOSITORY / "var"))


@pytest.fixture(scope="session")
def embedder(model_directory: ModelDirectory) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(model_directory)
