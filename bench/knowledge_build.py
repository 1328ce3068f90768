"""What it costs to encode ten thousand real passages on the embedded index, and what is found meanwhile and just afterwards.

While the vectors are made, searches go on and one entry is published by the ordinary operations. Then another library begins as
the next process would: from the stored generation.
"""

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.knowledge_scale import ROOT, opened, publish, real_texts
from domain import people
from domain.kernel import SYSTEM, Actor, Database, Language, Role
from knowledge import Content, Facets, Filter, KnowledgeKind, Library, service
from knowledge.embedding import SentenceTransformerEmbedder, resolve_model
from knowledge.generations import GenerationStore

PASSAGES, CUTS = 10_000, 4
RESULTS = Path(__file__).parent / "results" / "knowledge_build.json"
QUERIES = (
    "客户说价格太高",
    "交期怎么保证",
    "竞品说他们更便宜",
    "How do I prepare a kick-off?",
    "what to do when a project slips",
)
NEW = "续约客户的备件清单怎么谈"

log = Console(stderr=True)


def cuts_of(texts: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """So many different passages out of real ones: as they are cut, then the same words cut at other places.

    The k-th cut joins the end of a passage with the beginning of the next, k quarters further on.
    """
    found = list(texts)
    for part in range(1, CUTS):
        for (title, before), (_, after) in pairwise(texts):
            at, to = len(before) * part // CUTS, len(after) * part // CUTS
            found.append((title, before[at:] + after[:to]))
    distinct = list(dict.fromkeys(found))
    if len(distinct) < count:
        raise SystemExit(f"there are {len(distinct):,} passages; --texts names a file with more")
    return distinct[:count]


@dataclass(slots=True)
class Meanwhile:
    """What searches met while the vectors were made."""

    waits_ms: list[float] = field(default_factory=list)
    methods: set[tuple[str, ...]] = field(default_factory=set)
    published_found_seconds: float | None = None


async def search_on(library: Library, met: Meanwhile, *, until: Callable[[], bool]) -> None:
    """Search again and again, twenty times a second, until told to stop."""
    number = 0
    while not until():
        began = time.perf_counter()
        found = await library.search(SYSTEM, QUERIES[number % len(QUERIES)], Filter(), 10)
        met.waits_ms.append((time.perf_counter() - began) * 1e3)
        met.methods.add(found.methods)
        number += 1
        await asyncio.sleep(0.05)


async def curator(database: Database, name: str) -> Actor:
    """Somebody who curates everywhere."""
    address = f"{name.encode().hex()}@example.com"
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name=name, email=address)
        await uow.session.flush()
        await people.grant_role(uow, user, Role.CURATOR)
    async with database.read() as connection:
        return await people.sign_in(connection, database.clock(), email=address)


async def publish_one(database: Database, curators: tuple[Actor, Actor], library: Library) -> float:
    """Publish an entry by two people, and return the seconds from its publication until a search finds it first."""
    content = Content(NEW, "先问清上一年换过哪些件，再按使用年限报备件清单，价格以当期价目表为准。", Facets())
    async with database.open_uow(curators[0]) as uow:
        item = await service.draft(uow, kind=KnowledgeKind.FAQ, language=Language.ZH, content=content)
    async with database.open_uow(curators[0]) as uow:
        item = await service.submit(uow, item.id, item.version)
    async with database.open_uow(curators[1]) as uow:
        item = await service.publish(uow, item.id, item.version)
    began = time.perf_counter()
    while True:
        found = await library.search(SYSTEM, NEW, Filter(), 1)
        if found.hits and found.hits[0].item_id == item.id:
            return time.perf_counter() - began
        await asyncio.sleep(0.02)


async def build(texts: list[tuple[str, str]], folder: Path) -> dict[str, object]:
    """Encode the passages of a fresh installation, with searches and a publication amid it, and begin once more."""
    model = SentenceTransformerEmbedder(resolve_model(ROOT / "var"))
    async with opened(f"sqlite+aiosqlite:///{folder}/sortie.db") as database:
        curators = (await curator(database, "赵宇"), await curator(database, "徐兰"))
        await publish(database, texts, np.empty((len(texts), 0), dtype=np.float32), 1, None)
        library, met, done = Library(database, GenerationStore(folder / "index")), Meanwhile(), asyncio.Event()
        await library.refresh()
        await library.use_embedder(model)
        searching = asyncio.create_task(search_on(library, met, until=done.is_set))
        amid: list[asyncio.Task[float]] = []
        with Progress(console=log) as shown:
            task = shown.add_task("encoding", total=len(texts))

            def tell(made: int, total: int) -> None:
                shown.update(task, completed=made, total=total)
                if made > total // 3 and not amid:
                    amid.append(asyncio.create_task(publish_one(database, curators, library)))

            began, spent = time.perf_counter(), time.process_time()
            made = await library.embed(tell)
            wall, cpu = time.perf_counter() - began, time.process_time() - spent
        met.published_found_seconds = await amid[0]
        made += await library.embed()
        done.set()
        await searching
        whole = await library.status()
        began = time.process_time()
        second = Library(database, GenerationStore(folder / "index"))
        await second.refresh()
        await second.use_embedder(model)
        await _level(second.embed)
        return {
            "passages": whole.passages, "without_vector": whole.lacking, "made": made, "wall_seconds": wall, "cpu_seconds": cpu,
            "passages_per_cpu_second": len(texts) / cpu, "searches_meanwhile": len(met.waits_ms), "methods_meanwhile": sorted(met.methods),
            "p50_ms": float(np.percentile(met.waits_ms, 50)), "p99_ms": float(np.percentile(met.waits_ms, 99)), "slowest_ms": max(met.waits_ms),
            "published_found_seconds": met.published_found_seconds, "next_process_cpu_seconds": time.process_time() - began,
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }  # fmt: skip


async def _level(embed: Callable[[], Awaitable[int]]) -> None:
    made = await embed()
    if made:
        raise RuntimeError(f"the next process made {made} vectors anew")


def main() -> int:
    """Build, measure and print; 1 where a passage is left without its vector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="a JSONL file with more real texts: title and body")
    parser.add_argument("--passages", type=int, default=PASSAGES, help="how many passages are encoded")
    asked = parser.parse_args()
    texts = cuts_of(real_texts(asked.texts), asked.passages)
    folder = Path(tempfile.mkdtemp(prefix="sortie-knowledge-build-"))
    try:
        found = asyncio.run(build(texts, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table("", "")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:,.3g}" if isinstance(value, float) else str(value))
    Console(width=100).print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(found["without_vector"] != 0)


if __name__ == "__main__":
    sys.exit(main())
