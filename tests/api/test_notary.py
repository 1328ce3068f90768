"""Sealing and verifying with an installation's key and published heads."""

from pathlib import Path

import pytest
from sqlalchemy import update

from api.notary import WHOLE_AGAIN_SECONDS, Notary, remembered_head
from api.settings import Settings
from domain import people
from domain.kernel import SYSTEM, Database, Invalid, Text
from domain.ledger import AuditEvent, HeadFile, Signer

SIGNER = Signer(bytes(range(32)))


class Timer:
    """A monotonic clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def brand(database: Database, key: str) -> None:
    async with database.open_uow(SYSTEM) as uow:
        await people.add_brand(uow, key=key, label=Text("澄岳医疗", "Chengyue Medical"))


async def forge(database: Database, seq_offset: int = 0) -> None:
    """Change the first event behind the ledger's back."""
    async with database.writer.begin() as connection:
        await connection.execute(
            update(AuditEvent).where(AuditEvent.leaf_index == seq_offset).values(action="brand.gone")
        )


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def heads(tmp_path: Path) -> HeadFile:
    return HeadFile(tmp_path / "heads.jsonl")


async def test_what_waits_is_sealed_published_and_sound(database: Database, heads: HeadFile) -> None:
    notary = Notary(database, SIGNER, heads)
    assert await notary.seal() is None
    await brand(database, "medical")
    assert (await notary.verify()).sealed == 0
    head = await notary.seal()
    found = await notary.verify()
    assert head is not None
    assert (found.sound, found.events, found.sealed, found.head) == (True, 1, 1, head)
    assert heads.read() == [head]


async def test_a_small_ledger_is_verified_whole_each_time(database: Database, heads: HeadFile) -> None:
    notary = Notary(database, SIGNER, heads)
    await brand(database, "medical")
    await notary.seal()
    assert (await notary.verify()).sound
    await forge(database)
    found = await notary.verify()
    assert not found.sound
    assert found.problem is not None
    assert "改" in found.problem.zh


async def test_a_large_ledger_is_verified_on_and_whole_after_an_hour(
    database: Database, heads: HeadFile, timer: Timer
) -> None:
    notary = Notary(database, SIGNER, heads, timer=timer, whole_events=1)
    for key in ("medical", "industrial"):
        await brand(database, key)
    await notary.seal()
    assert (await notary.verify()).sound
    await forge(database)
    assert (await notary.verify()).sound
    await brand(database, "cloud")
    await notary.seal()
    await forge(database, 2)
    assert not (await notary.verify()).sound
    assert not (await notary.verify()).sound
    timer.seconds += WHOLE_AGAIN_SECONDS
    assert not (await notary.verify()).sound


async def test_a_head_that_somebody_remembers_shows_a_cut_tail(
    database: Database, heads: HeadFile, tmp_path: Path
) -> None:
    notary = Notary(database, SIGNER, heads)
    await brand(database, "medical")
    head = await notary.seal()
    assert head is not None
    (tmp_path / "kept").write_bytes(head.line() + b"\n")
    for kept in (head.line().decode(), f"@{tmp_path}/kept"):
        assert (await notary.audit(remembered=remembered_head(kept))).sound
    empty = Notary(database, SIGNER, HeadFile(tmp_path / "none"))
    async with database.writer.begin() as connection:
        for table in ("audit_events", "ledger_heads"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    assert (await empty.audit()).sound
    assert not (await empty.audit(remembered=head)).sound
    assert not (await notary.audit()).sound


@pytest.mark.parametrize("words", ["", "{}", "@/nowhere/head", '{"size": 1}', "令牌"])
def test_what_is_no_head_is_told(words: str) -> None:
    with pytest.raises(Invalid) as error:
        remembered_head(words)
    assert "账本头" in error.value.text.zh


async def test_the_key_and_the_heads_are_kept_in_the_home(database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "var", heads=tmp_path / "elsewhere" / "heads")
    await brand(database, "medical")
    head = await Notary.of(database, settings).seal()
    assert HeadFile(tmp_path / "elsewhere" / "heads").read() == [head]
    assert (await Notary.of(database, settings).audit()).sound
    assert not (await Notary(database, SIGNER, HeadFile(settings.heads_file)).audit()).sound
