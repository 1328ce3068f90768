"""The reactivation script: one reason to talk now, in the form of a channel that consent allows."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from assistant import context
from assistant.draft import Evidence, Pen
from assistant.facts import LeadFacts, Looked, Rival
from assistant.model import GenerationKind
from assistant.skills.base import Ask, Missing, SectionPlan, Shelf, Skill
from assistant.skills.excerpts import closed, in_language, pick, quote, say, shorten
from assistant.wording import CHANNELS
from domain.accounts import Channel
from domain.kernel import Actor, Text
from knowledge import Found, KnowledgeKind, Situation, Wanted

HOURS = Text("小时", "hours")
LOOKED = {
    "enquiry_sent": Text("咨询过", "asked about"),
    "demo_requested": Text("申请过演示", "asked for a demo of"),
    "document_downloaded": Text("下载过", "downloaded"),
    "page_viewed": Text("看过", "looked at"),
    "event_attended": Text("参加过", "attended"),
}
SPOKEN = frozenset({Channel.PHONE, Channel.IN_PERSON})
NO_CHANNEL = Text("没有获准的渠道", "no channel is allowed")


async def gather(session: AsyncSession, actor: Actor, ask: Ask, now: datetime) -> LeadFacts:
    """The lead as the actor sees it."""
    return await context.gather_lead(session, actor, now, ask.subject_id, ask.channel)


def wants(facts: LeadFacts, ask: Ask) -> dict[str, Wanted]:
    """What fits what they looked at: wake-up talk tracks, cases of their industry, cards of competitors they named."""
    rivals = tuple(rival.key for rival in facts.rivals)
    fit = Situation(industry=facts.industry, region=facts.region, competitors=rivals)
    about = " ".join(part for part in (facts.interest or "", *(item.title for item in facts.looked[:4])) if part)
    reasons = (KnowledgeKind.CASE_STUDY, KnowledgeKind.PRODUCT_SHEET)
    wanted = {
        "tracks": Wanted(
            f"二次激活 久未联系 reactivate dormant {about}",
            (KnowledgeKind.TALK_TRACK,),
            fit,
            language=ask.language,
            limit=3,
        ),
        "reasons": Wanted(about or facts.source, reasons, fit, language=ask.language, limit=4),
    }
    if rivals:
        wanted["battlecards"] = Wanted(
            about, (KnowledgeKind.BATTLECARD,), fit, language=ask.language, limit=2, must_match_competitor=True
        )
    return wanted


def history(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """What they looked at and asked, what they said of competitors, and how long it has been quiet."""
    quiet = int((facts.now - facts.last_activity_at).total_seconds() // 3600)
    silence = pen.count("quiet_hours", Text("无动作时长", "hours without action"), quiet, HOURS, facts.evidence)
    came = pen.date(facts.captured_at)
    lines = [
        pen.point(
            f"{came} 留资，已有 {silence}没有动作。",
            f"Came in on {came}; nothing has been done for {silence}.",
            facts.evidence,
        )
    ]
    if facts.interest:
        interest = shorten(facts.interest)
        lines.append(
            pen.point(f"当时问的是：{closed(interest, '。')}", f"They asked: {closed(interest, '.')}", facts.evidence)
        )
    lines += [_looked(pen, item) for item in facts.looked[:4]]
    lines += [line for rival in facts.rivals[:2] for line in _mentioned(pen, rival, shelf)]
    return "\n".join(lines)


def _looked(pen: Pen, item: Looked) -> str:
    at, verb, title = pen.date(item.at), LOOKED[item.type], shorten(item.title)
    return pen.point(f"{at} {verb.zh}「{title}」。", f"On {at} they {verb.en} “{title}”.", item.evidence)


def _mentioned(pen: Pen, rival: Rival, shelf: Shelf) -> list[str]:
    words = shorten(rival.words) if rival.words else ""
    zh, en = (f"：“{words}”", f": “{words}”") if words else ("", "")
    lines = [pen.point(f"提到过{rival.name.zh}{zh}。", f"They mentioned {rival.name.en}{en}.", rival.evidence)]
    for card in [entry for entry in in_language(shelf["battlecards"], pen.language) if rival.key in entry.competitors][
        :1
    ]:
        lines += [
            say(pen, card, sentence, Text("应对", "To meet it"))
            for sentence in pick(card, "say_this", "we_win", limit=1)
        ]
    return lines


def reason(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """One reason to talk now."""
    found = _reason(pen, shelf)
    if found is None:
        return Missing(
            Text("知识库里没有与其关注点相符的新理由", "no entry gives a reason that fits what they looked at")
        )
    return _cited(pen, *found)


def script(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """The words to send or say, in the form of the channel and in one language."""
    point = facts.allowed_channel()
    if point is None:
        return Missing(NO_CHANNEL)
    topic, found = _topic(facts), _reason(pen, shelf)
    lines = [_greeting(pen, facts, topic)]
    if found is not None:
        lines.append(_cited(pen, *found))
    spoken = point.channel in SPOKEN
    track = next((entry for entry in shelf["tracks"] if entry.language is pen.language), None)
    questions = pick(track, "questions", "close", limit=2 if spoken else 1) if track else []
    lines += [_cited(pen, sentence, track) for sentence in questions if track]
    if not questions:
        lines.append(
            pen.say("您看这周哪天方便，我用几分钟说清楚？", "Which day this week suits you for a few minutes?")
        )
    if not spoken:
        lines.append(
            pen.say(
                "如果暂时不需要，回复“不用”即可，我不再打扰。",
                "If this is of no use now, reply “no” and I will not write again.",
            )
        )
    return _in_form(pen, point.channel, lines, topic)


def channel(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """Which channel, and why consent allows it and not another."""
    point = facts.allowed_channel()
    if point is None:
        return Missing(NO_CHANNEL)
    name, why = CHANNELS[point.channel], point.reason
    lines = [pen.point(f"用{name.zh}：{closed(why.zh, '。')}", f"By {name.en}: {closed(why.en, '.')}", point.evidence)]
    for other in facts.reachable:
        if other.channel is facts.wanted_channel and other.channel is not point.channel:
            name, why = CHANNELS[other.channel], other.reason
            lines.append(
                pen.point(
                    f"不用{name.zh}：{closed(why.zh, '。')}", f"Not by {name.en}: {closed(why.en, '.')}", other.evidence
                )
            )
    return "\n".join(lines)


Topic = tuple[str, Evidence]


def _topic(facts: LeadFacts) -> Topic | None:
    if facts.looked:
        return shorten(facts.looked[0].title, 60), facts.looked[0].evidence
    return (shorten(facts.interest, 60), facts.evidence) if facts.interest else None


def _greeting(pen: Pen, facts: LeadFacts, topic: Topic | None) -> str:
    who = pen.say(f"{facts.name}您好，我是{facts.seller}，", f"Hello {facts.name}, this is {facts.seller}; ")
    if topic is None:
        return who + pen.say("之前您留过联系方式。", "you left us your contact. ") + pen.cite(facts.evidence)
    return who + pen.say(f"之前您关注过「{topic[0]}」。", f"you had a look at “{topic[0]}”. ") + pen.cite(topic[1])


def _reason(pen: Pen, shelf: Shelf) -> tuple[str, Found] | None:
    """The first sentence that is a reason, in the language in which the customer is addressed."""
    for entry in shelf["reasons"]:
        for sentence in (
            pick(entry, "in_one_line", "result", "what_it_is", limit=1) if entry.language is pen.language else ()
        ):
            return sentence, entry
    return None


def _cited(pen: Pen, sentence: str, entry: Found) -> str:
    return f"{sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}"


def _in_form(pen: Pen, channel_: Channel, lines: list[str], topic: Topic | None) -> str:
    if channel_ in SPOKEN:
        return "\n".join(f"- {line}" for line in lines)
    if channel_ not in {Channel.EMAIL, Channel.MAIL}:
        return "\n".join(lines)
    subject = topic[0] if topic else pen.say("跟进您之前的咨询", "following up your enquiry")
    head = pen.say(f"主题：关于「{subject}」", f"Subject: {subject} ") + (pen.cite(topic[1]) if topic else "")
    return "\n\n".join([head.strip(), *lines])


SKILL = Skill(
    kind=GenerationKind.REACTIVATION_SCRIPT,
    subject_kind="Lead",
    gather=gather,
    wants=wants,
    sections=(
        SectionPlan("history", Text("过往", "History"), history),
        SectionPlan("reason", Text("现在联系的理由", "Reason to talk now"), reason),
        SectionPlan("script", Text("话术", "Script"), script, free=True, addressed=True),
        SectionPlan("channel", Text("渠道", "Channel"), channel),
    ),
    addresses_customer=True,
)
