"""What a search of the knowledge costs among a thousand to a hundred thousand passages, on FAISS and on pgvector.

The query is encoded beforehand: what is measured is the search itself. Beyond the real passages come perturbed copies of their
vectors. Writes the picture docs/knowledge-scale.svg.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, text

import migrations
from bench.picture import Panel, Series, draw
from bench.postgres import cluster
from domain.kernel import SYSTEM, ActorKind, Database, Language, new_id, utc_now
from domain.ledger import LedgerRecorder
from knowledge import (
    CachedVector,
    Filter,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Library,
    Publication,
)
from knowledge import Passage as PassageRow
from knowledge.embedding import Floats, SentenceTransformerEmbedder, resolve_model
from knowledge.index import AllowedPassages
from knowledge.text import passages, searchable

ROOT = Path(__file__).parent.parent
SIZES = (1_000, 10_000, 100_000)
QUERIES, REAL, PER_ENTRY, AT_ONCE, CANDIDATES, COMPARED = 60, 400, 4, 2_000, 100, 10
NEARNESS = 0.5
"""How long the noise is that perturbs a vector: the copy's cosine with its original is 0.89, as between passages on one matter."""
RESULTS = Path(__file__).parent / "results" / "knowledge_scale.json"
PICTURE = ROOT / "docs" / "knowledge-scale.svg"

log = Console(stderr=True)


@dataclass(frozen=True)
class Cost:
    """What one engine costs at one size; CPU is that of the process and of PostgreSQL together."""

    p50_ms: float
    p99_ms: float
    cpu_ms: float
    vectors_p50_ms: float
    recall: float
    start_cpu_seconds: float
    build_cpu_seconds: float
    process_mb: float
    database_mb: float


class Encoded:
    """A model's name and the vectors that it made beforehand, of the queries by their text."""

    def __init__(self, model: SentenceTransformerEmbedder, queries: Sequence[str]) -> None:
        self.model_id, self.fingerprint = model.model_id, model.fingerprint
        self.dimension, self.prompts = model.dimension, model.prompts
        self._queries = dict(zip(queries, model.encode_queries(queries), strict=True))

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """What was made of them beforehand."""
        return np.stack([self._queries[each] for each in texts])

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Raises RuntimeError: every passage has its vector in the cache."""
        raise RuntimeError(f"{len(texts)} passages are not in the cache")


# ---- the passages ----------------------------------------------------------------------------------------------------


def real_texts(more: Path | None) -> list[tuple[str, str]]:
    """Title and text of the demo company's passages, then of a JSONL file with `title` and `body`."""
    entries = [
        (file.stem, file.read_text(encoding="utf-8")) for file in sorted((ROOT / "demo/knowledge").rglob("*.md"))
    ]
    if more is not None:
        lines = (json.loads(line) for line in more.read_text(encoding="utf-8").splitlines())
        entries += [(line["title"], line["body"]) for line in lines]
    found = [(title, piece) for title, body in entries for piece in passages(title, body)]
    return [(" / ".join(piece.title_path) or title, piece.text) for title, piece in found]


