"""One table of callers and doors: a foreign record is never visible, whichever way is taken.

Callers, types, lists and mutations are read from the demo company and the schema: a new type, root or mutation is covered as soon
as it is there.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)
from graphql.type import get_nullable_type
from sqlalchemy import select
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.auth.door import issue
from api.exporting import COLUMNS, Format, export
from api.reads import PREFIXES, SHAPES, global_id
from api.schema import schema
from api.settings import Settings
from api.storage import open_database
from domain import people
from domain.kernel import Database, Forbidden, Language, rows_visible
from tests.installation import Home, running

TYPES = schema._schema
WIDE = {"aliases": 1_000, "fields": 50_000, "depth": 30, "cost": 1_000_000_000, "tokens": 1_000_000, "seconds": 60}
ABSENT = "f" * 32
SAMPLE = 2
TIMES = {"DateTime": '"2026-11-20T08:00:00Z"', "Date": '"2026-11-20"', "Decimal": '"1"', "Int": "1", "Float": "1", "Boolean": "true", "JSON": "{}"}  # fmt: skip


@dataclass
class Caller:
    """Somebody, and the global ids of the records that are not theirs, by type."""

    email: str
    token: str
    foreign: dict[str, list[str]]

    @property
    def samples(self) -> list[str]:
        """Some foreign records of each type."""
        return [id for ids in self.foreign.values() for id in ids[:SAMPLE]]

    @property
    def all(self) -> set[str]:
        """Every foreign record."""
        return {id for ids in self.foreign.values() for id in ids}


@dataclass
class Doors:
    """A server, who stands before it, and what it says meanwhile."""

    address: str
    home: Home
    callers: list[Caller]
    titles: dict[str, str]
    said: list[str]
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))

    @property
    def url(self) -> str:
        """Where GraphQL is asked."""
        return f"http://{self.address}/graphql"

    def post(self, query: str, token: str) -> Any:
        """By POST."""
        answer = self.http.post(self.url, json={"query": query}, headers=_bearer(token))
        assert answer.status_code < 500, "".join(self.said)[-3_000:]
        return answer.json()

    def get(self, query: str, token: str) -> Any:
        """By GET."""
        return self.http.get(self.url, params={"query": query}, headers=_bearer(token)).json()

    def stream(self, query: str, token: str) -> Any:
        """By an event stream."""
        answer = self.http.post(
            self.url, json={"query": query}, headers={**_bearer(token), "accept": "text/event-stream"}
        )
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return answer.json()
        told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        return told[0] if len(told) == 1 else {"data": told}

    def socket(self, query: str, token: str) -> Any:
        """By a socket."""
        with connect(
            f"ws://{self.address}/graphql",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers=_bearer(token),
        ) as socket:
            socket.send('{"type": "connection_init"}')
            socket.recv()
            socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
            told = json.loads(socket.recv())["payload"]
            return {"data": None, "errors": told} if isinstance(told, list) else told


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


Door = Callable[[Doors, str, str], Any]
EVERY_DOOR: list[Door] = [Doors.post, Doors.get, Doors.stream, Doors.socket]


async def _foreign(database: Database, email: str) -> dict[str, list[str]]:
    """The ids that a person may not see, by type."""
    found: dict[str, list[str]] = {}
    async with database.read() as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
        for entity, shape in SHAPES.items():
            if entity in PREFIXES:
                table = shape.model.__table__
                every = set((await connection.execute(select(table.c.id))).scalars())
                seen = await connection.execute(select(table.c.id).where(rows_visible(shape.model, actor)))
                found[entity] = [global_id(entity, id) for id in sorted(every - set(seen.scalars()))]
    return found


async def _titles(database: Database) -> dict[str, str]:
    """What the records that can be searched are called, by id."""
    found = {}
    async with database.read() as connection:
        for entity, shape in SHAPES.items():
            searched = list(getattr(shape.model, "__searched__", None) or ())
            if entity in PREFIXES and searched:
                table = shape.model.__table__
                for id, title in await connection.execute(select(table.c.id, table.c[searched[0]])):
                    found[global_id(entity, id)] = str(title or "")
    return found


async def _company(home: Home) -> tuple[list[Caller], dict[str, str]]:
    settings = Settings(home=home.path)
    database = open_database(settings)
    try:
        async with database.read() as connection:
            emails = (await connection.execute(select(people.User.email))).scalars().all()
        tokens = {email: await issue(database, settings, email) for email in sorted(emails)}
        callers = [Caller(email, token, await _foreign(database, email)) for email, token in tokens.items()]
        return callers, await _titles(database)
    finally:
        await database.close()


WORK = """mutation {
  draftVisitBrief(input: {clientKey: "k", accountId: "%s"}) { generation { id } errors { code message } }
  createSavedView(input: {clientKey: "v", name: "我的客户", entity: "Account"}) { savedView { id } errors { code message } }
}"""


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """The demo company, in which both reps have let the assistant write."""
    home = Home(tmp_path_factory.mktemp("doors") / "var")
    assert home.run("demo").returncode == 0
    callers, _ = asyncio.run(_company(home))
    more = {"SORTIE_REQUESTS_PER_MINUTE": "1000000", "SORTIE_ANSWERS_PER_HOUR": "1000000"}
    server = running(home, SORTIE_LIMITS=json.dumps(WIDE), **more)
    with server as address:
        made = Doors(address, home, callers, {}, server.said)
        for caller in callers:
            shown = made.post("{accounts(first: 100){edges{node{id}}}}", caller.token)["data"]["accounts"]["edges"]
            own = [edge["node"]["id"] for edge in shown if edge["node"]["id"] not in caller.foreign["Account"]]
            if own and caller.email in {"lei.zhang@example.com", "na.li@example.com"}:
                done = made.post(WORK % own[0], caller.token)
                assert done["data"]["draftVisitBrief"]["generation"], done
                assert done["data"]["createSavedView"]["savedView"], done
        made.callers, made.titles = asyncio.run(_company(home))
        yield made
        made.http.close()


# ---- documents from the schema ---------------------------------------------------------------------------------------


def _ids(value: Any) -> Iterator[str]:
    """Every text of an answer: an id may stand anywhere."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _ids(inner)


