"""Signals by the month on each backend: each has a home, old ones go with a note that holds their digest, events are evaluated once."""

import asyncio
import signal as signals_of_processes
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from api.jobs.kinds import CONSUMERS, KINDS, Tools
from api.settings import Settings
from domain import accounts, leads, ledger, signals
from domain.kernel import SYSTEM, Actor, ActorKind, Database, Ref, Role, consume, reader
from domain.leads import Lead, LeadStatus
from domain.ledger import AuditEvent
from domain.signals import Fact, MonthRemoval, Signal, SignalKey, months
from tests.factories import START, add_colleague, add_territories

OLD, OLDER = datetime(2019, 5, 20, tzinfo=UTC), datetime(2019, 4, 30, 23, 59, 59, tzinfo=UTC)


@dataclass
class Company:
    """An account of Lei's and a lead, with signals of any month."""

    database: Database
    lei: Actor
    na: Actor
    account: Ref
    lead: Ref

    def fact(self, key: str, at: datetime, **more: Any) -> Fact:
        """A page view."""
        return Fact(
            "page_viewed", more.pop("subject", self.account), "官网", key, at, {"title": f"便携彩超 {key}"}, **more
        )

    async def record(self, *facts: Fact) -> int:
        """Record facts in bulk."""
        async with self.database.open_uow(SYSTEM) as uow:
            return await signals.record_many(uow, facts, source="官网日志")

    async def keys(self, of: type[Signal] | type[SignalKey] = Signal) -> list[str]:
        """The keys of the signals that are there."""
        async with self.database.read() as connection:
            return list(await connection.scalars(select(of.dedupe_key).order_by(of.dedupe_key)))

    async def notes(self, action: str) -> list[AuditEvent]:
        """The ledger's events of one action."""
        async with self.database.open_uow(SYSTEM) as uow:
            found = select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.seq)
            return list((await uow.session.execute(found)).scalars())

    async def asks(self, type: str, key: str, at: datetime) -> Signal:
        """The prospect of the lead does something."""
        async with self.database.open_uow(SYSTEM) as uow:
            return await signals.record(
                uow, type=type, subject=self.lead, source="官网", dedupe_key=key, occurred_at=at,
                payload={"text": "三台多少钱？"} if type == "enquiry_sent" else {"title": "便携彩超"},
            )  # fmt: skip

    async def evaluate(self) -> int:
        """Hand over what waits, as the jobs do."""
        kinds, handle = CONSUMERS["lead_interest"]
        return await consume(self.database, "lead_interest", kinds, handle)

    async def lead_row(self) -> tuple[datetime | None, int]:
        """When interest was shown, and the lead's version."""
        async with self.database.read() as connection:
            row = (await connection.execute(select(Lead.interest_shown_at, Lead.version))).one()
            return row.interest_shown_at, row.version


@pytest.fixture
async def company(database: Database) -> AsyncIterator[Company]:
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[territories["south-china"]])
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei.user_id)
        lead = await leads.capture(
            uow, source="官网", external_id="1", name="赵工", phone="13900001234", region="华东", owner_id=lei.user_id
        )
    yield Company(database, lei, na, account.ref(), lead.ref())
    if not database.embedded:
        # Partitions outlive the rows, which the next test's database is rid of.
        async with database.writer.begin() as connection:
            for month in await months._housed(connection):
                if month < months.month_of(START):
                    await connection.execute(text(f"DROP TABLE {months._partition(month)}"))


async def homes(database: Database) -> dict[str, int]:
    """How many signals each partition has."""
    async with database.writer.connect() as connection:
        counted = select(text("tableoid::regclass::text"), func.count()).select_from(Signal).group_by(text("1"))
        return {row[0]: row[1] for row in await connection.execute(counted)}


def test_months_are_counted_over_the_turn_of_the_year_in_utc() -> None:
    november = datetime(2026, 11, 1, tzinfo=UTC)
    assert [months.later(november, count) for count in (-11, -10, 1, 2, 14)] == [
        datetime(year, month, 1, tzinfo=UTC)
        for year, month in ((2025, 12), (2026, 1), (2026, 12), (2027, 1), (2028, 1))
    ]
    assert months.month_of(datetime.fromisoformat("2026-12-01T07:59:59+08:00")) == november


