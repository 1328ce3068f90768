"""The commands that measure: how well retrieval finds what it should."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import bars, pick, readable_errors, say, settings_of, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from knowledge.embedding import Embedder
    from knowledge.reranking import Reranking

ENCODERS = 2
"""Copies of the model that encode beside each other, where there are as many cores."""
RERANKER_SECONDS = 600.0
SMALL = 200
"""Documents up to which a second copy takes longer to load than it saves."""


def add_commands(evaluations: typer.Typer) -> None:
    """Put the commands in their places."""
    evaluations.command(
        "retrieval",
        help=pick(
            "用带标注的问题集评测检索：nDCG@10、MRR@10、命中率，以及每次检索的 CPU 毫秒。",
            "Measure retrieval on judged questions: nDCG@10 (the grade is the gain), MRR@10, hits, CPU milliseconds a search.",
        ),
    )(retrieval)


def retrieval(
    docs: Annotated[Path, typer.Option(help=pick('文档（JSONL）：{"id", "text"}', 'The documents (JSONL): {"id", "text"}'))],
    queries: Annotated[
        Path,
        typer.Option(
            help=pick(
                '问题（JSONL）：{"id", "text", "rel": {文档: 等级}}，或用 "rel_set" 引用列表',
                'The questions (JSONL): {"id", "text", "rel": {document: grade}}, or "rel_set" with the name of a list',
            )
        ),
    ],
    relsets: Annotated[
        Path | None,
        typer.Option(help=pick("“rel_set” 所引用的列表（JSON）", "The lists that “rel_set” names (JSON)")),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help=pick("在标准输出上只输出一个 JSON 对象", "Print one JSON object and nothing else"))
    ] = False,
) -> None:  # fmt: skip
    """Build a temporary index of the documents, ask every question, print the figures."""
    import asyncio
    import json

    from domain.kernel import Text
    from knowledge.evaluation import evaluate, read_set

    with readable_errors():
        judged = read_set(docs, queries, relsets)
        if judged.unjudged:
            zh = f"{judged.unjudged} 个问题没有相关文档，不计入"
            say(Text(zh, f"{judged.unjudged} questions that no document answers are left out"))
        labels = {"documents": pick("文档", "documents"), "questions": pick("问题", "questions")}
        with bars() as report:
            embedders = _embedders(
                len(judged.documents), lambda done, total: report(pick("准备模型", "preparing the model"), done, total)
            )
            found = asyncio.run(
                evaluate(judged, embedders, lambda step, done, total: report(labels[step], done, total), _reranking())
            )
    figures = found.as_json()
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _show(figures, len(judged.documents), len(judged.questions))


def _embedders(documents: int, progress: "Callable[[int, int], None]") -> "list[Embedder]":
    from api.jobs.upkeep import find_model
    from domain.kernel import Text
    from knowledge.embedding import SentenceTransformerEmbedder

    settings = settings_of()
    directory = find_model(settings, progress)
    say(Text(f"模型 {directory.model_id}", f"model {directory.model_id}"))
    copies = min(ENCODERS, len(os.sched_getaffinity(0))) if documents > SMALL else 1
    return [SentenceTransformerEmbedder(directory) for _ in range(copies)]


def _reranking() -> "Reranking | None":
    """The reranker that is set, with all the time that it takes."""
    from domain.kernel import Text
    from knowledge.reranking import CrossEncoderReranker, Reranking

    name = settings_of().reranker
    if name is None:
        return None
    say(Text(f"重排模型 {name}", f"reranker {name}"))
    return Reranking(CrossEncoderReranker(name), seconds=RERANKER_SECONDS)


def _show(figures: dict[str, Any], documents: int, questions: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from domain.kernel import Text

    names = {"lexical": pick("词", "lexical"), "dense": pick("向量", "dense"), "hybrid": pick("混合", "hybrid")}
    if "reranked" in figures["ndcg@10"]:
        names["reranked"] = pick("重排", "reranked")
    counted = Text(f"{documents} 篇文档，{questions} 个问题", f"{documents} documents, {questions} questions")
    table = Table("", *names.values(), title=words(counted))
    for measure, found in figures.items():
        if measure != "latency_ms":
            table.add_row(measure, *(f"{found[name]:.4f}" for name in names))
    console = Console()
    console.print(table)
    labels = {
        "without_embedding": pick("不含编码", "without embedding"),
        "with_embedding": pick("含编码", "with embedding"),
        "with_reranking": pick("含编码与重排", "with embedding and reranking"),
    }
    for kind, found in figures["latency_ms"].items():
        label = labels[kind]
        console.print(f"{label}: p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms (CPU)")
