"""The command `sortie`: serve, migrate, load, sign in, audit. Progress goes to stderr, results to stdout."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import documents as trusted
from api.cli import evaluation, operations, people, questions
from api.cli import imports as transfers
from api.cli import knowledge as library
from api.cli.terminal import CHINESE, bar, bars, fail, pick, readable_errors, say, settings_of, with_database, words

# Each command imports what it needs: `sortie --help` must not wait for the web, the database or the model.
if TYPE_CHECKING:
    from api.importing import ImportSummary
    from api.settings import Settings
    from domain.kernel import Database
    from domain.ledger import Verification

app = typer.Typer(
    name="sortie",
    help=pick(
        "销售团队的 GraphQL 服务，内置可审计的 AI 助手。",
        "A GraphQL API server with an audited AI assistant for sales teams.",
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
imports = typer.Typer(help=pick("导入真实数据。", "Bring real data in."), no_args_is_help=True)
audits = typer.Typer(help=pick("审计账本。", "Audit the ledger."), no_args_is_help=True)
documents = typer.Typer(help=pick("可信文档清单。", "Manifests of trusted documents."), no_args_is_help=True)
curated = typer.Typer(help=pick("维护知识。", "Keep the knowledge."), no_args_is_help=True)
evaluations = typer.Typer(help=pick("评测。", "Measure."), no_args_is_help=True)
app.add_typer(imports, name="import")
app.add_typer(evaluations, name="eval")
app.add_typer(curated, name="knowledge")
app.add_typer(documents, name="documents")
app.add_typer(audits, name="audit")
operations.add_commands(app, audits)
trusted.add_commands(documents)
evaluation.add_commands(evaluations)
library.add_commands(curated)
questions.add_commands(curated)
people.add_commands(app)
transfers.add_commands(app, imports)

Port = Annotated[int | None, typer.Option(help=pick("监听端口", "The port to listen on"), min=0, max=65_535)]
Host = Annotated[str | None, typer.Option(help=pick("监听地址", "The address to listen on"))]


@app.command(help=pick("启动服务（不加载演示数据）。", "Serve the API; never loads the demo company."))
def serve(
    port: Port = None,
    host: Host = None,
    workers: Annotated[
        int,
        typer.Option(
            help=pick("进程数（多于一个需要 PostgreSQL）", "How many processes; several need PostgreSQL"),
            min=1,
            max=256,
        ),
    ] = 1,
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
    tell: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve until SIGINT or SIGTERM."""
    from api import serving

    settings = settings_of(port=port, host=host)
    with readable_errors():
        if listener is None or tell is None:
            serving.serve(settings, say, workers)
        else:
            serving.serve_on(settings, socket.socket(fileno=listener), lambda: _tell(tell))


def _tell(tell: int) -> None:
    """Tell the process that began this one that it serves."""
    os.write(tell, b".")


@app.command(help=pick("处理后台任务，不提供服务（需要 PostgreSQL）。", "Do jobs and serve nobody; needs PostgreSQL."))
def worker() -> None:
    """Work until SIGINT or SIGTERM."""
    from api import serving

    settings = settings_of()
    with readable_errors():
        serving.work(settings, say)


@app.command(
    help=pick(
        "准备模型、升级数据库、向空库加载演示公司，然后启动服务。",
        "Prepare the model, migrate, load the demo company into an empty database, then serve.",
    )
)
def start(port: Port = None, host: Host = None) -> None:
    """Do everything that `make run` does after the installation."""
    from api import serving

    settings = settings_of(port=port, host=host)
    with readable_errors():
        serving.prepare(settings, say, bar)
        serving.serve(settings, say)


@app.command(help=pick("把数据库升级到最新结构。", "Bring the database to the newest schema."))
def migrate(
    copy_from: Annotated[
        str | None,
        typer.Option(
            help=pick(
                "把这个 SQLite 安装（sqlite:///…/sortie.db）连同账本复制到空的 PostgreSQL，逐行核对",
                "Copy this SQLite installation (sqlite:///…/sortie.db), ledger and all, to an empty PostgreSQL; every row is compared",
            )
        ),
    ] = None,
) -> None:
    """Migrate."""
    from domain.kernel import Text
    from migrations import migrate as bring

    settings = settings_of()
    if copy_from is not None:
        operations.move(settings, copy_from)
        return
    with readable_errors():
        settings.home.mkdir(parents=True, exist_ok=True)
        changed = asyncio.run(bring(settings.database, lambda step: say(Text(f"已应用：{step}", f"applied: {step}"))))
        if not settings.embedded:
            from api.jobs.engine import ensure_tables

            asyncio.run(ensure_tables(settings))
    say(
        Text("数据库已升级", "the database is up to date now")
        if changed
        else Text("数据库已是最新", "the database was up to date")
    )


@app.command(help=pick("向空数据库加载演示公司。", "Load the demo company into an empty database."))
def demo() -> None:
    """Load the demo company."""
    from api.storage import load_demo
    from domain.kernel import Text

    settings = settings_of()
    with readable_errors(), bar(Text("加载演示公司", "loading the demo company")) as progress:
        asyncio.run(load_demo(settings, progress))


