"""Reads by one statement and reads by resolvers: byte for byte the same, for everybody, on both databases."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from graphql import GraphQLError, parse, validate
from sqlalchemy import select

from api.bodies import Asked
from api.context import Context
from api.documents import Documents
from api.reads import SHAPES, global_id
from api.reads.answering import Answering
from api.schema import schema
from demo import load
from domain import people
from domain.accounts import Account
from domain.kernel import Actor, Database, Language, Reach, Role
from domain.kernel.read_pool import PostgreSQLReads, Together
from domain.kernel.read_pool.waiting import Values
from domain.kernel.reader import READER
from domain.people import Brand, Territory, User
from tests.conftest import remove_data
from tests.drawing import HOSTILE, World, draw
from tests.factories import Clock, Ids

DOCUMENTS = int(os.environ.get("SORTIE_DRAWN", "2000"))
"""Documents for each database; `make fuzz` draws 10,000, by other seeds."""
FIRST_SEED = int(os.environ.get("SORTIE_SEED", "0"))
CHUNKS = 10
GRAPHQL = schema._schema
WORDS = ("汽车", "张", "医院", "automotive_parts", "proposal", "east-china", "华东", "CNY", "e", "客户", "won", "cost")
SHARE = 0.9


@dataclass
class Both:
    """A company, who works there, and both ways to read it."""

    database: Database
    clock: Clock
    answering: Answering
    readers: Sequence[Actor]
    world: World
    statements: list[str] = field(default_factory=list)

    def context(self, reader: Actor, language: Language) -> Context:
        return Context(self.database, reader, language, self.clock.now)

    async def resolved(self, document: str, variables: Mapping[str, Any], reader: Actor, language: Language) -> Any:
        """The answer of the resolvers."""
        context = self.context(reader, language)
        return await schema.execute(document, dict(variables), context)

    async def compiled(
        self, document: str, variables: Mapping[str, Any], reader: Actor, language: Language
    ) -> tuple[bytes | None, str | None]:
        """The answer by one statement, without its cost; or the field for which there is none."""
        context, asked = self.context(reader, language), Asked(document, dict(variables), None)
        self.statements.clear()
        body = await self.answering.answer(asked, context)
        if body is None:
            return None, self.answering.why_not(asked, context)
        return body[: body.rindex(b',"extensions":')] + b"}", None


async def _actors(database: Database, clock: Clock) -> list[Actor]:
    """Everybody in the company, and people whose roles hold in narrower contexts, or several at once."""
    async with database.read() as connection:
        emails = list(await connection.scalars(select(User.email).order_by(User.email)))
        found = [await people.sign_in(connection, clock.now, email=email) for email in emails]
        accounts = frozenset(await connection.scalars(select(Account.id).order_by(Account.id).limit(5)))
        brands = frozenset(await connection.scalars(select(Brand.id).order_by(Brand.id).limit(1)))
        places = frozenset(await connection.scalars(select(Territory.id).order_by(Territory.id).limit(2)))
    me = next(actor for actor in found if actor.roles == {Role.REP})
    narrow = [
        (Reach(Role.REP, account_ids=accounts),), (Reach(Role.MANAGER, places, brands),), (Reach(Role.MANAGER, places), Reach(Role.REP, account_ids=accounts)),
        (Reach(Role.CSM, account_ids=accounts, brand_ids=brands), Reach(Role.FINANCE)), (Reach(Role.REP, places), Reach(Role.CURATOR), Reach(Role.AUDITOR)), (),
    ]  # fmt: skip
    return [*found, *(replace(me, reaches=reaches) for reaches in narrow)]


async def _world(database: Database) -> World:
    """Some ids of every type of the schema."""
    ids: list[str] = []
    async with database.read() as connection:
        for shape in SHAPES.values():
            if shape.is_node:
                found: Sequence[UUID] = list(await connection.scalars(select(shape.model.__table__.c.id).limit(4)))
                ids += [global_id(shape.entity, id) for id in found]
    return World(ids, WORDS)


async def _collect_cursors(both: Both) -> None:
    """Cursors of every root that has pages, as the one who sees most gets them."""
    reader = max(both.readers, key=lambda actor: len(actor.reaches))
    query: Any = GRAPHQL.query_type
    for name, declared in query.fields.items():
        if "after" in declared.args:
            result = await both.resolved(
                f"{{ rows: {name}(first: 5) {{ edges {{ cursor }} }} }}", {}, reader, Language.ZH
            )
            page = result.data and result.data["rows"]
            both.world.cursors[name] = [edge["cursor"] for edge in page["edges"]] if page else []


@pytest.fixture(scope="module")
async def both(shared_database: Database) -> AsyncIterator[Both]:
    clock = Clock()
    shared_database.clock, shared_database.new_id = clock, Ids(clock)
    await load(shared_database)
    made = Both(
        shared_database, clock, Answering(GRAPHQL, shared_database, Documents(GRAPHQL)), await _actors(shared_database, clock), await _world(shared_database),
    )  # fmt: skip
    fetch = shared_database.reads.fetch

    async def counted(
        sql: str, values: Values, share: Any = None, role: str = READER, together: Together | None = None
    ) -> tuple[Any, ...]:
        made.statements.append(sql)
        row = await fetch(sql, values, share, role, together)
        if together is not None and isinstance(shared_database.reads, PostgreSQLReads):
            reads, among = shared_database.reads, together.values([values] * 3)
            assert await reads._read(await reads._seat(role), together.sql, among, role) == [row] * 3
        return row

    await _collect_cursors(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_database.reads, "fetch", counted)
        yield made
    await remove_data(shared_database)


TALLY: dict[str, Counter[str]] = {}
"""What became of the documents of each database, in this process."""


def _told(result: Any) -> bytes:
    body = {"data": result.data} | ({"errors": [error.formatted for error in result.errors]} if result.errors else {})
    return orjson.dumps(body)


def _is_bug(error: GraphQLError) -> bool:
    return (error.extensions or {}).get("code") == "INTERNAL"


@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_drawn_documents_answer_alike(both: Both, backend: str, chunk: int) -> None:
    """The same bytes by both paths, whatever is asked and whoever asks; nearly all of it by one statement."""
    tally = TALLY.setdefault(backend, Counter())
    for seed in range(FIRST_SEED + chunk, FIRST_SEED + DOCUMENTS, CHUNKS):
        drawn = draw(GRAPHQL, both.world, seed)
        assert not validate(GRAPHQL, parse(drawn.document)), (seed, drawn.document)
        reader = both.readers[seed // CHUNKS % len(both.readers)]
        language = Language.EN if seed % 3 == 0 else Language.ZH
        result = await both.resolved(drawn.document, drawn.variables, reader, language)
        assert not [error for error in result.errors or () if _is_bug(error)], (seed, drawn)
        body, left = await both.compiled(drawn.document, drawn.variables, reader, language)
        if result.data is None:
            # What is refused as a whole is refused by the resolvers alone.
            assert body is None, (seed, drawn)
            continue
        tally["asked"] += 1
        if body is None:
            tally[f"left: {left}"] += 1
            continue
        tally["compiled"] += 1
        assert len(both.statements) == 1
        assert body == _told(result), (seed, reader.reaches, drawn)


async def test_nearly_every_document_is_one_statement(both: Both, backend: str) -> None:
    """Of those drawn in this process before; at least some are drawn wherever this runs."""
    if not TALLY.get(backend):
        await test_drawn_documents_answer_alike(both, backend, 0)
    tally = TALLY[backend]
    print(backend, dict(tally.most_common()))  # noqa: T201 - the share of each field is what one runs this for
    assert tally["compiled"] >= SHARE * tally["asked"], tally


async def test_what_is_asked_at_the_same_time_is_not_mixed_up(both: Both, backend: str) -> None:
    """Many readers ask the same documents with many values, all at once: each has the answer that is theirs."""
    ids = [one for one in both.world.ids if not one.startswith("par")]
    asked: list[tuple[str, dict[str, Any]]] = [
        (document, {"id": id})
        for id in ids
        for document in (
            "query Q($id: ID!) { node(id: $id) { __typename id ... on Account { name contacts { edges { node { name } } } } } }",
            "query Q($id: ID!) { opportunities(filter: {accountId: $id}) { totalCount edges { node { id name } } } }",
        )
    ]
    asked += [
        ("query Q($words: String!) { accounts(filter: {search: $words}) { totalCount edges { node { id name } } } }", {"words": words})
        for words in (*WORDS, *HOSTILE)
    ]  # fmt: skip
    together: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Together, "values", _counting(together))
        for readers in (both.readers[:3], both.readers[3:8]):
            whole = [(reader, *one) for one in asked for reader in readers]
            found = await asyncio.gather(
                *(both.compiled(document, given, reader, Language.ZH) for reader, document, given in whole)
            )
            for (reader, document, given), (body, left) in zip(whole, found, strict=True):
                assert left is None or body is None
                if body is not None:
                    assert body == _told(await both.resolved(document, given, reader, Language.ZH)), (reader, given)
    assert backend == "sqlite" or max(together) > 3


def _counting(lots: list[int]) -> Any:
    values = Together.values

    def counting(self: Together, of: Sequence[Values]) -> Values:
        if len(set(map(repr, of))) == len(of):
            lots.append(len(of))
        return values(self, of)

    return counting


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_values_never_stand_in_the_statement(both: Both, hostile: str) -> None:
    """Whatever a client sends is a parameter; names come from the schema."""
    document = (
        "query Q($words: String!, $filter: LeadFilter) { accounts(first: 2, filter: {search: $words}) { totalCount edges { node { name } } } "
        f"contacts(filter: {{search: {orjson.dumps(hostile).decode()}}}) {{ totalCount }} leads(filter: $filter) {{ totalCount }} }}"
    )
    variables = {"words": hostile, "filter": {"source": hostile, "region": hostile, "search": hostile}}
    reader = both.readers[0]
    result = await both.resolved(document, variables, reader, Language.ZH)
    body, left = await both.compiled(document, variables, reader, Language.ZH)
    assert body is not None or left is None, left
    assert body is None or body == _told(result)
    marked = f"机密{hostile}机密"
    await both.compiled(document.replace(orjson.dumps(hostile).decode(), orjson.dumps(marked).decode()), {"words": marked, "filter": {"search": marked}}, reader, Language.ZH)  # fmt: skip
    assert both.statements
    assert not [statement for statement in both.statements if "机密" in statement]


async def test_names_of_a_document_that_are_none_of_the_schema_stay_names(both: Both) -> None:
    """An alias may read like SQL: it is part of the answer's text alone."""
    document = (
        "{ drop_table_accounts: accounts(first: 1) { select: totalCount from: edges { where: node { or: name } } } }"
    )
    reader = both.readers[0]
    body, left = await both.compiled(document, {}, reader, Language.ZH)
    assert left is None
    assert body == _told(await both.resolved(document, {}, reader, Language.ZH))


