"""What each kind of answer says: everything has a source that stands where it is cited, whatever the records look like."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from assistant import calculations, pipeline
from assistant.calculations import About
from assistant.model import Citation, Disposition
from assistant.numbers import CITATION, numbers_in_lines
from domain import accounts, commerce, consent, deals, leads, signals
from domain.accounts import BuyingRole, Channel
from domain.commerce import Item
from domain.consent import ConsentDecision, ConsentReceipt, ConsentStatus
from domain.deals import Opportunity
from domain.kernel import SYSTEM, Invalid, Language, Money, Text, UnitOfWork, entity
from domain.leads import Lead
from knowledge import KnowledgeVersion
from tests.assistant.company import CLINIC, DEMO, HOSPITAL, Answer, Company, ago, allow, yuan
from tests.factories import START, Clock


async def answers(company: Company, language: Language) -> list[Answer]:
    """One of each kind, and a brief on a customer of whom little is known."""
    return [
        await company.brief(language=language), await company.brief("clinic", language=language), await company.reply("价格太高了", language=language),
        await company.script(language=language),
    ]  # fmt: skip


async def opportunity(uow: UnitOfWork, company: Company, key: str = "hospital") -> Opportunity:
    """A deal, to be changed."""
    return (await uow.session.execute(select(Opportunity).where(Opportunity.id == company.deals[key].id))).scalar_one()


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", list(Language))
async def test_every_citation_exists_and_its_quote_stands_there(company: Company, language: Language) -> None:
    for answer in await answers(company, language):
        said = {int(number) for body in answer.bodies.values() for number in CITATION.findall(body)}
        assert said == {citation.number for citation in answer.citations}
        assert said
        for citation in answer.citations:
            await _check_source(company, citation)
    assert {entry.language for entry in company.items.values()} == set(Language)


async def _check_source(company: Company, citation: Citation) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        if citation.item_id is None:
            assert citation.record_kind is not None
            assert citation.as_of == START
            assert await uow.session.get(entity(citation.record_kind), citation.record_id) is not None
            return
        same = (KnowledgeVersion.item_id == citation.item_id) & (KnowledgeVersion.number == citation.item_version)
        version = (await uow.session.execute(select(KnowledgeVersion).where(same))).scalar_one()
        assert citation.quote in f"{version.title}\n{version.body}"


@pytest.mark.parametrize("language", list(Language))
async def test_every_number_in_the_text_is_a_figure(company: Company, language: Language) -> None:
    for answer in await answers(company, language):
        for key, body in answer.bodies.items():
            known = {Decimal(figure.value) for figure in answer.figures if figure.section_key == key}
            assert {number.value for number in numbers_in_lines(body)} == known
        assert {figure.citation for figure in answer.figures} <= {citation.number for citation in answer.citations}


async def test_an_answer_is_in_the_language_that_was_asked_for(company: Company) -> None:
    brief = await company.brief(language=Language.EN)
    assert brief.sections[0].heading == "Snapshot"
    assert f"{HOSPITAL}: East China, hospital, prospect." in brief.bodies["snapshot"]
    assert "Yuanbai Medical is in the deal." in brief.bodies["competitors"]
    assert "；" not in brief.bodies["contactability"]
    script = await company.script(language=Language.EN)
    assert script.bodies["script"].startswith("Hello 周敏, this is 张磊;")
    assert not [
        line for line in script.bodies["script"].split("\n")[1:] if any("一" <= letter <= "鿿" for letter in line)
    ]


async def test_a_customer_is_addressed_in_one_language_even_where_knowledge_has_another(company: Company) -> None:
    """No Chinese talk track fits a clinic here, and the English one is not read out to a Chinese customer."""
    script = (await company.script()).bodies["script"]
    assert "queue" not in script
    assert "您看这周哪天方便" in script


async def test_the_same_question_has_the_same_answer(company: Company) -> None:
    first, again = await company.brief(), await company.brief()
    assert (first.text, first.row.facts_digest) == (again.text, again.row.facts_digest)


# ---- visit brief -----------------------------------------------------------------------------------------------------


async def test_figures_of_a_brief_agree_with_reckoning_by_hand(company: Company) -> None:
    brief = await company.brief()
    hand = {
        "employees": "1200", "days_in_stage": "30", "expected_days": "14", "deal_amount": "2900000", "committee_coverage": "20",
        # Orders 400, 300 and 190 days ago: gaps of 100 and 110 days, due 105 days after the last.
        "cycle_interval_days": "105", "cycle_swing_days": "5", "cycle_overdue_days": "85", "quantity": "80",
        # 80 pieces at 38,000 are 3,040,000, at the floor of 31,500 they are 2,520,000; 15 % of 520,000 off, rounded up to hundreds.
        "conservative_price": "2962000", "conservative_margin": "442000", "balanced_price": "2806000", "aggressive_price": "2624000", "payment_terms_days": "60",
    }  # fmt: skip
    assert {key: str(brief.figure(key).to_integral_value()) for key in hand} == hand


async def test_without_the_competitor_nothing_speaks_of_it(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        (await opportunity(uow, company)).primary_competitor = None
        uow.note("opportunity.updated", company.deals["hospital"])
    brief = await company.brief()
    assert "competitors" in brief.missing
    said = {key for key, body in brief.bodies.items() if "远柏" in body}
    assert said == {"open_concerns"}
    assert "没有竞争对手的记录" in brief.bodies["quote_strategies"]


async def test_a_competitor_in_another_deal_is_not_in_this_one(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        other = await deals.open_opportunity(
            uow,
            name="检验科二期",
            stage=company.stages["qualify"],
            account_id=company.accounts["clinic"].id,
            opened_at=ago(3),
        )
        await signals.record(
            uow,
            type="competitor_mentioned",
            subject=other.ref(),
            source="rep",
            dedupe_key="m1",
            occurred_at=ago(2),
            payload={"competitor": "yuanbai"},
        )
    here = await company.brief("clinic", opportunity_id=company.deals["clinic"].id)
    there = await company.brief("clinic", opportunity_id=other.id)
    assert ("competitors" in here.missing, "competitors" in there.missing) == (True, False)


async def test_a_named_deal_is_taken_though_it_is_closed_or_far_down(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        for number in range(25):
            await deals.open_opportunity(
                uow,
                name=f"追加 {number}",
                stage=company.stages["proposal"],
                account_id=company.accounts["clinic"].id,
                amount=yuan(9_000_000),
            )
        await deals.move_opportunity(uow, await opportunity(uow, company, "clinic"), company.stages["won"])
    brief = await company.brief("clinic", opportunity_id=company.deals["clinic"].id)
    assert "「便携彩超两台」处于「赢单」" in brief.bodies["snapshot"]
    assert "追加" in (await company.brief("clinic")).bodies["snapshot"].split("\n")[2]


async def test_somebody_in_two_seats_covers_both(company: Company) -> None:
    before = (await company.brief()).figure("committee_coverage")
    async with company.database.open_uow(SYSTEM) as uow:
        deal, lin = await opportunity(uow, company), company.contacts["lin"]
        await deals.set_contact_role(uow, deal, lin, BuyingRole.PURCHASING, covered_at=ago(4))
    brief = await company.brief()
    assert [int(before), int(brief.figure("committee_coverage"))] == [20, 40]
    assert brief.bodies["decision_chain"].count("林秀英") == 2


async def test_what_people_wrote_cannot_break_the_form(company: Company) -> None:
    words = "太贵了[3]。\n另外：\n\n1. 交期[99]也长"
    async with company.database.open_uow(SYSTEM) as uow:
        await signals.record(
            uow, type="concern_raised", subject=company.deals["hospital"].ref(), source="rep", dedupe_key="c2", occurred_at=ago(1),
            payload={"category": "delivery_time", "words": words},
        )  # fmt: skip
    brief = await company.brief()
    assert brief.failed == set()
    assert "“太贵了（3）。 另外： 1. 交期（99）也长”" in brief.bodies["open_concerns"]


async def test_lines_in_another_currency_do_not_spoil_a_brief(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        imported = await commerce.add_product(
            uow,
            code="CM-XX1",
            name=Text("进口探头", "Imported probe"),
            list_price=Money(100_000, "USD"),
            floor_price=Money(90_000, "USD"),
        )
        items = [Item(company.products["CM-PM8"].id, 10, yuan(36000)), Item(imported.id, 2, yuan(7000))]
        await commerce.record_quote(uow, number="Q-2", opportunity_id=company.deals["clinic"].id, items=items)
    brief = await company.brief("clinic")
    assert brief.row.disposition is Disposition.AUTO_RELEASED
    assert "病人监护仪 PM8 ×10。" in brief.bodies["quote_strategies"]


async def test_of_a_customer_without_history_a_brief_invents_nothing(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        bare = await accounts.create_account(uow, name="新客户", owner_id=company.people["lei"].user_id)
    company.accounts["bare"] = bare
    brief = await company.brief("bare")
    assert {
        "decision_chain", "recent_activity", "purchase_cycles", "open_concerns", "competitors", "quote_strategies", "contactability", "next_actions",
    } <= brief.missing  # fmt: skip
    assert brief.bodies["snapshot"] == "- 新客户：潜在客户。[1]"
    assert brief.text.endswith("缺：" + "、".join(section.heading for section in brief.sections if section.missing))


async def test_a_draft_is_not_taken_for_what_the_customer_has(company: Company) -> None:
    before = (await company.brief()).bodies["compliance_risks"]
    async with company.database.open_uow(SYSTEM) as uow:
        items = [Item(company.products["CM-PM8"].id, 80, yuan(30000))]
        await commerce.create_quote(
            uow, opportunity_id=company.deals["hospital"].id, items=items, payment_terms_days=180
        )
    assert (await company.brief()).bodies["compliance_risks"] == before


async def test_compliance_risks_come_from_records_and_policies(company: Company) -> None:
    risks = (await company.brief()).bodies["compliance_risks"].split("\n")
    assert "账期是 60 天" in risks[0]
    assert len(risks) >= 2
    async with company.database.open_uow(SYSTEM) as uow:
        for key in ("lin", "gu"):
            await allow(uow, company.contacts[key].id, Channel.WECHAT, ConsentStatus.OPT_OUT)
        items = [Item(company.products["CM-PM8"].id, 80, yuan(30000))]
        await commerce.record_quote(
            uow,
            number="Q-3",
            opportunity_id=company.deals["hospital"].id,
            items=items,
            issued_at=ago(40),
            valid_until=(START - timedelta(days=1)).date(),
        )
    worse = (await company.brief()).bodies["compliance_risks"]
    for said in ("最近报价低于底价", "报价已于 2026-03-01 过期", "林秀英不接受", "顾长山不接受"):
        assert said in worse
    assert "账期是" not in worse


# ---- objection reply -------------------------------------------------------------------------------------------------


async def test_an_objection_is_matched_among_all_responses_by_words_alone(company: Company) -> None:
    """BM25 alone, over every response of the demo company: the customer's own words, as reps type them."""
    keys = [path.stem for path in sorted((DEMO / "objection_response").glob("*.md")) if path.stem not in company.items]
    await company.publish(keys)
    for words, language, category in (
        ("价格太高了", Language.ZH, "price_too_high"),
        ("we are already using a competitor", Language.EN, "using_competitor"),
        ("预算还没批下来", Language.ZH, "budget_not_approved"),
        ("The price is too high", Language.EN, "price_too_high"),
    ):
        reply = await company.reply(words, language=language)
        assert (reply.row.categories or [{}])[0]["key"] == category
        assert 1 <= len(reply.row.categories or []) <= 3
        assert {"categories", "acknowledge", "answer", "proof", "next_step", "materials"} == {
            section.key for section in reply.sections
        }


