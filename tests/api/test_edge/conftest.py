"""A server with two people, for what happens on the wire."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from api.settings import Settings
from domain import people
from domain.kernel import SYSTEM, Database, Role
from domain.ledger import LedgerRecorder
from migrations import migrate
from tests.installation import Home, running


@dataclass(frozen=True)
class Edge:
    """A server's address, and the token of its rep."""

    address: str
    token: str
    home: Home

    @property
    def url(self) -> str:
        """Where GraphQL is asked."""
        return f"http://{self.address}/graphql"

    @property
    def bearer(self) -> dict[str, str]:
        """The header that signs in."""
        return {"authorization": f"Bearer {self.token}"}

    def ask(self, query: str, *, signed_in: bool = True, **more: object) -> httpx2.Response:
        """Put a document to the server."""
        headers = self.bearer if signed_in else {}
        return httpx2.post(self.url, json={"query": query, **more}, headers=headers)


@pytest.fixture(scope="session")
async def edge_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An installation in which 张磊 sells."""
    home = Home(tmp_path_factory.mktemp("edge") / "var")
    home.path.mkdir()
    settings = Settings(home=home.path)
    await migrate(settings.database)
    database = Database(settings.database, LedgerRecorder())
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="张磊", email="lei.zhang@example.com")
        await uow.session.flush()
        await people.grant_role(uow, user, Role.REP)
    await database.close()
    return home


@pytest.fixture(scope="session")
def edge(edge_home: Home) -> Iterator[Edge]:
    """The server."""
    token = edge_home.run("token", "lei.zhang@example.com").stdout.strip()
    with running(edge_home, SORTIE_CORS_ORIGINS="https://crm.example.cn") as address:
        yield Edge(address, token, edge_home)
