"""Entries that say nearly the same, and those that say it with other figures: compared passage by passage."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import ForeignKey, Index, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import SYSTEM, Access, Base, Database, Language, Through, UnitOfWork, insert_rows, sights
from knowledge.model import CURATING, CachedVector, KnowledgeItem, KnowledgeState, Passage
from knowledge.text import normalise, tokenise
from knowledge.vector_cache import kept_vectors

EVERY = timedelta(hours=24)
NEAR_BY_MEANING, NEAR_BY_WORDS = 0.975, 0.75
"""From which cosine on two passages say nearly the same: of their vectors (multilingual-e5-small), of their words (TF-IDF)."""
BLOCK = 512
KEPT = 2_000
"""How many pairs of entries are kept, the nearest first."""
QUOTED = 1_000
"""How much of a passage a pair quotes."""
SHOWN = frozenset({"item", "other_item", "figures", "other_figures"})


class LikenessMethod(StrEnum):
    """By what two passages were compared."""

    MEANING = "MEANING"
    WORDS = "WORDS"


class KnowledgeLikeness(Base):
    """Two entries in use with the passages in which they are most alike, and the figures in which these differ, if they do."""

    __tablename__ = "knowledge_likenesses"
    __unledgered__ = "compared from passages, which are derived themselves"
    __access__ = Access(sights(CURATING, Through("item_id", "KnowledgeItem"), SHOWN))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    other_item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"))
    passage: Mapped[str]
    other_passage: Mapped[str]
    similarity: Mapped[float]
    method: Mapped[LikenessMethod]
    contradicts: Mapped[bool]
    figures: Mapped[list[str]]
    other_figures: Mapped[list[str]]
    computed_at: Mapped[datetime]

    __table_args__ = (Index("ix_knowledge_likenesses_similarity", "contradicts", "similarity", "id"),)


@dataclass(frozen=True, slots=True)
class Said:
    """One passage of an entry in use, with what the entry is made for."""

    item_id: UUID
    language: Language
    text: str
    content_hash: str
    facets: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two passages of different entries, and how alike they are."""

    one: Said
    other: Said
    similarity: float


# ---- figures ---------------------------------------------------------------------------------------------------------

_UNITS = {
    "%": "%", "％": "%", "percent": "%", "个百分点": "%", "倍": "x", "times": "x", "亿": "e8", "万": "e4", "元": "yuan", "万元": "e4 yuan", "亿元": "e8 yuan",
    "天": "day", "日": "day", "day": "day", "days": "day", "周": "week", "week": "week", "weeks": "week", "个月": "month", "month": "month", "months": "month",
    "年": "year", "year": "year", "years": "year", "小时": "hour", "hour": "hour", "hours": "hour", "分钟": "minute", "minute": "minute", "minutes": "minute",
    "台": "piece", "人": "person", "次": "time", "家": "customer", "折": "discount",
}  # fmt: skip
_CHINESE = {character: value for value, character in enumerate("零一二三四五六七八九十")} | {"两": 2, "半": 0.5}
_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_FIGURE = re.compile(
    rf"(?P<number>[0-9][0-9,]*(?:\.[0-9]+)?|[一二三四五六七八九十两半](?![一二三四五六七八九十百千成]))\s?(?P<unit>{_UNIT})(?![a-z])"
)
_TENTHS = re.compile(r"(?P<number>[一二三四五六七八九])成(?P<half>半)?")


def figures(text: str) -> dict[tuple[str, float], str]:
    """The figures with a unit that a text says, each with the words that say it: 三成 is 30 %."""
    plain = normalise(text)
    found: dict[tuple[str, float], str] = {}
    for match in _FIGURE.finditer(plain):
        number = match["number"].replace(",", "")
        value = float(_CHINESE[number]) if number in _CHINESE else float(number)
        found.setdefault((_UNITS[match["unit"]], value), match[0])
    for match in _TENTHS.finditer(plain):
        found.setdefault(("%", 10.0 * _CHINESE[match["number"]] + (5 if match["half"] else 0)), match[0])
    return found


def disagreement(one: str, other: str) -> tuple[list[str], list[str]]:
    """What two texts say with other figures of the same unit: each one's own; both are empty where they agree."""
    mine, theirs = figures(one), figures(other)
    own, others = mine.keys() - theirs.keys(), theirs.keys() - mine.keys()
    units = {unit for unit, _ in own} & {unit for unit, _ in others}
    return (
        [mine[key] for key in sorted(own) if key[0] in units],
        [theirs[key] for key in sorted(others) if key[0] in units],
    )


SITUATION = ("stages", "roles", "industries", "competitors", "regions")


def compete(one: Said, other: Said) -> bool:
    """Whether two entries fit the same concern and situation: a facet that one leaves open fits every value."""
    concerns, others = one.facets["concerns"], other.facets["concerns"]
    same = bool(concerns & others) or not (concerns or others)
    return same and all(
        not one.facets[name] or not other.facets[name] or one.facets[name] & other.facets[name] for name in SITUATION
    )


# ---- comparing -------------------------------------------------------------------------------------------------------


