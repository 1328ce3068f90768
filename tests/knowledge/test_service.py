"""The life of an entry on real databases: drafted, reviewed, published by a second person, revised, retired."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    Language,
    NotFound,
    OutboxEvent,
    Role,
    SalesError,
    StaleVersion,
    load,
)
from domain.ledger import AuditEvent, import_rows
from knowledge import (
    Content,
    Facets,
    ImportedItem,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Passage,
    Publication,
    service,
)
from tests.factories import START, add_colleague

BODY = "## 回应\n先认同，再把五年总成本摆出来：采购价只占三成。\n\n## 下一步\n约设备科一起算一遍。"
PRICE = Content("医院说价格太高", BODY, Facets(concerns=("price_too_high",), industries=("hospital",)))
DRAFT, REVIEW, OUT, GONE = (
    KnowledgeState.DRAFT,
    KnowledgeState.IN_REVIEW,
    KnowledgeState.PUBLISHED,
    KnowledgeState.RETIRED,
)


@dataclass
class Desk:
    """Two curators, a lawyer and a rep."""

    database: Database
    yu: Actor
    lan: Actor
    legal: Actor
    rep: Actor

    async def draft(self, content: Content = PRICE, actor: Actor | None = None) -> KnowledgeItem:
        """Start an entry as the first curator."""
        async with self.database.open_uow(actor or self.yu) as uow:
            return await service.draft(
                uow, kind=KnowledgeKind.OBJECTION_RESPONSE, language=Language.ZH, content=content
            )

    async def act(self, step: str, item: KnowledgeItem, actor: Actor | None = None, **more: Any) -> KnowledgeItem:
        """Submit, publish or retire an entry at the version that is given."""
        async with self.database.open_uow(actor or self.yu) as uow:
            given = {"expected_version": item.version} | more
            done: KnowledgeItem = await getattr(service, step)(uow, item.id, **given)
            return done

    async def revise(self, item: KnowledgeItem, actor: Actor | None = None, **change: Any) -> KnowledgeItem:
        """Change an entry's draft."""
        return await self.act("revise", item, actor, change=change)

    async def publish(self, content: Content = PRICE) -> KnowledgeItem:
        """An entry drafted by one curator and published by the other."""
        return await self.act("publish", await self.act("submit", await self.draft(content)), self.lan)

    async def rows(self, model: type[Base], *order: Any) -> list[Any]:
        """The rows of a table."""
        async with self.database.read() as connection:
            return list(await connection.execute(select(model.__table__).order_by(*order)))

    async def states(self, item: KnowledgeItem) -> list[tuple[int, KnowledgeState]]:
        """The states of an entry's versions by number."""
        rows = await self.rows(KnowledgeVersion, KnowledgeVersion.number)
        return [(row.number, row.state) for row in rows if row.item_id == item.id]

    async def publication(self) -> int:
        """The count of publications and withdrawals."""
        rows = await self.rows(Publication)
        return int(rows[0].number) if rows else 0

    async def snapshot(self) -> list[list[Any]]:
        """Everything that an operation could change."""
        tables = (KnowledgeItem, KnowledgeVersion, Passage, Publication, AuditEvent, OutboxEvent)
        return [await self.rows(table) for table in tables]


@pytest.fixture
async def desk(database: Database) -> Desk:
    yu, lan = [await add_colleague(database, name, Role.CURATOR) for name in ("赵宇", "徐兰")]
    legal = await add_colleague(database, "何军", Role.LEGAL)
    return Desk(database, yu, lan, legal, await add_colleague(database, "张磊", Role.REP))


# ---- the life of an entry --------------------------------------------------------------------------------------------


