"""A brief with compliance risks lies in the queues of legal and finance, who see what is theirs of it."""

from typing import Any

from sqlalchemy import select

from assistant.model import FINANCE_SECTIONS, Citation, Generation, GenerationCheck, GenerationFigure, GenerationSection
from domain.kernel import rows_visible
from tests.assistant.company import Answer, Company


async def _seen(company: Company, who: str, brief: Answer) -> dict[str, set[str]]:
    """What somebody sees of an answer: section keys, figures' sections, citation numbers, checks."""
    columns: dict[str, tuple[Any, Any]] = {
        "sections": (GenerationSection, GenerationSection.key),
        "figures": (GenerationFigure, GenerationFigure.section_key),
        "citations": (Citation, Citation.number),
        "checks": (GenerationCheck, GenerationCheck.key),
    }
    found = {}
    async with company.database.read() as connection:
        for name, (model, column) in columns.items():
            mine = (model.generation_id == brief.row.id) & rows_visible(model, company.people[who])
            found[name] = {str(value) for value in (await connection.execute(select(column).where(mine))).scalars()}
        one = select(Generation.id).where(Generation.id == brief.row.id, rows_visible(Generation, company.people[who]))
        found["answer"] = {str(value) for value in (await connection.execute(one)).scalars()}
    return found


async def test_legal_sees_all_of_it_and_finance_its_two_sections(company: Company) -> None:
    brief = await company.brief()
    assert "compliance_risks" in brief.bodies
    assert (brief.row.in_legal_queue, brief.row.in_finance_queue) == (True, True)
    legal, finance = await _seen(company, "jun", brief), await _seen(company, "fang", brief)
    assert len(legal["sections"]) == 13
    assert finance["sections"] == set(FINANCE_SECTIONS)
    assert finance["figures"] <= set(FINANCE_SECTIONS)
    assert "quote_strategies" in finance["figures"]
    assert finance["citations"] < legal["citations"]
    assert finance["checks"] == set()


async def test_what_is_in_no_queue_is_not_theirs(company: Company) -> None:
    reply = await company.reply("价格太高了")
    for who in ("jun", "fang", "na", "yu"):
        assert not any((await _seen(company, who, reply)).values())