def near_pairs(said: Sequence[Said], rows: Any, threshold: float) -> list[Pair]:
    """The pairs of passages of different entries in one language whose cosine is at least the threshold.

    `rows` are their unit vectors, dense or sparse, in the same order. The work grows with the square of the passages, in
    blocks of BLOCK rows, so that memory grows with their number alone.
    """
    languages = defaultdict(list)
    for place, one in enumerate(said):
        languages[one.language].append(place)
    pairs = []
    for places in languages.values():
        part = rows[places]
        for start in range(0, len(places), BLOCK):
            for i, j, similarity in _above(part, start, threshold):
                one, other = said[places[i]], said[places[j]]
                if one.item_id != other.item_id:
                    pairs.append(Pair(one, other, similarity))
    return pairs


def _above(part: Any, start: int, threshold: float) -> Iterator[tuple[int, int, float]]:
    products = part[start : start + BLOCK] @ part[start:].T
    cosines = products if isinstance(products, np.ndarray) else products.toarray()
    here, there = np.nonzero(np.triu(cosines >= threshold, k=1))
    for i, j in zip(here.tolist(), there.tolist(), strict=True):
        yield start + i, start + j, min(float(cosines[i, j]), 1.0)


def by_words(said: Sequence[Said]) -> Any:
    """The passages' unit vectors of their words (TF-IDF of scikit-learn, over the tokens of lexical search)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=tokenise, sublinear_tf=True, dtype=np.float32).fit_transform(
        [one.text for one in said]
    )


def most_alike(pairs: Sequence[Pair]) -> list[Pair]:
    """Of each two entries the pair of passages that tells most: one that disagrees before one that does not, the nearest first."""
    best: dict[tuple[UUID, UUID], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: (not _contradicts(pair), -pair.similarity)):
        key = (min(pair.one.item_id, pair.other.item_id), max(pair.one.item_id, pair.other.item_id))
        best.setdefault(key, pair)
    return sorted(best.values(), key=lambda pair: -pair.similarity)[:KEPT]


def _contradicts(pair: Pair) -> bool:
    return compete(pair.one, pair.other) and bool(disagreement(pair.one.text, pair.other.text)[0])


# ---- the job ---------------------------------------------------------------------------------------------------------


async def refresh(database: Database) -> int:
    """Compare all passages in use anew, by their cached vectors where all have one, else by their words; how many pairs stand."""
    async with database.read(SYSTEM) as connection:
        last = await connection.scalar(select(func.max(KnowledgeLikeness.computed_at)))
        if last is not None and database.clock() - last < EVERY / 4:
            return 0
        said = await _passages(connection, database.clock())
        vectors = await _vectors(connection, said)
    method = LikenessMethod.MEANING if vectors is not None else LikenessMethod.WORDS
    pairs = await asyncio.to_thread(_compare, said, vectors)
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn("knowledge likenesses")
        await uow.session.execute(delete(KnowledgeLikeness), execution_options={"synchronize_session": False})
        await insert_rows(uow, KnowledgeLikeness, [_row(uow, pair, method) for pair in pairs])
    return len(pairs)


def _compare(said: Sequence[Said], vectors: Any) -> list[Pair]:
    if len(said) < 2:  # noqa: PLR2004 - a pair
        return []
    if vectors is not None:
        return most_alike(near_pairs(said, vectors, NEAR_BY_MEANING))
    return most_alike(near_pairs(said, by_words(said), NEAR_BY_WORDS))


def _row(uow: UnitOfWork, pair: Pair, method: LikenessMethod) -> dict[str, Any]:
    contradicts = _contradicts(pair)
    mine, theirs = disagreement(pair.one.text, pair.other.text) if contradicts else ([], [])
    return {
        "id": uow.new_id(), "item_id": pair.one.item_id, "other_item_id": pair.other.item_id, "passage": pair.one.text[:QUOTED],
        "other_passage": pair.other.text[:QUOTED], "similarity": pair.similarity, "method": method, "contradicts": contradicts,
        "figures": mine, "other_figures": theirs, "computed_at": uow.now,
    }  # fmt: skip


async def _passages(connection: Any, now: datetime) -> list[Said]:
    item = KnowledgeItem
    facets = ("concerns", *SITUATION)
    in_date = (item.expires_at.is_(None) | (item.expires_at > now)) & (item.state == KnowledgeState.PUBLISHED)
    columns = [getattr(item, name) for name in facets]
    rows = await connection.execute(
        select(Passage.item_id, Passage.text, Passage.content_hash, item.language, *columns)
        .join(item, item.id == Passage.item_id)
        .where(in_date)
        .order_by(Passage.number)
    )
    return [
        Said(row.item_id, row.language, row.text, row.content_hash, {name: frozenset(getattr(row, name)) for name in facets})
        for row in rows
    ]  # fmt: skip


async def _vectors(connection: Any, said: Sequence[Said]) -> Any:
    """The passages' cached vectors under the model that has most of them; None unless all are there."""
    counted = select(CachedVector.model_fingerprint).group_by(CachedVector.model_fingerprint)
    model = await connection.scalar(counted.order_by(func.count().desc()).limit(1))
    if model is None:
        return None
    found = await kept_vectors(connection, model, sorted({one.content_hash for one in said}))
    if any(one.content_hash not in found for one in said):
        return None
    stacked = np.stack([found[one.content_hash] for one in said]) if said else np.zeros((0, 1), np.float32)
    return stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)