def _leaked(caller: Caller, answer: Any) -> set[str]:
    return caller.all.intersection(_ids(answer["data"]))


def _literal(kind: Any, id: str) -> str:
    """Some value of an input type, in which every required id is the one."""
    if is_non_null_type(kind):
        return _literal(kind.of_type, id)
    if is_list_type(kind):
        return f"[{_literal(kind.of_type, id)}]"
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    if isinstance(kind, GraphQLInputObjectType):
        given = (
            f"{name}: {_value(name, field, id)}"
            for name, field in kind.fields.items()
            if is_required_input_field(field)
        )
        return f"{{ {', '.join(given)} }}"
    return f'"{id}"' if kind.name == "ID" else TIMES.get(kind.name, '"甲"')


def _value(name: str, field: GraphQLInputField | GraphQLArgument, id: str) -> str:
    return f'"key of {id}"' if name == "clientKey" else _literal(field.type, id)


def _arguments(declared: GraphQLField, id: str = "", size: int | None = None) -> str:
    given = [f"{name}: {_value(name, own, id)}" for name, own in declared.args.items() if is_required_argument(own)]
    if size is not None and "first" in declared.args:
        given = [argument for argument in given if not argument.startswith("first:")] + [f"first: {size}"]
    return f"({', '.join(given)})" if given else ""


def _fields(kind: Any) -> dict[str, GraphQLField]:
    return getattr(kind, "fields", {})


def _below(declared: GraphQLField, levels: int, size: int = 3) -> str:
    """The ids that a field leads to, so many levels down."""
    inner = get_named_type(declared.type)
    parts = ["__typename", *(["id"] if "id" in _fields(inner) else [])]
    for name, own in _fields(inner).items():
        structure = name in {"edges", "node"}
        if is_composite_type(get_named_type(own.type)) and name != "pageInfo" and (levels > 0 or structure):
            parts.append(f"{name}{_arguments(own, size=size)} {_below(own, levels - (not structure), size)}")
    return f"{{ {' '.join(parts)} }}"