def perturbed(real: Floats, count: int, seed: int) -> Floats:
    """So many unit vectors, each beside a real one."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, real.shape[1])).astype(np.float32)
    noise *= NEARNESS / np.linalg.norm(noise, axis=1, keepdims=True)
    rows = real[np.arange(count) % len(real)] + noise
    unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


async def publish(
    database: Database, texts: Sequence[tuple[str, str]], vectors: Floats, first: int, fingerprint: str | None
) -> None:
    """Store published entries with passages from a number on, straight into the tables.

    Under a model's fingerprint their vectors enter the cache; without one they are left to be made.
    """
    now = utc_now()
    for start in range(0, len(vectors), AT_ONCE):
        rows: dict[Any, list[dict[str, Any]]] = {
            KnowledgeItem: [],
            KnowledgeVersion: [],
            PassageRow: [],
            CachedVector: [],
        }
        for offset in range(start, min(start + AT_ONCE, len(vectors))):
            number = first + offset
            title, body = texts[number % len(texts)]
            if offset % PER_ENTRY == 0:
                item_id = new_id()
                rows[KnowledgeItem].append(_item(item_id, now))
                rows[KnowledgeVersion].append(_version(item_id, f"{title} {number}", now))
            digest = f"{number:064x}"
            rows[PassageRow].append(
                {
                    "number": number, "item_id": item_id, "version_number": 1, "position": offset % PER_ENTRY, "title_path": title,
                    "text": f"{body} {number}", "content_hash": digest,
                }
            )  # fmt: skip
            if fingerprint is not None:
                vector = vectors[offset].tobytes()
                rows[CachedVector].append({"content_hash": digest, "model_fingerprint": fingerprint, "vector": vector})
        async with database.writer.begin() as connection:
            for model, values in rows.items():
                if values:
                    await connection.execute(insert(model), values)
    async with database.writer.begin() as connection:
        await connection.execute(text("DELETE FROM publications"))
        await connection.execute(
            insert(Publication), [{"id": 1, "number": first, "last_passage": first + len(vectors)}]
        )


def _item(item_id: Any, now: Any) -> dict[str, Any]:
    return {
        "id": item_id, "version": 1, "created_at": now, "updated_at": now, "created_by_kind": ActorKind.SYSTEM, "updated_by_kind": ActorKind.SYSTEM,
        "kind": KnowledgeKind.FAQ, "language": Language.ZH, "state": KnowledgeState.PUBLISHED, "published_number": 1, "concerns": [], "stages": [],
        "roles": [], "industries": [], "competitors": [], "regions": [],
    }  # fmt: skip


def _version(item_id: Any, title: str, now: Any) -> dict[str, Any]:
    return {
        "id": new_id(), "item_id": item_id, "number": 1, "state": KnowledgeState.PUBLISHED, "title": title, "body": title, "facets": {},
        "published_at": now, "created_at": now,
    }  # fmt: skip


# ---- the search ------------------------------------------------------------------------------------------------------


async def measure(
    database: Database, encoded: Encoded, queries: Sequence[str], vectors: Floats, cpu: Callable[[], float]
) -> Cost:
    """The cost of a process that starts over these passages, and of its searches; vectors are numbered from 1."""
    began = cpu()
    library = Library(database)
    await library.refresh()
    started = cpu() - began
    await library.use_embedder(encoded)
    began = cpu()
    await library.embed()
    built = cpu() - began
    dense = library._dense  # noqa: SLF001 - the vector half is asked alone
    if dense is None:
        raise RuntimeError("the vectors do not serve")
    allowed = AllowedPassages(range(1, len(vectors) + 1))
    waits, alone, recall = [], [], []
    await library.search(SYSTEM, queries[0], Filter(), 10)
    began = cpu()
    for query in queries:
        at = time.perf_counter()
        found = await library.search(SYSTEM, query, Filter(), 10)
        waits.append((time.perf_counter() - at) * 1e3)
        if found.methods != ("bm25", "dense"):
            raise RuntimeError(f"searched by {found.methods}")
    spent = (cpu() - began) / len(queries) * 1e3
    for vector in encoded.encode_queries(queries):
        at = time.perf_counter()
        ranking = await dense.vectors.search(vector, CANDIDATES, allowed)
        alone.append((time.perf_counter() - at) * 1e3)
        best = np.argsort(-(vectors @ vector))[:COMPARED] + 1
        recall.append(len(set(best.tolist()) & set(ranking.ids[:COMPARED].tolist())) / COMPARED)
    inside = await dense.vectors.count() * dense.vectors.dimension * 4 / 1e6 if library.engine == "faiss" else 0.0
    return Cost(
        float(np.percentile(waits, 50)), float(np.percentile(waits, 99)), spent, float(np.percentile(alone, 50)),
        float(np.mean(recall)), started, built, inside, await _database_mb(database),
    )  # fmt: skip


async def _database_mb(database: Database) -> float:
    if database.embedded:
        return 0.0
    async with database.read() as connection:
        size = text("SELECT pg_total_relation_size('passage_vectors')")
        return float((await connection.execute(size)).scalar_one()) / 1e6


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A migrated database."""
    await migrations.migrate(url)
    database = Database(url, LedgerRecorder())
    try:
        yield database
    finally:
        await database.close()