async def test_a_signal_of_any_month_has_a_home_and_gets_its_months_partition(company: Company) -> None:
    facts = [company.fact("甲", OLD), company.fact("乙", OLDER), company.fact("丙", START)]
    assert await company.record(*facts) == 3
    made = await signals.ensure_months(company.database)
    assert await company.keys() == sorted(["甲", "乙", "丙"])
    assert await company.record(*facts) == 0
    if company.database.embedded:
        assert made == []
        return
    assert {"2019-04", "2019-05"} <= set(made)
    assert await homes(company.database) == {
        f"signal_months.m_{month}": 1 for month in ("2019_04", "2019_05", "2026_03")
    }
    assert await signals.ensure_months(company.database) == []
    async with company.database.writer.connect() as connection:
        housed = await months._housed(connection)
    assert {months.later(months.month_of(START), ahead) for ahead in range(signals.AHEAD + 1)} <= set(housed)


async def test_a_month_of_an_early_year_is_one_like_any_other(company: Company) -> None:
    early = datetime(987, 3, 4, tzinfo=UTC)
    await company.record(company.fact("古", early))
    made = await signals.ensure_months(company.database)
    assert ("0987-03" in made) is not company.database.embedded
    assert await signals.remove_old_months(company.database, 24) == 1
    assert await company.keys() == []


async def test_two_that_make_months_make_them_once(company: Company) -> None:
    await company.record(company.fact("甲", OLD))
    made = await asyncio.gather(*(signals.ensure_months(company.database) for _ in range(3)))
    assert sum("2019-05" in each for each in made) == (0 if company.database.embedded else 1)


@pytest.mark.parametrize("batch", [2, months.BATCH])
async def test_old_months_go_with_their_keys_and_a_note(
    company: Company, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "BATCH", batch)
    kept = datetime(2024, 3, 1, tzinfo=UTC)
    facts = [company.fact(f"旧{number}", OLD + timedelta(minutes=number)) for number in range(5)]
    facts += [
        company.fact("更旧", OLDER),
        company.fact("留", kept),
        company.fact("前", kept - timedelta(microseconds=1)),
    ]
    await company.record(*facts)
    rows = await stored(company)
    assert await signals.remove_old_months(company.database, 24) == 7
    assert (await company.keys(), await company.keys(SignalKey)) == (["留"], ["留"])
    notes = await company.notes("signal.month_removed")
    removed: dict[str, int] = {}
    for note in notes:
        detail = note.detail["detail"]
        removed[detail["month"]] = removed.get(detail["month"], 0) + detail["rows"]
        assert note.actor_kind is ActorKind.SYSTEM
    assert removed == {"2019-04": 1, "2019-05": 5, "2024-02": 1}
    assert len(notes) == (5 if batch == 2 and company.database.embedded else 3)
    await check_digests(company, rows)
    assert await signals.remove_old_months(company.database, 24) == 0
    # A key that went may come again, as a fact of its own.
    assert await company.record(company.fact("旧1", OLD)) == 1


async def test_the_setting_decides_what_the_job_removes(company: Company, tmp_path: Path) -> None:
    await company.record(company.fact("甲", OLD), company.fact("乙", START))
    keep = next(kind for kind in KINDS if kind.name == "keep_signals")
    for months_kept, left in ((None, ["甲", "乙"]), (240, ["甲", "乙"]), (24, ["乙"])):
        settings = Settings(home=tmp_path, database_url=company.database.url, signal_months=months_kept)
        await keep.work(Tools(company.database, settings), {})
        assert sorted(await company.keys()) == sorted(left)


async def stored(company: Company) -> list[dict[str, Any]]:
    async with company.database.read() as connection:
        return [
            dict(row) for row in (await connection.execute(select(Signal.__table__).order_by(Signal.id))).mappings()
        ]


async def check_digests(company: Company, rows: Sequence[dict[str, Any]]) -> None:
    """Whoever kept the rows can show that they are those that were removed."""
    rest = list(rows)
    for note in await company.notes("signal.month_removed"):
        detail = note.detail["detail"]
        async with company.database.open_uow(SYSTEM) as uow:
            removal = await uow.session.get_one(MonthRemoval, note.subject_id)
            salt = removal.salt
        of_month = [row for row in rest if f"{row['occurred_at']:%Y-%m}" == detail["month"]][: detail["rows"]]
        assert detail["digest"] == ledger.rows_digest(salt, of_month)
        rest = [row for row in rest if row not in of_month]


