"""The near-real-time view: figures by territory and stage, computed by a job, kept, and seen by those who lead."""

from collections import Counter
from typing import Any

from domain import measures
from domain.kernel import SYSTEM, Language
from domain.leads import Overdue, tell_overdue
from tests.api.conftest import Ask, Company
from tests.factories import Clock

VIEW = """query($filter: MeasureSnapshotFilter) { measureSnapshots(first: 100, filter: $filter) { totalCount edges { node {
    measure label takenAt isCurrent windowFrom territory { key } stage { key } count amount { amount currency } } } } }"""


async def figures(ask: Ask, who: str, language: Language = Language.ZH, **filter: Any) -> list[dict[str, Any]]:
    found = await ask(VIEW, who, language=language, filter=filter)
    assert found.errors == []
    return [edge["node"] for edge in found.data["measureSnapshots"]["edges"]]


def counted(found: list[dict[str, Any]]) -> Counter[tuple[str, str | None, str | None]]:
    """How many of each measure, territory and stage."""
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    for one in found:
        place = one["territory"] and one["territory"]["key"]
        counts[one["measure"], place, one["stage"] and one["stage"]["key"]] += one["count"]
    return counts


async def test_figures_are_those_of_the_records(company: Company, ask: Ask) -> None:
    """Three customers have a deal in each stage, two of them in East China."""
    async with company.database.open_uow(SYSTEM) as uow:
        lead = company.leads["mine"]
        await tell_overdue(uow, lead.id, since=lead.captured_at, step=Overdue.ESCALATED)
    assert await measures.refresh(company.database) > 0
    found = await figures(ask, "min")
    assert counted(found) == {
        ("OPEN_DEALS", "east-china", "qualify"): 2, ("OPEN_DEALS", "east-china", "proposal"): 2,
        ("OPEN_DEALS", "south-china", "qualify"): 1, ("OPEN_DEALS", "south-china", "proposal"): 1,
        ("DEALS_WON", "east-china", "won"): 2, ("DEALS_WON", "south-china", "won"): 1,
        ("LEADS_CAPTURED", "east-china", None): 1, ("LEADS_WAITING", "east-china", None): 2, ("LEADS_WAITING", "south-china", None): 1,
        ("LEADS_OVERDUE", "east-china", None): 1,
    }  # fmt: skip
    proposal = next(
        one for one in found if one["stage"] == {"key": "proposal"} and one["territory"]["key"] == "east-china"
    )
    assert proposal["amount"] == {"amount": "400000.00", "currency": "CNY"}
    assert (proposal["label"], proposal["windowFrom"], proposal["isCurrent"]) == ("进行中的商机", None, True)
    captured = next(one for one in found if one["measure"] == "LEADS_CAPTURED")
    assert captured["windowFrom"] == "2026-03-01T00:00:00.000000Z"
    english = await figures(ask, "min", Language.EN, measure="LEADS_OVERDUE")
    assert [one["label"] for one in english] == ["Leads that were escalated"]


async def test_it_is_refreshed_every_two_hours_and_the_earlier_ones_stay(
    company: Company, ask: Ask, clock: Clock
) -> None:
    count = await measures.refresh(company.database)
    clock.advance(minutes=20)
    assert await measures.refresh(company.database) == 0
    clock.advance(minutes=100)
    assert await measures.refresh(company.database) == count
    current, earlier = await figures(ask, "min", isCurrent=True), await figures(ask, "min", isCurrent=False)
    assert len(current) == len(earlier) == count
    assert min(one["takenAt"] for one in current) > max(one["takenAt"] for one in earlier)
    assert len(await figures(ask, "min", takenSince=current[0]["takenAt"])) == count


async def test_each_sees_what_they_lead(company: Company, ask: Ask) -> None:
    """Managers see their territories, those who lead the whole see all; who sells reads the records themselves."""
    count = await measures.refresh(company.database)
    assert len(await figures(ask, "EXECUTIVE")) == len(await figures(ask, "SALES_OPS")) == count
    for who in ("lei", "CURATOR"):
        assert (await ask(VIEW, who)).data in ({"measureSnapshots": {"totalCount": 0, "edges": []}}, None)
