import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from knowledge import packaged_model
from knowledge.embedding import (
    Embedder,
    HashingEmbedder,
    ModelDirectory,
    ModelIdentity,
    ModelUnusableError,
    SentenceTransformerEmbedder,
    cpu_computes_bfloat16,
    resolve_model,
)
from knowledge.packaged_model import DIRECTORY_NAME, E5_PROMPTS, MODEL_ID, WeightsError, convert

CHINESE = [
    "客户说价格太高时，先认同，再算三年总拥有成本，最后谈分期。",
    "华东区 CT 设备交付周期为八周，安装与培训另需两周。",
    "设备坏了：工程师四小时响应，备件二十四小时到现场。",
    "客户资料只存放在采集地，不出境。",
]
ENGLISH = [
    "When the customer says the price is too high, agree first, then compute the three-year total cost.",
    "Delivery takes eight weeks, installation and training two more.",
    "When the equipment fails: an engineer answers within four hours.",
    "Data residency: customer records stay in the region where they were collected.",
]
QUESTIONS = [
    ("嫌贵，预算不够", 0),
    ("交付和安装要多久", 1),
    ("坏了谁来修", 2),
    ("数据会不会出境", 3),
    ("too expensive for us", 0),
    ("who repairs it when it breaks", 2),
    ("where is our data stored", 3),
]


@pytest.fixture(params=["model", "double"])
def any_embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "double":
        return HashingEmbedder()
    found: SentenceTransformerEmbedder = request.getfixturevalue("embedder")
    return found


def tiny(directory: Path) -> Path:
    """A directory that looks like a model's until it is loaded."""
    directory.mkdir(parents=True)
    (directory / "modules.json").write_text("[]")
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"no weights")
    return directory


