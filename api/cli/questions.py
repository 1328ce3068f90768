"""The commands of those who keep the knowledge."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import FAILED, bars, pick, readable_errors, say, settings_of, with_database, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.settings import Settings
    from domain.kernel import Database
    from knowledge.retrieval_tests import Outcome

    Report = Callable[[str, int, int], None]


def add_commands(curated: typer.Typer) -> None:
    """Put the commands in their places."""
    curated.command(
        "test",
        help=pick(
            "运行全部保存的检索测试；有未通过的则退出码为 1。",
            "Run all saved retrieval tests; exit status 1 when one fails.",
        ),
    )(run_tests)


def run_tests(
    as_json: Annotated[
        bool, typer.Option("--json", help=pick("在标准输出上只输出一个 JSON 对象", "Print one JSON object and nothing else"))
    ] = False,
) -> None:  # fmt: skip
    """Run the tests on an index of this process and keep what came."""
    settings = settings_of()
    with readable_errors(), bars() as report:
        outcomes, titles = asyncio.run(with_database(settings, lambda database: _run(database, settings, report)))
    failed = [one for one in outcomes if not one.passed]
    if as_json:
        import json

        typer.echo(json.dumps(_figures(outcomes), ensure_ascii=False))
    else:
        _show(outcomes, titles)
    if failed:
        raise typer.Exit(FAILED)


async def _run(database: "Database", settings: "Settings", report: "Report") -> "tuple[list[Outcome], dict[Any, str]]":
    from api.jobs.upkeep import find_model
    from api.knowledge import question_runs
    from knowledge import Library
    from knowledge.embedding import SentenceTransformerEmbedder
    from knowledge.reranking import CrossEncoderReranker, Reranking

    # A running server stores the index: here it lives in memory alone, with vectors from the database's cache.
    library = Library(database)
    if settings.embeds:
        model = await asyncio.to_thread(find_model, settings)
        await library.use_embedder(await asyncio.to_thread(SentenceTransformerEmbedder, model))
        await library.embed(lambda done, total: report(pick("计算向量", "computing vectors"), done, total))
    if settings.reranker is not None:
        reranker = await asyncio.to_thread(CrossEncoderReranker, settings.reranker)
        library.rerank_by(Reranking(reranker, seconds=settings.reranker_seconds))
    label = pick("检索测试", "retrieval tests")
    outcomes = await question_runs.run_tests(database, library, progress=lambda done, total: report(label, done, total))
    titles = {entry.id: entry.title for entry in (await library.refresh()).entries.values()}
    return outcomes, titles


def _figures(outcomes: "list[Outcome]") -> dict[str, Any]:
    from api.reads import global_id

    return {
        "ran": len(outcomes),
        "failed": sum(not one.passed for one in outcomes),
        "tests": [
            {
                "id": global_id("RetrievalTest", one.question.test_id),
                "question": one.question.words,
                "passed": one.passed,
                "methods": list(one.result.methods),
                "ranks": [
                    {"item": global_id("KnowledgeItem", id), "comes": one.question.named[id], "rank": rank}
                    for id, rank in one.ranks.items()
                ],
            }
            for one in outcomes
        ],
    }


def _show(outcomes: "list[Outcome]", titles: dict[Any, str]) -> None:
    from domain.kernel import Text

    for one in (one for one in outcomes if not one.passed):
        typer.echo(f"✗ {one.question.words}")
        for id in one.amiss:
            name, rank = titles.get(id, id.hex), one.ranks[id]
            place = pick(f"第 {rank} 位", f"at rank {rank}") if rank else pick("未出现", "did not come")
            wish = pick("应在前", "expected within") if one.question.named[id] else pick("不应在前", "unwanted within")
            typer.echo(f"  {name}: {place}{pick('，', ', ')}{wish} {one.question.within}")
    if degraded := next((one.result.degraded for one in outcomes if one.result.degraded), None):
        say(degraded)
    ran, failed = len(outcomes), sum(not one.passed for one in outcomes)
    typer.echo(words(Text(f"检索测试 {ran} 个，未通过 {failed} 个", f"{ran} retrieval tests, {failed} failed")))
