"""The measuring of retrieval: figures against values worked out by hand, sets that cannot be read, the command whole."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from domain.kernel import Invalid
from knowledge.embedding import Embedder, HashingEmbedder, ModelDirectory
from knowledge.evaluation import METHODS, Question, encode, evaluate, ndcg, read_set, reciprocal_rank
from knowledge.text import PASSAGE_WORD_LIMIT, pieces, word_count
from tests.installation import Home

DOCUMENTS = {
    "价格": "客户说价格太高时，先认同，再算三年总拥有成本，最后谈分期。",
    "交付": "华东区 CT 设备交付周期为八周，安装与培训另需两周。",
    "维修": "设备坏了：工程师四小时响应，备件二十四小时到现场。",
    "出境": "客户资料只存放在采集地，不出境。",
    "price": "When the customer says the price is too high, agree first, then compute the three-year total cost.",
    "repair": "When the equipment fails: an engineer answers within four hours.",
}
QUESTIONS: list[dict[str, Any]] = [
    {"id": "1", "text": "嫌贵，预算不够", "rel": {"价格": 2, "price": 1}},
    {"id": "2", "text": "机器停了谁来修", "rel": {"维修": 1}},
    {"id": "3", "text": "where is our data stored", "rel_set": "data"},
    {"id": "4", "text": "没有答案的问题", "rel": {"没有": 1}},
    {"id": "5", "text": "没标注"},
]


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Documents, questions, and the lists that questions name."""
    sets = tmp_path / "sets.json"
    sets.write_text('{"data": ["出境"]}', encoding="utf-8")
    documents = [{"id": id, "text": text} for id, text in DOCUMENTS.items()]
    return [lines(tmp_path / "docs.jsonl", documents), lines(tmp_path / "queries.jsonl", QUESTIONS), sets]


def test_gain_is_discounted_by_place_and_divided_by_the_best_order() -> None:
    relevant = {"甲": 2.0, "乙": 1.0}
    assert ndcg(["甲", "乙", "丙"], relevant) == 1
    assert ndcg(["丙", "丁"], relevant) == 0
    best = 2 + 1 / math.log2(3)
    assert ndcg(["丙", "乙", "甲"], relevant) == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / best)
    assert ndcg([*"abcdefghij", "甲"], relevant) == 0
    many = {str(number): 1.0 for number in range(30)}
    assert ndcg([str(number) for number in range(10)], many) == 1


def test_the_reciprocal_rank_is_of_the_first_that_answers() -> None:
    assert reciprocal_rank(["丙", "乙", "甲"], {"甲": 1, "乙": 1}) == 0.5
    assert reciprocal_rank([*list("abcdefghij"), "甲"], {"甲": 1}) == 0


def test_a_set_is_read_with_its_lists(files: list[Path]) -> None:
    judged = read_set(*files)
    assert list(judged.documents) == list(DOCUMENTS)
    assert judged.questions[0] == Question("1", "嫌贵，预算不够", {"价格": 2.0, "price": 1.0})
    assert [dict(one.relevant) for one in judged.questions[1:]] == [{"维修": 1.0}, {"出境": 1.0}]
    assert judged.unjudged == 2


@pytest.mark.parametrize("sets", ['{"id": "data", "rel": {"出境": 3, "价格": 0}}', '{"data": {"出境": 3, "价格": 0}}', '{"id": "data", "rel": [["出境", 3]]}\n{"id": "other", "rel": []}'])  # fmt: skip
def test_lists_come_in_several_forms(files: list[Path], sets: str) -> None:
    files[2].write_text(sets, encoding="utf-8")
    assert dict(read_set(*files).questions[2].relevant) == {"出境": 3.0}