def test_every_embedder_gives_unit_vectors_of_its_dimension(any_embedder: Embedder) -> None:
    for encode in (any_embedder.encode_queries, any_embedder.encode_documents):
        vectors = encode(["价格太高了", "Too expensive", "", "😀", "价" * 5000])
        assert vectors.shape == (5, any_embedder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert encode([]).shape == (0, any_embedder.dimension)


def test_the_order_of_documents_is_kept(any_embedder: Embedder) -> None:
    texts = [f"{'很长的段落' * (number % 7)} 第 {number} 段" for number in range(20)]
    together = any_embedder.encode_documents(texts)
    alone = np.concatenate([any_embedder.encode_documents([text]) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.995  # bfloat16 rounds a little differently beside longer texts


def test_the_double_is_the_same_everywhere_and_knows_shared_words() -> None:
    one, again, other = HashingEmbedder(), HashingEmbedder(), HashingEmbedder(seed="another")
    texts = ["价格太高了", "价格太高怎么办", "交付周期"]
    vectors = one.encode_documents(texts)
    assert np.array_equal(vectors, again.encode_queries(texts))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert ModelIdentity.of(one) == ModelIdentity.of(again) != ModelIdentity.of(other)
    assert one.dimension == other.dimension


@pytest.mark.parametrize("passages", [CHINESE, ENGLISH])
@pytest.mark.parametrize(("question", "best"), QUESTIONS)
def test_meaning_is_found_within_and_across_languages(
    embedder: SentenceTransformerEmbedder, question: str, best: int, passages: list[str]
) -> None:
    scores = embedder.encode_queries([question])[0] @ embedder.encode_documents(passages).T
    assert int(scores.argmax()) == best


def test_the_packaged_model_is_e5_with_its_prompts(
    embedder: SentenceTransformerEmbedder, model_directory: ModelDirectory
) -> None:
    assert (embedder.model_id, embedder.dimension, embedder.prompts) == (MODEL_ID, 384, E5_PROMPTS)
    assert embedder.fingerprint == model_directory.fingerprint
    text = "价格太高了"
    as_query, as_document = embedder.encode_queries([text])[0], embedder.encode_documents([text])[0]
    assert not np.allclose(as_query, as_document, atol=1e-3)
    settings = json.loads((model_directory.path / "config_sentence_transformers.json").read_text())
    assert settings["prompts"] == E5_PROMPTS


def test_a_converted_model_is_used_again(model_directory: ModelDirectory) -> None:
    home = model_directory.path.parents[1]
    written = (model_directory.path / "model.safetensors").stat().st_mtime_ns
    assert resolve_model(home) == model_directory
    assert (model_directory.path / "model.safetensors").stat().st_mtime_ns == written


def test_a_named_directory_comes_before_everything(model_directory: ModelDirectory, tmp_path: Path) -> None:
    found = resolve_model(tmp_path / "unused", directory=model_directory.path)
    assert (found.path, found.model_id) == (model_directory.path, DIRECTORY_NAME)
    assert found.fingerprint == model_directory.fingerprint
    assert not (tmp_path / "unused").exists()


def test_a_damaged_conversion_is_made_again(model_directory: ModelDirectory, tmp_path: Path) -> None:
    target = tmp_path / "model" / DIRECTORY_NAME
    shutil.copytree(model_directory.path, target)
    with (target / "model.safetensors").open("r+b") as file:
        file.seek(100_000_000)
        byte = file.read(1)
        file.seek(100_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ModelUnusableError, match=r"model\.safetensors"):
        resolve_model(tmp_path, directory=target)
    steps: list[tuple[int, int]] = []
    found = resolve_model(tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert found == ModelDirectory(target, MODEL_ID, model_directory.fingerprint)
    assert steps == [(done, 13) for done in range(1, 14)]
    assert [each.name for each in target.parent.iterdir()] == [DIRECTORY_NAME]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("modules.json", None, "modules.json"),
        ("model.safetensors", None, "model.safetensors"),
        ("config.json", b"{broken", "config.json"),
        ("config.json", b"\xff\xfe", "config.json"),
    ],
)
def test_a_broken_directory_is_named_in_both_languages(
    tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    directory = tiny(tmp_path / "模型")
    if data is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(data)
    with pytest.raises(ModelUnusableError) as caught:
        resolve_model(tmp_path, directory=directory)
    assert "模型目录已损坏" in caught.value.text.zh
    assert "is broken" in caught.value.text.en
    for text in (caught.value.text.zh, caught.value.text.en):
        assert str(directory) in text
        assert said in text


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError) as caught:
        resolve_model(tmp_path, directory=tmp_path / "没有")
    assert caught.value.text.zh == f"模型目录不存在：{tmp_path / '没有'}"


def test_weights_that_do_not_load_are_an_error_that_names_the_directory(tmp_path: Path) -> None:
    directory = resolve_model(tmp_path, directory=tiny(tmp_path / "坏"))
    with pytest.raises(ModelUnusableError, match="坏"):
        SentenceTransformerEmbedder(directory)


def test_other_weights_than_the_pinned_ones_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"E5S1" + b"\0" * 1000)
    (tmp_path / "out").mkdir()
    with pytest.raises(WeightsError, match=packaged_model.WEIGHTS_SHA256):
        convert(tmp_path / "weights.bin", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError) as caught:
        resolve_model(tmp_path, name="example/absent-e5")
    for text in (caught.value.text.zh, caught.value.text.en):
        assert "example/absent-e5" in text
        assert "SORTIE_EMBEDDING_DIRECTORY" in text
    assert list((tmp_path / "model").iterdir()) == []


def test_a_query_does_not_wait_for_all_documents(embedder: SentenceTransformerEmbedder) -> None:
    texts = [f"{CHINESE[number % 4]} 第 {number} 段" for number in range(96)]
    embedder.encode_queries(["预热"])
    started = threading.Event()
    documents_done: list[float] = []

    def encode() -> None:
        started.set()
        assert embedder.encode_documents(texts).shape == (96, 384)
        documents_done.append(time.monotonic())

    thread = threading.Thread(target=encode)
    thread.start()
    started.wait()
    for number in range(3):
        embedder.encode_queries([f"价格太高 {number}"])
    queries_done = time.monotonic()
    thread.join()
    assert queries_done < documents_done[0]


@pytest.mark.parametrize(
    ("flags", "has"),
    [("fma avx512_bf16 sse2", True), ("amx_bf16 amx_tile", True), ("avx512f avx2", False), (None, False)],
)
def test_which_processors_compute_bfloat16(tmp_path: Path, flags: str | None, has: bool) -> None:
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor : 0\nflags : {flags}\n")
    assert cpu_computes_bfloat16(info) is has
