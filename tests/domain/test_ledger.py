"""The ledger's operations on both databases: record, reveal, erase, seal, verify, prove."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from domain import ledger, people
from domain.kernel import (
    SYSTEM,
    ActorKind,
    Conflict,
    Database,
    Money,
    NotFound,
    Ref,
    Text,
    new_id,
)
from domain.ledger import AuditEvent, Head, HeadFile, ImportBatch, LedgerRecorder, Signer, VerifiedHead
from domain.ledger.policy import CompactRange, Content, LedgerProblem
from domain.people import Territory, User
from tests.factories import LEI, SIGNER, START, Board, Clock, checkpoint, execute, fill_ledger, note, verify_ledger


async def events(database: Database) -> list[AuditEvent]:
    async with database.open_uow(SYSTEM) as uow:
        return list((await uow.session.scalars(select(AuditEvent).order_by(AuditEvent.seq))).all())


# ---- recording -------------------------------------------------------------------------------------------------------


async def test_one_event_a_note_with_before_and_after(database: Database) -> None:
    async with database.open_uow(LEI) as uow:
        territory = await people.add_territory(uow, key="east", label=Text("华东", "East"))
    async with database.open_uow(LEI) as uow:
        (loaded := (await uow.session.scalars(select(Territory))).one()).label_zh = "华东区"
        uow.note("territory.renamed", loaded, {"reason": "统一叫法", "share": 0.5})
    added, renamed = await events(database)
    assert (added.action, added.subject_kind, added.subject_id) == ("territory.added", "Territory", territory.id)
    assert (added.actor_kind, added.actor_id, added.actor_name, added.at) == (
        ActorKind.USER,
        UUID(int=7),
        "张磊",
        START,
    )
    row = f"Territory:{territory.id.hex}"
    created = {
        name: {"before": None, "after": after}
        for name, after in (("key", "east"), ("label_zh", "华东"), ("label_en", "East"))
    }
    assert added.detail == {"detail": {}, "changes": [{"row": row, "verb": "created", "fields": created}], "sealed": []}
    assert renamed.detail["detail"] == {"reason": "统一叫法", "share": "0.5"}
    assert renamed.detail["changes"] == [
        {"row": row, "verb": "updated", "fields": {"label_zh": {"before": "华东", "after": "华东区"}}}
    ]
    assert uow.digests == {territory.ref(): renamed.digest}
    assert (renamed.digest_version, renamed.leaf_index, renamed.sealed_at) == (1, None, None)


async def test_the_digest_in_the_answer_can_be_recomputed_from_the_stored_row(database: Database) -> None:
    digest = await note(database, detail={"备注": "价格太高了", "amount": Money(3, "CNY"), "at": START, "n": 2**70})
    (event,) = await events(database)
    columns = {name: getattr(event, name) for name in Content.__dataclass_fields__}
    assert Content(**columns).digest() == event.digest == digest


async def test_an_import_is_one_event_with_the_digest_of_its_rows(database: Database) -> None:
    ids = [new_id() for _ in range(50)]
    users = [
        {"id": id, "name": f"同事{n}", "email": f"{n}@example.com", "language": "ZH", "time_zone": "Asia/Shanghai"}
        for n, id in enumerate(ids)
    ]
    async with database.open_uow(LEI) as uow:
        batch = await ledger.import_rows(uow, "crm", {User: users}, {"file": "员工.csv"})
    (event,) = await events(database)
    assert (event.action, event.subject_id) == ("import.batch_recorded", batch.id)
    said = event.detail["detail"]
    assert (said["source"], said["file"], said["tables"]["User"]["rows"]) == ("crm", "员工.csv", 50)
    assert batch.salt.hex() not in str(event.detail)
    async with database.open_uow(SYSTEM) as uow:
        kept = (await uow.session.scalars(select(ImportBatch))).one()
        assert (kept.row_count, kept.source, kept.started_at) == (50, "crm", START)
        assert set((await uow.session.scalars(select(User.import_batch_id))).all()) == {batch.id}
    named = [row | {"import_batch_id": batch.id} for row in users]
    assert ledger.rows_digest(kept.salt, named) == said["tables"]["User"]["digest"]
    named[3]["name"] = "别人"
    assert ledger.rows_digest(kept.salt, named) != said["tables"]["User"]["digest"]


# ---- sealing ---------------------------------------------------------------------------------------------------------


async def test_sealing_an_empty_ledger_publishes_nothing(database: Database) -> None:
    board = Board()
    assert await ledger.seal(database, SIGNER, board) is None
    assert board.heads == []
    found = await verify_ledger(database)
    assert found == ledger.Verification(True, 0, 0, None, None, VerifiedHead())


async def test_a_head_covers_what_waits_and_is_signed(database: Database, clock: Clock) -> None:
    board = await fill_ledger(database, clock, 3, 5)
    assert [head.size for head in board.heads] == [3, 8]
    tree = CompactRange()
    for number, event in enumerate(await events(database)):
        assert event.leaf_index == number
        assert event.sealed_at == START + timedelta(seconds=1 if number < 3 else 2)
        tree.append(event.digest)
    assert board.heads[-1].root_hash == tree.root()
    assert all(head.signed_by(SIGNER.public_key) for head in board.heads)
    again = await ledger.seal(database, SIGNER, board)
    assert again == board.heads[1] == board.heads[2]


async def test_a_head_that_a_crash_kept_back_is_published_by_the_next_call(database: Database, tmp_path: Path) -> None:
    def crash(head: Head) -> None:
        raise OSError("disk gone")

    file = HeadFile(tmp_path / "heads.jsonl")
    await note(database)
    with pytest.raises(OSError, match="disk gone"):
        await ledger.seal(database, SIGNER, crash)
    head = await ledger.seal(database, SIGNER, file)
    assert file.read() == [head]
    assert (await verify_ledger(database, heads=file.read())).sound


async def test_sealing_and_writing_at_once_from_several_processes(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    other = Database(database.url, LedgerRecorder(), clock=clock)
    file = HeadFile(tmp_path / "heads.jsonl")

    async def write(where: Database) -> None:
        for _ in range(10):
            await note(where)

    async def seal(where: Database) -> None:
        for _ in range(6):
            await ledger.seal(where, SIGNER, file)
            await asyncio.sleep(0.002)

    await asyncio.gather(write(database), seal(database), write(other), seal(other), write(database))
    await ledger.seal(other, SIGNER, file)
    await other.close()
    found = await verify_ledger(database, heads=file.read())
    assert (found.problem, found.events, found.sealed) == (None, 30, 30)
    assert file.read()[-1].size == 30


async def test_an_event_that_commits_late_is_sealed_all_the_same(database: Database) -> None:
    if database.embedded:
        pytest.skip("SQLite has one writer: numbers and commits are in the same order")
    board = Board()
    async with database.open_uow(LEI) as slow:
        slow.note("account.viewed", Ref("Account", new_id()))
        await LedgerRecorder().record(slow, slow.notes)
        # Whatever is asked comes after the event.
        await slow.session.execute(select(AuditEvent.seq))
        await note(database)
        await ledger.seal(database, SIGNER, board)
        slow.notes.clear()
    await ledger.seal(database, SIGNER, board)
    assert [event.leaf_index for event in await events(database)] == [1, 0]
    assert (await verify_ledger(database, heads=board.heads)).sound


async def test_sealing_refuses_to_grow_a_tree_that_was_tampered_with(database: Database, clock: Clock) -> None:
    await fill_ledger(database, clock, 3)
    await execute(database, """UPDATE ledger_heads SET frontier = '["00", "00"]'""")
    await note(database)
    with pytest.raises(LedgerProblem, match="head of size 3 was edited"):
        await ledger.seal(database, SIGNER, Board())
    assert (await events(database))[-1].sealed_at is None
    found = await verify_ledger(database)
    assert found.problem is not None
    assert "大小 3 的账本头被改动" in found.problem.zh


# ---- verifying -------------------------------------------------------------------------------------------------------


async def test_a_sound_ledger_is_sound_with_and_without_witnesses(database: Database, clock: Clock) -> None:
    board = await fill_ledger(database, clock, 3, 4)
    await note(database)
    read: list[int] = []
    found = await verify_ledger(database, heads=board.heads, remembered=board.heads[0], progress=read.append)
    assert (found.sound, found.problem, found.events, found.sealed, found.head) == (True, None, 8, 7, board.heads[-1])
    assert sum(read) == 8
    assert (await verify_ledger(database)).sound


CASES = [
    ("UPDATE audit_events SET action = 'lead.viewed' WHERE leaf_index = 4", "事件 #4", "被改动"),
    ("UPDATE audit_events SET actor_name = '李娜' WHERE leaf_index = 0", "事件 #0", "被改动"),
    ("UPDATE audit_events SET sealed_at = '2026-03-02 08:00:00.000000+00:00' WHERE leaf_index = 4", "事件 #4", "封存时间"),
    ("DELETE FROM audit_events WHERE leaf_index = 2", "叶 #2", "被删除"),
    ("DELETE FROM audit_events WHERE leaf_index = 6", "#6", "被截断|被删除"),
    ("UPDATE audit_events SET leaf_index = NULL, sealed_at = NULL WHERE leaf_index = 6", "#6", "被截断|被删除"),
    ("UPDATE audit_events SET sealed_at = NULL WHERE leaf_index = 1", "事件 #1", "被改动"),
    ("UPDATE audit_events SET leaf_index = NULL WHERE leaf_index = 6", "事件", "插入"),
    ("UPDATE audit_events SET seq = 1000 + seq WHERE leaf_index = 4", "叶 #3 至 #6", "序号"),
    ("UPDATE audit_events SET digest_version = 2 WHERE leaf_index = 5", "事件 #5", "被改动"),
    ("DELETE FROM audit_events", "#0 至 #6", "被截断|被删除"),
    ("DELETE FROM ledger_heads WHERE size = 7", "7 个事件", "被截断"),
    ("DELETE FROM ledger_heads WHERE size = 3", "事件 #0", "封存时间"),
    ("UPDATE ledger_heads SET root_hash = 'ab' WHERE size = 7", "大小 7", "签名无效"),
    ("UPDATE audit_events SET digest = 'ab' WHERE leaf_index IS NULL", "事件 (", "被改动"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "where", "what"), CASES, ids=[case[0][:70] for case in CASES])
async def test_tampering_is_found_and_named(
    database: Database, clock: Clock, statement: str, where: str, what: str
) -> None:
    board = await fill_ledger(database, clock, 3, 4)
    await note(database)
    await execute(database, statement.replace("+00:00", "") if database.embedded else statement)
    found = await verify_ledger(database, heads=board.heads)
    assert not found.sound
    assert found.verified is None
    assert found.problem is not None
    assert where in found.problem.zh
    assert any(word in found.problem.zh for word in what.split("|"))
    assert found.problem.en


async def test_swapped_events_are_found(database: Database, clock: Clock) -> None:
    await fill_ledger(database, clock, 3, 4)
    await execute(
        database,
        "UPDATE audit_events SET leaf_index = 99 WHERE leaf_index = 4",
        "UPDATE audit_events SET leaf_index = 4 WHERE leaf_index = 5",
        "UPDATE audit_events SET leaf_index = 5 WHERE leaf_index = 99",
    )
    found = await verify_ledger(database)
    assert found.problem is not None
    assert "叶 #3 至 #6" in found.problem.zh
    assert "swapped" in found.problem.en


async def test_a_cut_tail_shows_by_the_published_heads(database: Database, clock: Clock) -> None:
    board = await fill_ledger(database, clock, 3, 4)
    await execute(database, "DELETE FROM audit_events WHERE leaf_index >= 3", "DELETE FROM ledger_heads WHERE size = 7")
    assert (await verify_ledger(database)).sound
    found = await verify_ledger(database, heads=board.heads)
    assert found.problem is not None
    assert "7 个事件，数据库的只有 3 个" in found.problem.zh
    # Growing it again beyond the published size does not help: what was published is another tree.
    board.heads += (await fill_ledger(database, clock, 6)).heads
    found = await verify_ledger(database, heads=board.heads)
    assert found.problem is not None
    assert "已发布的" in found.problem.zh


async def test_a_restored_backup_shows_by_a_remembered_head(
    sqlite_database: Database, clock: Clock, tmp_path: Path
) -> None:
    await fill_ledger(sqlite_database, clock, 3)
    await checkpoint(sqlite_database)
    shutil.copy(tmp_path / "sortie.db", tmp_path / "backup.db")
    remembered = (await fill_ledger(sqlite_database, clock, 2)).heads[-1]
    backup = Database(f"sqlite+aiosqlite:///{tmp_path}/backup.db", LedgerRecorder(), clock=clock)
    assert (await verify_ledger(backup)).sound
    found = await verify_ledger(backup, remembered=remembered)
    assert found.problem is not None
    assert "您记住的账本头有 5 个事件，数据库的只有 3 个" in found.problem.zh
    assert (await verify_ledger(sqlite_database, remembered=remembered)).sound
    await backup.close()


async def test_a_head_of_another_key_is_no_witness(database: Database, clock: Clock) -> None:
    board = await fill_ledger(database, clock, 3)
    forged = Signer(bytes(32)).sign(3, board.heads[0].root_hash, board.heads[0].seq_digest, clock.now)
    found = await verify_ledger(database, heads=[forged])
    assert found.problem is not None
    assert "已发布的账本头（大小 3）签名无效" in found.problem.zh


async def test_the_incremental_form_reads_later_events_alone(database: Database, clock: Clock) -> None:
    board = await fill_ledger(database, clock, 3, 4)
    first = await verify_ledger(database, heads=board.heads)
    board.heads += (await fill_ledger(database, clock, 5)).heads
    read: list[int] = []
    second = await verify_ledger(database, heads=board.heads, since=first.verified, progress=read.append)
    assert (second.sound, second.events, second.sealed, sum(read)) == (True, 12, 12, 5)
    assert second.verified == (await verify_ledger(database)).verified
    assert (await verify_ledger(database, since=second.verified)).sound
    # A remembered head that is older than the verified state needs the whole ledger.
    await verify_ledger(database, remembered=board.heads[0], since=second.verified, progress=read.append)
    assert sum(read) == 17


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit_events SET action = 'x' WHERE leaf_index = 9", "事件 #9"),
        ("DELETE FROM audit_events WHERE leaf_index = 8", "叶 #8"),
        ("DELETE FROM audit_events WHERE leaf_index = 2", "已验证过的 7 个事件现在是 6 个"),
        ("UPDATE audit_events SET leaf_index = -1 WHERE leaf_index = 9", "叶 #9"),
        ("DELETE FROM ledger_heads WHERE size > 3", "7 个事件，数据库的只有 3 个"),
    ],
)
async def test_the_incremental_form_finds_later_edits_and_earlier_gaps(
    database: Database, clock: Clock, statement: str, words: str
) -> None:
    await fill_ledger(database, clock, 3, 4)
    since = (await verify_ledger(database)).verified
    await fill_ledger(database, clock, 5)
    await execute(database, statement)
    found = await verify_ledger(database, since=since)
    assert found.problem is not None
    assert words in found.problem.zh


async def test_verifying_while_others_write_and_seal_is_no_false_alarm(database: Database, clock: Clock) -> None:
    board = Board()

    async def write() -> None:
        for _ in range(30):
            await note(database)
            await ledger.seal(database, SIGNER, board)

    async def watch() -> list[ledger.Verification]:
        return [await verify_ledger(database, heads=list(board.heads)) for _ in range(15)]

    _, found = await asyncio.gather(write(), watch())
    assert [one.problem for one in found] == [None] * 15


async def test_an_inclusion_proof_holds_offline(database: Database, clock: Clock) -> None:
    digest = await note(database)
    board = await fill_ledger(database, clock, 6, 7)
    first = (await events(database))[0]
    async with database.read() as connection:
        proof = await ledger.prove(connection, first.id)
    assert proof.head == board.heads[-1]
    assert ledger.verify_inclusion(digest, proof, SIGNER.public_key)
    assert not ledger.verify_inclusion(proof.head.root_hash, proof, SIGNER.public_key)


async def test_no_proof_for_an_unknown_or_waiting_event(database: Database) -> None:
    await note(database)
    (event,) = await events(database)
    async with database.read() as connection:
        with pytest.raises(Conflict, match="not sealed yet"):
            await ledger.prove(connection, event.id)
        with pytest.raises(NotFound):
            await ledger.prove(connection, new_id())
