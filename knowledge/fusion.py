"""Fusion: the rankings of several search methods become one, and each place can be explained."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from knowledge.text import Script

LEXICAL: Final = "bm25"
DENSE: Final = "dense"

CANDIDATE_LIMIT: Final = 100
"""How deep each method's list goes into the union."""

SAME_SCRIPT_DENSE_WEIGHT: Final = {Script.ZH: 0.55, Script.EN: 0.8, Script.NEITHER: 0.8}
ACROSS_DENSE_WEIGHT: Final = 0.9
"""Dense shares of the weighted sum: from seven public sets, the Chinese one lowered by 0.05 on our own (record 25)."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What one method found, best first: `ids` int64 (n,), `scores` float32 (n,), equal scores ordered by id."""

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    @classmethod
    def best(cls, ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], limit: int) -> "Ranking":
        """The `limit` best of the given hits, each id being given once."""
        if len(ids) > limit:
            # Everything that ties with the last place stays in until ids decide, so the cut does not hang on input order.
            worst = np.partition(scores, len(scores) - limit)[len(scores) - limit] if limit else np.inf
            kept = scores >= worst
            ids, scores = ids[kept], scores[kept]
        order = np.lexsort((ids, -scores))[:limit]
        return cls(ids[order], scores[order])

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class MethodScore:
    """What one method said of a passage: rank from 1, None when not in its list; raw score; its weight in the sum."""

    method: str
    rank: int | None
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class FusedHit:
    """A passage in the fused ranking: `score` is 0–1 and the sum of its methods' weighted normalised scores."""

    passage_id: int
    score: float
    explanation: tuple[MethodScore, ...]


def dense_weight(query: Script, document: Script) -> float:
    """The share of the dense score for a query and a document; a bare code has no script and follows the other side."""
    if query is Script.NEITHER:
        query = document
    if document is Script.NEITHER:
        document = query
    return SAME_SCRIPT_DENSE_WEIGHT[query] if query is document else ACROSS_DENSE_WEIGHT


def fuse(
    lexical: Ranking,
    dense: Ranking | None,
    query_script: Script,
    document_script: Callable[[int], Script] | Mapping[int, Script],
    limit: int,
    document_of: Callable[[int], Hashable] = int,
) -> list[FusedHit]:
    """The `limit` best documents of both lists' first CANDIDATE_LIMIT, best first, equal scores ordered by id.

    Each list is min-max normalised on its own; a passage that a list lacks gets that list's minimum, which is 0. A document
    has from each list the score of its best passage there, which need not be the same one, and is shown by the passage that
    has the highest sum of its own. Without `document_of` every passage is a document. Without a dense list the lexical one
    decides alone.
    """
    script_of = document_script.__getitem__ if isinstance(document_script, Mapping) else document_script
    lists = [(LEXICAL, _normalised(lexical)), *([(DENSE, _normalised(dense))] if dense is not None else [])]
    documents: dict[Hashable, list[int]] = {}
    for passage_id in dict.fromkeys(chain.from_iterable(found for _, found in lists)):
        documents.setdefault(document_of(passage_id), []).append(passage_id)
    hits = []
    for passage_ids in documents.values():
        share = dense_weight(query_script, script_of(passage_ids[0])) if dense is not None else 0.0
        weights = (1 - share, share)
        best = [max((found.get(id, _ABSENT) for id in passage_ids), key=_share) for _, found in lists]
        shown = max(
            passage_ids,
            key=lambda at: (
                sum(w * found.get(at, _ABSENT)[2] for w, (_, found) in zip(weights, lists, strict=False)),
                -at,
            ),
        )
        score = sum(weight * one[2] for weight, one in zip(weights, best, strict=False))
        told = zip(lists, best, weights, strict=False)
        explanation = tuple(MethodScore(method, rank, raw, weight) for (method, _), (rank, raw, _), weight in told)
        hits.append(FusedHit(shown, score, explanation))
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))[:limit]


_Place = tuple[int | None, float, float]
_ABSENT: Final[_Place] = (None, 0.0, 0.0)


def _share(place: _Place) -> tuple[float, bool]:
    return place[2], place[0] is not None


def _normalised(ranking: Ranking) -> dict[int, _Place]:
    """Rank, raw score and score between 0 and 1 by id; where all score alike, each is 1: found is better than not."""
    scores = ranking.scores[:CANDIDATE_LIMIT].astype(np.float64)
    ids = ranking.ids[:CANDIDATE_LIMIT]
    if not len(ids):
        return {}
    low, high = scores.min(), scores.max()
    shares = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    places = zip(ids.tolist(), scores.tolist(), shares.tolist(), strict=True)
    return {passage_id: (rank, raw, share) for rank, (passage_id, raw, share) in enumerate(places, 1)}
