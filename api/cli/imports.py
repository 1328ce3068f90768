"""The commands that bring data in and take it out: proposed and kept mappings, exports."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.terminal import CHINESE, bar, fail, pick, readable_errors, say, settings_of, with_database


def add_commands(app: typer.Typer, imports: typer.Typer) -> None:
    """Put the commands in their places."""
    imports.command(
        "propose",
        help=pick(
            "根据列名和数据提出映射（YAML 输出到标准输出，待定项在标准错误）。",
            "Propose a mapping from columns and values: YAML to stdout, what is open to stderr.",
        ),
    )(propose)
    imports.command("mappings", help=pick("列出保存过的映射。", "List the mappings that were kept."))(mappings)
    app.command(
        "export",
        help=pick(
            "按某人可见的范围导出记录（CSV 或 JSONL），并记入账本。",
            "Write records as one person sees them to CSV or JSONL; the ledger tells of it.",
        ),
    )(export)


def kept_mapping(home: Path, source: str) -> Path:
    """The file of a kept mapping; ends the command where there is none."""
    found = home / "mappings" / f"{source}.yaml"
    if not found.is_file():
        fail(pick(f"没有保存过来源“{source}”的映射", f"no mapping is kept for the source “{source}”"))
    return found


def keep_mapping(home: Path, mapping: Path) -> None:
    """Keep a mapping by its source, so that the next import needs the source's name alone."""
    from api.importing.mapping import load_mapping
    from domain.kernel import Text

    target = home / "mappings" / f"{load_mapping(mapping).source}.yaml"
    if mapping.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mapping.read_bytes())
    say(Text(f"映射已保存：{target}", f"the mapping is kept: {target}"))


def propose(
    path: Annotated[Path, typer.Argument(help=pick("导出文件或其目录", "An exported file, or a directory of them"))],
    system: Annotated[
        str | None,
        typer.Option(
            help=pick("来源系统；默认按表头判断", "The system: salesforce, hubspot, zoho, frappe, maven or any")
        ),
    ] = None,
) -> None:
    """Print a mapping."""
    from api.importing.propose import propose as make
    from domain.kernel import Text

    with readable_errors():
        made = make(path, system)
    for note in made.notes:
        say(note)
    for note in made.open:
        say(Text(f"待定：{note.zh}", f"open: {note.en}"))
    typer.echo(made.text, nl=False)


def mappings() -> None:
    """List kept mappings."""
    for file in sorted((settings_of().home / "mappings").glob("*.yaml")):
        typer.echo(f"{file.stem}\t{file}")


def export(
    kind: Annotated[
        str, typer.Argument(help="accounts | contacts | leads | opportunities | activities | quotes | orders")
    ],
    email: Annotated[str, typer.Option("--as", help=pick("以谁的身份", "Whose view: an email address"))],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=pick("写入的文件；默认标准输出", "The file to write; stdout without it")),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="csv | jsonl")] = "csv",
    filter: Annotated[
        str | None,
        typer.Option(help=pick("筛选条件（JSON，与 GraphQL 相同）", "A filter as GraphQL takes it, in JSON")),
    ] = None,
) -> None:
    """Export records."""
    import shutil
    import sys
    from tempfile import TemporaryDirectory

    import orjson

    from api.exporting import Exported, Format
    from api.exporting import export as write
    from domain.kernel import Database, Language, Text

    try:
        chosen = Format(form)
        given: Any = orjson.loads(filter) if filter else None
    except ValueError as error:
        fail(str(error))
    if given is not None and not isinstance(given, dict):
        fail(pick("筛选条件须为 JSON 对象", "the filter must be a JSON object"))

    async def work(database: Database, file: Path) -> Exported:
        language = Language.ZH if CHINESE else Language.EN
        with bar(Text("导出", "exporting")) as progress:
            return await write(
                database, email, kind, file, form=chosen, filter=given, language=language, progress=progress
            )

    # What goes to stdout is whole and in the ledger first, too.
    with readable_errors(), TemporaryDirectory(prefix="sortie-") as folder:
        file = output or Path(folder) / kind
        done = asyncio.run(with_database(settings_of(), lambda database: work(database, file)))
        say(Text(f"已导出 {done.count} 条，SHA-256 {done.digest}", f"{done.count} records, SHA-256 {done.digest}"))
        if output is not None:
            typer.echo(str(output))
            return
        with file.open("rb") as whole:
            shutil.copyfileobj(whole, sys.stdout.buffer)
