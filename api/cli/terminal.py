"""What every command shares: the reader's language, progress on stderr, errors in one line, settings, the database."""

import os
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from api.settings import Settings
    from domain.kernel import Database, Text

T = TypeVar("T")

FAILED = 1
VARIABLE = re.compile(r"(SORTIE|OPENAI|OTEL)_[A-Z0-9_]+")


def reader_is_chinese(environment: Mapping[str, str]) -> bool:
    """Whether the person at the terminal reads Chinese: SORTIE_LANGUAGE decides, then the locale's variables."""
    for name in ("SORTIE_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return environment[name].lower().startswith("zh")
    return False


CHINESE = reader_is_chinese(os.environ)


def pick(zh: str, en: str) -> str:
    """The words in the reader's language."""
    return zh if CHINESE else en


def words(text: "Text") -> str:
    """A text in the reader's language."""
    return text.zh if CHINESE else text.en


def say(text: "Text") -> None:
    """Tell the person at the terminal how it goes."""
    typer.echo(words(text), err=True)


def fail(line: str) -> NoReturn:
    """Say what went wrong and end."""
    typer.echo(f"{pick('错误：', 'error: ')}{line}", err=True)
    raise typer.Exit(FAILED)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr that show how far long steps have come, each from when it first reports."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    progress = Progress(console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(label: str, done: int, total: int) -> None:
        progress.start()
        if label not in tasks:
            tasks[label] = progress.add_task(label)
        progress.update(tasks[label], completed=done, total=total)

    try:
        yield report
    finally:
        if progress.live.is_started:
            progress.stop()


@contextmanager
def bar(text: "Text") -> Iterator[Callable[[int, int], None]]:
    """One such bar."""
    with bars() as report:
        yield lambda done, total: report(words(text), done, total)


@contextmanager
def readable_errors() -> Iterator[None]:
    """End with one clear line for everything that is not a bug."""
    from sqlalchemy.exc import DBAPIError

    from domain.kernel import SalesError

    try:
        yield
    except SalesError as error:
        where = f"{'.'.join(error.path)}: " if error.path else ""
        fail(f"{where}{words(error.text)}")
    except DBAPIError as error:
        fail(f"{pick('数据库错误', 'the database says')}: {error.orig}")
    except OSError as error:
        fail(str(error))


def load_secrets(folder: Path) -> None:
    """Have what lies in a folder, a file named like its variable, as variables of this environment unless they are set.

    That is how containers are given passwords and keys. Raises Unavailable for a folder or a file that cannot be read.
    """
    from domain.kernel import Text, Unavailable

    try:
        for file in sorted(folder.iterdir()):
            if VARIABLE.fullmatch(file.name) and file.is_file():
                secret = file.read_text(encoding="utf-8").strip()
                if secret and not os.environ.get(file.name):
                    os.environ[file.name] = secret
    except (OSError, ValueError) as error:
        zh, en = f"SORTIE_SECRETS：无法读取：{error}", f"SORTIE_SECRETS cannot be read: {error}"
        raise Unavailable(Text(zh, en)) from error


def settings_of(**changes: Any) -> "Settings":
    """The settings of this environment, of `.env` here and of the folder of secrets, with what the command line changes."""
    from dotenv import load_dotenv
    from pydantic import ValidationError

    from api.settings import Settings

    load_dotenv(Path(".env"))
    if os.environ.get("SORTIE_SECRETS"):
        with readable_errors():
            load_secrets(Path(os.environ["SORTIE_SECRETS"]))
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        lines = [f"SORTIE_{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        fail("\n".join(line.removeprefix("SORTIE_: ") for line in lines))


async def with_database(settings: "Settings", work: Callable[["Database"], Coroutine[Any, Any, T]]) -> T:
    """Work with a database that is there and up to date; neither is brought about on the way."""
    from api.storage import OUTDATED, open_database
    from domain.kernel import Conflict
    from migrations import is_current

    if not await is_current(settings.database):
        raise Conflict(OUTDATED)
    database = open_database(settings)
    try:
        return await work(database)
    finally:
        await database.close()
