import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge.embedding import HashingEmbedder, ModelIdentity
from knowledge.generations import GenerationStore, Manifest
from knowledge.index import IndexDamagedError, IndexMismatchError, IndexMissingError, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.text import query_tokens, tokenise

TEXTS = ["客户说价格太高", "分期付款与续费折扣", "Renewal discount", "竞品对比与维保"]
EMBEDDER = HashingEmbedder(32)
IDENTITY = ModelIdentity.of(EMBEDDER)
CONTENTS = {number: hashlib.sha256(text.encode()).hexdigest() for number, text in enumerate(TEXTS)}


def built(count: int = 4) -> tuple[LexicalIndex, VectorIndex]:
    lexical, vectors = LexicalIndex({each: tokenise(TEXTS[each]) for each in range(count)}), VectorIndex(32)
    vectors.add(range(count), EMBEDDER.encode_documents(TEXTS[:count]))
    return lexical, vectors


def load(store: GenerationStore) -> tuple[Manifest, LexicalIndex, VectorIndex]:
    manifest = store.manifest()
    assert store.load_contents(manifest) == CONTENTS
    return manifest, store.load_lexical(manifest), store.load_vectors(manifest, IDENTITY)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    lexical, vectors = built()
    manifest = GenerationStore(tmp_path).save(7, CONTENTS, lexical, vectors, IDENTITY)
    return tmp_path / manifest.name


def rewrite_manifest(directory: Path, **fields: object) -> None:
    """Change the manifest as another version of the program would have written it: with sound checksums."""
    path, sums = directory / "manifest.json", directory / "SHA256SUMS"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    sums.write_text(sums.read_text().replace(old, hashlib.sha256(path.read_bytes()).hexdigest()))


def test_what_was_stored_comes_back(stored: Path) -> None:
    manifest, lexical, vectors = load(GenerationStore(stored.parent))
    assert (manifest.publication, manifest.passage_count, manifest.vector_count) == (7, 4, 4)
    assert manifest.model == IDENTITY
    assert lexical.search(query_tokens("价格"), 5).ids.tolist() == [0]
    assert vectors.search(EMBEDDER.encode_queries(["竞品对比与维保"])[0], 1).ids.tolist() == [3]