async def test_an_entry_lives_from_draft_to_retirement(desk: Desk) -> None:
    item = await desk.draft()
    assert (item.state, item.version, item.owner_id, item.concerns) == (DRAFT, 1, desk.yu.user_id, ["price_too_high"])
    item = await desk.act("submit", item)
    assert (item.state, await desk.states(item)) == (REVIEW, [(1, REVIEW)])
    assert await desk.rows(Passage) == []
    item = await desk.act("publish", item, desk.lan)
    assert (item.state, item.published_number, item.draft_number) == (OUT, 1, None)
    [version] = await desk.rows(KnowledgeVersion)
    assert (version.published_at, version.published_by_id, version.author_id) == (
        START,
        desk.lan.user_id,
        desk.yu.user_id,
    )
    item = await desk.act("retire", item, desk.legal)
    assert (item.state, await desk.states(item), await desk.rows(Passage)) == (GONE, [(1, GONE)], [])
    actions = [
        event.action for event in await desk.rows(AuditEvent, AuditEvent.seq) if event.action.startswith("knowledge")
    ]
    assert actions == ["knowledge.drafted", "knowledge.submitted", "knowledge.published", "knowledge.retired"]


async def test_passages_and_the_publication_number_follow(desk: Desk) -> None:
    first = await desk.publish()
    assert await desk.publication() == 1
    passages = await desk.rows(Passage, Passage.number)
    assert [(row.number, row.item_id, row.version_number, row.position, row.title_path) for row in passages] == [
        (1, first.id, 1, 0, "医院说价格太高 › 回应"), (2, first.id, 1, 1, "医院说价格太高 › 下一步"),
    ]  # fmt: skip
    second = await desk.publish(Content("交期怎么保证", "按周给出排产计划。"))
    assert [(row.number, row.item_id) for row in await desk.rows(Passage, Passage.number)][2:] == [(3, second.id)]
    await desk.act("retire", first)
    assert ([row.number for row in await desk.rows(Passage)], await desk.publication()) == ([3], 3)
    assert {event.kind for event in await desk.rows(OutboxEvent)} == {"knowledge.changed"}


async def test_a_number_never_stands_for_another_text(desk: Desk) -> None:
    item = await desk.publish()
    before = {row.number for row in await desk.rows(Passage)}
    item = await desk.act("submit", await desk.revise(item, body="只剩一段。"))
    await desk.act("publish", item, desk.lan)
    [passage] = await desk.rows(Passage)
    assert passage.number > max(before)
    assert (passage.version_number, passage.text) == (2, "只剩一段。")


async def test_a_revision_keeps_what_is_published_until_it_is_published_itself(desk: Desk) -> None:
    item = await desk.publish()
    passages, publication = await desk.rows(Passage), await desk.publication()
    revised = await desk.revise(item, title="价格太高怎么答", concerns=["roi_unclear"])
    assert (revised.state, revised.published_number, revised.draft_number) == (OUT, 1, 2)
    assert revised.concerns == ["price_too_high"]
    submitted = await desk.act("submit", revised)
    assert (submitted.state, await desk.states(item)) == (OUT, [(1, OUT), (2, REVIEW)])
    assert (await desk.rows(Passage), await desk.publication()) == (passages, publication)
    out = await desk.act("publish", submitted, desk.lan)
    assert (out.published_number, out.draft_number, out.concerns) == (2, None, ["roi_unclear"])
    assert await desk.states(item) == [(1, GONE), (2, OUT)]
    titles = [row.title for row in await desk.rows(KnowledgeVersion, KnowledgeVersion.number)]
    assert titles == ["医院说价格太高", "价格太高怎么答"]


async def test_a_draft_is_changed_in_place_and_goes_back_from_review(desk: Desk) -> None:
    item = await desk.act("submit", await desk.draft())
    item = await desk.revise(
        item, desk.lan, body="改短了。", expires_at=START + timedelta(days=30), stages=["proposal"]
    )
    assert (item.state, item.draft_number, item.stages) == (DRAFT, 1, ["proposal"])
    assert item.expires_at == START + timedelta(days=30)
    [version] = await desk.rows(KnowledgeVersion)
    assert (version.body, version.state, version.author_id) == ("改短了。", DRAFT, desk.lan.user_id)
    content = service.stored_content(await _version(desk, item, 1))
    assert content == Content(
        "医院说价格太高",
        "改短了。",
        Facets(("price_too_high",), ("proposal",), (), ("hospital",)),
        START + timedelta(days=30),
    )


async def _version(desk: Desk, item: KnowledgeItem, number: int) -> KnowledgeVersion:
    same = (KnowledgeVersion.item_id == item.id) & (KnowledgeVersion.number == number)
    async with desk.database.open_uow(SYSTEM) as uow:
        return (await uow.session.execute(select(KnowledgeVersion).where(same))).scalar_one()