async def test_a_reply_answers_from_the_response_that_was_matched(company: Company) -> None:
    reply = await company.reply("价格太高了")
    front, body = (
        (DEMO / "objection_response" / "objection-price-too-high-hospital.md")
        .read_text(encoding="utf-8")
        .split("---\n")[1:3]
    )
    assert yaml.safe_load(front)["concerns"] == ["price_too_high"]
    for sentence in CITATION.sub("", reply.bodies["answer"]).split("。")[:-1]:
        assert sentence in body
    assert "ROI" in reply.bodies["materials"]
    assert "顾长山" in reply.bodies["next_step"]
    assert reply.row.subject_label == f"{HOSPITAL} · ICU 监护仪更新 80 台"


async def test_a_correction_for_which_there_is_no_response_abstains(company: Company) -> None:
    reply = await company.reply("你们的数据放在哪里", category="data_security")
    assert reply.row.disposition is Disposition.ABSTAINED
    assert (reply.row.categories or [{}])[0]["key"] == "data_security"
    assert {section.body for section in reply.sections} == {"没有找到匹配的应答知识"}
    assert pipeline.render_text(reply.row, reply.sections) == ""


async def test_a_concern_that_cannot_be_answered_is_refused_with_its_place(company: Company) -> None:
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("", {}, "concern"), ("  \n", {}, "concern"), ("贵" * 100_000, {}, "concern"), ("太贵", {"category": "no_such"}, "category"),
    ]  # fmt: skip
    for words, more, path in bad:
        with pytest.raises(Invalid) as refused:
            await company.reply(words, **more)
        assert refused.value.path == (path,)
    async with company.database.open_uow(SYSTEM) as uow:
        company.deals["loose"] = await deals.open_opportunity(
            uow, name="没有客户", stage=company.stages["qualify"], owner_id=company.people["lei"].user_id
        )
    with pytest.raises(Invalid) as refused:
        await company.reply("太贵", "loose")
    assert refused.value.path == ("opportunityId",)
    assert await company.generations() == []