def _lists() -> dict[str, GraphQLField]:
    """The roots that are lists or pages of records."""
    assert TYPES.query_type is not None
    return {
        name: declared
        for name, declared in TYPES.query_type.fields.items()
        if get_named_type(declared.type).name.endswith("Connection") or is_list_type(get_nullable_type(declared.type))
    }


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_company_has_something_foreign_for_each_kind_of_record(doors: Doors) -> None:
    """Otherwise the rest of this table would say little."""
    kinds = {entity for caller in doors.callers for entity, ids in caller.foreign.items() if ids}
    assert kinds >= {
        "Account", "Contact", "ContactPoint", "Lead", "Opportunity", "StageTransition", "Activity", "Signal", "Quote", "Order", "Payment", "ConsentGrant",
        "Generation", "SavedView", "RoleGrant", "AuditEvent",
    }  # fmt: skip
    assert len(doors.callers) >= 10


@pytest.mark.parametrize("door", EVERY_DOOR, ids=lambda door: door.__name__)
def test_a_foreign_id_is_null_at_every_door(doors: Doors, door: Door) -> None:
    for caller in doors.callers:
        samples = caller.samples
        nodes = " ".join(f'n{at}: node(id: "{id}") {{ id __typename }}' for at, id in enumerate(samples))
        answer = door(doors, f"{{ {nodes} }}", caller.token)
        assert answer.get("errors") is None, (caller.email, answer)
        assert answer["data"] == {f"n{at}": None for at in range(len(samples))}, caller.email


@pytest.mark.parametrize("door", EVERY_DOOR, ids=lambda door: door.__name__)
@pytest.mark.parametrize("token", ["", "no.such.token"])
def test_strangers_find_nothing_at_any_door(doors: Doors, door: Door, token: str) -> None:
    ids = doors.callers[0].samples[:3]
    nodes = " ".join(f'n{at}: node(id: "{id}") {{ id }}' for at, id in enumerate(ids))
    query = f"{{ {nodes} accounts {{ totalCount edges {{ node {{ id }} }} }} }}"
    if token and door is Doors.socket:
        with pytest.raises(ConnectionClosedError, match="4403"):
            door(doors, query, token)
        return
    answer = door(doors, query, token)
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"UNAUTHENTICATED"}
    assert not any((answer.get("data") or {}).values())


@pytest.mark.parametrize("root", sorted(_lists()))
def test_no_list_shows_a_foreign_record_however_far_one_pages_or_follows(doors: Doors, root: str) -> None:
    """Root lists to their end, and from their first rows two levels on."""
    declared = _lists()[root]
    pages = "after" in declared.args
    for caller in doors.callers:
        answer = doors.post(f"{{ {root}{_arguments(declared, size=20)} {_below(declared, 2)} }}", caller.token)
        assert _leaked(caller, answer) == set(), (caller.email, root)
        codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
        assert codes <= {"FORBIDDEN", "INVALID"}, (caller.email, answer["errors"])
        after = ""
        while pages:
            query = f"{{ {root}(first: 100{after}) {{ pageInfo {{ hasNextPage endCursor }} edges {{ node {{ __typename id }} }} }} }}"
            answer = doors.post(query, caller.token)
            assert _leaked(caller, answer) == set(), (caller.email, root)
            page = (answer["data"] or {}).get(root)
            if not page or not page["pageInfo"]["hasNextPage"]:
                break
            after = f', after: "{page["pageInfo"]["endCursor"]}"'


def test_no_search_finds_a_foreign_record(doors: Doors) -> None:
    """Asked for what foreign records are called, every search of the schema."""
    searches = {name: own for name, own in _fields(TYPES.query_type).items() if "query" in own.args}
    assert searches
    for caller in doors.callers:
        asked = [doors.titles[id] for id in caller.samples if doors.titles.get(id)]
        for name, declared in searches.items():
            parts = [
                f"s{at}: {name}(query: {json.dumps(title, ensure_ascii=False)}, first: 20) {_below(declared, 1)}"
                for at, title in enumerate(asked)
            ]
            if parts:
                answer = doors.post(f"{{ {' '.join(parts)} }}", caller.token)
                assert _leaked(caller, answer) == set(), (caller.email, name)


