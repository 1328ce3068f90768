"""Exports against the schema's own answers: rows, masks, custom fields, any writing, and thousands of rows in little memory."""

import csv
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select, update

from api.exporting import Format, export
from domain import custom_fields, people
from domain.accounts import Account
from domain.custom_fields import CustomFieldEntity, CustomFieldKind
from domain.kernel import Text, Unauthenticated
from domain.ledger import AuditEvent
from domain.people import User
from tests.api.conftest import Ask, Company
from tests.factories import Clock, Ids

SHOWN = """{ accounts(first: 100) { edges { node { id name industry employees owner { name } customFields { key value } } } } }"""
MANY = 8_800
MEMORY_BYTES = 24 * 1024 * 1024


async def address(company: Company, who: str) -> str:
    async with company.database.read() as connection:
        found = select(User.email).where(User.id == company.people[who].user_id)
        return str((await connection.execute(found)).scalar_one())


async def add_fields(company: Company) -> None:
    """Two fields of the company's own, with a value on the hospital."""
    async with company.database.open_uow(company.people["SALES_OPS"]) as uow:
        for key, label, kind in (
            ("level", Text("等级", "Level"), CustomFieldKind.TEXT),
            ("vip", Text("重点", "Key account"), CustomFieldKind.BOOLEAN),
        ):
            await custom_fields.define(uow, entity=CustomFieldEntity("Account"), key=key, label=label, kind=kind)
    async with company.database.writer.begin() as connection:
        held = {"level": "=三甲🏥", "vip": True}
        chosen = update(Account.__table__).where(Account.__table__.c.id == company.accounts["hospital"].id)  # type: ignore[arg-type]
        await connection.execute(chosen.values(custom=held))


@pytest.mark.parametrize("who", ["lei", "na", "min", "FINANCE"])
async def test_an_export_says_what_the_schema_says(company: Company, ask: Ask, tmp_path: Path, who: str) -> None:
    await add_fields(company)
    file = tmp_path / "客户.jsonl"
    await export(company.database, await address(company, who), "accounts", file, form=Format.JSONL)
    shown = [edge["node"] for edge in (await ask(SHOWN, who)).data["accounts"]["edges"]]
    assert shown
    expected = []
    for node in shown:
        held = {one["key"]: one["value"] for one in node.pop("customFields")}
        node["owner"] = node["owner"] and node["owner"]["name"]
        expected.append(node | {f"custom.{key}": held.get(key) for key in ("level", "vip")})
    written: list[dict[str, Any]] = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert [{name: row[name] for name in expected[0]} for row in written] == expected
    seen = {row["custom.level"] for row in written}
    assert ("=三甲🏥" in seen) == (who in {"lei", "min"})


async def test_custom_fields_are_columns_that_no_spreadsheet_runs(company: Company, tmp_path: Path) -> None:
    await add_fields(company)
    file = tmp_path / "客户.csv"
    await export(company.database, await address(company, "lei"), "accounts", file)
    rows = {row["name"]: row for row in csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines())}
    assert (rows["杭州第一医院"]["custom.level"], rows["杭州第一医院"]["custom.vip"]) == ("'=三甲🏥", "true")
    assert (rows["苏州精密零部件"]["custom.level"], rows["苏州精密零部件"]["custom.vip"]) == ("", "")


async def test_thousands_of_rows_are_written_in_little_memory(company: Company, tmp_path: Path, clock: Clock) -> None:
    clock.advance(days=1)
    table, ids = Account.__table__, Ids(clock)
    async with company.database.writer.begin() as connection:
        hospital = select(table).where(table.c.id == company.accounts["hospital"].id)
        like = dict((await connection.execute(hospital)).mappings().one())
        rows = [like | {"id": ids(), "name": f"医院{number}🏥"} for number in range(MANY)]
        await connection.execute(insert(table), rows)  # type: ignore[arg-type]
    del rows
    email, file = await address(company, "lei"), tmp_path / "客户.csv"
    await export(company.database, email, "contacts", tmp_path / "warm")
    steps: list[tuple[int, int]] = []
    tracemalloc.start()
    try:
        done = await export(company.database, email, "accounts", file, progress=lambda *step: steps.append(step))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.count == MANY + 2
    assert peak < MEMORY_BYTES, peak
    assert len(steps) == (MANY + 2) // 100 + 1
    assert steps[0] == (100, MANY + 2)
    with file.open(encoding="utf-8-sig", newline="") as written:
        names = {row["name"] for row in csv.DictReader(written)}
    assert names >= {f"医院{number}🏥" for number in range(MANY)}


async def test_who_was_disabled_exports_nothing(company: Company, tmp_path: Path) -> None:
    email, file = await address(company, "lei"), tmp_path / "客户.csv"
    async with company.database.open_uow(company.people["ADMIN"]) as uow:
        await people.disable_user(uow, company.people["lei"].user_id)
    with pytest.raises(Unauthenticated):
        await export(company.database, email, "accounts", file)
    assert not file.exists()
    async with company.database.read() as connection:
        told = select(AuditEvent.action).where(AuditEvent.action == "records.exported")
        assert (await connection.execute(told)).all() == []
