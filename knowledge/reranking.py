"""The optional second look: a cross-encoder reads the question together with each of the first hits and orders them anew."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from domain.kernel import Text, Unavailable
from knowledge.embedding import Floats
from knowledge.fusion import FusedHit, MethodScore
from knowledge.retrieval import Stock

logger = logging.getLogger(__name__)

RERANK: Final = "rerank"
RERANKED: Final = 20
"""How many of the first hits are read."""
WEIGHT: Final = 0.8
"""The cross-encoder's share of the score of a hit; what fusion said keeps the rest, which decides between equals."""
SECONDS: Final = 1.0
BATCH: Final = 4
"""Pairs after which a search that gave up is noticed."""
LONGEST: Final = 512
"""Tokens of question and passage together, where the model names no limit of its own."""

LOADING = Text("重排模型尚未就绪，按融合得分排序", "the reranker is not loaded yet: the fused order stands")
UNUSABLE = Text("重排模型无法使用，按融合得分排序", "the reranker cannot be used: the fused order stands")
SLOW = Text("重排超时，按融合得分排序", "reranking took too long: the fused order stands")


class Reranker(Protocol):
    """Who judges how well passages answer a question."""

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        """One score for each passage, float32 (n,), greater is better; called by one thread at a time."""


class RerankerUnusableError(Unavailable):
    """A reranker that is named and cannot be loaded."""


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers with one output, from a directory or by its name on the hub."""

    def __init__(self, name: str) -> None:
        try:
            self._model = _load(name)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(name, str(error)) from error
        if self._model.num_labels != 1:
            raise _unusable(name, f"{self._model.num_labels} outputs instead of 1")
        self.name = name

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        """What the model says of each pair."""
        found = self._model.predict(
            [(query, passage) for passage in passages], batch_size=BATCH, show_progress_bar=False
        )
        return np.asarray(found, np.float32).reshape(len(passages))


def _load(name: str) -> Any:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(1)
    path = Path(name).expanduser()
    local = path.is_dir()
    if not local and path.is_absolute():
        raise OSError(f"there is no directory {path}")
    model = CrossEncoder(str(path) if local else name, device="cpu", local_files_only=local)
    # A tokeniser without a limit says 10^30, and a model fails on what is longer than it was trained for.
    limit = model.max_seq_length
    if limit is None or limit > LONGEST:
        model.max_seq_length = LONGEST
    return model


def _unusable(name: str, reason: str) -> RerankerUnusableError:
    return RerankerUnusableError(
        Text(f"重排模型 {name} 无法使用：{reason}", f"the reranker {name} cannot be used: {reason}")
    )


@dataclass(frozen=True, slots=True)
class Reranked:
    """Hits in the order that stands, the method that served besides, and why it did not."""

    hits: Sequence[FusedHit]
    methods: tuple[str, ...] = ()
    degraded: Text | None = None


@dataclass(eq=False)
class Reranking:
    """A reranker with the time that it may take for one search; without one it says why there is none."""

    reranker: Reranker | None
    missing: Text = LOADING
    seconds: float = SECONDS
    count: int = RERANKED
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sortie-reranker"), repr=False)

    async def apply(self, query: str, hits: Sequence[FusedHit], text_of: Callable[[FusedHit], str]) -> Reranked:
        """The hits with the first `count` in the reranker's order; as they were where it fails or is too slow."""
        if self.reranker is None:
            return Reranked(hits, degraded=self.missing)
        first = hits[: self.count]
        if not first:
            return Reranked(hits)
        gave_up, loop = threading.Event(), asyncio.get_running_loop()
        texts = [text_of(hit) for hit in first]
        try:
            async with asyncio.timeout(self.seconds):
                found = await loop.run_in_executor(self._worker, _scores, self.reranker, query, texts, gave_up)
        except TimeoutError:
            gave_up.set()
            return Reranked(hits, degraded=SLOW)
        except (RuntimeError, ValueError) as error:
            logger.warning("reranking failed: %s", error)
            return Reranked(hits, degraded=UNUSABLE)
        return Reranked([*ordered(first, found), *map(_unread, hits[self.count :])], (RERANK,))

    def close(self) -> None:
        """Read nothing more."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _scores(reranker: Reranker, query: str, texts: Sequence[str], gave_up: threading.Event) -> Floats:
    parts: list[Floats] = []
    for start in range(0, len(texts), BATCH):
        if gave_up.is_set():
            break
        parts.append(reranker.scores(query, texts[start : start + BATCH]))
    scores = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.isfinite(scores).all():
        raise ValueError("the reranker's scores are not numbers")
    return scores


def ordered(hits: Sequence[FusedHit], scores: Floats) -> list[FusedHit]:
    """Hits by WEIGHT of their normalised (min-max) scores and the rest of what they had, each line of it explained."""
    low, high = float(scores.min()), float(scores.max())
    shares = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    ranks = {place: rank for rank, place in enumerate(np.lexsort((np.arange(len(scores)), -scores)).tolist(), 1)}
    told = []
    for place, hit in enumerate(hits):
        line = MethodScore(RERANK, ranks[place], float(scores[place]), WEIGHT)
        lesser = _unread(hit)
        score = lesser.score + WEIGHT * float(shares[place])
        told.append(replace(lesser, score=score, explanation=(*lesser.explanation, line)))
    return sorted(told, key=lambda hit: (-hit.score, hit.passage_id))


def _unread(hit: FusedHit) -> FusedHit:
    """A hit with what fusion said of it alone, at the weight that it has beside the reranker: it comes after those that were read."""
    lines = tuple(replace(line, weight=(1 - WEIGHT) * line.weight) for line in hit.explanation)
    return replace(hit, score=(1 - WEIGHT) * hit.score, explanation=lines)


async def reranked(reranking: Reranking | None, query: str, hits: Sequence[FusedHit], stock: Stock) -> Reranked:
    """The hits of a search in the reranker's order, where there is one."""
    if reranking is None:
        return Reranked(hits)
    return await reranking.apply(query, hits, lambda hit: stock.pieces[hit.passage_id].searchable)


def joined(*reasons: Text | None) -> Text | None:
    """All that kept methods from serving, in one text."""
    told = [reason for reason in reasons if reason is not None]
    return Text("；".join(one.zh for one in told), "; ".join(one.en for one in told)) if told else None
