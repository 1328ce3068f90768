"""The commands that bring knowledge in from files and take it out to files."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.terminal import CHINESE, bar, bars, fail, pick, readable_errors, say, settings_of, with_database

if TYPE_CHECKING:
    from api.importing.report import ImportSummary
    from domain.kernel import Database


def add_commands(library: typer.Typer) -> None:
    """Put the commands in their places."""
    library.command(
        "import",
        help=pick(
            "导入 Word、PowerPoint、PDF、Excel、Markdown、CSV、JSONL：成为待审核的草稿，不会直接发布。",
            "Bring in Word, PowerPoint, PDF, Excel, Markdown, CSV and JSONL files as drafts in review; nothing is published.",
        ),
    )(bring)
    library.command(
        "export",
        help=pick(
            "按某人可见的范围导出知识（Markdown、CSV、JSONL），并记入账本。",
            "Write the knowledge that one person sees as Markdown, CSV or JSONL; the ledger tells of it.",
        ),
    )(export)


Email = Annotated[str, typer.Option("--as", help=pick("以谁的身份（邮箱）", "Whose work it is: an email address"))]


def bring(
    paths: Annotated[list[Path], typer.Argument(help=pick("文件或文件夹", "Files or folders"))],
    email: Email,
    kind: Annotated[
        str | None, typer.Option(help=pick("文件没有写明时的种类", "The kind where a file names none"))
    ] = None,
    language: Annotated[
        str | None, typer.Option(help=pick("文件没有写明时的语言：zh | en", "The language where a file names none: zh | en"))
    ] = None,
    source: Annotated[
        str | None, typer.Option(help=pick("文件没有写明时的来源", "The source where a file names none"))
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help=pick("文件没有写明时的许可", "The licence where a file names none"))
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=pick("只检查，不写入", "Check and count, write nothing"))] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=pick("在标准输出上只输出一个 JSON 对象", "Print one JSON object and nothing else"))
    ] = False,
) -> None:  # fmt: skip
    """Import files."""
    from api.importing.documents import import_documents
    from knowledge.formats import Defaults
    from knowledge.formats.document import KINDS, LANGUAGES

    if kind is not None and kind.lower() not in KINDS:
        fail(pick(f"未知种类“{kind}”", f"unknown kind “{kind}”"))
    if language is not None and language.lower() not in LANGUAGES:
        fail(pick(f"未知语言“{language}”", f"unknown language “{language}”"))
    defaults = Defaults(
        KINDS[kind.lower()] if kind else None,
        LANGUAGES[language.lower()] if language else None,
        source=source,
        licence=licence,
    )
    settings = settings_of()

    async def work(database: "Database") -> "ImportSummary":
        with bars() as progress:
            return await import_documents(
                database, email, paths, defaults=defaults, dry_run=dry_run, progress=progress, rejects_to=settings.home / "rejects"
            )  # fmt: skip

    with readable_errors():
        summary = asyncio.run(with_database(settings, work))
    _show(summary, as_json=as_json)
    if summary.rejected:
        raise typer.Exit(1)


def _show(summary: "ImportSummary", *, as_json: bool) -> None:
    from domain.kernel import Language

    language = Language.ZH if CHINESE else Language.EN
    if not as_json:
        for line in summary.lines(language):
            typer.echo(line)
        return
    import json

    tally = summary.tallies["knowledge"]
    told = {
        "dryRun": summary.dry_run, "read": tally.read, "new": tally.new, "unchanged": tally.unchanged, "revised": tally.different, "rejected": tally.rejected,
        "warnings": [one.words(language) for one in summary.warnings], "reasons": [one.words(language) for one in summary.rejections],
        "rejectFiles": [str(path) for path in summary.reject_files],
    }  # fmt: skip
    typer.echo(json.dumps(told, ensure_ascii=False))


def export(
    target: Annotated[Path, typer.Argument(help=pick("文件；Markdown 为文件夹", "The file, or with Markdown the folder"))],
    email: Email,
    form: Annotated[str, typer.Option("--format", help="markdown | csv | jsonl")] = "markdown",
    drafts: Annotated[
        bool, typer.Option("--drafts", help=pick("包括未发布的草稿", "Entries as they are to be, drafts included"))
    ] = False,
) -> None:  # fmt: skip
    """Export entries."""
    from api.importing.documents import DocumentFormat, export_documents
    from domain.kernel import Text

    try:
        chosen = DocumentFormat(form)
    except ValueError as error:
        fail(str(error))

    async def work(database: "Database") -> tuple[int, str]:
        with bar(Text("导出", "exporting")) as progress:
            return await export_documents(
                database,
                email,
                target,
                chosen,
                drafts=drafts,
                progress=lambda _file, done, total: progress(done, total),
            )

    with readable_errors():
        count, digest = asyncio.run(with_database(settings_of(), work))
    say(Text(f"已导出 {count} 条，SHA-256 {digest}", f"{count} entries, SHA-256 {digest}"))
