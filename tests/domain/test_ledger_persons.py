"""Personal values in the ledger: sealed under keys, revealed while those live, gone with them."""

import asyncio

import pytest
from sqlalchemy import select, text

from domain import accounts, ledger
from domain.kernel import (
    SYSTEM,
    Conflict,
    Database,
    Ref,
    new_id,
)
from domain.ledger import AuditEvent, PersonKey
from tests.factories import LEI, SIGNER, Board, Clock, add_colleague, add_generation, note, verify_ledger


async def events(database: Database) -> list[AuditEvent]:
    async with database.open_uow(SYSTEM) as uow:
        return list((await uow.session.scalars(select(AuditEvent).order_by(AuditEvent.seq))).all())


async def add_person(database: Database, name: str = "陈芳") -> accounts.Contact:
    async with database.open_uow(LEI) as uow:
        contact = await accounts.create_contact(uow, name=name, title="采购总监")
        await uow.session.flush()
        await accounts.add_contact_point(uow, contact, accounts.Channel.PHONE, "13812345678")
    return contact


async def stored_text(database: Database) -> str:
    async with database.read() as connection:
        return str((await connection.execute(text("SELECT * FROM audit_events ORDER BY seq"))).all())


async def revealed(database: Database, index: int = 0) -> ledger.Revelation:
    async with database.open_uow(SYSTEM) as uow:
        event = (await uow.session.scalars(select(AuditEvent).order_by(AuditEvent.seq))).all()[index]
        return await ledger.reveal(uow.session, event)


async def test_personal_values_enter_only_as_ciphertext_and_can_be_revealed(database: Database) -> None:
    contact = await add_person(database)
    words = await stored_text(database)
    assert not [secret for secret in ("陈芳", "\\u9648", "采购总监", "13812345678") if secret in words]
    all_events = await events(database)
    changed = next(event for event in all_events if event.detail["changes"])
    fields = {change["row"].split(":")[0]: change["personal"] for change in changed.detail["changes"]}
    assert fields == {"Contact": ["name", "title"], "ContactPoint": ["masked", "match_key", "value"]}
    assert len(changed.detail["sealed"]) == 1
    opened = await revealed(database, all_events.index(changed))
    values = {
        name: field["after"] for change in opened.values[0]["changes"] for name, field in change["fields"].items()
    }
    assert values == {
        "name": "陈芳",
        "title": "采购总监",
        "value": "13812345678",
        "masked": "138****5678",
        "match_key": values["match_key"],
    }
    assert opened.erased == 0
    async with database.open_uow(SYSTEM) as uow:
        assert (await uow.session.scalars(select(ledger.KeyHolder.person_id))).all() == [contact.id]


async def test_personal_words_of_several_persons_die_with_any_of_them(database: Database, clock: Clock) -> None:
    chen, wu = new_id(), new_id()
    await note(database, personal={"prompt": "给陈芳和吴刚写一封信"}, persons=[chen, wu])
    await note(database, personal={"prompt": "给吴刚写一封信"}, persons=[wu])
    await note(database, personal={"prompt": "又给陈芳和吴刚写"}, persons=[wu, chen])
    assert "陈芳" not in await stored_text(database)
    assert (await revealed(database, 0)).values == ({"personal": {"prompt": "给陈芳和吴刚写一封信"}},)
    async with database.open_uow(SYSTEM) as uow:
        assert len((await uow.session.scalars(select(PersonKey.id))).all()) == 2
    board = Board()
    await ledger.seal(database, SIGNER, board)
    clock.advance(days=1)
    async with database.open_uow(SYSTEM) as uow:
        assert await ledger.destroy_keys(uow, chen) == 2
    assert await revealed(database, 0) == await revealed(database, 2) == ledger.Revelation((), 1)
    assert (await revealed(database, 1)).values == ({"personal": {"prompt": "给吴刚写一封信"}},)
    await ledger.seal(database, SIGNER, board)
    assert (await verify_ledger(database, heads=board.heads)).sound


