"""How well retrieval finds what it should: a set of documents and judged questions, searched by the index that answers use."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from domain.kernel import Invalid, Text, Unavailable
from knowledge.embedding import Embedder, Floats
from knowledge.fusion import CANDIDATE_LIMIT, Ranking, fuse
from knowledge.in_process import FaissVectors
from knowledge.index import AllowedPassages, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.reranking import Reranking
from knowledge.text import Script, pieces, query_tokens, script_of, tokenise

METHODS: Final = ("lexical", "dense", "hybrid")
RERANKED: Final = "reranked"
"""The method that is measured besides where there is a reranker."""
DEPTH: Final = 10
WARM_QUERIES: Final = 20
"""Questions asked before time is taken."""
ENCODED_AT_ONCE: Final = 64
GREATEST_GRADE: Final = 1_000_000

Judgements = Mapping[str, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the documents that answer it, each with a grade above 0."""

    id: str
    text: str
    relevant: Judgements


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Documents by id, and questions about them; `unjudged` counts the questions that no document here answers."""

    documents: Mapping[str, str]
    questions: Sequence[Question]
    unjudged: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What each method found for a question: document ids, best first; and CPU milliseconds, without and with embedding.

    Where there is a reranker, its milliseconds are those of a search with embedding and with it.
    """

    rankings: Mapping[str, Sequence[str]]
    without_embedding_ms: float
    with_embedding_ms: float
    with_reranking_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all questions by method, 0 to 1, and CPU milliseconds a search at the percentiles 50 and 99."""

    ndcg: Mapping[str, float]
    mrr: Mapping[str, float]
    hits: Mapping[int, Mapping[str, float]]
    latency_ms: Mapping[str, Mapping[str, float]]
    each: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """nDCG@10 by method for each question, by its id."""

    def as_json(self) -> dict[str, Any]:
        """The figures as `sortie eval retrieval --json` prints them."""
        hits = {f"hit@{depth}": _rounded(found) for depth, found in self.hits.items()}
        latency = {name: _rounded(found) for name, found in self.latency_ms.items()}
        return {"ndcg@10": _rounded(self.ndcg), "mrr@10": _rounded(self.mrr), **hits, "latency_ms": latency}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


# ---- sets ------------------------------------------------------------------------------------------------------------


def read_set(documents: Path, questions: Path, relevance_sets: Path | None = None) -> JudgedSet:
    """A set in files of JSON lines: {"id", "text"}, and {"id", "text", "rel": {document: grade}}.

    Instead of `rel` a question may name by `rel_set` a list in `relevance_sets`: one JSON object of lists or of grades, or
    lines {"id", "rel"}. Grades of 0 and documents that are not there count for nothing.

    Raises Invalid with file, line and field for what cannot be read, and OSError.
    """
    found: dict[str, str] = {}
    for place, line in _lines(documents):
        id = _word(line, "id", place)
        if id in found:
            raise _wrong(place, f"文档编号重复：{id}", f"the document {id} was there before")
        found[id] = _word(line, "text", place, empty=True)
    if not found:
        raise _wrong(str(documents), "没有文档", "there are no documents")
    named = {} if relevance_sets is None else _relevance_sets(relevance_sets)
    asked, unjudged = list[Question](), 0
    for place, line in _lines(questions):
        grades = {id: grade for id, grade in _judged(line, named, place).items() if grade > 0 and id in found}
        if grades:
            asked.append(Question(_word(line, "id", place), _word(line, "text", place), grades))
        else:
            unjudged += 1
    if not asked:
        raise _wrong(str(questions), "没有一个问题有相关文档", "no question has a document that answers it")
    return JudgedSet(found, asked, unjudged)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    place = f"{path}:{number}"
                    yield place, _object(line, place)
        except UnicodeDecodeError as error:
            raise _wrong(str(path), f"不是 UTF-8：{error}", f"not UTF-8: {error}") from error


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(place, f"不是 JSON：{error}", f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _wrong(place, "不是 JSON 对象", "not a JSON object")
    return found


def _word(line: Mapping[str, Any], name: str, place: str, *, empty: bool = False) -> str:
    value = line.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not (empty or value.strip()):
        raise _wrong(place, f"“{name}” 须是文本", f"“{name}” must be a text")
    # JSON can say half a surrogate pair, which no tokeniser of a model takes.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _wrong(place, f"“{name}” 含有半个代理对", f"“{name}” holds half a surrogate pair")
    return value


def _judged(line: Mapping[str, Any], named: Mapping[str, Judgements], place: str) -> Judgements:
    if line.get("rel") is not None:
        return _grades(line["rel"], place)
    name = line.get("rel_set")
    if name is None:
        return {}
    if str(name) not in named:
        raise _wrong(place, f"没有名为 {name} 的相关文档列表", f"there is no list of relevant documents called {name}")
    return named[str(name)]


def _grades(value: Any, place: str) -> Judgements:
    if isinstance(value, list):
        pairs = [(one[0], one[1]) if isinstance(one, list) and len(one) == 2 else (one, 1) for one in value]  # noqa: PLR2004
    else:
        pairs = list(value.items()) if isinstance(value, dict) else [("", None)]
    for id, grade in pairs:
        known = isinstance(id, str | int) and isinstance(grade, int | float) and abs(grade) <= GREATEST_GRADE
        if not known:
            words = '{"文档": 等级} 或文档编号的列表', '{"document": grade} or a list of document ids'
            raise _wrong(place, f"“rel” 须是 {words[0]}", f"“rel” must be {words[1]}")
    return {str(id): float(grade) for id, grade in pairs}


def _relevance_sets(path: Path) -> dict[str, Judgements]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return {
            _word(line, "id" if "id" in line else "rel_set", place): _grades(line.get("rel"), place)
            for place, line in _lines(path)
        }
    if not isinstance(whole, dict):
        raise _wrong(str(path), "须是 JSON 对象", "must be a JSON object")
    if set(whole) == {"id", "rel"}:
        return {_word(whole, "id", str(path)): _grades(whole["rel"], str(path))}
    return {name: _grades(value, f"{path} ({name})") for name, value in whole.items()}


def _wrong(place: str, zh: str, en: str) -> Invalid:
    return Invalid(Text(f"{place}：{zh}", f"{place}: {en}"))


# ---- searching -------------------------------------------------------------------------------------------------------


class Searched:
    """A temporary index of a set's documents, cut into passages as entries are; a document stands where its best passage does."""

    def __init__(self, documents: Mapping[str, str], embedder: Embedder, reranking: Reranking | None = None) -> None:
        cut = [(id, piece) for id, text in documents.items() for piece in pieces(text)]
        self._owners = [id for id, _ in cut]
        self.passages = [piece for _, piece in cut]
        self._scripts: list[Script] = [script_of(piece) for piece in self.passages]
        self._embedder = embedder
        self._reranking = reranking
        numbers = range(len(cut))
        self._allowed = AllowedPassages(numbers)
        self._lexical = LexicalIndex()
        self._lexical.add(numbers, [tokenise(piece) for piece in self.passages])
        self._vectors = FaissVectors(VectorIndex(embedder.dimension), embedder.fingerprint)

    async def take_vectors(self, vectors: Floats) -> None:
        """Take the passages' unit vectors, float32 (n, dimension)."""
        await self._vectors.add(range(len(vectors)), vectors)

    async def search(self, query: str) -> Found:
        """What each method finds, within the first CANDIDATE_LIMIT passages."""
        began = time.process_time()
        vector = self._embedder.encode_queries([query])[0]
        encoded = time.process_time()
        words = self._lexical.search(query_tokens(query), CANDIDATE_LIMIT, self._allowed)
        meaning = await self._vectors.search(vector, CANDIDATE_LIMIT, self._allowed)
        hits = fuse(
            words, meaning, script_of(query), self._scripts.__getitem__, 2 * CANDIDATE_LIMIT, self._owners.__getitem__
        )
        best = [self._owners[hit.passage_id] for hit in hits[:DEPTH]]
        ended = time.process_time()
        rankings = {"lexical": self._ranked(words), "dense": self._ranked(meaning), "hybrid": best}
        without, embedded = 1000 * (ended - encoded), 1000 * (ended - began)
        if self._reranking is None:
            return Found(rankings, without, embedded)
        order = await self._reranking.apply(query, hits, lambda hit: self.passages[hit.passage_id])
        if order.degraded is not None:
            raise Unavailable(order.degraded)
        rankings[RERANKED] = [self._owners[hit.passage_id] for hit in order.hits[:DEPTH]]
        return Found(rankings, without, embedded, 1000 * (time.process_time() - began))

    def _ranked(self, ranking: Ranking) -> list[str]:
        return self._documents(ranking.ids.tolist())

    def _documents(self, numbers: Sequence[int]) -> list[str]:
        owners = dict.fromkeys(self._owners[number] for number in numbers)
        return list(islice(owners, DEPTH))


