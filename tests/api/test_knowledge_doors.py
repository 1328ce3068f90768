"""Only published versions that are in date and addressed to the reader come out of any door, for every role."""

import random  # noqa: TID251 - drawn from seeds
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from api.reads import global_id
from domain.kernel import SYSTEM, Language, Role
from domain.people import Territory
from knowledge import Audience, Content, KnowledgeItem, KnowledgeKind, Library, Situation, Wanted, keeping, service
from tests.api.conftest import Ask, Company

LONG_AGO, AGO, SOMEDAY, LATER = (datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002, 2200, 2201))
WATCHING = {Role.CURATOR, Role.LEGAL, Role.ADMIN, Role.AUDITOR}
IN_THE_FIELD = {Role.REP, Role.MANAGER, Role.CSM}
ROLES = (None, Role.REP, Role.MANAGER, Role.FINANCE)
ENTRIES = 24
LISTED = (
    "{ knowledgeItems(first: 100) { totalCount edges { node { id title body draft { body } versions { body } } } } }"
)
SEARCHED = '{ searchKnowledge(query: "发电机组保养", first: 100) { hits { versionNumber passage item { id } folded { id } } } }'
THEN = "query($at: DateTime!) { knowledgeAsOf(filter: { at: $at }, first: 100) { edges { node { versionNumber item { id } version { body } } } } }"
ONE = "query($id: ID!) { node(id: $id) { ... on KnowledgeItem { id body } } }"


@dataclass
class Made:
    """An entry, and what the test knows of it: the version in use, its dates, whom it is addressed to."""

    item: KnowledgeItem
    in_use: int | None
    dates: tuple[datetime | None, datetime | None]
    audience: list[tuple[Role | None, str | None]] = field(default_factory=list)

    @property
    def in_date(self) -> bool:
        begins, ends = self.dates
        return begins in {None, LONG_AGO} and ends in {None, SOMEDAY, LATER}

    def addressed(self, roles: set[Role], within: set[str]) -> bool:
        """Whether it is for somebody of these roles, whose territories are within these."""
        return not self.audience or any(
            role in {None, own} and (place is None or place in within or own not in IN_THE_FIELD)
            for role, place in self.audience
            for own in roles
        )