@pytest.mark.parametrize(
    "page",
    ["{ pageInfo { hasPreviousPage } }", "{ __typename pageInfo { __typename } }", "{ totalCount pageInfo { hasPreviousPage } }",
     "{ edges @skip(if: true) { cursor } pageInfo { hasPreviousPage hasNextPage } }"],
)  # fmt: skip
@pytest.mark.parametrize("filter", ["", '(filter: {search: "没有这样的客户"})'])
async def test_what_is_no_matter_of_a_page_s_rows_is_said_once(both: Both, page: str, filter: str) -> None:
    """However many rows the page has: none, one, many."""
    document = (
        f"{{ accounts{filter} {page} all: accounts(first: 50) {{ edges {{ node {{ contacts(first: 2) {page} }} }} }} }}"
    )
    for reader in both.readers[:6]:
        body, left = await both.compiled(document, {}, reader, Language.ZH)
        assert left is None
        assert body == _told(await both.resolved(document, {}, reader, Language.ZH))


async def test_a_value_out_of_bounds_is_told_by_the_resolvers(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    """A page too large, a cursor that is none: no statement is asked, and no warning is due."""
    reader = both.readers[0]
    for document in (
        "{ accounts(first: 0) { totalCount } }",
        "{ accounts(first: 101) { edges { cursor } } }",
        '{ accounts(after: "bm9uc2Vuc2U") { edges { cursor } } }',
    ):
        with caplog.at_level(logging.WARNING):
            body, _ = await both.compiled(document, {}, reader, Language.ZH)
        assert body is None
        assert both.statements == []
    assert not caplog.records


ORDERED = (
    "accounts(orderBy: CREATED_DESC)", "accounts(orderBy: UPDATED_DESC)", "accounts(orderBy: NAME_ASC)", "contacts(orderBy: CREATED_DESC)",
    "contacts(orderBy: UPDATED_DESC)", "contacts(orderBy: NAME_ASC)", "opportunities(orderBy: CREATED_DESC)", "opportunities(orderBy: CLOSE_DATE_ASC)",
    "accounts", "contacts", "opportunities", "leads", "activities",
)  # fmt: skip


@pytest.mark.parametrize("root", ORDERED)
async def test_pages_of_what_grows_come_in_the_order_of_an_index(both: Both, backend: str, root: str) -> None:
    """Whatever a table holds, a page of it reads its own rows."""
    if backend == "sqlite":
        pytest.skip("without statistics SQLite takes the index of the access rule first")
    reader = next(actor for actor in both.readers if actor.roles == {Role.MANAGER})
    asked: list[tuple[str, Values]] = []
    fetch = both.database.reads.fetch

    async def kept(sql: str, values: Values, *rest: Any) -> tuple[Any, ...]:
        asked.append((sql, values))
        return await fetch(sql, values, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(both.database.reads, "fetch", kept)
        body, left = await both.compiled(f"{{ {root} {{ edges {{ node {{ id }} }} }} }}", {}, reader, Language.ZH)
    assert left is None, left
    assert body
    ((statement, values),) = asked
    # As where tables are too large to be read whole.
    settings = {"enable_seqscan": "off", "enable_sort": "off", "enable_bitmapscan": "off", "jit": "off"}
    raw = await asyncpg.connect(both.database.url.replace("+asyncpg", ""), server_settings=settings)
    try:
        plan = [str(row[0]) for row in await raw.fetch(f"EXPLAIN {statement}", *values)]
    finally:
        await raw.close()
    table = root.partition("(")[0]
    assert not [line for line in plan if line.strip().startswith("->  Sort")], plan
    assert [line for line in plan if table in line and "Index" in line], plan
