"""Embedders: texts become unit vectors, by the model that the installation has."""

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from domain.kernel import Text, Unavailable
from knowledge import packaged_model
from knowledge.packaged_model import E5_PROMPTS, MODEL_ID, Progress, WeightsError
from knowledge.text import tokenise

Floats = npt.NDArray[np.float32]

CHUNK: Final = 4
"""Documents encoded between two looks at waiting queries: some 0.1 CPU seconds; one at a time costs a third more."""

_SUMS: Final = "SHA256SUMS"
_PROMPTS_FILE: Final = "config_sentence_transformers.json"
_FILES_THAT_COUNT: Final = (".json", ".safetensors", ".bin", ".txt", ".model")
_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


class ModelUnusableError(Unavailable):
    """An embedding model that is missing or broken; search goes on by words alone."""


class Embedder(Protocol):
    """A model that turns texts into unit vectors, safe to call from any thread."""

    @property
    def model_id(self) -> str:
        """Its name for people."""

    @property
    def fingerprint(self) -> str:
        """A digest of its files: vectors can be compared when this is equal, and only then."""

    @property
    def dimension(self) -> int:
        """Components of a vector."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """What it puts before a text, by kind: query, document."""

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of queries, float32 (n, dimension)."""

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of passages, float32 (n, dimension)."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What is stored beside vectors to know their model again; an equal dimension alone proves nothing."""

    model_id: str
    fingerprint: str
    dimension: int
    prompts: Mapping[str, str]

    @classmethod
    def of(cls, embedder: Embedder) -> "ModelIdentity":
        """The identity of a loaded model."""
        return cls(embedder.model_id, embedder.fingerprint, embedder.dimension, dict(embedder.prompts))


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """A sentence-transformers directory whose files were read through: the fingerprint is a digest of them all."""

    path: Path
    model_id: str
    fingerprint: str


def resolve_model(
    home: Path, directory: Path | None = None, name: str = MODEL_ID, progress: Progress | None = None
) -> ModelDirectory:
    """The model to use: the given directory; else the packaged weights, converted once below `home`; else the hub's `name`.

    Raises ModelUnusableError, which says what was tried and what to do.
    """
    if directory is not None:
        return _read_through(directory, directory.name)
    reason = f"{name} is not the packaged {MODEL_ID}"
    if name == MODEL_ID:
        try:
            return _packaged(home / "model" / packaged_model.DIRECTORY_NAME, progress)
        except WeightsError as error:
            reason = str(error)
    try:
        return _from_hub(home / "model" / name.replace("/", "--"), name)
    except (OSError, ValueError, RuntimeError) as error:  # every error of the hub's client is one of these
        zh = f"没有可用的向量模型：{reason}；从模型库下载 {name} 失败：{error}。请用 SORTIE_EMBEDDING_DIRECTORY 指定模型目录。"
        en = (
            f"no embedding model: {reason}; fetching {name} from the hub failed: {error}. "
            "Name a model directory by SORTIE_EMBEDDING_DIRECTORY."
        )
        raise ModelUnusableError(Text(zh, en)) from error


class SentenceTransformerEmbedder:
    """A model directory loaded into memory, in bfloat16 where the processor computes it.

    Prompts ("query: ", "passage: " for E5) are the directory's own. Queries go before documents that another thread encodes.
    """

    def __init__(self, directory: ModelDirectory) -> None:
        self._turns = _Turns()
        try:
            self._model = _load(directory.path)
            self.dimension = int(self._model.get_embedding_dimension())
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise _broken(directory.path, str(error)) from error
        self.model_id, self.fingerprint = directory.model_id, directory.fingerprint
        self.prompts = {kind: text for kind, text in sorted(self._model.prompts.items()) if text}

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of queries, float32 (n, dimension)."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        with self._turns.first():
            return _unit(self._model.encode_query(list(texts), show_progress_bar=False))

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of passages, float32 (n, dimension)."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(texts), CHUNK):
            places = by_length[start : start + CHUNK]
            with self._turns.after_others():
                encoded = self._model.encode_document([texts[place] for place in places], show_progress_bar=False)
            vectors[places] = _unit(encoded)
        return vectors