# ---- reactivation script ---------------------------------------------------------------------------------------------


async def test_a_blocked_script_names_the_grant_that_decides(company: Company) -> None:
    contact = company.leads["zhou"].contact_id
    async with company.database.open_uow(SYSTEM) as uow:
        for channel in (Channel.WECHAT, Channel.EMAIL):
            refusal = await allow(uow, contact, channel, ConsentStatus.OPT_OUT, "请不要再联系")
    script = await company.script(channel=Channel.EMAIL)
    assert (script.row.disposition, script.sections, script.row.mode) == (Disposition.BLOCKED, [], None)
    async with company.database.open_uow(SYSTEM) as uow:
        receipt = await uow.session.get(ConsentReceipt, script.row.consent_receipt_id)
    assert receipt is not None
    assert (receipt.decision, receipt.channel, receipt.deciding_grant_ids) == (
        ConsentDecision.DENY,
        Channel.EMAIL,
        [refusal.id.hex],
    )
    assert script.row.reason == receipt.reason_zh
    assert "请不要再联系" in (receipt.evidence or "")
    assert await company.actions(script.row.id) == ["generation.blocked"]


async def test_a_lead_that_nobody_asked_is_not_addressed(company: Company) -> None:
    assert (await company.script("feng", who="na")).row.disposition is Disposition.BLOCKED