class Drawing:
    """Entries with a drawn life, made by those who keep the knowledge."""

    def __init__(self, company: Company, seed: int) -> None:
        self.random = random.Random(seed)
        self.company = company
        self.yu, self.lan = company.people["CURATOR"], company.people["LEGAL"]

    async def do(self, who: Any, what: Any, *given: Any, **named: Any) -> Any:
        async with self.company.database.open_uow(who) as uow:
            return await what(uow, *given, **named)

    async def out(self, item: KnowledgeItem) -> KnowledgeItem:
        item = await self.do(self.yu, service.submit, item.id, item.version)
        found: KnowledgeItem = await self.do(self.lan, service.publish, item.id, item.version)
        return found

    async def entry(self, number: int, places: dict[str, Territory], kind: KnowledgeKind = KnowledgeKind.FAQ) -> Made:
        draw = self.random
        dates = draw.choice(
            [
                (None, None),
                (None, None),
                (LONG_AGO, None),
                (None, SOMEDAY),
                (SOMEDAY, LATER),
                (None, AGO),
                (LONG_AGO, AGO),
            ]
        )
        content = Content(
            f"保养{number}", f"发电机组保养第{number}号第1版。", effective_from=dates[0], expires_at=dates[1]
        )
        item = await self.do(self.yu, service.draft, kind=kind, language=Language.ZH, content=content)
        made = Made(item, None, dates)
        life = draw.choice(
            ["draft", "review", "out", "out", "out", "pending", "second", "suspended", "resumed", "retired"]
        )
        if life == "review":
            await self.do(self.yu, service.submit, item.id, item.version)
        if life not in {"draft", "review"}:
            item = await self.out(item)
            made.in_use = 1
        if life in {"pending", "second"}:
            change = {"body": f"发电机组保养第{number}号第2版。"}
            item = await self.do(self.yu, service.revise, item.id, item.version, change)
        if life == "second":
            item = await self.out(item)
            made.in_use = 2
        if life in {"suspended", "resumed"}:
            item = await self.do(self.lan, keeping.suspend, item.id, item.version, "复核")
            made.in_use = None
        if life == "resumed":
            item = await self.do(self.lan, keeping.resume, item.id, item.version)
            made.in_use = 1
        if life == "retired":
            item = await self.do(self.lan, service.retire, item.id, item.version)
            made.in_use = None
        for _ in range(draw.choice([0, 0, 1, 2])):
            one = (draw.choice(ROLES), draw.choice([None, *places]))
            made.audience += [one] if one != (None, None) else []
        rows = [Audience(role, places[place].id if place else None) for role, place in made.audience]
        made.item = await self.do(self.yu, keeping.address, item.id, None, rows)
        return made


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_else_comes_out_of_any_door(company: Company, ask: Ask, seed: int) -> None:
    drawing = Drawing(company, seed)
    async with company.database.open_uow(SYSTEM) as uow:
        places = {one.key: one for one in (await uow.session.execute(Territory.__table__.select())).all()}
    entries = [await drawing.entry(number, places) for number in range(ENTRIES)]  # type: ignore[arg-type]
    assert {made.in_use for made in entries} == {None, 1, 2}
    now, library = company.database.clock().isoformat(), Library(company.database)
    for who, actor in company.people.items():
        roles = {reach.role for reach in actor.reaches}
        within = _within(places, set().union(*(reach.territory_ids for reach in actor.reaches)))
        seen = {
            global_id("KnowledgeItem", made.item.id): made
            for made in entries
            if made.in_use and made.in_date and made.addressed(roles, within)
        }
        own = {global_id("KnowledgeItem", made.item.id) for made in entries} if roles & WATCHING else set(seen)
        listed = (await ask(LISTED, who)).data["knowledgeItems"]
        assert {edge["node"]["id"] for edge in listed["edges"]} == own
        assert listed["totalCount"] == len(own)
        if not roles & WATCHING:
            assert all(edge["node"]["draft"] is None and edge["node"]["versions"] == [] for edge in listed["edges"])
            assert {edge["node"]["body"][-3] for edge in listed["edges"]} <= {"1", "2"}
        for made in entries:
            id = global_id("KnowledgeItem", made.item.id)
            node = (await ask(ONE, who, id=id)).data["node"]
            assert (node is not None) == (id in own)
            if node is not None and made.in_use:
                assert node["body"].endswith(f"第{made.in_use}版。")
        searchable = {id for id, made in seen.items()} if not roles & WATCHING else {
            global_id("KnowledgeItem", made.item.id) for made in entries if made.in_use and made.in_date
        }  # fmt: skip
        hits = (await ask(SEARCHED, who)).data["searchKnowledge"]["hits"]
        found = {one["id"] for hit in hits for one in (hit["item"], *hit["folded"])}
        assert found == searchable
        assert all(hit["versionNumber"] == _of(entries, hit["item"]["id"]).in_use for hit in hits)
        want = Wanted("发电机组保养", (KnowledgeKind.FAQ,), Situation(), Language.ZH, 100)
        offered = (await library.find(actor, {"one": want}))["one"]
        assert {global_id("KnowledgeItem", one.item_id) for one in offered} == searchable
        assert all(one.body.endswith(f"第{one.version}版。") for one in offered)
        then = (await ask(THEN, who, at=now)).data["knowledgeAsOf"]["edges"]
        assert {edge["node"]["item"]["id"] for edge in then} == searchable


def _of(entries: list[Made], id: str) -> Made:
    return next(made for made in entries if global_id("KnowledgeItem", made.item.id) == id)


def _within(places: dict[str, Any], own: set[Any]) -> set[str]:
    """The keys of somebody's territories and of all above them."""
    by_id = {place.id: place for place in places.values()}
    found = set[str]()
    for place in (by_id[id] for id in own):
        above = place
        while above is not None:
            found.add(above.key)
            above = by_id.get(above.parent_id)
    return found