async def sweep(url: str, sizes: Sequence[int], model: Encoded, given: "Given", cpu: Callable[[], float]) -> list[Cost]:
    """The cost at each size, the passages of one among those of the next."""
    costs, there = [], 0
    async with opened(url) as database:
        for size in sizes:
            log.print(f"  {size:,} passages: storing")
            await publish(database, given.texts, given.vectors[there:size], there + 1, model.fingerprint)
            there = size
            log.print(f"  {size:,} passages: searching")
            costs.append(await measure(database, model, given.queries, given.vectors[:size], cpu))
            log.print(f"  {size:,} passages: {costs[-1].cpu_ms:.1f} ms CPU a search, recall {costs[-1].recall:.2f}")
    return costs


@dataclass(frozen=True)
class Given:
    """What is searched for, and in what."""

    texts: list[tuple[str, str]]
    queries: list[str]
    vectors: Floats


def printed(found: dict[str, dict[int, Cost]]) -> Table:
    """The figures as a table."""
    names = (
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "vectors p50 ms",
        "recall@10",
        "start CPU s",
        "build CPU s",
        "process MB",
        "database MB",
    )
    table = Table("", "passages", *names)
    for engine, sizes in found.items():
        for size, cost in sizes.items():
            table.add_row(engine, f"{size:,}", *(f"{value:.3g}" for value in asdict(cost).values()))
    return table


def picture(found: dict[str, dict[int, Cost]]) -> str:
    """Latency and processor time against size, as SVG."""
    words = {"FAISS": "FAISS（SQLite）", "pgvector": "pgvector（PostgreSQL）"}

    def lines(value: Callable[[Cost], float], label: str) -> list[Series]:
        return [
            Series(f"{words[name]} {label}", [(size, value(cost)) for size, cost in of.items()])
            for name, of in found.items()
        ]

    waits = lines(lambda cost: cost.p50_ms, "p50") + lines(lambda cost: cost.p99_ms, "p99")
    return draw(
        [
            Panel("知识检索延迟（不含查询编码），ms · latency without encoding", waits),
            Panel("每次检索的 CPU 时间（服务 + PostgreSQL），ms · CPU per search", lines(lambda cost: cost.cpu_ms, "")),
        ],
        "段落数 · passages",
    )


def main() -> int:
    """Fill, measure, print and draw; 1 where the nearest ten are missed too often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--up-to", type=int, default=SIZES[-1], help="the most passages")
    parser.add_argument("--texts", type=Path, help="a JSONL file with more real texts: title and body")
    parser.add_argument("--real", type=int, default=REAL, help="real passages that are encoded, 25 a second")
    asked = parser.parse_args()
    sizes = [size for size in SIZES if size <= asked.up_to]
    texts = real_texts(asked.texts)[: asked.real]
    log.print(f"encoding {len(texts)} real passages")
    model = SentenceTransformerEmbedder(resolve_model(ROOT / "var"))
    real = model.encode_documents([searchable(title, body) for title, body in texts])
    queries = [body.strip().split("\n")[0][:40] for _, body in texts[:: max(1, len(texts) // QUERIES)]]
    queries = list(dict.fromkeys(queries))[:QUERIES]
    given = Given(texts, queries, np.concatenate([real, perturbed(real, max(0, sizes[-1] - len(real)), 1)]))
    encoded = Encoded(model, queries)
    folder = Path(tempfile.mkdtemp(prefix="sortie-knowledge-"))
    found: dict[str, dict[int, Cost]] = {}
    try:
        log.print("FAISS on SQLite")
        costs = asyncio.run(sweep(f"sqlite+aiosqlite:///{folder}/sortie.db", sizes, encoded, given, time.process_time))
        found["FAISS"] = dict(zip(sizes, costs, strict=True))
        with cluster(folder / "postgres") as server:
            log.print("pgvector on PostgreSQL")
            server.create("sortie")
            url = server.url("sortie").replace("postgresql://", "postgresql+asyncpg://", 1)
            costs = asyncio.run(sweep(url, sizes, encoded, given, lambda: time.process_time() + server.cpu_seconds()))
        found["pgvector"] = dict(zip(sizes, costs, strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console(width=150).print(printed(found))
    RESULTS.parent.mkdir(exist_ok=True)
    figures = {engine: {size: asdict(cost) for size, cost in of.items()} for engine, of in found.items()}
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(found), encoding="utf-8")
    return int(min(cost.recall for of in found.values() for cost in of.values()) < 0.9)


if __name__ == "__main__":
    sys.exit(main())
