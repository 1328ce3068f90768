"""The commands of those who run an installation: backup, restore, and the ledger as a file."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import bar, fail, pick, readable_errors, say, settings_of, with_database, words

if TYPE_CHECKING:
    from api.settings import Settings


def add_commands(app: typer.Typer, audits: typer.Typer) -> None:
    """Put the commands in their places."""
    app.command(
        "backup",
        help=pick(
            "在线备份数据库和账本头（不含密钥）。",
            "Back up database and ledger heads while the server runs; keys are not in it.",
        ),
    )(backup)
    app.command("restore", help=pick("恢复备份并验证账本。", "Bring a backup back and verify its ledger."))(restore)
    audits.command(
        "export",
        help=pick("把账本导出成可离线验证的文件。", "Write the ledger to a file that can be verified offline."),
    )(export)


def backup(file: Annotated[Path, typer.Argument(help=pick("备份文件（.zip）", "The backup file (.zip)"))]) -> None:
    """Back up."""
    from api.operations.backup import back_up
    from domain.kernel import Text

    settings = settings_of()
    with readable_errors(), bar(Text("备份", "backing up")) as progress:
        made = asyncio.run(back_up(settings, file, progress))
    say(Text(f"账本可信：事件 {made['events']} 条", f"the ledger in it is sound: {made['events']} events"))
    say(
        Text(
            "密钥不在备份中，请另行保管：" + str(settings.ledger_key),
            "the keys are not in it, keep them elsewhere: " + str(settings.ledger_key),
        )
    )
    typer.echo(str(file))


def restore(
    file: Annotated[Path, typer.Argument(help=pick("备份文件", "The backup file"))],
    replace: Annotated[
        bool,
        typer.Option("--replace", help=pick("替换现有数据库（旧库改名保留）", "Put a database that is there aside")),
    ] = False,
) -> None:
    """Restore."""
    from api.operations.backup import restore as bring_back
    from domain.kernel import Text

    settings = settings_of()
    with readable_errors(), bar(Text("恢复", "restoring")) as progress:
        manifest, aside = asyncio.run(bring_back(settings, file, progress, replace=replace))
    say(
        Text(
            f"已恢复 {manifest['at']} 的备份，账本可信：事件 {manifest['events']} 条",
            f"restored the backup of {manifest['at']}; its ledger is sound: {manifest['events']} events",
        )
    )
    for kept in aside:
        say(Text(f"原有文件保留在 {kept}", f"what was there is kept at {kept}"))


def export(
    file: Annotated[Path, typer.Argument(help=pick("导出文件（.jsonl）", "The file to write (.jsonl)"))],
) -> None:
    """Export the ledger."""
    from api.notary import Notary
    from domain.kernel import Text

    settings = settings_of()

    async def write(database: Any) -> int:
        with bar(Text("导出账本", "writing the ledger")) as progress:
            return await Notary.of(database, settings).export(file, progress)

    with readable_errors():
        count = asyncio.run(with_database(settings, write))
    say(
        Text(
            f"已导出事件 {count} 条；离线验证：sortie audit verify --file {file}",
            f"{count} events; verify it anywhere with: sortie audit verify --file {file}",
        )
    )
    typer.echo(str(file))


def verify_export(file: Path, head: str | None, public_key: str | None) -> None:
    """Verify a ledger file without database and keys; the exit status tells."""
    from api.ledger_file import verify_file
    from api.notary import remembered_head
    from domain.kernel import Text

    with readable_errors(), bar(Text("验证账本文件", "verifying the ledger file")) as progress:
        key = None if public_key is None else bytes.fromhex(public_key)
        remembered = None if head is None else remembered_head(head)
        found = verify_file(file, public_key=key, remembered=remembered, progress=progress)
    say(Text(f"事件 {found.events} 条，已封存 {found.sealed} 条", f"{found.events} events, {found.sealed} sealed"))
    if found.head is not None:
        typer.echo(found.head.line().decode())
    if found.problem is not None:
        fail(words(found.problem))
    say(Text("账本可信", "the ledger is sound"))


def move(settings: "Settings", source: str) -> None:
    """Take a SQLite installation along to the database that is set, and show what came."""
    from rich.console import Console
    from rich.table import Table

    from api.moving import move as take_along
    from domain.kernel import Text

    with readable_errors(), bar(Text("复制", "copying")) as progress:
        copied = asyncio.run(take_along(settings, source, progress))
    table = Table(pick("表", "table"), pick("行数", "rows"), pick("摘要", "digest"))
    for one in copied:
        table.add_row(one.table, f"{one.rows:,}", one.digest[:16])
    Console(stderr=True).print(table)
    rows = sum(one.rows for one in copied)
    say(
        Text(
            f"已复制 {len(copied)} 张表、{rows:,} 行，逐行一致，账本可信；原数据库保持不变",
            f"copied {len(copied)} tables with {rows:,} rows, the same row by row; the ledger is sound; the source is as it was",
        )
    )