async def test_an_empty_facet_is_a_change(desk: Desk) -> None:
    item = await desk.revise(await desk.draft(), concerns=[])
    assert (item.concerns, item.industries) == ([], ["hospital"])


async def test_retiring_takes_the_published_version_and_the_draft(desk: Desk) -> None:
    item = await desk.revise(await desk.publish(), title="还没定")
    await desk.act("retire", item)
    assert await desk.states(item) == [(1, GONE), (2, GONE)]
    assert await desk.rows(Passage) == []


# ---- refusals leave everything as it was -----------------------------------------------------------------------------


async def refused(
    desk: Desk, error: type[SalesError], step: str, item: KnowledgeItem, *actor: Actor, **more: Any
) -> SalesError:
    """The error of a step that is refused, nothing having changed."""
    before = await desk.snapshot()
    with pytest.raises(error) as raised:
        await desk.act(step, item, *actor, **more)
    assert await desk.snapshot() == before
    assert raised.value.text.zh
    assert raised.value.text.en
    return raised.value


async def test_an_author_does_not_publish_alone(desk: Desk) -> None:
    item = await desk.act("submit", await desk.draft(), desk.lan)
    assert "另一位" in (await refused(desk, Forbidden, "publish", item, desk.yu)).text.zh
    revised = await desk.act("submit", await desk.revise(item, desk.lan, body="徐兰改写的。"))
    await refused(desk, Forbidden, "publish", revised, desk.lan)
    assert (await desk.act("publish", revised, desk.legal)).state is OUT


async def test_steps_come_in_their_order(desk: Desk) -> None:
    item = await desk.draft()
    await refused(desk, Conflict, "publish", item, desk.lan)
    item = await desk.act("submit", item)
    await refused(desk, Conflict, "submit", item)
    item = await desk.act("publish", item, desk.lan)
    for step in ("submit", "publish"):
        await refused(desk, Conflict, step, item, desk.legal)
    item = await desk.act("retire", item)
    for step in ("submit", "publish", "retire"):
        await refused(desk, Conflict, step, item, desk.legal)
    await refused(desk, Conflict, "revise", item, change={"title": "再来"})


async def test_nothing_is_done_to_an_older_version(desk: Desk) -> None:
    drafted = await desk.draft()
    old = drafted.version
    item = await desk.act("submit", drafted)
    assert item.version > old
    for step, more in (("publish", {}), ("retire", {}), ("submit", {}), ("revise", {"change": {"title": "旧的"}})):
        error = await refused(desk, StaleVersion, step, item, desk.lan, expected_version=old, **more)
        assert error.path == ("expectedVersion",)


async def test_each_step_makes_a_new_version_even_within_one_instant(desk: Desk) -> None:
    item = await desk.publish()
    seen = [item.version]
    item = await desk.revise(item, title="二稿")
    seen.append(item.version)
    item = await desk.revise(item, body="三稿的正文。")
    seen.append(item.version)
    item = await desk.act("submit", item)
    seen.append(item.version)
    assert seen == sorted(set(seen))


async def test_only_curators_legal_and_administrators_keep_knowledge(desk: Desk) -> None:
    mine = await desk.act("submit", await desk.draft())
    for role in Role:
        actor = await add_colleague(desk.database, f"某{role}", role)
        if role in {Role.CURATOR, Role.LEGAL, Role.ADMIN}:
            assert (await desk.draft(actor=actor)).owner_id == actor.user_id
            continue
        before = await desk.snapshot()
        with pytest.raises(Forbidden):
            await desk.draft(actor=actor)
        assert await desk.snapshot() == before
        for step, more in (("submit", {}), ("publish", {}), ("retire", {}), ("revise", {"change": {"title": "乱改"}})):
            await refused(desk, Forbidden, step, mine, actor, **more)


async def test_an_absent_entry_is_not_found(desk: Desk) -> None:
    item = await desk.draft()
    item.id = desk.yu.user_id or item.id
    await refused(desk, NotFound, "submit", item)