async def test_partitions_are_read_through_the_table_and_its_policies_alone(company: Company) -> None:
    if company.database.embedded:
        pytest.skip("SQLite has no row security")
    await company.record(company.fact("甲", OLD), company.fact("乙", START))
    await signals.ensure_months(company.database)
    for actor, seen in ((company.lei, 2), (company.na, 0)):
        async with company.database.read(actor) as connection:
            assert len((await connection.execute(select(Signal.id))).all()) == seen
    roles = (reader.READER, *reader.READERS.values())
    for home in (*await homes(company.database), months.OTHERS):
        for role in roles:
            async with company.database.writer.connect() as connection:
                await connection.execute(text(f"SELECT set_config('role', '{role}', true)"))
                with pytest.raises(DBAPIError, match="permission denied"):
                    await connection.execute(text(f"SELECT 1 FROM {home}"))


async def plan(company: Company, statement: Any) -> str:
    async with company.database.writer.connect() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        return "\n".join(row[0] for row in await connection.execute(text(f"EXPLAIN {compiled}")))


async def test_the_newest_of_an_account_come_by_the_index_and_a_month_is_asked_alone(company: Company) -> None:
    if company.database.embedded:
        pytest.skip("SQLite has no partitions")
    await company.record(company.fact("甲", OLD), company.fact("乙", START))
    await signals.ensure_months(company.database)
    newest = select(Signal.id).where(Signal.account_id == company.account.id)
    newest = newest.order_by(Signal.occurred_at.desc(), Signal.id.desc()).limit(50)
    found = await plan(company, newest)
    assert "account_id_occurred_at_id_idx" in found
    assert "->  Sort" not in found
    within = await plan(
        company, newest.where(Signal.occurred_at >= START, Signal.occurred_at < START + timedelta(days=1))
    )
    assert "m_2026_03" in within
    assert "m_2019" not in within
    assert "others" not in within


# ---- evaluated from the outbox -----------------------------------------------------------------------------------------


async def test_interest_is_put_on_the_lead_once_and_the_newest_stays(company: Company) -> None:
    _, version = await company.lead_row()
    await company.asks("page_viewed", "1", START)
    await company.asks("demo_requested", "2", START)
    await company.asks("enquiry_sent", "3", START - timedelta(days=3))
    assert await company.evaluate() == 3
    assert await company.evaluate() == 0
    assert await company.lead_row() == (START, version)
    [note] = await company.notes("lead.interest_shown")
    assert (note.subject_id, note.detail["detail"]["type"]) == (company.lead.id, "demo_requested")
    await company.asks("enquiry_sent", "4", START - timedelta(days=4))
    assert await company.evaluate() == 1
    assert await company.lead_row() == (START, version)
    assert len(await company.notes("lead.interest_shown")) == 1


async def test_a_bulk_is_told_in_few_events_and_a_redelivery_in_none(company: Company) -> None:
    facts = [company.fact(str(number), START, subject=company.lead) for number in range(1200)]
    await company.record(*facts)
    await company.record(*facts)
    assert await company.evaluate() == 3


async def test_history_that_is_imported_shows_no_interest(company: Company) -> None:
    fact = Fact("demo_requested", company.lead, "旧系统", "1", START, {"title": "便携彩超"})
    async with company.database.open_uow(replace(SYSTEM, kind=ActorKind.IMPORT)) as uow:
        assert await signals.record_many(uow, [fact], source="旧系统") == 1
    assert await company.evaluate() == 0
    assert (await company.lead_row())[0] is None


async def test_a_closed_lead_shows_none(company: Company) -> None:
    async with company.database.writer.begin() as connection:
        await connection.execute(update(Lead).values(status=LeadStatus.DISQUALIFIED))
    await company.asks("enquiry_sent", "1", START)
    assert await company.evaluate() == 1
    assert (await company.lead_row())[0] is None


KILLED = """
import asyncio, os, signal, sys
from api.jobs.kinds import CONSUMERS, KINDS, Tools
from api.settings import Settings
from domain.kernel import Database, consume
from domain.ledger import LedgerRecorder

kinds, handle = CONSUMERS["lead_interest"]

async def die(uow, events):
    await handle(uow, events)
    await uow.session.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(consume(Database(sys.argv[1], LedgerRecorder()), "lead_interest", kinds, die))
"""


async def test_a_worker_killed_between_effect_and_commit_leaves_no_double_effect(
    company: Company, database_url: str
) -> None:
    await company.asks("enquiry_sent", "1", START)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, database_url)
    assert await process.wait() == -signals_of_processes.SIGKILL
    assert (await company.lead_row())[0] is None
    assert sorted(await asyncio.gather(company.evaluate(), company.evaluate())) == [0, 1]
    assert (await company.lead_row())[0] == START
    assert len(await company.notes("lead.interest_shown")) == 1
