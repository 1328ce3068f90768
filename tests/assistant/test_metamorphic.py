"""The composer is no form letter: one fact changes, and what follows from it changes with it, and nothing else does."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from assistant.model import Disposition, GenerationMode
from domain import commerce, deals
from domain.accounts import Channel
from domain.commerce import Order
from domain.consent import ConsentStatus
from domain.kernel import SYSTEM, Language, Money
from tests.assistant.company import Answer, Company, allow
from tests.factories import START

THIRTEEN = (
    "snapshot", "decision_chain", "recent_activity", "purchase_cycles", "open_concerns", "competitors", "policy_changes", "talk_tracks", "cases", "quote_strategies",
    "compliance_risks", "contactability", "next_actions",
)  # fmt: skip
STRATEGIES = ("conservative", "balanced", "aggressive")
CYCLE = ("cycle_interval_days", "cycle_swing_days")


def _cycle(brief: Answer) -> tuple[Decimal, ...]:
    return tuple(brief.figure(key) for key in CYCLE)


@pytest.mark.parametrize("language", [Language.ZH, Language.EN])
async def test_a_brief_has_thirteen_sections_in_their_order(company: Company, language: Language) -> None:
    brief = await company.brief(language=language)
    assert tuple(section.key for section in brief.sections) == THIRTEEN
    assert brief.row.mode is GenerationMode.COMPOSER
    assert brief.failed == set()
    assert {"snapshot", "purchase_cycles", "competitors", "quote_strategies", "talk_tracks"} <= brief.bodies.keys()


async def test_without_the_competitor_only_its_section_turns_missing(company: Company) -> None:
    before = await company.brief()
    async with company.database.open_uow(SYSTEM) as uow:
        opportunity = (
            await uow.session.execute(
                select(deals.Opportunity).where(deals.Opportunity.id == company.deals["hospital"].id)
            )
        ).scalar_one()
        opportunity.primary_competitor = None
        uow.note("opportunity.updated", opportunity)
    after = await company.brief()
    assert after.missing - before.missing == {"competitors"}
    assert before.missing <= after.missing


async def test_a_higher_floor_raises_all_three_prices(company: Company) -> None:
    before = await company.brief()
    async with company.database.open_uow(SYSTEM) as uow:
        raised = Money(31_500_00 * 110 // 100, "CNY")
        await commerce.set_price(uow, company.products["CM-PM8"].id, Money(38_000_00, "CNY"), raised)
    after = await company.brief()
    for name in STRATEGIES:
        assert after.figure(f"{name}_price") > before.figure(f"{name}_price")
        assert after.figure(f"{name}_margin") < before.figure(f"{name}_margin")
        assert after.figure(f"{name}_price") >= 80 * Decimal(34_650)


async def test_swapped_orders_swap_the_cycles(company: Company) -> None:
    hospital, clinic = await company.brief("hospital"), await company.brief("clinic")
    async with company.database.open_uow(SYSTEM) as uow:
        swap = {company.accounts["hospital"].id: company.accounts["clinic"].id}
        swap |= {new: old for old, new in swap.items()}
        for order in (await uow.session.execute(select(Order))).scalars():
            order.account_id = swap[order.account_id]
            uow.note("order.corrected", order)
    assert _cycle(hospital) != _cycle(clinic)
    assert _cycle(await company.brief("hospital")) == _cycle(clinic)
    assert _cycle(await company.brief("clinic")) == _cycle(hospital)


async def test_withdrawn_consent_changes_the_channel_until_none_is_left(company: Company) -> None:
    contact = company.leads["zhou"].contact_id
    assert (await company.script()).row.channel is Channel.WECHAT
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, contact, Channel.WECHAT, ConsentStatus.OPT_OUT)
    script = await company.script()
    assert (script.row.channel, script.row.disposition) == (Channel.EMAIL, Disposition.NEEDS_APPROVAL)
    assert script.bodies["script"].startswith("主题：")
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, contact, Channel.EMAIL, ConsentStatus.OPT_OUT, evidence="来信说不要再写")
    blocked = await company.script()
    assert (blocked.row.disposition, blocked.sections, blocked.text) == (Disposition.BLOCKED, [], "")
    assert blocked.row.consent_receipt_id is not None
    assert "拒绝" in (blocked.row.reason or "")


async def test_another_stage_brings_other_talk_tracks(company: Company) -> None:
    before = (await company.brief()).bodies["talk_tracks"]
    async with company.database.open_uow(SYSTEM) as uow:
        opportunity = (
            await uow.session.execute(
                select(deals.Opportunity).where(deals.Opportunity.id == company.deals["hospital"].id)
            )
        ).scalar_one()
        await deals.move_opportunity(uow, opportunity, company.stages["qualify"], at=START - timedelta(days=1))
    after = (await company.brief()).bodies["talk_tracks"]
    assert before
    assert after
    assert before.splitlines()[0] != after.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "language", "first"),
    [
        ("价格太高了", Language.ZH, "price_too_high"),
        ("交货要多久，太慢了", Language.ZH, "delivery_time"),
        ("we are already using a competitor", Language.EN, "using_competitor"),
    ],
)
async def test_a_concern_is_matched_and_answered_in_its_words(
    company: Company, words: str, language: Language, first: str
) -> None:
    reply = await company.reply(words, language=language)
    categories = reply.row.categories or []
    assert categories[0]["key"] == first
    assert len(categories) <= 3
    assert {"acknowledge", "answer", "proof", "next_step"} <= reply.bodies.keys()
    assert reply.failed == set()


async def test_the_reps_correction_wins(company: Company) -> None:
    reply = await company.reply("价格太高了", category="delivery_time")
    assert (reply.row.categories or [])[0]["key"] == "delivery_time"
