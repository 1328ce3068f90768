"""Retrieval on the sets of this repository: questions as reps and customers put them, on the demo company's knowledge.

Ends with 1 where a threshold in bench/retrieval/thresholds.json is missed.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from demo.records import entries
from domain.kernel import Language
from knowledge.embedding import Embedder, SentenceTransformerEmbedder, resolve_model
from knowledge.evaluation import METHODS, JudgedSet, Question, Scores, evaluate

ROOT = Path(__file__).parent.parent
SETS = Path(__file__).parent / "retrieval"
LANGUAGES = {"zh": (Language.ZH,), "en": (Language.EN,), "zh_en": (Language.EN,), "en_zh": (Language.ZH,)}
"""The sets, and in which language the entries are that are searched: `zh_en` has Chinese questions on English entries."""
ENCODERS = 2

log = Console(stderr=True)


def documents(languages: tuple[Language, ...]) -> dict[str, str]:
    """The demo company's entries of some languages by the names of their files, and entries on neighbouring matters."""
    found = {path.stem: f"# {one.title}\n{one.body}" for path, one in entries().items() if one.language in languages}
    for language in languages:
        found |= {line["id"]: line["text"] for line in _lines(SETS / f"beside_{language.lower()}.jsonl")}
    return found


def judged(name: str) -> JudgedSet:
    """One of the sets."""
    asked = [Question(line["id"], line["text"], line["rel"]) for line in _lines(SETS / f"{name}.jsonl")]
    found = documents(LANGUAGES[name])
    strange = {id for one in asked for id in one.relevant} - found.keys()
    if strange:
        raise ValueError(f"{name}: entries that are not there: {', '.join(sorted(strange))}")
    return JudgedSet(found, asked)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def missed(found: Mapping[str, Scores], thresholds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What falls short: nDCG@10 of the hybrid search, alone and against the better of the two methods."""
    short = []
    for name, least in thresholds.items():
        ndcg = found[name].ndcg
        for measure, value in (("ndcg@10", ndcg["hybrid"]), ("over the best single method", _ratio(ndcg))):
            if value < least[measure]:
                short.append(f"{name}: {measure} is {value:.3f}, at least {least[measure]} is wanted")
    return short


def _ratio(ndcg: Mapping[str, float]) -> float:
    return ndcg["hybrid"] / max(ndcg["lexical"], ndcg["dense"])


def shown(found: Mapping[str, Scores]) -> Table:
    """The figures of all sets."""
    table = Table(
        "set",
        *(f"nDCG@10 {name}" for name in METHODS),
        "hybrid / best",
        "MRR@10",
        "hit@1",
        "hit@5",
        "CPU ms, p99",
        "with embedding",
    )
    for name, scores in found.items():
        ndcg, latency = scores.ndcg, scores.latency_ms
        table.add_row(
            name, *(f"{ndcg[method]:.3f}" for method in METHODS), f"{_ratio(ndcg):.3f}", f"{scores.mrr['hybrid']:.3f}",
            f"{scores.hits[1]['hybrid']:.2f}", f"{scores.hits[5]['hybrid']:.2f}",
            f"{latency['without_embedding']['p99']:.1f}", f"{latency['with_embedding']['p99']:.1f}",
        )  # fmt: skip
    return table


def _measured(embedders: list[Embedder]) -> dict[str, Scores]:
    found = {}
    with Progress(console=log) as progress:
        for name in LANGUAGES:
            bars = {step: progress.add_task(f"{name}: {step}", total=None) for step in ("documents", "questions")}

            def tell(step: str, done: int, total: int, bars: Mapping[str, Any] = bars) -> None:
                progress.update(bars[step], completed=done, total=total)

            found[name] = asyncio.run(evaluate(judged(name), embedders, tell))
    return found


def _worst(found: Mapping[str, Scores], count: int) -> Table:
    table = Table("question", *METHODS, title="found worst")
    each = sorted(
        ((values["hybrid"], id, values) for one in found.values() for id, values in one.each.items()),
        key=lambda row: row[:2],
    )
    texts = {line["id"]: line["text"] for name in LANGUAGES for line in _lines(SETS / f"{name}.jsonl")}
    for _, id, values in each[:count]:
        table.add_row(f"{id} {texts[id]}", *(f"{values[name]:.2f}" for name in METHODS))
    return table


def main() -> int:
    """Measure, show, compare with the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worst", type=int, default=0, help="also show so many of the questions that are found worst")
    options = parser.parse_args()
    home = Path(os.environ.get("SORTIE_HOME") or ROOT / "var")
    directory = resolve_model(home)
    found = _measured([SentenceTransformerEmbedder(directory) for _ in range(ENCODERS)])
    console = Console()
    console.print(shown(found))
    if options.worst:
        console.print(_worst(found, options.worst))
    short = missed(found, json.loads((SETS / "thresholds.json").read_text(encoding="utf-8")))
    for words in short:
        log.print(f"[red]{words}[/red]")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
