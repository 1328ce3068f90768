"""The commands for trusted documents: a manifest is checked, or made of the operations in source files."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import fail, pick, readable_errors, say, words


def add_commands(documents: typer.Typer) -> None:
    """Put the commands in their places."""
    documents.command("check", help=pick("按当前模式检查清单。", "Check a manifest against this release's schema."))(
        check
    )
    documents.command(
        "collect",
        help=pick(
            "把 .graphql 文件中的操作（连同所需片段）收成清单。",
            "Make a manifest of the operations in .graphql files, with the fragments that they need.",
        ),
    )(collect)


def check(file: Annotated[Path, typer.Argument(help=pick("清单（JSON）", "The manifest (JSON)"))]) -> None:
    """Check a manifest; ends with 1 where a document cannot be used."""
    from api.schema import graphql_schema
    from api.trusted import listed, problems
    from domain.kernel import Text

    with readable_errors():
        texts = listed(file)
    bad = 0
    for id, text in texts.items():
        wrong = problems(id, text, graphql_schema)
        bad += bool(wrong)
        typer.echo(f"{'x' if wrong else 'ok':<3}{id}")
        for told in wrong:
            typer.echo(f"     {told}")
    counted = Text(f"{len(texts)} 个文档，{bad} 个不可用", f"{len(texts)} documents, {bad} of them cannot be used")
    if bad:
        fail(words(counted))
    say(counted)


def collect(
    paths: Annotated[list[Path], typer.Argument(help=pick("文件或目录", "Files or folders"))],
    output: Annotated[Path, typer.Option("--output", "-o", help=pick("写到哪个文件", "The file to write"))],
) -> None:
    """Write a manifest; nothing is written where an operation cannot be used."""
    from api.schema import graphql_schema
    from api.trusted import collect as found_in
    from api.trusted import write_manifest
    from domain.kernel import Text

    with readable_errors():
        texts = found_in(paths, graphql_schema)
        output.write_bytes(write_manifest(texts))
    say(Text(f"{len(texts)} 个文档写入 {output}", f"{len(texts)} documents are in {output}"))
