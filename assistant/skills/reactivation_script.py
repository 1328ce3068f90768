"""The reactivation script: one reason to talk now, in the form of a channel that consent allows."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from assistant import context
from assistant.context import LeadFacts
from assistant.draft import Evidence, Pen
from assistant.model import GenerationKind
from assistant.skills.base import Ask, Missing, SectionPlan, Shelf, Skill
from assistant.skills.excerpts import in_language, pick, quote
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
WRITTEN = frozenset({Channel.EMAIL, Channel.WECHAT, Channel.SMS, Channel.APP, Channel.MAIL})


async def gather(session: AsyncSession, actor: Actor, ask: Ask, now: datetime) -> LeadFacts:
    """The lead as the actor sees it."""
    return await context.gather_lead(session, actor, now, ask.subject_id, ask.channel)


def wants(facts: LeadFacts, ask: Ask) -> dict[str, Wanted]:
    """What fits what they looked at: wake-up talk tracks, cases of their industry, cards of competitors they named."""
    rivals = tuple(rival.key for rival in facts.rivals)
    fit = Situation(industry=facts.industry, region=facts.region, stage=None, concerns=(), competitors=rivals)
    looked = [item.title for item in facts.looked[:4]]
    about = " ".join(part for part in (facts.interest or "", *looked) if part)
    wanted = {
        "tracks": Wanted(f"二次激活 久未联系 reactivate dormant {about}", (KnowledgeKind.TALK_TRACK,), fit, language=ask.language, limit=3),
        "reasons": Wanted(about or facts.source, (KnowledgeKind.CASE_STUDY, KnowledgeKind.PRODUCT_SHEET, KnowledgeKind.POLICY), fit, language=ask.language, limit=4),
    }
    if rivals:
        wanted["battlecards"] = Wanted(about, (KnowledgeKind.BATTLECARD,), fit, language=ask.language, limit=2, must_match_competitor=True)
    return wanted


def history(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """What they looked at and asked, what they said of competitors, and how long it has been quiet."""
    quiet = int((facts.now - facts.last_activity_at).total_seconds() // 3600)
    silence = pen.count("quiet_hours", Text("无动作时长", "hours without action"), quiet, HOURS, facts.evidence)
    lines = [pen.say(f"- {pen.date(facts.captured_at)} 留资，已有 {silence}没有动作。{pen.cite(facts.evidence)}", f"- Came in on {pen.date(facts.captured_at)}; nothing has been done for {silence}. {pen.cite(facts.evidence)}")]
    if facts.interest:
        lines.append(pen.say(f"- 当时问的是：{_closed(facts.interest, '。')}{pen.cite(facts.evidence)}", f"- They asked: {_closed(facts.interest, '.')} {pen.cite(facts.evidence)}"))
    for item in facts.looked[:4]:
        verb = pen.words(LOOKED[item.type])
        lines.append(pen.say(f"- {pen.date(item.at)} {verb}「{item.title}」。{pen.cite(item.evidence)}", f"- On {pen.date(item.at)} they {verb} “{item.title}”. {pen.cite(item.evidence)}"))
    for rival in facts.rivals[:2]:
        lines.append(pen.say(f"- 提到过{rival.name.zh}{_said(pen, rival.words)}。{pen.cite(rival.evidence)}", f"- They mentioned {rival.name.en}{_said(pen, rival.words)}. {pen.cite(rival.evidence)}"))
        card = next((entry for entry in in_language(shelf["battlecards"], pen.language) if rival.key in entry.competitors), None)
        if card is not None:
            lines += [pen.say(f"- 应对：{sentence}{pen.cite(quote(card))}", f"- To meet it: {sentence} {pen.cite(quote(card))}") for sentence in pick(card, "say_this", "we_win", limit=1)]
    return "\n".join(lines)


def reason(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """One reason to talk now."""
    entry = _reason_entry(pen, facts, shelf)
    if entry is None:
        return Missing(Text("知识库里没有与其关注点相符的新理由", "no entry gives a reason that fits what they looked at"))
    sentence = _reason_sentence(entry)
    return f"{sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}"


def script(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """The words to send or say, in the form of the channel."""
    point = facts.allowed_channel()
    if point is None:
        return Missing(Text("没有获准的渠道", "no channel is allowed"))
    entry = _reason_entry(pen, facts, shelf)
    track = next(iter(in_language(shelf["tracks"], pen.language)), None)
    topic = _topic(facts)
    greeting = _greeting(pen, facts, topic)
    lines = [f"{greeting}{pen.cite(topic[1] if topic else facts.evidence)}"]
    if entry is not None:
        lines.append(f"{_reason_sentence(entry)}{pen.say('', ' ')}{pen.cite(quote(entry))}")
    asks = pick(track, "questions", "close", limit=2 if point.channel is Channel.PHONE else 1) if track else []
    lines += [f"{sentence}{pen.say('', ' ')}{pen.cite(quote(track))}" for sentence in asks if track]
    if not asks:
        lines.append(pen.say("您看这周哪天方便，我用几分钟说清楚？", "Which day this week suits you for a few minutes?"))
    if point.channel in WRITTEN:
        lines.append(pen.say("如果暂时不需要，回复“不用”即可，我不再打扰。", "If this is of no use now, reply “no” and I will not write again."))
    return _in_form(pen, point.channel, lines, topic)


def channel(pen: Pen, facts: LeadFacts, shelf: Shelf) -> str | Missing:
    """Which channel, and why consent allows it and not another."""
    point = facts.allowed_channel()
    if point is None:
        return Missing(Text("没有获准的渠道", "no channel is allowed"))
    name, why = pen.words(CHANNELS[point.channel]), pen.words(point.reason)
    lines = [pen.say(f"- 用{name}：{_closed(why, '。')}{pen.cite(point.evidence)}", f"- By {name}: {_closed(why, '.')} {pen.cite(point.evidence)}")]
    if facts.wanted_channel is not None and facts.wanted_channel is not point.channel:
        refused = next((other for other in facts.reachable if other.channel is facts.wanted_channel), None)
        if refused is not None:
            other = pen.words(CHANNELS[refused.channel])
            lines.append(pen.say(f"- 不用{other}：{_closed(refused.reason.zh, '。')}{pen.cite(refused.evidence)}", f"- Not by {other}: {_closed(refused.reason.en, '.')} {pen.cite(refused.evidence)}"))
    return "\n".join(lines)


Topic = tuple[str, Evidence]


def _topic(facts: LeadFacts) -> Topic | None:
    if facts.looked:
        return facts.looked[0].title, facts.looked[0].evidence
    return (facts.interest, facts.evidence) if facts.interest else None


def _greeting(pen: Pen, facts: LeadFacts, topic: Topic | None) -> str:
    seller = pen.say(f"我是{facts.seller}", f"this is {facts.seller}")
    if topic is None:
        return pen.say(f"{facts.name}您好，{seller}，之前您留过联系方式。", f"Hello {facts.name}, {seller}; you left us your contact. ")
    return pen.say(f"{facts.name}您好，{seller}，之前您关注过「{topic[0]}」。", f"Hello {facts.name}, {seller}; you had a look at “{topic[0]}”. ")


def _reason_entry(pen: Pen, facts: LeadFacts, shelf: Shelf) -> Found | None:
    return next((entry for entry in in_language(shelf["reasons"], pen.language) if _reason_sentence(entry)), None)


def _reason_sentence(entry: Found) -> str:
    return next(iter(pick(entry, "in_one_line", "result", "change", limit=1)), "")


def _in_form(pen: Pen, channel_: Channel, lines: list[str], topic: Topic | None) -> str:
    if channel_ is Channel.EMAIL:
        subject = topic[0] if topic else pen.say("跟进您之前的咨询", "following up your enquiry")
        cite = pen.cite(topic[1]) if topic else ""
        return pen.say(f"主题：关于「{subject}」{cite}", f"Subject: {subject} {cite}").strip() + "\n\n" + "\n\n".join(lines)
    return "\n".join(f"- {line}" for line in lines) if channel_ is Channel.PHONE else "\n".join(lines)


def _said(pen: Pen, words: str | None) -> str:
    return pen.say(f"：“{words}”", f": “{words}”") if words else ""


def _closed(text: str, mark: str) -> str:
    return text if text.endswith(("。", ".", "！", "!", "？", "?", "”")) else text + mark


SKILL = Skill(
    kind=GenerationKind.REACTIVATION_SCRIPT,
    subject_kind="Lead",
    gather=gather,
    wants=wants,
    sections=(
        SectionPlan("history", Text("过往", "History"), history),
        SectionPlan("reason", Text("现在联系的理由", "Reason to talk now"), reason),
        SectionPlan("script", Text("话术", "Script"), script, free=True),
        SectionPlan("channel", Text("渠道", "Channel"), channel),
    ),
    addresses_customer=True,
)