@pytest.mark.parametrize(
    ("at", "text", "where", "why"),
    [
        (0, '{"id": "甲", "text": "好"}\n{"id": "甲", "text": "坏"}', ":2", "甲"),
        (0, '{"id": "甲"}', ":1", "“text” must be a text"),
        (0, "", "", "there are no documents"),
        (0, "不是", ":1", "not JSON"),
        (1, '["甲"]', ":1", "not a JSON object"),
        (1, '{"id": "1", "text": "问", "rel": {"价格": "高"}}', ":1", "“rel” must be"),
        (1, '{"id": "1", "text": "问", "rel_set": "nowhere"}', ":1", "nowhere"),
        (1, '{"id": "1", "text": " ", "rel": {"价格": 1}}', ":1", "“text” must be a text"),
        (1, '{"id": "1", "text": "问", "rel": {"无": 1}}', "", "no question has a document"),
        (0, '{"id": "甲", "text": "好"}\n{"id": "乙", "text": "交付\\ud800"}', ":2", "half a surrogate pair"),
        (1, "[" * 100_000, ":1", "not JSON"),
        (1, '{"id": "1", "text": "问", "rel": {"价格": NaN}}', ":1", "“rel” must be"),
        (1, f'{{"id": "1", "text": "问", "rel": {{"价格": {"9" * 400}}}}}', ":1", "“rel” must be"),
        (2, '{"data": ["出境"]', ":1", "not JSON"),
    ],
)
def test_a_set_that_cannot_be_read_says_where_and_why(
    files: list[Path], at: int, text: str, where: str, why: str
) -> None:
    files[at].write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        read_set(*files)
    assert f"{files[at].name}{where}" in refused.value.text.en
    assert why in refused.value.text.en


def test_a_file_in_another_encoding_is_named(files: list[Path]) -> None:
    for file in files:
        whole = file.read_bytes()
        file.write_bytes("价格".encode("gb18030"))
        with pytest.raises(Invalid, match=f"{file.name}: not UTF-8"):
            read_set(*files)
        file.write_bytes(whole)


def test_a_text_is_cut_as_entries_are() -> None:
    assert pieces("") == []
    assert pieces(" 一句话。 ") == ["一句话。"]
    long = "。".join(f"第{number}句说的是交付和安装的事情" for number in range(100))
    cut = pieces(f"# 总则\n{long}\n## 细则\n只有一句。")
    assert len(cut) > 3
    assert all(word_count(piece) <= PASSAGE_WORD_LIMIT + 10 for piece in cut)
    assert cut[0].startswith("总则\n第0句")
    assert cut[-1] == "总则\n细则\n只有一句。"


async def test_every_method_is_measured_on_the_real_model(files: list[Path], embedder: Embedder) -> None:
    judged = read_set(*files)
    told: list[tuple[str, int, int]] = []
    scores = await evaluate(judged, [embedder], lambda *step: told.append(step))
    assert set(scores.ndcg) == set(METHODS)
    assert scores.ndcg["hybrid"] > 0.8
    assert scores.hits[1]["dense"] == 1
    assert scores.ndcg["lexical"] < scores.ndcg["dense"]
    assert set(scores.each) == {"1", "2", "3"}
    for kind in scores.latency_ms.values():
        assert 0 < kind["p50"] <= kind["p99"]
    assert scores.latency_ms["with_embedding"]["p50"] > scores.latency_ms["without_embedding"]["p50"]
    assert ("documents", 6, 6) in told


def test_several_embedders_make_the_same_vectors_as_one() -> None:
    passages = [f"第{number}段 {'字' * (number % 7)}" for number in range(300)]
    one, three = encode([HashingEmbedder()], passages), encode([HashingEmbedder() for _ in range(3)], passages)
    assert (one == three).all()


def test_the_command_prints_one_object_alone(
    files: list[Path], tmp_path: Path, model_directory: ModelDirectory
) -> None:
    home = Home(tmp_path / "home")
    asked = ["eval", "retrieval", "--docs", str(files[0]), "--queries", str(files[1]), "--relsets", str(files[2])]
    model = {"SORTIE_EMBEDDING_MODEL": "", "SORTIE_EMBEDDING_DIRECTORY": str(model_directory.path)}
    done = home.run(*asked, "--json", **model)
    found = json.loads(done.stdout)
    assert set(found) == {"ndcg@10", "mrr@10", "hit@1", "hit@5", "hit@10", "latency_ms"}
    assert set(found["latency_ms"]) == {"without_embedding", "with_embedding"}
    assert all(set(found[name]) == set(METHODS) for name in found.keys() - {"latency_ms"})
    assert "2 个问题没有相关文档" in done.stderr
    files[0].write_text("坏", encoding="utf-8")
    refused = home.run(*asked, **model)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "docs.jsonl:1：不是 JSON" in refused.stderr