def test_words_alone_are_stored_while_there_are_no_vectors(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    store.save(1, CONTENTS, built()[0])
    assert len(store.load_lexical(store.manifest())) == 4
    with pytest.raises(IndexMissingError, match="no vectors"):
        store.load_vectors(store.manifest(), IDENTITY)


def test_nothing_stored_is_not_damage(tmp_path: Path) -> None:
    with pytest.raises(IndexMissingError):
        GenerationStore(tmp_path / "没有").manifest()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["manifest.json", "lexical.npz", "contents.npz", "vectors.faiss"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)
def test_any_flipped_byte_is_found(stored: Path, name: str, place: float, flip: int) -> None:
    path = stored / name
    sound = path.read_bytes()
    position = int(place * len(sound))
    path.write_bytes(sound[:position] + bytes([sound[position] ^ flip]) + sound[position + 1 :])
    with pytest.raises(IndexDamagedError, match=name):
        load(GenerationStore(stored.parent))
    path.write_bytes(sound)
    load(GenerationStore(stored.parent))


@pytest.mark.parametrize("name", ["manifest.json", "lexical.npz", "vectors.faiss", "SHA256SUMS"])
def test_a_truncated_or_absent_file_is_found(stored: Path, name: str) -> None:
    data = (stored / name).read_bytes()
    (stored / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(IndexDamagedError):
        load(GenerationStore(stored.parent))
    (stored / name).unlink()
    with pytest.raises(IndexDamagedError, match=name):
        load(GenerationStore(stored.parent))


@pytest.mark.parametrize(
    "text", ["", "generation-1", "../../etc/passwd", "generation-000000000009-0123456789abcdef", "é"]
)
def test_a_pointer_to_nowhere_is_found(stored: Path, text: str) -> None:
    (stored.parent / "ACTIVE").write_text(text, encoding="utf-8")
    with pytest.raises(IndexDamagedError):
        GenerationStore(stored.parent).manifest()


@pytest.mark.parametrize(
    "other",
    [
        ModelIdentity.of(HashingEmbedder(32, seed="another")),
        ModelIdentity.of(HashingEmbedder(64)),
        ModelIdentity("another name", IDENTITY.fingerprint, 32, {}),
        ModelIdentity(IDENTITY.model_id, IDENTITY.fingerprint, 32, {"query": "query: "}),
    ],
)
def test_another_model_is_found_even_of_the_same_dimension(stored: Path, other: ModelIdentity) -> None:
    store = GenerationStore(stored.parent)
    with pytest.raises(IndexMismatchError, match="was built by"):
        store.load_vectors(store.manifest(), other)
    assert len(store.load_lexical(store.manifest())) == 4


@pytest.mark.parametrize("fields", [{"tokeniser_version": "older"}, {"format": 0}])
def test_another_tokeniser_or_format_is_found(stored: Path, fields: dict[str, object]) -> None:
    rewrite_manifest(stored, **fields)
    with pytest.raises(IndexMismatchError, match=r"older|format 0"):
        GenerationStore(stored.parent).manifest()


@pytest.mark.parametrize("fields", [{"passage_count": 5}, {"vector_count": 3}])
def test_a_wrong_count_is_found(stored: Path, fields: dict[str, object]) -> None:
    rewrite_manifest(stored, **fields)
    with pytest.raises(IndexDamagedError, match="4"):
        load(GenerationStore(stored.parent))


def test_vectors_need_their_model(tmp_path: Path) -> None:
    lexical, vectors = built()
    store = GenerationStore(tmp_path)
    for model in (None, ModelIdentity.of(HashingEmbedder(64))):
        with pytest.raises(ValueError, match="model"):
            store.save(1, CONTENTS, lexical, vectors, model)
    assert list(tmp_path.iterdir()) == []


def test_the_old_generation_serves_until_the_new_one_is_whole(stored: Path) -> None:
    store = GenerationStore(stored.parent)
    (stored.parent / ".building-cut-off").mkdir()
    (stored.parent / "generation-000000000008-0000000000000000").mkdir()
    assert load(store)[0].publication == 7


def test_a_reader_of_the_last_generation_is_not_disturbed(stored: Path) -> None:
    store = GenerationStore(stored.parent)
    reading = store.manifest()
    store.save(8, CONTENTS, built(3)[0])
    assert len(store.load_vectors(reading, IDENTITY)) == 4
    assert store.manifest().publication == 8
    os.utime(stored, (0, 0))
    store.save(9, CONTENTS, built(2)[0])
    with pytest.raises(IndexDamagedError, match="gone"):
        store.load_lexical(reading)
    assert len(list(stored.parent.glob("generation-*"))) == 2


def test_storing_the_same_again_changes_nothing_and_repairs_damage(stored: Path) -> None:
    lexical, vectors = built()
    store = GenerationStore(stored.parent)
    before = (stored / "vectors.faiss").stat().st_ino
    store.save(7, CONTENTS, lexical, vectors, IDENTITY)
    assert (stored / "vectors.faiss").stat().st_ino == before
    (stored / "vectors.faiss").write_bytes(b"damaged")
    store.save(7, CONTENTS, lexical, vectors, IDENTITY)
    assert len(load(store)[2]) == 4


def test_what_a_crash_left_is_cleared_after_a_day(stored: Path) -> None:
    old, new = stored.parent / ".building-old", stored.parent / ".building-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    GenerationStore(stored.parent).save(8, CONTENTS, built(3)[0])
    assert not old.exists()
    assert new.exists()


def test_large_ids_survive(tmp_path: Path) -> None:
    ids = [2**62, 5]
    lexical, vectors = LexicalIndex(dict.fromkeys(ids, ("价",))), VectorIndex(32)
    vectors.add(np.array(ids), EMBEDDER.encode_documents(["甲", "乙"]))
    GenerationStore(tmp_path).save(1, CONTENTS, lexical, vectors, IDENTITY)
    _, lexical, vectors = load(GenerationStore(tmp_path))
    assert lexical.ids.tolist() == vectors.ids.tolist() == [5, 2**62]
