"""One search over a stock: both methods inside the allowed passages, fused, folded or ranked for an answer."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from knowledge.embedding import Floats
from knowledge.fusion import CANDIDATE_LIMIT, FusedHit, fuse
from knowledge.index import AllowedPassages
from knowledge.lexical import LexicalIndex
from knowledge.retrieval import Found, Hit, Stock, Wanted, explained, ranked
from knowledge.text import query_tokens, script_of
from knowledge.vectors import Vectors


async def hybrid(
    stock: Stock, lexical: LexicalIndex, query: str, meant: tuple[Vectors, Floats] | None, allowed: AllowedPassages
) -> list[FusedHit]:
    """The entries nearest to a query by words and, where its vector is `meant` for such, by vectors."""
    words = asyncio.to_thread(lexical.search, query_tokens(query), CANDIDATE_LIMIT, allowed)
    if meant is None:
        by_words, by_meaning = await words, None
    else:
        vectors, vector = meant
        by_words, by_meaning = await asyncio.gather(words, vectors.search(vector, CANDIDATE_LIMIT, allowed))
    pieces = stock.pieces
    return fuse(
        by_words, by_meaning, script_of(query), lambda at: pieces[at].script, 2 * CANDIDATE_LIMIT, lambda at: pieces[at].item_id
    )  # fmt: skip


def folded(stock: Stock, found: Sequence[FusedHit], limit: int, prior: Mapping[UUID, float]) -> list[Hit]:
    """The first entries, each by its best passage; those that say the same as one before them are folded under it."""
    best: dict[UUID, FusedHit] = {}
    for hit in found:
        best.setdefault(stock.pieces[hit.passage_id].item_id, hit)
    if prior:
        # Hits come best first, and equal ones stay in their order.
        best = dict(sorted(best.items(), key=lambda pair: -explained(pair[1], prior.get(pair[0]))[0]))
    shown: dict[UUID, list[UUID]] = {}
    for item_id, hit in best.items():
        same = next((one for one in shown if stock.alike(best[one].passage_id, hit.passage_id)), None)
        if same is not None:
            shown[same].append(item_id)
        elif len(shown) < limit:
            shown[item_id] = []
        else:
            break
    return [_hit(stock, item_id, best[item_id], prior.get(item_id), folded) for item_id, folded in shown.items()]


def _hit(stock: Stock, item_id: UUID, hit: FusedHit, prior: float | None, folded: Sequence[UUID]) -> Hit:
    passage = stock.pieces[hit.passage_id].text
    score, explanation = explained(hit, prior)
    version = stock.entries[item_id].version
    return Hit(item_id, version, passage, min(max(score, 0.0), 1.0), explanation, tuple(folded))


def fitting(
    stock: Stock, want: Wanted, hits: Sequence[FusedHit], allowed: AllowedPassages, prior: Mapping[UUID, float]
) -> list[Found]:
    """The best entries for a want; one that the query does not touch still fits, and comes after those that it does."""
    best: dict[UUID, FusedHit] = {}
    for hit in hits:
        best.setdefault(stock.pieces[hit.passage_id].item_id, hit)
    fitting = dict.fromkeys((*best, *(stock.pieces[number].item_id for number in allowed.ids.tolist())))
    return ranked([stock.entries[item_id] for item_id in fitting], want, best, prior)