def encode(embedders: Sequence[Embedder], passages: Sequence[str], progress: Progress | None = None) -> Floats:
    """The passages' vectors, float32 (n, dimension); each embedder works in a thread of its own."""
    vectors = np.zeros((len(passages), embedders[0].dimension), np.float32)
    # Of one length together: a batch takes as long as its longest text.
    order = sorted(range(len(passages)), key=lambda place: len(passages[place]))
    batches = [order[start : start + ENCODED_AT_ONCE] for start in range(0, len(order), ENCODED_AT_ONCE)]
    waiting, done = iter(batches[::-1]), [0]

    def work(embedder: Embedder) -> None:
        for places in waiting:
            vectors[places] = embedder.encode_documents([passages[place] for place in places])
            done[0] += len(places)
            if progress is not None:
                progress(done[0], len(passages))

    with ThreadPoolExecutor(len(embedders)) as pool:
        list(pool.map(work, embedders))
    return vectors


async def evaluate(
    judged: JudgedSet,
    embedders: Sequence[Embedder],
    progress: Callable[[str, int, int], None] | None = None,
    reranking: Reranking | None = None,
) -> Scores:
    """The figures of a set. Several embedders of one model share the work of encoding; the first one takes the questions.

    With a reranker its order is measured besides, as RERANKED. nDCG takes a grade as its gain, as trec_eval does, and divides by the best order of all judged documents.
    """
    searched = Searched(judged.documents, embedders[0], reranking)

    def told(step: str) -> Progress:
        return lambda done, total: None if progress is None else progress(step, done, total)

    vectors = await asyncio.to_thread(encode, embedders, searched.passages, told("documents"))
    await searched.take_vectors(vectors)
    for question in judged.questions[:WARM_QUERIES]:
        await searched.search(question.text)
    found = []
    for number, question in enumerate(judged.questions, 1):
        found.append(await searched.search(question.text))
        told("questions")(number, len(judged.questions))
    return _scores(judged.questions, found)


