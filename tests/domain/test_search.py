"""Records are found by their words, Chinese first, within what the reader sees; the index follows every change."""

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update

import migrations
from domain import accounts, activities, erasure, merging
from domain.accounts import Account, Contact
from domain.activities import ActivityKind
from domain.kernel import SYSTEM, Actor, Database, Role, insert_rows, search, words
from domain.kernel.search import SearchText
from domain.leads import Lead
from tests.factories import add_colleague, add_territories, checkpoint, execute

ALL = ("Account", "Activity", "Contact", "Lead", "Opportunity", "Order", "Product", "Quote")


async def found(database: Database, query: str, *kinds: str, actor: Actor = SYSTEM) -> list[UUID]:
    async with database.read() as connection:
        return [hit.ref.id for hit in await search.search(connection, actor, query, kinds or ALL)]


async def add_account(database: Database, name: str, domain: str | None = None) -> UUID:
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name=name, domain=domain)
    return account.id


# ---- words -----------------------------------------------------------------------------------------------------------

QUERIES = {
    "密": True, "精密": True, "零部件": True, "苏州精密零部件": True, "精密 苏州": True, "密精": False, "苏零": False,
    "Bosch": True, "ＢＯＳＣＨ": True, "bos": True, "b": False, "osch": False, "bosch 精密": True, "精密bosch": True,
    "A100": True, "a１００": True, "a10": True, "a10 精密": False, "精密 a10": True, "bosch 广州": False, "！？": False, "": False,
    "'\"*)(": False, "AND": False, "精密 OR 广州": False,
}  # fmt: skip


async def test_words_of_one_two_and_more_characters_are_found(database: Database) -> None:
    id = await add_account(database, "苏州精密零部件（Ｂｏｓｃｈ）A100")
    await add_account(database, "广州医疗器械")
    for query, expected in QUERIES.items():
        assert await found(database, query) == ([id] if expected else []), query


async def test_the_shorter_text_and_the_title_come_first(database: Database) -> None:
    long = await add_account(database, "上海华东精密仪器设备进出口贸易有限公司")
    by_domain = await add_account(database, "浦东", domain="jingmi.cn")
    short = await add_account(database, "精密 jingmi")
    assert await found(database, "精密") == [short, long]
    assert await found(database, "jingmi") == [short, by_domain]


def marked(text: str, query: str) -> str:
    pieces = words.excerpt(text, words.terms(query))
    return "".join(f"[{piece.text}]" if piece.matched else piece.text for piece in pieces)


def test_excerpts_mark_what_was_asked_for() -> None:
    assert marked("谈了价格和交期", "价格") == "谈了[价格]和交期"
    assert marked("零部件的部件", "零部件") == "[零部件]的[部件]"
    assert marked("谈了Ｂｏｓｃｈ价格", "价格 bos") == "谈了[Ｂｏｓ]ｃｈ[价格]"
    assert marked("谈了Ｂｏｓｃｈ价格", "bos 价格") == "谈了Ｂｏｓｃｈ[价格]"
    assert marked("① 一期\n\n二期 ㎡", "m2") == "① 一期 二期 [㎡]"
    long = marked("前" * 300 + "价格" + "后" * 300, "价格")
    assert long == "…" + "前" * words.BEFORE + "[价格]" + "后" * (words.AROUND - words.BEFORE - 2) + "…"
    assert marked("没有", "价格") == "没有"


# ---- the index follows -----------------------------------------------------------------------------------------------


async def test_changes_bulk_rows_and_merges_follow(database: Database) -> None:
    id = await add_account(database, "旧名称")
    async with database.open_uow(SYSTEM) as uow:
        account = await uow.session.get_one(Account, id)
        await accounts.update_account(uow, id, expected_version=account.version, changes={"name": "新名称"})
    assert await found(database, "旧名") == []
    assert await found(database, "新名") == [id]
    async with database.open_uow(SYSTEM) as uow:
        ids = [uow.new_id(), uow.new_id()]
        rows = [{"id": one, "name": f"批量{number}", "lifecycle_stage": "PROSPECT"} for number, one in enumerate(ids)]
        await insert_rows(uow, Account, rows)
        uow.note("import.batch_recorded", account, covers=[Account])
    assert set(await found(database, "批量")) == set(ids)
    async with database.open_uow(SYSTEM) as uow:
        await merging.merge_accounts(uow, merging.Pair(ids[0], 1, ids[1], 1))
    assert await found(database, "批量") == [ids[0]]


