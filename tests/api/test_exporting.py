"""Records as files: exactly what a person sees, safe for spreadsheets, told of in the ledger, fit to come back."""

import csv
import hashlib
from pathlib import Path

import orjson
import pytest
from sqlalchemy import select

from api.exporting import COLUMNS, Format, export, safe
from api.importing import import_crm
from api.importing.propose import propose
from domain import accounts
from domain.accounts import Account, Contact
from domain.deals import Opportunity
from domain.kernel import SYSTEM, Invalid, Unauthenticated, Unavailable
from domain.ledger import AuditEvent
from tests.api.conftest import Company
from tests.factories import Clock

LEI, MANAGER = "lei.zhang@example.com", "min.wang@example.com"


def read(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))


async def events(company: Company) -> list[tuple[str, dict[str, object]]]:
    async with company.database.read() as connection:
        found = select(AuditEvent.actor_name, AuditEvent.detail).where(AuditEvent.action == "records.exported")
        return [(name, detail["detail"]) for name, detail in await connection.execute(found)]


async def test_a_person_exports_what_they_see_and_the_ledger_tells(company: Company, tmp_path: Path) -> None:
    file = tmp_path / "客户.csv"
    done = await export(company.database, LEI, "accounts", file)
    assert {row["name"] for row in read(file)} == {"杭州第一医院", "苏州精密零部件"}
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in data
    assert (done.count, done.digest) == (2, hashlib.sha256(data).hexdigest())
    _, detail = (await events(company))[0]
    assert detail == {"kind": "accounts", "format": "csv", "filter": {}, "count": 2, "sha256": done.digest}
    assert (await export(company.database, MANAGER, "accounts", file)).count == 3


async def test_masked_fields_stay_masked(company: Company, tmp_path: Path) -> None:
    finance = company.people["FINANCE"]
    async with company.database.read() as connection:
        from domain.people import User

        email = (await connection.execute(select(User.email).where(User.id == finance.user_id))).scalar_one()
    await export(company.database, email, "accounts", tmp_path / "a.csv")
    rows = read(tmp_path / "a.csv")
    assert len(rows) == 3
    assert {(row["industry"], row["employees"], row["owner"]) for row in rows} == {("", "", "")}


async def test_a_filter_narrows_and_a_wrong_one_writes_nothing(company: Company, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    await export(company.database, MANAGER, "accounts", file, filter={"search": "广州"})
    assert [row["name"] for row in read(file)] == ["广州医疗器械"]
    file.unlink()
    before = await events(company)
    for kind, filter in (("accounts", {"没有": 1}), ("users", None)):
        with pytest.raises(Invalid):
            await export(company.database, MANAGER, kind, file, filter=filter)
    with pytest.raises(Unauthenticated):
        await export(company.database, "nobody@example.com", "accounts", file)
    with pytest.raises(Unavailable):
        await export(company.database, LEI, "accounts", tmp_path / "没有" / "a.csv")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a test may wait
    assert await events(company) == before


@pytest.mark.parametrize("kind", COLUMNS)
async def test_every_kind_is_exported_page_by_page(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = await export(company.database, MANAGER, kind, tmp_path / "whole", form=Format.JSONL)
    monkeypatch.setattr("api.exporting.PAGE", 1)
    paged = await export(company.database, MANAGER, kind, tmp_path / "paged", form=Format.JSONL)
    assert whole == paged
    lines = [orjson.loads(line) for line in (tmp_path / "paged").read_bytes().splitlines()]
    assert len({line["id"] for line in lines}) == whole.count
    assert all(line.keys() == COLUMNS[kind].keys() for line in lines)
    assert whole.count > 0 or kind in {"quotes", "orders"}


@pytest.mark.parametrize(
    ("cell", "text"),
    [("=1+1", "'=1+1"), ("+86 138", "'+86 138"), ("-客户", "'-客户"), ("@x", "'@x"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"),
     ("-12.50", "-12.50"), ("客户=1", "客户=1"), (None, ""), (12, "12")],
)  # fmt: skip
def test_no_cell_runs_in_a_spreadsheet(cell: object, text: str) -> None:
    assert safe(cell) == text


async def test_what_was_exported_comes_back_by_a_proposed_mapping(
    company: Company, clock: Clock, tmp_path: Path
) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await accounts.create_account(
            uow, name="=公式公司", industry="machinery", region="华东", owner_id=company.people["lei"].user_id
        )
    for kind in ("accounts", "contacts", "opportunities"):
        await export(company.database, MANAGER, kind, tmp_path / f"{kind}.csv")
    # A deal that is won closes on a day that has come.
    clock.advance(days=120)
    mapping = tmp_path / "映射.yaml"
    mapping.write_text(propose(tmp_path).text, encoding="utf-8")
    summary = await import_crm(company.database, tmp_path, mapping=mapping)
    assert summary.rejections == []
    assert {name: (tally.read, tally.new) for name, tally in summary.tallies.items() if name != "orders"} == {
        "accounts": (4, 4), "contacts": (6, 6), "opportunities": (9, 9),
    }  # fmt: skip
    account, contact, deal = Account.__table__.c, Contact.__table__.c, Opportunity.__table__.c
    for columns in (
        (account.name, account.industry, account.region, account.employees, account.owner_id),
        (contact.name, contact.title),
        (deal.name, deal.amount_minor, deal.currency, deal.close_date),
    ):
        table = columns[0].table
        async with company.database.read() as connection:
            ours = (await connection.execute(select(*columns).where(table.c.source.is_(None)))).all()
            back = (await connection.execute(select(*columns).where(table.c.source == "old_crm"))).all()
        assert sorted(map(str, back)) == sorted(map(str, ours))
