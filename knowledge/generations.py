"""Index generations on disk: written whole, checked whole, swapped at once; the database stays the truth."""

import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from knowledge.embedding import ModelIdentity
from knowledge.index import IndexDamagedError, IndexMismatchError, IndexMissingError, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.text import TOKENISER_VERSION

FORMAT: Final = 2
_ACTIVE: Final = "ACTIVE"
_MANIFEST: Final = "manifest.json"
_SUMS: Final = "SHA256SUMS"
_LEXICAL: Final = "lexical.npz"
_VECTORS: Final = "vectors.faiss"
_CONTENTS: Final = "contents.npz"
_BUILDING: Final = ".building-"
_NAME = re.compile(r"generation-\d{12}-[0-9a-f]{16}")
_KEPT_GENERATIONS: Final = 2
_ABANDONED_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a stored generation holds: of which publication number, by which tokeniser and, with vectors, which model."""

    name: str
    publication: int
    tokeniser_version: str
    passage_count: int
    vector_count: int
    model: ModelIdentity | None


class GenerationStore:
    """A directory of index generations, one of them active.

    Readers of an older generation are not disturbed: the one before the active is kept.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(
        self,
        publication: int,
        contents: Mapping[int, str],
        lexical: LexicalIndex,
        vectors: VectorIndex | None = None,
        model: ModelIdentity | None = None,
    ) -> Manifest:
        """Store both parts as a new generation and make it the active one; until that moment the old one serves.

        `contents` holds each passage's content hash (SHA-256 in hex): by it a reader knows its own passages again, which
        numbers alone do not prove where a database was restored or exchanged.

        Raises ValueError for vectors without their model, or of another dimension; OSError when the disk does not take it.
        """
        if (vectors is None) != (model is None) or (vectors and model and vectors.dimension != model.dimension):
            raise ValueError("vectors are stored with the model that made them")
        parts = {_LEXICAL: lexical.to_bytes(), _CONTENTS: _contents_bytes(contents)} | (
            {_VECTORS: vectors.to_bytes()} if vectors is not None else {}
        )
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts.values())).hexdigest()
        count = len(vectors) if vectors is not None else 0
        name = f"generation-{publication:012d}-{digest[:16]}"
        manifest = Manifest(name, publication, TOKENISER_VERSION, len(lexical), count, model)
        self._root.mkdir(parents=True, exist_ok=True)
        self._write(name, parts | {_MANIFEST: _manifest_bytes(manifest)})
        self._activate(name)
        self._drop_old(name)
        return manifest

    def manifest(self) -> Manifest:
        """The active generation.

        Raises IndexMissingError when there is none, IndexDamagedError, and IndexMismatchError for another tokeniser or format.
        """
        try:
            name = (self._root / _ACTIVE).read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError as error:
            raise IndexMissingError(f"no index generation in {self._root}") from error
        if not _NAME.fullmatch(name):
            raise IndexDamagedError(f"{self._root / _ACTIVE} names no generation: {name[:80]!r}")
        return _manifest_of(self._read(name, _MANIFEST), name)

    def load_contents(self, manifest: Manifest) -> dict[int, str]:
        """The content hash of each passage. Raises IndexDamagedError."""
        with np.load(io.BytesIO(self._read(manifest.name, _CONTENTS)), allow_pickle=False) as arrays:
            rows = zip(arrays["ids"].tolist(), arrays["digests"], strict=True)
            return {passage_id: digest.tobytes().hex() for passage_id, digest in rows}

    def load_lexical(self, manifest: Manifest) -> LexicalIndex:
        """The lexical part. Raises IndexDamagedError."""
        index = LexicalIndex.from_bytes(self._read(manifest.name, _LEXICAL))
        _expect_count(manifest.name, "passages", len(index), manifest.passage_count)
        return index

    def load_vectors(self, manifest: Manifest, model: ModelIdentity) -> VectorIndex:
        """The vector part, if this very model made it.

        Raises IndexMissingError when the generation has none, IndexMismatchError for another model, IndexDamagedError.
        """
        if manifest.model is None:
            raise IndexMissingError(f"{manifest.name} has no vectors")
        if manifest.model != model:
            raise IndexMismatchError(f"{manifest.name} was built by {manifest.model}, not by {model}")
        index = VectorIndex.from_bytes(self._read(manifest.name, _VECTORS))
        if index.dimension != model.dimension:
            raise IndexDamagedError(
                f"{manifest.name} holds vectors of dimension {index.dimension}, not {model.dimension}"
            )
        _expect_count(manifest.name, "vectors", len(index), manifest.vector_count)
        return index

    def _read(self, name: str, file_name: str) -> bytes:
        """A file of a generation, its bytes being those that were written."""
        directory = self._root / name
        try:
            sums = (directory / _SUMS).read_text(encoding="ascii", errors="replace")
            data = (directory / file_name).read_bytes()
        except FileNotFoundError as error:
            raise IndexDamagedError(f"{error.filename} is gone") from error
        if f"{hashlib.sha256(data).hexdigest()}  {file_name}" not in sums.splitlines():
            raise IndexDamagedError(f"{directory / file_name} is not what was written")
        return data

    def _write(self, name: str, files: Mapping[str, bytes]) -> None:
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {file_name}\n" for file_name, data in files.items())
        if self._holds(name, files):
            return
        building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=self._root))
        try:
            for file_name, data in {**files, _SUMS: sums.encode()}.items():
                _write_durably(building / file_name, data)
            # The name says what is inside, so a directory of that name which does not hold it is damaged.
            shutil.rmtree(self._root / name, ignore_errors=True)
            building.rename(self._root / name)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _holds(self, name: str, files: Mapping[str, bytes]) -> bool:
        try:
            return all(self._read(name, file_name) == data for file_name, data in files.items())
        except IndexDamagedError:
            return False

    def _activate(self, name: str) -> None:
        pointer = self._root / f".{_ACTIVE}-{name}"
        _write_durably(pointer, f"{name}\n".encode())
        pointer.replace(self._root / _ACTIVE)
        directory = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _drop_old(self, active: str) -> None:
        now = (self._root / _ACTIVE).stat().st_mtime
        for left in self._root.glob(f"{_BUILDING}*"):
            if now - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        others = [each for each in self._root.glob("generation-*") if each.name != active]
        newest_first = sorted(others, key=lambda each: each.stat().st_mtime, reverse=True)
        for old in newest_first[_KEPT_GENERATIONS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _contents_bytes(contents: Mapping[int, str]) -> bytes:
    ids = np.array(sorted(contents), np.int64)
    digests = np.frombuffer(bytes.fromhex("".join(contents[number] for number in ids.tolist())), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, ids=ids, digests=digests.reshape(len(ids), -1) if len(ids) else digests.reshape(0, 32))
    return buffer.getvalue()


def _manifest_bytes(manifest: Manifest) -> bytes:
    return json.dumps({"format": FORMAT} | asdict(manifest), ensure_ascii=False, indent=1, sort_keys=True).encode()


def _manifest_of(data: bytes, name: str) -> Manifest:
    fields: dict[str, Any] = json.loads(data)
    if (stored := fields.pop("format")) != FORMAT:
        raise IndexMismatchError(f"{name} has format {stored}, not {FORMAT}")
    if fields["tokeniser_version"] != TOKENISER_VERSION:
        raise IndexMismatchError(
            f"{name} was built by tokeniser {fields['tokeniser_version']}, not {TOKENISER_VERSION}"
        )
    model = ModelIdentity(**fields.pop("model")) if fields["model"] is not None else fields.pop("model")
    return Manifest(**fields, model=model)


def _expect_count(name: str, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise IndexDamagedError(f"{name} holds {found} {what}, not {expected}")


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
