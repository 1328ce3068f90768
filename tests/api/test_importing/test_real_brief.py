"""A sales agent of the real export asks for a brief, and its figures are those of the file's rows."""

import csv
import os
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from api.importing import import_crm, import_knowledge
from assistant import pipeline
from assistant.model import Citation, Disposition, Generation, GenerationFigure, GenerationKind, GenerationSection
from assistant.pipeline import Desk
from assistant.skills.base import Ask
from domain import consent
from domain.accounts import Account
from domain.kernel import SYSTEM, Database, Language
from knowledge import KnowledgeItem, Library
from tests.factories import sign_in

FOLDER = os.environ.get("SORTIE_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SORTIE_REAL_DATA names no folder")
CRM, KNOWLEDGE = Path(FOLDER or ".") / "maven_crm", Path(FOLDER or ".") / "handbook_kb" / "kb.jsonl"
AGENT, ADDRESS = "Darcel Schlecht", "darcel.schlecht@example.com"


def _won(account: str) -> list[tuple[str, Decimal]]:
    """The days and amounts of what an account bought, newest first."""
    with (CRM / "sales_pipeline.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["account"] == account and row["deal_stage"] == "Won"]
    return sorted(((row["close_date"], Decimal(row["close_value"])) for row in rows), reverse=True)


@pytest.mark.parametrize("language", [Language.ZH, Language.EN])
async def test_an_agents_brief_matches_the_rows(database: Database, tmp_path: Path, language: Language) -> None:
    async with database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
    await import_crm(database, CRM, rejects_to=tmp_path)
    await import_knowledge(database, KNOWLEDGE, rejects_to=tmp_path)
    agent = await sign_in(database, ADDRESS)
    async with database.read() as connection:
        mine = select(Account.id, Account.name).where(Account.owner_id == agent.user_id).order_by(Account.name).limit(1)
        account = (await connection.execute(mine)).one()
    desk = Desk(database, Library(database))
    found = await pipeline.run(
        desk, agent, Ask(GenerationKind.VISIT_BRIEF, account.id, "brief", language=language, deadline_seconds=60)
    )
    async with database.read() as connection:
        ended = select(Generation.disposition).where(Generation.id == found)
        assert (await connection.execute(ended)).scalar_one() is Disposition.AUTO_RELEASED
        part = (GenerationSection.generation_id == found) & (GenerationSection.key == "purchase_cycles")
        body = (await connection.execute(select(GenerationSection.body).where(part))).scalar_one()
        figure = (GenerationFigure.generation_id == found) & (GenerationFigure.key == "order_total")
        totals = (await connection.execute(select(GenerationFigure.value).where(figure))).scalars().all()
        cited = select(KnowledgeItem.source, KnowledgeItem.licence).join(Citation, Citation.item_id == KnowledgeItem.id)
        sources = (await connection.execute(cited.where(Citation.generation_id == found))).all()
    newest = [day for day, _ in _won(account.name)[:3]]
    assert [line.split()[1].rstrip(":") for line in body.splitlines()[:3]] == newest
    same_days = {amount for day, amount in _won(account.name) if day in newest}
    assert totals
    assert {Decimal(value) for value in totals} <= same_days
    assert sources
    assert all(source and licence for source, licence in sources)