class HashingEmbedder:
    """A small deterministic double: a text's tokens hashed into a unit vector, so that shared words mean nearness."""

    def __init__(self, dimension: int = 64, seed: str = "") -> None:
        self.model_id, self.dimension = f"hashing-{dimension}", dimension
        self.fingerprint = hashlib.sha256(f"hashing/1/{dimension}/{seed}".encode()).hexdigest()
        self.prompts: dict[str, str] = {}
        self._seed = seed

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of queries, float32 (n, dimension)."""
        return self.encode_documents(texts)

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of passages, float32 (n, dimension)."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for token in tokenise(text) or [""]:
                number = int.from_bytes(hashlib.blake2b(f"{self._seed}{token}".encode(), digest_size=8).digest())
                row[(number >> 1) % len(row)] += 1 if number & 1 else -1
            if not row.any():  # every token met its opposite
                row[0] = 1
        return _unit(vectors)


class _Turns:
    """One user at a time: who asks by first() waits for a chunk or two of those who ask by after_others(), never for all of them."""

    def __init__(self) -> None:
        self._busy, self._next, self._patient = threading.Lock(), threading.Lock(), threading.Lock()

    @contextmanager
    def first(self) -> Iterator[None]:
        with self._next:
            self._busy.acquire()
        try:
            yield
        finally:
            self._busy.release()

    @contextmanager
    def after_others(self) -> Iterator[None]:
        with self._patient, self.first():
            yield


def _unit(vectors: Any) -> Floats:
    array = np.asarray(vectors, np.float32)
    unit: Floats = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def _load(path: Path) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Torch's threads spin while they wait for each other: on a busy machine two took up to 30 times as long as one.
    torch.set_num_threads(1)
    kind = torch.bfloat16 if cpu_computes_bfloat16() else torch.float32
    return SentenceTransformer(str(path), device="cpu", local_files_only=True, model_kwargs={"dtype": kind})


def cpu_computes_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for bfloat16; elsewhere it is emulated and slower than float32."""
    try:
        flags = cpu_info.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def _packaged(target: Path, progress: Progress | None) -> ModelDirectory:
    if target.is_dir():
        try:
            return _read_through(target, MODEL_ID, sums_needed=True)
        except ModelUnusableError:
            shutil.rmtree(target)
    with _appearing(target) as building:
        packaged_model.convert(packaged_model.find_weights(), building, progress)
        sums = "".join(f"{digest}  {name}\n" for name, digest in _digests(building).items())
        (building / _SUMS).write_text(sums, encoding="utf-8")
    return _read_through(target, MODEL_ID)


def _from_hub(target: Path, name: str) -> ModelDirectory:
    if not target.is_dir():
        from huggingface_hub import snapshot_download

        with _appearing(target) as building:
            snapshot_download(name, local_dir=building, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
            _give_prompts(building, name)
    return _read_through(target, name)


def _give_prompts(directory: Path, name: str) -> None:
    """E5 was trained with prompts that its older directories do not carry."""
    path = directory / _PROMPTS_FILE
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "e5" in name.lower() and not settings.get("prompts"):
        path.write_text(json.dumps(settings | {"prompts": E5_PROMPTS}, ensure_ascii=False, indent=1), encoding="utf-8")


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory to fill that becomes `target` at the end, unless another process has been faster."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        yield building
        try:
            building.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _read_through(path: Path, model_id: str, *, sums_needed: bool = False) -> ModelDirectory:
    """The directory with its fingerprint.

    Raises ModelUnusableError when it is no model directory, a setting in it is not JSON, or a file is not what was written.
    """
    if not path.is_dir():
        raise ModelUnusableError(Text(f"模型目录不存在：{path}", f"there is no model directory {path}"))
    if not (path / "modules.json").is_file() or not any((path / name).is_file() for name in _WEIGHTS):
        raise _broken(path, f"modules.json or {_WEIGHTS[0]} is missing")
    digests = _digests(path)
    for name in digests:
        if name.endswith(".json"):
            try:
                json.loads((path / name).read_bytes())
            except ValueError as error:
                raise _broken(path / name, f"not JSON: {error}") from error
    if sums_needed or (path / _SUMS).is_file():
        sums = path / _SUMS
        lines = sums.read_text(encoding="utf-8", errors="replace").splitlines() if sums.is_file() else []
        stated = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if changed := sorted(name for name in stated | digests if stated.get(name) != digests.get(name)):
            raise _broken(path, f"not what was written: {', '.join(changed)}")
    fingerprint = hashlib.sha256(
        "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()
    ).hexdigest()
    return ModelDirectory(path, model_id, fingerprint)


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of each file that shapes the vectors, by its name inside the directory."""
    digests = {}
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if (
            file.suffix in _FILES_THAT_COUNT
            and file.is_file()
            and inside.parts[0] not in {"onnx", "openvino", ".cache"}
        ):
            with file.open("rb") as stream:
                digests[inside.as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def _broken(path: Path, reason: str) -> ModelUnusableError:
    return ModelUnusableError(
        Text(f"模型目录已损坏：{path}（{reason}）", f"the model directory {path} is broken: {reason}")
    )