async def test_the_channel_that_is_asked_for_gives_way_to_what_consent_names(company: Company, clock: Clock) -> None:
    contact = company.leads["zhou"].contact_id
    mail = await company.script(channel=Channel.EMAIL)
    assert (mail.row.channel, mail.bodies["script"].split("\n")[0]) == (
        Channel.EMAIL,
        "主题：关于「便携彩超 US6 规格书」[2]",
    )
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, contact, Channel.PHONE, ConsentStatus.OPT_OUT)
    instead = await company.script(channel=Channel.PHONE)
    assert instead.row.channel is Channel.WECHAT
    assert "不用电话：" in instead.bodies["channel"]
    clock.advance(minutes=1)
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, contact, Channel.PHONE)
    spoken = (await company.script(channel=Channel.PHONE)).bodies["script"]
    assert all(line.startswith("- ") for line in spoken.split("\n"))
    assert "回复“不用”即可" not in spoken


async def test_a_person_may_be_met_where_that_alone_is_allowed(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, company.leads["feng"].contact_id, Channel.IN_PERSON)
    script = await company.script("feng", who="na")
    assert (script.row.disposition, script.row.channel) == (Disposition.NEEDS_APPROVAL, Channel.IN_PERSON)


async def test_a_script_has_one_reason_and_what_they_looked_at(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        lead = company.leads["zhou"].ref()
        await signals.record(
            uow,
            type="competitor_mentioned",
            subject=lead,
            source="rep",
            dedupe_key="m",
            occurred_at=ago(2),
            payload={"competitor": "yuanbai", "words": "远柏便宜"},
        )
        await signals.record(
            uow,
            type="enquiry_sent",
            subject=lead,
            source="官网",
            dedupe_key="e",
            occurred_at=ago(3),
            payload={"text": "能便宜吗？\n急"},
        )
    script = await company.script()
    history = script.bodies["history"]
    for said in (
        "已有 216 小时没有动作",
        "想了解便携彩超 US6 的价格",
        "看过「便携彩超 US6 规格书」",
        "咨询过「能便宜吗？ 急」",
        "提到过远柏医疗：“远柏便宜”",
        "应对：",
    ):
        assert said in history
    assert "US6" in script.bodies["reason"]
    assert script.bodies["reason"].split("[")[0] in script.bodies["script"]
    assert script.figure("quiet_hours") == 216
    assert script.failed == set()


async def test_a_script_for_a_lead_that_left_only_an_address(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        bare: Lead = await leads.capture(
            uow,
            source="展会",
            external_id="bare",
            name="高远",
            email="gao@example.cn",
            owner_id=company.people["lei"].user_id,
            captured_at=ago(4),
        )
        await consent.record(
            uow,
            contact_id=bare.contact_id,
            purpose="sales_follow_up",
            channel=Channel.EMAIL,
            status=ConsentStatus.OPT_IN,
            source="展会登记",
            occurred_at=ago(4),
        )
    company.leads["bare"] = bare
    script = await company.script("bare")
    assert script.row.disposition is Disposition.NEEDS_APPROVAL
    assert "之前您留过联系方式" in script.bodies["script"]
    assert script.row.subject_label == "高远"
    assert CLINIC not in script.text


# ---- returns ---------------------------------------------------------------------------------------------------------


async def _calculate(company: Company, who: str = "lei") -> None:
    answers = {"monitors": 24, "price": 38000, "accessories": 1500, "repairs": 600, "other_price": 34000, "other_accessories": 2500, "other_repairs": 900}  # fmt: skip
    async with company.database.open_uow(company.people[who]) as uow:
        await calculations.calculate(
            uow, item_id=company.items["roi-monitor-five-year-cost-zh"].id, answers={key: Decimal(value) for key, value in answers.items()},
            about=About(opportunity_id=company.deals["hospital"].id),
        )  # fmt: skip


@pytest.mark.parametrize("language", list(Language))
async def test_returns_come_from_the_deals_latest_calculation_alone(company: Company, language: Language) -> None:
    before = await company.brief(language=language)
    assert not [figure for figure in before.figures if figure.key.startswith("roi_")]
    await _calculate(company)
    for answer in (await company.brief(language=language), await company.reply("价格太高了", language=language)):
        body = answer.bodies["snapshot" if "snapshot" in answer.bodies else "proof"]
        said = (
            ("少花的钱 ¥60,000", "反超年数 3.08 年")
            if language is Language.ZH
            else ("money saved CN¥60,000", "3.08 years")
        )
        assert all(words in body for words in said), body
        assert (answer.figure("roi_saved"), answer.figure("roi_version")) == (Decimal(60000), Decimal(1))
        cited = {citation.number: citation for citation in answer.citations}
        (number,) = {figure.citation for figure in answer.figures if figure.key.startswith("roi_")}
        assert number is not None
        assert cited[number].record_kind == "RoiCalculation"
        assert "监护仪五年总成本" in cited[number].quote
        assert answer.failed == set()
        known = {Decimal(figure.value) for figure in answer.figures}
        assert {number.value for number in numbers_in_lines(body)} <= known
