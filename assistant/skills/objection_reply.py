"""The objection reply: acknowledge, answer with proof, offer the next step."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from assistant import context
from assistant.draft import Pen
from assistant.facts import AccountFacts
from assistant.model import GenerationKind
from assistant.skills.base import Ask, Compose, Missing, SectionPlan, Shelf, Skill
from assistant.skills.excerpts import in_language, pick, quote, say
from assistant.skills.returns import returns
from assistant.wording import CONCERNS, PASSAGE_KEYS, label
from domain.deals import Opportunity
from domain.kernel import Actor, Invalid, Text, load
from knowledge import Found, KnowledgeKind, Situation, Wanted

TOP = 3
UTTERANCES = frozenset(heading for heading, key in PASSAGE_KEYS.items() if key == "utterances")
NOTHING = Text("没有找到匹配的应答知识", "no response in the knowledge fits")


async def gather(session: AsyncSession, actor: Actor, ask: Ask, now: datetime) -> AccountFacts:
    """The deal and its account, and what the customer said.

    Raises Invalid for an empty concern, an unknown category, or a deal without an account.
    """
    if not (ask.words or "").strip():
        raise Invalid(Text("请填写客户的顾虑", "say what the customer objects to"), ("concern",))
    if ask.category is not None and ask.category not in CONCERNS:
        known = ", ".join(sorted(CONCERNS))
        raise Invalid(
            Text(
                f"未知的顾虑类别“{ask.category}”，可用：{known}", f"unknown category “{ask.category}”; known: {known}"
            ),
            ("category",),
        )
    opportunity = await load(session, actor, Opportunity, ask.subject_id, path=("opportunityId",))
    if opportunity.account_id is None:
        raise Invalid(Text("该商机还没有关联客户", "the opportunity has no account yet"), ("opportunityId",))
    facts = await context.gather_account(
        session, actor, now, opportunity.account_id, opportunity.id, path="opportunityId"
    )
    return replace(facts, words=(ask.words or "").strip(), category=ask.category)


def wants(facts: AccountFacts, ask: Ask) -> dict[str, Wanted]:
    """Responses near to what was said, and cases and computed models to prove them."""
    concerns = (facts.category,) if facts.category else ()
    rivals = tuple(rival.key for rival in facts.rivals)
    fit = Situation(industry=facts.industry, region=facts.region, concerns=concerns, competitors=rivals)
    query = facts.words or ""
    return {
        "responses": Wanted(
            query,
            (KnowledgeKind.OBJECTION_RESPONSE,),
            fit,
            language=ask.language,
            limit=12,
            must_match_concern=bool(concerns),
            under=UTTERANCES,
        ),
        "proofs": Wanted(
            query, (KnowledgeKind.ROI_MODEL, KnowledgeKind.CASE_STUDY), fit, language=ask.language, limit=3
        ),
    }


def ranked_categories(facts: AccountFacts, shelf: Shelf) -> list[tuple[str, float]]:
    """The top three concern categories with scores 0–1: the rep's correction first, then those of the nearest responses."""
    best: dict[str, float] = {}
    for entry in shelf["responses"]:
        for position, concern in enumerate(entry.concerns):
            best[concern] = max(best.get(concern, 0.0), entry.score * (1.0 if position == 0 else 0.8))
    ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    if facts.category is not None:
        ranked = [(facts.category, 1.0)] + [pair for pair in ranked if pair[0] != facts.category]
    return [(key, round(min(score, 1.0), 4)) for key, score in ranked[:TOP]]


def chosen(facts: AccountFacts, shelf: Shelf, pen: Pen) -> list[Found]:
    """The responses to answer with: those of the first category, in the reader's language where there are any."""
    ranked = ranked_categories(facts, shelf)
    fitting = [entry for entry in shelf["responses"] if ranked and ranked[0][0] in entry.concerns]
    return in_language(fitting, pen.language)


def categories(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What the customer probably means."""
    entries = chosen(facts, shelf, pen)
    if not entries:
        return Missing(NOTHING)
    first, *others = [pen.words(label(CONCERNS, key)) for key, _ in ranked_categories(facts, shelf)]
    rest = pen.join(others)
    zh, en = (f"；也可能是：{rest}", f"; it may also be: {rest}") if others else ("", "")
    return pen.point(f"最可能是「{first}」{zh}。", f"Most likely “{first}”{en}.", quote(entries[0]))


def _from_response(key: str, limit: int) -> Compose:
    def compose(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
        for entry in chosen(facts, shelf, pen):
            if sentences := pick(entry, key, limit=limit):
                return pen.say("", " ").join(_cited(pen, sentence, entry) for sentence in sentences)
        return Missing(NOTHING)

    return compose


def _cited(pen: Pen, sentence: str, entry: Found) -> str:
    return f"{sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}"


def proof(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Figures and cases that carry the answer, each with its source."""
    entries = chosen(facts, shelf, pen)
    studies = [entry for entry in shelf["proofs"] if entry.kind is KnowledgeKind.CASE_STUDY]
    if not entries:
        return Missing(NOTHING)
    lines = returns(pen, facts) + [say(pen, entries[0], sentence) for sentence in pick(entries[0], "proof", limit=3)]
    for entry in in_language(studies, pen.language)[:1]:
        lines += [say(pen, entry, sentence) for sentence in pick(entry, "in_one_line", "result", limit=1)]
    return "\n".join(lines) if lines else Missing(NOTHING)


def next_step(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """The small commitment to ask for, and who should be there."""
    unseen = [person for person in facts.people if person.role is not None and person.covered_at is None]
    for entry in chosen(facts, shelf, pen):
        if steps := pick(entry, "next_step", limit=2):
            lines = [_cited(pen, sentence, entry) for sentence in steps]
            for person in unseen[:1]:
                lines.append(
                    pen.say(f"最好请{person.name}一起参加。", f"Best have {person.name} join. ")
                    + pen.cite(person.evidence)
                )
            return "\n".join(lines)
    return Missing(NOTHING)


def materials(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What to bring: the response's own list, and models and cases that fit."""
    entries = chosen(facts, shelf, pen)
    if not entries:
        return Missing(NOTHING)
    lines = [say(pen, entries[0], item) for item in pick(entries[0], "materials", limit=4)]
    lines += [say(pen, entry, entry.title) for entry in in_language(shelf["proofs"], pen.language)[:2]]
    return "\n".join(dict.fromkeys(lines)) if lines else Missing(NOTHING)


SKILL = Skill(
    kind=GenerationKind.OBJECTION_REPLY,
    subject_kind="Opportunity",
    gather=gather,
    wants=wants,
    sections=(
        SectionPlan("categories", Text("顾虑类别", "Categories"), categories),
        SectionPlan("acknowledge", Text("承接", "Acknowledge"), _from_response("acknowledge", 2), free=True),
        SectionPlan("answer", Text("回应", "Answer"), _from_response("answer", 4)),
        SectionPlan("proof", Text("证据", "Proof"), proof),
        SectionPlan("next_step", Text("下一步", "Next step"), next_step, free=True),
        SectionPlan("materials", Text("材料", "Materials"), materials),
    ),
    needs_words=True,
)
