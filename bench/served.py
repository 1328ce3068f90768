"""Sortie as it serves in earnest, with keys of its own, on the servers' core; and the people of the dataset who ask it."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from api.auth.tokens import LocalVerifier
from api.secret_files import read_key
from bench.cells import SERVER_CPU, Target
from bench.load import Home, Server
from bench.operations import USER
from bench.peer import free_port
from domain.kernel import utc_now

TOKEN_KEY, LEDGER_KEY = "token.key", "ledger.key"


def production(home: Path) -> dict[str, str]:
    """The settings of an installation that serves in earnest: keys of its own, one JSON line of log a request."""
    home.mkdir(parents=True, exist_ok=True)
    for name in (TOKEN_KEY, LEDGER_KEY):
        if not (home / name).exists():
            (home / name).touch(0o600)
            (home / name).write_text(secrets.token_hex(32))
    return {
        "SORTIE_TOKEN_KEY_FILE": str(home / TOKEN_KEY),
        "SORTIE_LEDGER_KEY_FILE": str(home / LEDGER_KEY),
        "SORTIE_ENV": "production",
        "SORTIE_LOG_LEVEL": "INFO",
    }


def token_of(home: Home, number: int) -> str:
    """The bearer token of a user of the dataset, good for the run."""
    user = UUID(f"019b76d0-00{USER:02x}-7000-8000-{number:012x}")
    return LocalVerifier(read_key(home.path / TOKEN_KEY)).sign(user, utc_now(), timedelta(hours=12))


@contextmanager
def serving(home: Home, database_seconds: Callable[[], float] = lambda: 0.0) -> Iterator[Target]:
    """One process of it on the servers' core."""
    server = Server(home, free_port(), cpu=SERVER_CPU)
    server.start()
    try:
        asyncio.run(server.ready())
        yield Target("sortie", server.port, server.cpu_seconds, database_seconds)
    finally:
        server.stop()