async def test_a_row_about_nobody_in_particular_dies_with_the_persons_of_its_note(database: Database) -> None:
    lei = await add_colleague(database, "张磊")
    chen, wu = new_id(), new_id()
    await add_generation(database, lei, persons=[chen, wu])
    index = len(await events(database)) - 1
    assert "陈芳" not in await stored_text(database)
    assert "陈芳" in str((await revealed(database, index)).values)
    async with database.open_uow(SYSTEM) as uow:
        await ledger.destroy_keys(uow, wu)
    assert await revealed(database, index) == ledger.Revelation((), 1)


async def test_personal_words_without_a_person_belong_to_the_subject(database: Database) -> None:
    lead = Ref("Lead", new_id())
    await note(database, "lead.captured", lead, personal={"name": "陈芳"})
    assert (await revealed(database)).values == ({"personal": {"name": "陈芳"}},)
    async with database.open_uow(SYSTEM) as uow:
        assert (await uow.session.scalars(select(ledger.KeyHolder.person_id))).all() == [lead.id]


async def test_an_erased_person_stays_erased_and_every_proof_stays_valid(database: Database, clock: Clock) -> None:
    contact = await add_person(database)
    board = Board()
    await ledger.seal(database, SIGNER, board)
    clock.advance(days=1)
    async with database.open_uow(SYSTEM) as uow:
        mine = (await uow.session.scalars(select(accounts.Contact))).one()
        await ledger.destroy_keys(uow, mine.id)
        mine.name, mine.title = "已删除", None
        uow.note("contact.erased", mine)
    # The erasing change itself holds the old name as "before": it must not be readable either.
    await note(database, personal={"note": "陈芳又来电"}, persons=[contact.id])
    await ledger.seal(database, SIGNER, board)
    total = len(await events(database))
    for index in range(total):
        assert (await revealed(database, index)).values == ()
    last, destroyed = (
        (await events(database))[-1],
        next(e for e in await events(database) if e.action == "person.keys_destroyed"),
    )
    assert last.detail["sealed"][0]["erased"] is True
    assert (destroyed.subject_kind, destroyed.subject_id, destroyed.detail["detail"]) == (
        "Contact",
        contact.id,
        {"keys": 1},
    )
    async with database.open_uow(SYSTEM) as uow:
        key = (await uow.session.scalars(select(PersonKey))).one()
    assert (key.secret, key.destroyed_at) == (None, clock.now)
    assert "陈芳" not in await stored_text(database)
    found = await verify_ledger(database, heads=board.heads)
    assert (found.sound, found.events, found.sealed) == (True, total, total)


async def test_concurrent_notes_on_one_person_share_one_key(database: Database) -> None:
    chen = new_id()
    await asyncio.gather(*(note(database, personal={"第几次": n}, persons=[chen]) for n in range(8)))
    async with database.open_uow(SYSTEM) as uow:
        assert len((await uow.session.scalars(select(PersonKey.id))).all()) == 1
    assert sorted([(await revealed(database, n)).values[0]["personal"]["第几次"] for n in range(8)]) == list(range(8))


async def test_a_forged_ciphertext_or_commitment_is_not_revealed(database: Database) -> None:
    await note(database, personal={"name": "陈芳"}, persons=[new_id()])
    async with database.open_uow(SYSTEM) as uow:
        event = (await uow.session.scalars(select(AuditEvent))).one()
        (blob,) = event.detail["sealed"]
        for forged in ({"ciphertext": "00" + blob["ciphertext"][2:]}, {"commitment": "0" * 64}):
            event.detail = event.detail | {"sealed": [blob | forged]}
            with pytest.raises(Conflict, match="tampered"):
                await ledger.reveal(uow.session, event)
        event.detail = event.detail | {"sealed": [blob]}