async def _fail_after_creating(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        await accounts.create_account(uow, name="没有的公司")
        await uow.session.flush()
        raise ZeroDivisionError


async def test_what_rolls_back_was_never_there(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await _fail_after_creating(database)
    assert await found(database, "公司") == []
    async with database.read() as connection:
        assert (await connection.execute(select(SearchText.id))).all() == []


async def _rename_in_bulk(database: Database, id: UUID) -> None:
    async with database.open_uow(SYSTEM) as uow:
        uow.note("account.updated", await uow.session.get_one(Account, id), covers=[Account])
        await uow.session.execute(update(Account).values(name="另一个"))


async def test_a_bulk_statement_that_the_index_cannot_follow_is_refused(database: Database) -> None:
    id = await add_account(database, "原名")
    with pytest.raises(search.UnindexedChangeError):
        await _rename_in_bulk(database, id)
    assert await found(database, "原名") == [id]


# ---- who sees what ---------------------------------------------------------------------------------------------------


async def test_each_role_finds_only_what_it_sees(database: Database) -> None:
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[territories["south-china"]])
    auditor = await add_colleague(database, "审计", Role.AUDITOR)
    ops = await add_colleague(database, "运营", Role.SALES_OPS)
    legal = await add_colleague(database, "法务", Role.LEGAL)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(
            uow, name="杭州医院", domain="hangzhou.cn", region="华东", owner_id=lei.user_id
        )
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈芳", account_id=account.id, title="采购总监")
        await uow.session.flush()
        done = await activities.log(uow, related_to=account.ref(), kind=ActivityKind.CALL, subject="电话", body="底价八折", owner_id=lei.user_id)  # fmt: skip
    assert await found(database, "杭州", actor=lei) == [account.id]
    assert await found(database, "底价", actor=lei) == [done.id]
    assert await found(database, "杭州 hangzhou", actor=lei) == [account.id]
    assert await found(database, "陈芳 采购", actor=ops) == [contact.id]
    for query in ("杭州", "底价", "电话", "陈芳", "采购"):
        assert await found(database, query, actor=na) == [], query
    # An auditor sees an account's name and not its domain; counsel sees a person's name and not the title.
    assert await found(database, "杭州", actor=auditor) == [account.id]
    assert await found(database, "hangzhou", actor=auditor) == []
    assert await found(database, "陈芳", actor=legal) == [contact.id]
    assert await found(database, "采购", actor=legal) == []
    assert await found(database, "底价", actor=ops) == []
    assert await found(database, "杭州", "Contact", actor=lei) == []


def test_words_of_different_masks_are_kept_apart() -> None:
    migrations.import_models()
    parts = {
        name: {part.name: part.field for part in search.parts_of(model)} for name, model in search.searched().items()
    }
    assert tuple(parts) == ALL
    assert parts["Contact"] == {"name": None, "name+title": "title"}
    assert parts["Account"] == {"name": None, "name+domain": "domain"}
    assert parts["Activity"] == {"subject": None, "subject+body": None}
    assert search.parts_of(Lead)[1].columns == ("name", "company", "interest")


# ---- erasure ---------------------------------------------------------------------------------------------------------


async def add_person(database: Database) -> Contact:
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="宁波电子")
        contact = await accounts.create_contact(
            uow, name="欧阳菲菲 Quetzalcoatl", title="首席采购", account_id=account.id
        )
        await uow.session.flush()
        await activities.log(
            uow, related_to=contact.ref(), kind=ActivityKind.CALL, subject="欧阳菲菲来电", body="要报价"
        )
        for number in range(50):
            await accounts.create_contact(uow, name=f"路人{number}", account_id=account.id)
    return contact


async def test_an_erased_person_leaves_the_index(database: Database) -> None:
    contact = await add_person(database)
    dpo = await add_colleague(database, "数据保护官", Role.DPO)
    assert len(await found(database, "欧阳")) == 2
    async with database.open_uow(dpo) as uow:
        await erasure.erase_person(uow, contact.id)
    assert await found(database, "欧阳") == []
    assert await found(database, "首席") == []
    async with database.read() as connection:
        kept = str((await connection.execute(select(SearchText.tokens))).all())
    assert "路" in kept
    assert not [word for word in ("欧", "阳", "菲", "首席") if word in kept]


def stored(database: Database) -> bytes:
    return Path(database.url.removeprefix("sqlite+aiosqlite:///")).read_bytes()


async def test_no_byte_of_the_file_holds_an_erased_name(sqlite_database: Database) -> None:
    contact = await add_person(sqlite_database)
    dpo = await add_colleague(sqlite_database, "数据保护官", Role.DPO)
    await checkpoint(sqlite_database)
    # The index keeps words in lower case, and of Chinese ones what differs from the word before.
    assert [word for word in ("菲菲", "Quetzal", "etzalcoatl") if word.encode() not in stored(sqlite_database)] == []
    async with sqlite_database.open_uow(dpo) as uow:
        await erasure.erase_person(uow, contact.id)
    await checkpoint(sqlite_database)
    held = stored(sqlite_database)
    assert "路人".encode() in held
    assert [word for word in ("欧", "菲", "Quetzal", "etzalcoatl") if word.encode() in held] == []


# ---- filling ---------------------------------------------------------------------------------------------------------


async def test_the_index_is_made_anew_where_the_classes_declare_another(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await add_account(sqlite_database, "苏州精密")
    assert await migrations.is_current(sqlite_database.url)
    assert not await migrations.migrate(sqlite_database.url)
    await execute(sqlite_database, "DELETE FROM search_texts", "UPDATE search_declarations SET digest = 'older'")
    assert await found(sqlite_database, "精密") == []
    assert not await migrations.is_current(sqlite_database.url)
    told: list[str] = []
    assert await migrations.migrate(sqlite_database.url, told.append)
    assert "search: Account 1" in told
    assert await found(sqlite_database, "精密") == [id]
    monkeypatch.setattr(search, "FILL_BATCH", 1)
    await add_account(sqlite_database, "精密二")
    await execute(sqlite_database, "UPDATE search_declarations SET digest = 'older'")
    assert await migrations.migrate(sqlite_database.url)
    assert len(await found(sqlite_database, "精密")) == 2
