"""The sections of a brief that bring knowledge to bear: concerns, competitors, policies, talk tracks, cases, risks."""

from assistant.draft import Pen
from assistant.facts import AccountFacts, Concern, Quoted, Rival
from assistant.skills.base import Missing, Shelf
from assistant.skills.excerpts import (
    about,
    closed,
    in_language,
    is_structured,
    pick,
    products_in,
    quote,
    say,
    shorten,
)
from assistant.wording import CHANNELS, CONCERNS, label
from domain import commerce
from domain.consent import TrafficLight
from domain.kernel import Text
from knowledge import Found

DAYS = Text("天", "days")
ANSWER, WE_WIN, THEY_WIN, ASK = (
    Text("回应", "Answer"),
    Text("我们强在", "Where we win"),
    Text("他们强在", "Where they win"),
    Text("要问", "Ask"),
)
TRACK = (
    ("opening", Text("开场", "Open"), 1),
    ("key_points", Text("要点", "Bring across"), 2),
    ("questions", Text("追问", "Ask"), 2),
    ("close", Text("收尾", "Close"), 1),
)
"""The parts of a talk track with their words and how many sentences of each."""


def open_concerns(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What worries them, in their words, and how to meet it."""
    if not facts.concerns:
        return Missing(Text("没有未解决的顾虑", "no open concern"))
    return "\n".join(line for concern in facts.concerns[:4] for line in _concern(pen, concern, facts.products, shelf))


def _concern(pen: Pen, concern: Concern, products: frozenset[str], shelf: Shelf) -> list[str]:
    at, name, words = pen.date(concern.at), pen.words(label(CONCERNS, concern.category)), shorten(concern.words)
    lines = [pen.point(f"{at} {name}：“{words}”", f"{at} {name}: “{words}”", concern.evidence)]
    entries = in_language(about(shelf["responses"], products), pen.language)
    for entry in [entry for entry in entries if concern.category in entry.concerns][:1]:
        fitting = [
            sentence for sentence in pick(entry, "answer", limit=4) if not products or products_in(sentence) <= products
        ]
        lines += [say(pen, entry, sentence, ANSWER) for sentence in fitting[:1]]
    return lines


def competitors(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who else is in the deal, and how to meet them."""
    if not facts.rivals:
        return Missing(Text("没有竞争对手的记录", "no competitor is known"))
    return "\n".join(line for rival in facts.rivals[:3] for line in _rival(pen, rival, shelf))


def _rival(pen: Pen, rival: Rival, shelf: Shelf) -> list[str]:
    words = shorten(rival.words) if rival.words else ""
    zh, en = (f"，客户说：“{words}”", f"; the customer said: “{words}”") if words else ("", "")
    when = f"{pen.date(rival.at)} " if rival.at else ""
    lines = [
        pen.point(f"{when}{rival.name.zh}在场{zh}。", f"{when}{rival.name.en} is in the deal{en}.", rival.evidence)
    ]
    cards = [entry for entry in in_language(shelf["battlecards"], pen.language) if rival.key in entry.competitors]
    for card in cards[:1]:
        for key, lead in (("we_win", WE_WIN), ("they_win", THEY_WIN), ("questions", ASK)):
            lines += [say(pen, card, sentence, lead) for sentence in pick(card, key, limit=1)]
    return lines


def policy_changes(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What has changed in policy that this customer will feel."""
    entries = in_language(shelf["policies"], pen.language)
    if not entries:
        return Missing(Text("没有适用的政策变化", "no policy change applies"))
    return "\n".join(_titled(pen, entry, "change", "what_to_do", limit=2) for entry in entries[:3])


def talk_tracks(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """How to open, what to bring across and what to ask at this stage."""
    fitting = about(in_language(shelf["talk_tracks"], pen.language), facts.products)
    staged = [entry for entry in fitting if facts.deal is not None and facts.deal.stage_key in entry.stages]
    if not fitting:
        return Missing(Text("没有适合的话术", "no talk track fits"))
    return "\n\n".join(_track(pen, entry) for entry in (staged or fitting)[:2])


def _track(pen: Pen, entry: Found) -> str:
    lines = [f"**{entry.title}**{pen.say('：', ':')}"]
    if not is_structured(entry):
        lines += [say(pen, entry, sentence) for sentence in pick(entry, limit=3)]
    else:
        lines += [
            say(pen, entry, sentence, lead) for key, lead, limit in TRACK for sentence in pick(entry, key, limit=limit)
        ]
    return "\n".join(dict.fromkeys(lines))


def cases(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Customers like them and what they gained."""
    entries = about(in_language(shelf["cases"], pen.language), facts.products)
    if not entries:
        return Missing(Text("没有相近的案例", "no similar case"))
    return "\n".join(_case(pen, entry) for entry in entries[:2])


def _case(pen: Pen, entry: Found) -> str:
    if not is_structured(entry):
        return _titled(pen, entry, limit=3)
    return "\n".join(
        [
            _titled(pen, entry, "problem", limit=1),
            *(say(pen, entry, sentence) for sentence in pick(entry, "result", "in_one_line", limit=2)),
        ]
    )


def _titled(pen: Pen, entry: Found, *keys: str, limit: int) -> str:
    title = pen.point(closed(entry.title, "。"), closed(entry.title, "."), quote(entry))
    return "\n".join([title, *(say(pen, entry, sentence) for sentence in pick(entry, *keys, limit=limit))])


def compliance_risks(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What legal and finance would stop: shown by records and policies, never invented."""
    lines = _quote_risks(pen, facts, facts.quote) if facts.quote is not None else []
    refused = {point.evidence.record: point for point in facts.reachable if point.light is TrafficLight.RED}
    for point in list(refused.values())[:2]:
        channel = CHANNELS[point.channel]
        zh, en = (
            closed(f"{point.person}不接受{channel.zh}联系：{point.reason.zh}", "。"),
            closed(f"{point.person} may not be contacted by {channel.en}: {point.reason.en}", "."),
        )
        lines.append(pen.point(zh, en, point.evidence))
    for entry in in_language(shelf["policies"], pen.language)[:3]:
        lines += (
            [say(pen, entry, sentence) for sentence in pick(entry, "risk", limit=1)] if is_structured(entry) else []
        )
    return (
        "\n".join(lines)
        if lines
        else Missing(Text("记录与政策中没有发现合规风险", "neither records nor policies show a compliance risk"))
    )


def _quote_risks(pen: Pen, facts: AccountFacts, quoted: Quoted) -> list[str]:
    lines, shown = [], quoted.evidence
    if quoted.payment_terms_days > commerce.STANDARD_PAYMENT_TERMS_DAYS:
        days = pen.count("payment_terms_days", Text("账期", "payment terms"), quoted.payment_terms_days, DAYS, shown)
        zh, en = (
            f"最近报价的账期是 {days}，超过标准账期，须由财务先批。",
            f"The latest quote grants {days} to pay, more than the standard terms: finance approves first.",
        )
        lines.append(pen.point(zh, en, shown))
    floor = facts.floor_total
    if floor is not None and quoted.total.amount_minor < floor.amount_minor:
        lines.append(
            pen.point(
                "最近报价低于底价，未经审批不得签发。",
                "The latest quote is below floor price and may not be issued without approval.",
                shown,
            )
        )
    if quoted.valid_until and quoted.valid_until < facts.now.date():
        until = pen.date(quoted.valid_until)
        zh, en = (
            f"报价已于 {until} 过期，当面不要再引用其中的价格。",
            f"The quote expired on {until}: do not name its prices.",
        )
        lines.append(pen.point(zh, en, shown))
    return lines