def _scores(questions: Sequence[Question], found: Sequence[Found]) -> Scores:
    pairs = list(zip(questions, found, strict=True))
    methods = tuple(found[0].rankings)

    def mean(score: Callable[[Sequence[str], Judgements], float]) -> dict[str, float]:
        return {
            name: float(np.mean([score(one.rankings[name], question.relevant) for question, one in pairs]))
            for name in methods
        }

    times = {
        "without_embedding": [one.without_embedding_ms for one in found],
        "with_embedding": [one.with_embedding_ms for one in found],
    }
    if reranked := [one.with_reranking_ms for one in found if one.with_reranking_ms is not None]:
        times["with_reranking"] = reranked
    return Scores(
        ndcg=mean(ndcg),
        mrr=mean(reciprocal_rank),
        hits={depth: mean(lambda ranking, relevant, depth=depth: float(not relevant.keys().isdisjoint(ranking[:depth]))) for depth in (1, 5, DEPTH)},  # type: ignore[misc]
        latency_ms={
            name: {"p50": float(np.percentile(all_, 50)), "p99": float(np.percentile(all_, 99))}
            for name, all_ in times.items()
        },
        each={question.id: {name: ndcg(one.rankings[name], question.relevant) for name in methods} for question, one in pairs},
    )  # fmt: skip


def ndcg(ranking: Sequence[str], relevant: Judgements, depth: int = DEPTH) -> float:
    """Normalised discounted cumulative gain of the first `depth` places (Järvelin and Kekäläinen, 2002), the grade as gain."""
    ideal = sorted(relevant.values(), reverse=True)[:depth]
    gained = [relevant.get(id, 0.0) for id in ranking[:depth]]
    return _discounted(gained) / _discounted(ideal)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def reciprocal_rank(ranking: Sequence[str], relevant: Judgements, depth: int = DEPTH) -> float:
    """One by the place of the first relevant document within `depth`; 0 where there is none."""
    return next((1 / place for place, id in enumerate(ranking[:depth], 1) if id in relevant), 0.0)
