"""The visit brief: what a rep needs to know before the door opens, in thirteen sections."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from assistant import context
from assistant.facts import AccountFacts
from assistant.model import GenerationKind
from assistant.skills import customer, material
from assistant.skills.base import Ask, SectionPlan, Skill
from assistant.skills.quoting import quote_strategies
from assistant.wording import INDUSTRIES, label
from domain.kernel import Actor, Text
from knowledge import KnowledgeKind, Situation, Wanted


async def gather(session: AsyncSession, actor: Actor, ask: Ask, now: datetime) -> AccountFacts:
    """The account and its deal as the actor sees them."""
    return await context.gather_account(session, actor, now, ask.subject_id, ask.opportunity_id)


def wants(facts: AccountFacts, ask: Ask) -> dict[str, Wanted]:
    """Talk tracks, cases, battlecards and policies that fit region, industry, stage, open concerns and competitors."""
    concerns = tuple(concern.category for concern in facts.concerns)
    rivals = tuple(rival.key for rival in facts.rivals)
    fit = Situation(
        industry=facts.industry,
        region=facts.region,
        stage=facts.deal.stage_key if facts.deal else None,
        concerns=concerns,
        competitors=rivals,
    )
    # Proof and answers hold in any stage, and a competitor is met the same way everywhere.
    anywhen = replace(fit, stage=None)
    about = [
        facts.name,
        label(INDUSTRIES, facts.industry).zh,
        facts.deal.name if facts.deal else "",
        *(line.product.zh for line in facts.lines),
    ]
    worries = [concern.words for concern in facts.concerns]
    query = " ".join(part for part in (*about, *worries, ask.words or "") if part)
    wanted = {
        "talk_tracks": Wanted(
            query, (KnowledgeKind.TALK_TRACK, KnowledgeKind.PLAYBOOK), fit, language=ask.language, limit=6
        ),
        "cases": Wanted(query, (KnowledgeKind.CASE_STUDY,), anywhen, language=ask.language, limit=4),
        "policies": Wanted(query, (KnowledgeKind.POLICY,), anywhen, language=ask.language, limit=3, changes_only=True),
    }
    if rivals:
        met = Situation(competitors=rivals)
        wanted["battlecards"] = Wanted(
            query, (KnowledgeKind.BATTLECARD,), met, language=ask.language, limit=6, must_match_competitor=True
        )
    if concerns:
        wanted["responses"] = Wanted(
            query, (KnowledgeKind.OBJECTION_RESPONSE,), anywhen, language=ask.language, limit=8, must_match_concern=True
        )
    return wanted


SKILL = Skill(
    kind=GenerationKind.VISIT_BRIEF,
    subject_kind="Account",
    gather=gather,
    wants=wants,
    sections=(
        SectionPlan("snapshot", Text("客户概况", "Snapshot"), customer.snapshot),
        SectionPlan("decision_chain", Text("决策链", "Decision chain"), customer.decision_chain),
        SectionPlan("recent_activity", Text("最近往来", "Recent activity"), customer.recent_activity),
        SectionPlan("purchase_cycles", Text("采购周期", "Purchase cycles"), customer.purchase_cycles),
        SectionPlan("open_concerns", Text("未解决的顾虑", "Open concerns"), material.open_concerns),
        SectionPlan("competitors", Text("竞争对手", "Competitors"), material.competitors),
        SectionPlan("policy_changes", Text("政策变化", "Policy changes"), material.policy_changes),
        SectionPlan("talk_tracks", Text("话术", "Talk tracks"), material.talk_tracks, free=True),
        SectionPlan("cases", Text("案例", "Cases"), material.cases),
        SectionPlan("quote_strategies", Text("报价策略", "Quote strategies"), quote_strategies),
        SectionPlan("compliance_risks", Text("合规风险", "Compliance risks"), material.compliance_risks),
        SectionPlan("contactability", Text("联系授权", "Contactability"), customer.contactability),
        SectionPlan("next_actions", Text("下一步", "Next actions"), customer.next_actions),
    ),
    queued_by="compliance_risks",
)