BAD = [
    (Content("\u3000", "正文"), "title"), (Content("题" * 301, "正文"), "title"), (Content("题", " \n"), "body"), (Content("题", "文" * 200_001), "body"),
    (Content("题", "文", Facets(stages=("",))), "stages"), (Content("题", "文", Facets(competitors=("a",) * 51)), "competitors"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "where"), BAD)
async def test_content_that_cannot_be_kept_says_where(desk: Desk, content: Content, where: str) -> None:
    before = await desk.snapshot()
    with pytest.raises(Invalid) as raised:
        await desk.draft(content)
    assert raised.value.path == (where,)
    assert await desk.snapshot() == before


async def test_a_revision_that_cannot_be_kept_changes_nothing(desk: Desk) -> None:
    item = await desk.publish()
    assert (await refused(desk, Invalid, "revise", item, change={"title": " "})).path == ("title",)


# ---- at once ---------------------------------------------------------------------------------------------------------


async def test_of_two_who_publish_at_once_one_does(desk: Desk) -> None:
    item = await desk.act("submit", await desk.draft())
    done = await asyncio.gather(
        desk.act("publish", item, desk.lan), desk.act("publish", item, desk.legal), return_exceptions=True
    )
    assert sum(isinstance(one, KnowledgeItem) for one in done) == 1
    assert sum(isinstance(one, SalesError) for one in done) == 1
    assert (await desk.publication(), len(await desk.rows(Passage))) == (1, 2)


async def test_first_publications_at_once_are_all_counted(desk: Desk) -> None:
    waiting = [await desk.act("submit", await desk.draft(Content(f"第{n}条", "一句话。"))) for n in range(4)]
    await asyncio.gather(*(desk.act("publish", item, desk.lan) for item in waiting))
    assert await desk.publication() == 4
    assert sorted(row.number for row in await desk.rows(Passage)) == [1, 2, 3, 4]


# ---- who sees it -----------------------------------------------------------------------------------------------------


async def test_a_rep_sees_what_is_published_and_nothing_else(desk: Desk) -> None:
    hidden, shown = await desk.draft(), await desk.publish()
    async with desk.database.open_uow(SYSTEM) as uow:
        assert (await load(uow.session, desk.rep, KnowledgeItem, shown.id)).id == shown.id
        with pytest.raises(NotFound):
            await load(uow.session, desk.rep, KnowledgeItem, hidden.id)
        assert (await load(uow.session, desk.legal, KnowledgeItem, hidden.id)).id == hidden.id
    await desk.act("retire", shown)
    async with desk.database.open_uow(SYSTEM) as uow:
        with pytest.raises(NotFound):
            await load(uow.session, desk.rep, KnowledgeItem, shown.id)


# ---- imported --------------------------------------------------------------------------------------------------------


async def test_an_import_publishes_what_is_new_and_cuts_it(desk: Desk) -> None:
    items = [
        ImportedItem(str(n), KnowledgeKind.FAQ, Language.ZH, Content(f"问题{n}", "答：可以。"), "文库", "CC BY 4.0")
        for n in range(3)
    ]
    for count in (2, 3, 3):
        async with desk.database.open_uow(SYSTEM) as uow:
            tables = await service.imported_rows(uow, "旧知识库", items[:count])
            if tables[KnowledgeItem]:
                await import_rows(uow, "旧知识库", tables, {"file": "旧.jsonl"})
            await service.index_imported(uow, tables[KnowledgeVersion])
    rows = await desk.rows(KnowledgeItem, KnowledgeItem.external_id)
    assert [(row.external_id, row.state, row.published_number) for row in rows] == [(str(n), OUT, 1) for n in range(3)]
    assert (await desk.publication(), [row.number for row in await desk.rows(Passage, Passage.number)]) == (
        2,
        [1, 2, 3],
    )
    async with desk.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(KnowledgeVersion))).scalar_one() == 3
    by_external = {row.external_id: row for row in rows}
    revised = await desk.revise(await _item(desk, by_external["0"].id), body="答：改好了。")
    await refused(desk, Forbidden, "publish", await desk.act("submit", revised), desk.yu)


async def _item(desk: Desk, id: Any) -> KnowledgeItem:
    async with desk.database.open_uow(SYSTEM) as uow:
        return await uow.session.get_one(KnowledgeItem, id)