async def _exports(doors: Doors, folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What each caller's files hold, by caller and kind; a kind that the caller's roles are refused is left out."""
    database, found = open_database(Settings(home=doors.home.path)), {}
    try:
        for caller in doors.callers:
            for kind in COLUMNS:
                file = folder / f"{kind}-{caller.email}"
                with suppress(Forbidden):
                    await export(database, caller.email, kind, file, form=Format.JSONL, language=Language.EN)
                    found[caller.email, kind] = [json.loads(line) for line in file.read_bytes().splitlines()]
    finally:
        await database.close()
    return found


def test_no_file_holds_a_foreign_record(doors: Doors, tmp_path: Path) -> None:
    """It fails where the condition for visible rows is replaced by one that always holds."""
    files = asyncio.run(_exports(doors, tmp_path))
    for caller in doors.callers:
        for kind in COLUMNS:
            assert _leaked(caller, {"data": files.get((caller.email, kind))}) == set(), (caller.email, kind)
    assert {kind for (_, kind), rows in files.items() if rows} == set(COLUMNS)
    told = doors.home.run(
        "export", "accounts", "--as", "lei.zhang@example.com", "--format", "jsonl", SORTIE_LANGUAGE="en"
    )
    assert [json.loads(line) for line in told.stdout.splitlines()] == files["lei.zhang@example.com", "accounts"]
    unknown = doors.home.run("export", "accounts", "--as", "nobody@example.com")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("错误：")


def _refused(doors: Doors, caller: Caller, kind: str, name: str, declared: GraphQLField, ids: list[str]) -> Any:
    """What a mutation, or a subscription at both of its doors, answers for each of the ids, without the ids themselves."""
    payload = "{ __typename errors { code message } }" if kind == "mutation" else "{ __typename }"
    if kind == "mutation":
        parts = [f"m{at}: {name}{_arguments(declared, id)} {payload}" for at, id in enumerate(ids)]
        answers = [doors.post(f"mutation {{ {' '.join(parts)} }}", caller.token)]
    else:
        queries = [f"subscription {{ {name}{_arguments(declared, id)} {payload} }}" for id in ids]
        answers = [door(doors, query, caller.token) for query in queries for door in (Doors.stream, Doors.socket)]
    told = json.dumps([{**answer, "extensions": None} for answer in answers], ensure_ascii=False)
    for id in ids:
        told = told.replace(id, "ID")
    return told


LASTING = {"recordChanged"}
"""Who watches a record that is absent or another's waits, alike and for ever: tests/api/test_live.py says what they hear."""


def _changes() -> list[tuple[str, str, GraphQLField]]:
    """Everything that takes an id and answers: mutations, the assistant's among them, and the stream of an answer."""
    found = []
    for kind, root in (("mutation", TYPES.mutation_type), ("subscription", TYPES.subscription_type)):
        for name, declared in _fields(root).items():
            asks = ABSENT in _arguments(declared, ABSENT).replace(f"key of {ABSENT}", "")
            if asks and name not in LASTING:
                found.append((kind, name, declared))
    return found


def _versions(home: Home) -> dict[str, dict[UUID, int]]:
    async def read() -> dict[str, dict[UUID, int]]:
        database = open_database(Settings(home=home.path))
        found = {}
        async with database.read() as connection:
            for entity, shape in SHAPES.items():
                table = shape.model.__table__
                if "version" in table.c and entity in PREFIXES:
                    rows = await connection.execute(select(table.c.id, table.c.version))
                    found[entity] = {row.id: row.version for row in rows}
        await database.close()
        return found

    return asyncio.run(read())


@pytest.mark.parametrize("who", ["lei.zhang@example.com", "yu.zhao@example.com"])
def test_a_foreign_record_and_an_absent_one_are_refused_alike_and_stay_as_they_are(doors: Doors, who: str) -> None:
    """Every mutation, each draft of the assistant and the stream, with a foreign id of every type."""
    caller = next(caller for caller in doors.callers if caller.email == who)
    before = _versions(doors.home)
    changes = _changes()
    assert len(changes) > 40
    assert {"draftVisitBrief", "generationStream", "updateAccount"} <= {name for _, name, _ in changes}
    samples = [ids[0] for ids in caller.foreign.values() if ids]
    for kind, name, declared in changes:
        absent = [f"{id[:4]}{ABSENT}" for id in samples]
        foreign = _refused(doors, caller, kind, name, declared, samples)
        assert foreign == _refused(doors, caller, kind, name, declared, absent), name
    assert _versions(doors.home) == before


def test_the_page_of_the_ide_holds_nobody_s_data(doors: Doors) -> None:
    for caller in (doors.callers[0], None):
        page = doors.http.get(
            doors.url, headers={"accept": "text/html", **_bearer(caller.token if caller else "")}
        ).text
        assert not any(id in page for one in doors.callers for id in one.samples)