@app.command(
    help=pick("为用户签发访问令牌（标准输出仅含令牌）。", "Sign an access token for a user; stdout is the token alone.")
)
def token(
    email: Annotated[str, typer.Argument(help=pick("用户邮箱", "The user's email address"))],
    hours: Annotated[float | None, typer.Option(help=pick("有效小时数", "How many hours it holds"))] = None,
) -> None:
    """Print a token."""
    from api.auth import issue

    settings = settings_of(token_hours=hours)
    with readable_errors():
        typer.echo(asyncio.run(with_database(settings, lambda database: issue(database, settings, email))))


@app.command(help=pick("输出 GraphQL 模式（SDL）。", "Print the GraphQL schema (SDL)."))
def schema() -> None:
    """Print the schema."""
    from api.printed import printed_schema

    sys.stdout.write(printed_schema())


DryRun = Annotated[bool, typer.Option("--dry-run", help=pick("只检查，不写入", "Check and count, write nothing"))]


@imports.command(
    "crm", help=pick("导入其他系统导出的文件（CSV 或 Excel）。", "Bring in what another system exported, CSV or Excel.")
)
def import_crm(
    directory: Annotated[Path, typer.Argument(help=pick("CSV 所在目录", "The directory with the CSV files"))],
    mapping: Annotated[Path | None, typer.Option(help=pick("映射文件（YAML）", "A mapping file (YAML)"))] = None,
    source: Annotated[
        str | None, typer.Option(help=pick("用该来源保存过的映射", "Use the mapping kept for a source"))
    ] = None,
    save: Annotated[bool, typer.Option("--save", help=pick("导入后保存映射", "Keep the mapping afterwards"))] = False,
    dry_run: DryRun = False,
) -> None:
    """Import records, all or none."""
    from api import importing

    home = settings_of().home
    if source is not None and mapping is None:
        mapping = transfers.kept_mapping(home, source)
    _import(
        lambda database, **told: importing.import_crm(database, directory, mapping=mapping, dry_run=dry_run, **told)
    )
    if save and mapping is not None and not dry_run:
        transfers.keep_mapping(home, mapping)


@imports.command("knowledge", help=pick("导入 JSONL 知识文件。", "Bring in knowledge from a JSONL file."))
def import_knowledge(
    file: Annotated[Path, typer.Argument(help=pick("JSONL 文件", "The JSONL file"))], dry_run: DryRun = False
) -> None:
    """Import entries, all or none."""
    from api import importing

    _import(lambda database, **told: importing.import_knowledge(database, file, dry_run=dry_run, **told))


def _import(bring: Callable[..., Coroutine[Any, Any, "ImportSummary"]]) -> None:
    """Import into an up-to-date database, with a bar a file; rows that cannot be taken are kept in the home directory."""
    from api.storage import ensure_schema
    from domain.kernel import Language

    settings = settings_of()
    rejects = settings.home / "rejects"

    async def work() -> "ImportSummary":
        await ensure_schema(settings)
        rejects.mkdir(parents=True, exist_ok=True)
        with bars() as progress:
            return await with_database(
                settings, lambda database: bring(database, progress=progress, rejects_to=rejects)
            )

    with readable_errors():
        summary = asyncio.run(work())
    for line in summary.lines(Language.ZH if CHINESE else Language.EN):
        typer.echo(line)


@audits.command(
    "verify",
    help=pick(
        "验证账本：可信则退出码为 0，否则为 1。", "Verify the ledger: exit status 0 when it is sound, 1 when not."
    ),
)
def verify(
    head: Annotated[
        str | None,
        typer.Option(
            help=pick(
                "另行保存的账本头：一行 JSON，或 @文件", "A ledger head kept elsewhere: its line, or @FILE with it"
            )
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help=pick("离线验证导出的账本文件", "Verify an exported ledger file instead, without the database")
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            help=pick(
                "签名公钥（十六进制）；默认用文件自带的",
                "The signing key in hexadecimal; the one in the file otherwise",
            )
        ),
    ] = None,
) -> None:
    """Verify the whole ledger."""
    from domain.kernel import Text

    if file is not None:
        operations.verify_export(file, head, public_key)
        return

    settings = settings_of()
    with readable_errors():
        found = asyncio.run(with_database(settings, lambda database: _audit(database, settings, head)))
    say(Text(f"事件 {found.events} 条，已封存 {found.sealed} 条", f"{found.events} events, {found.sealed} sealed"))
    if found.head is not None:
        typer.echo(found.head.line().decode())
    if found.problem is not None:
        fail(words(found.problem))
    say(Text("账本可信", "the ledger is sound"))


async def _audit(database: "Database", settings: "Settings", head: str | None) -> "Verification":
    from api.notary import Notary, remembered_head
    from domain.kernel import Text

    remembered = None if head is None else remembered_head(head)
    with bar(Text("验证账本", "verifying the ledger")) as progress:
        return await Notary.of(database, settings).audit(remembered=remembered, progress=progress)


def main() -> None:
    """Run the command."""
    app()
