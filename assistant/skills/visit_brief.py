"""The visit brief: what a rep needs to know before the door opens, in thirteen sections."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from assistant import context
from assistant.context import AccountFacts
from assistant.draft import Pen
from assistant.model import GenerationKind
from assistant.skills.base import Ask, Missing, SectionPlan, Shelf, Skill
from assistant.skills.excerpts import about, in_language, is_structured, pick, products_in, quote
from assistant.skills.quoting import quote_strategies
from assistant.wording import ACTIVITY_KINDS, BUYING_ROLES, CHANNELS, CONCERNS, INDUSTRIES, LIFECYCLE, STANCES, label
from domain import commerce, deals
from domain.consent import ConsentDecision, TrafficLight
from domain.deals import CommitteeSeat, Stance
from domain.kernel import Actor, Text
from knowledge import Found, KnowledgeKind, Situation, Wanted

DAYS = Text("天", "days")
UNKNOWN_DEAL = Text("该客户没有进行中的商机", "the account has no open opportunity")


async def gather(session: AsyncSession, actor: Actor, ask: Ask, now: datetime) -> AccountFacts:
    """The account and its deal as the actor sees them."""
    return await context.gather_account(session, actor, now, ask.subject_id, ask.opportunity_id)


def wants(facts: AccountFacts, ask: Ask) -> dict[str, Wanted]:
    """Talk tracks, cases, battlecards and policies that fit region, industry, stage, open concerns and competitors."""
    concerns = tuple(concern.category for concern in facts.concerns)
    rivals = tuple(rival.key for rival in facts.rivals)
    fit = Situation(industry=facts.industry, region=facts.region, stage=facts.deal.stage_key if facts.deal else None, concerns=concerns, competitors=rivals)
    about = [facts.name, label(INDUSTRIES, facts.industry).zh, facts.deal.name if facts.deal else "", *(line.product.zh for line in facts.lines)]
    worries = [concern.words for concern in facts.concerns]
    query = " ".join(part for part in (*about, *worries, ask.words or "") if part)
    wanted = {
        "talk_tracks": Wanted(query, (KnowledgeKind.TALK_TRACK, KnowledgeKind.PLAYBOOK), fit, language=ask.language, limit=6),
        "cases": Wanted(query, (KnowledgeKind.CASE_STUDY,), fit, language=ask.language, limit=4),
        "policies": Wanted(query, (KnowledgeKind.POLICY,), fit, language=ask.language, limit=3, changes_only=True),
    }
    if rivals:
        wanted["battlecards"] = Wanted(query, (KnowledgeKind.BATTLECARD,), fit, language=ask.language, limit=3, must_match_competitor=True)
    if concerns:
        wanted["responses"] = Wanted(query, (KnowledgeKind.OBJECTION_RESPONSE,), fit, language=ask.language, limit=8, must_match_concern=True)
    return wanted


def snapshot(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who they are to us and where the deal stands."""
    industry, lifecycle = label(INDUSTRIES, facts.industry), label(LIFECYCLE, facts.lifecycle)
    who = [pen.words(text) for text in (facts.region_label, industry, lifecycle) if pen.words(text)]
    lines = [f"- {facts.name}：{pen.join(who)}。{pen.cite(facts.evidence)}" if pen.language == "ZH" else f"- {facts.name}: {pen.join(who)}. {pen.cite(facts.evidence)}"]
    if facts.employees:
        staff = pen.count("employees", Text("员工数", "employees"), facts.employees, Text("人", "people"), facts.evidence)
        lines.append(pen.say(f"- 员工 {staff}。", f"- Staff: {staff}. ") + pen.cite(facts.evidence))
    deal = facts.deal
    if deal is not None:
        held = (facts.now - deal.entered_at).days
        stay = pen.count("days_in_stage", Text("当前阶段停留", "days in stage"), held, DAYS, deal.evidence)
        lines.append(pen.say(f"- 商机「{deal.name}」处于「{deal.stage.zh}」，已停留 {stay}。", f"- “{deal.name}” is in {deal.stage.en} and has been there for {stay}. ") + pen.cite(deal.evidence))
        if deal.expected_days and held > deal.expected_days:
            norm = pen.count("expected_days", Text("阶段常规时长", "usual days"), deal.expected_days, DAYS, deal.evidence)
            lines.append(pen.say(f"- 这一阶段通常用 {norm}，这次拜访要弄清卡在谁那里。", f"- The stage usually takes {norm}: find out who holds it up. ") + pen.cite(deal.evidence))
        if deal.amount:
            amount = pen.money("deal_amount", Text("商机金额", "deal amount"), deal.amount, deal.evidence)
            closing = pen.say(f"，预计 {pen.date(deal.close_date)} 签约", f", expected to close on {pen.date(deal.close_date)}") if deal.close_date else ""
            lines.append(pen.say(f"- 金额 {amount}{closing}。", f"- Amount {amount}{closing}. ") + pen.cite(deal.evidence))
    for other in facts.open_deals:
        if deal is not None and other.id != deal.id and len(lines) < 7:  # noqa: PLR2004 - a snapshot stays one glance
            lines.append(pen.say(f"- 另有「{other.name}」处于「{other.stage.zh}」。", f"- Also open: “{other.name}” in {other.stage.en}. ") + pen.cite(other.evidence))
    return "\n".join(lines)


def decision_chain(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who decides, how they stand, and which needed role nobody has spoken to."""
    seated = [person for person in facts.people if person.role is not None]
    if not seated:
        return Missing(Text("还没有登记决策链上的人", "nobody of the buying committee is known yet"))
    lines = []
    for person in seated[:9]:
        role, stance = pen.words(label(BUYING_ROLES, person.role)), pen.words(STANCES[person.stance])
        seen = pen.say(f"，{pen.date(person.covered_at)} 谈过", f", spoken to on {pen.date(person.covered_at)}") if person.covered_at else pen.say("，还没谈过", ", not spoken to yet")
        title = f" {person.title}" if person.title else ""
        lines.append(pen.say(f"- {person.name}{title}：{role}，{stance}{seen}。", f"- {person.name}{title}: {role}, {stance}{seen}. ") + pen.cite(person.evidence))
    seats = [CommitteeSeat(person.role, person.covered_at is not None) for person in seated if person.role]
    coverage = deals.committee_coverage(seats)
    source = facts.deal.evidence if facts.deal else facts.evidence
    share = pen.percent("committee_coverage", Text("决策链覆盖度", "committee coverage"), Decimal(coverage.percent), source)
    open_roles = [pen.words(label(BUYING_ROLES, role)) for role in (*coverage.uncovered, *coverage.unknown)]
    gap = pen.say(f"，还差：{pen.join(open_roles)}", f"; still open: {pen.join(open_roles)}") if open_roles else pen.say("，需要的角色都谈过了", "; every needed role has been spoken to")
    lines.append(pen.say(f"- 决策链覆盖度 {share}{gap}。", f"- Committee coverage {share}{gap}. ") + pen.cite(source))
    return "\n".join(lines)


def recent_activity(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """The last things that were done, newest first."""
    if not facts.done:
        return Missing(Text("近半年没有活动记录", "no activity in the last half year"))
    lines = []
    for done in facts.done[:5]:
        kind = pen.words(label(ACTIVITY_KINDS, done.kind))
        detail = f"{pen.say('：', ': ')}{_short(done.body)}" if done.body else ""
        text = _short(done.subject) + detail
        lines.append(pen.say(f"- {pen.date(done.at)} {kind}，{_closed(text, '。')}", f"- {pen.date(done.at)} {kind}, {_closed(text, '.')} ") + pen.cite(done.evidence))
    return "\n".join(lines)


def purchase_cycles(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """The rhythm of their last three orders and when the next one is due, reckoned by code."""
    if not facts.orders:
        return Missing(Text("没有历史订单", "no orders so far"))
    lines = []
    for order in facts.orders[:3]:
        total = pen.money("order_total", Text(f"订单 {order.number}", f"order {order.number}"), order.total, order.evidence)
        lines.append(pen.say(f"- {pen.date(order.at)} 订单 {total}。", f"- {pen.date(order.at)}: order of {total}. ") + pen.cite(order.evidence))
    cycle = commerce.purchase_cycle([(order.at, order.total) for order in facts.orders], facts.now)
    newest, cites = facts.orders[0].evidence, [order.evidence for order in facts.orders[:3]]
    if cycle is None:
        lines.append(pen.say("- 订单不足以看出节奏，当面问清下一次采购计划。", "- Too few orders to show a rhythm: ask for the next purchase plan. ") + pen.cite(*cites))
        return "\n".join(lines)
    interval = pen.count("cycle_interval_days", Text("采购间隔", "purchase interval"), cycle.interval_days, DAYS, newest)
    swing = pen.count("cycle_swing_days", Text("间隔波动", "swing"), cycle.swing_days, DAYS, newest)
    lines.append(pen.say(f"- 平均每 {interval}采购一次，前后波动 {swing}。", f"- They buy every {interval} on average, give or take {swing}. ") + pen.cite(*cites))
    due = pen.date(cycle.next_due)
    if cycle.overdue_days > 0:
        late = pen.count("cycle_overdue_days", Text("超过预计采购日", "days overdue"), cycle.overdue_days, DAYS, newest)
        lines.append(pen.say(f"- 按这个节奏应在 {due} 下单，已过 {late}，先弄清是推迟还是转给了别人。", f"- By that rhythm the next order was due on {due} and is {late} late: find out whether it slipped or went elsewhere. ") + pen.cite(*cites))
    else:
        lines.append(pen.say(f"- 按这个节奏下一次采购在 {due} 前后。", f"- By that rhythm the next order is due around {due}. ") + pen.cite(*cites))
    return "\n".join(lines)


def open_concerns(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What worries them, in their words, and how to meet it."""
    if not facts.concerns:
        return Missing(Text("没有未解决的顾虑", "no open concern"))
    lines = []
    for concern in facts.concerns[:4]:
        name = pen.words(label(CONCERNS, concern.category))
        lines.append(pen.say(f"- {pen.date(concern.at)} {name}：“{concern.words}”{pen.cite(concern.evidence)}", f"- {pen.date(concern.at)} {name}: “{concern.words}” {pen.cite(concern.evidence)}"))
        answer = next((entry for entry in in_language(about(shelf["responses"], facts.products), pen.language) if concern.category in entry.concerns), None)
        if answer is not None:
            fitting = [sentence for sentence in pick(answer, "answer", limit=4) if not facts.products or products_in(sentence) <= facts.products]
            for sentence in fitting[:1]:
                lines.append(pen.say(f"- 回应：{sentence}{pen.cite(quote(answer))}", f"- Answer: {sentence} {pen.cite(quote(answer))}"))
    return "\n".join(lines)


def competitors(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who else is in the deal, and how to meet them."""
    if not facts.rivals:
        return Missing(Text("没有竞争对手的记录", "no competitor is known"))
    lines = []
    for rival in facts.rivals[:3]:
        name = pen.words(rival.name)
        heard = pen.say(f"，客户说：“{rival.words}”", f"; the customer said: “{rival.words}”") if rival.words else ""
        when = f"{pen.date(rival.at)} " if rival.at else ""
        lines.append(pen.say(f"- {when}{name}在场{heard}。{pen.cite(rival.evidence)}", f"- {when}{name} is in the deal{heard}. {pen.cite(rival.evidence)}"))
        card = next((entry for entry in in_language(shelf["battlecards"], pen.language) if rival.key in entry.competitors), None)
        if card is not None:
            for key, lead in (("we_win", Text("我们强在", "Where we win")), ("they_win", Text("他们强在", "Where they win")), ("questions", Text("要问", "Ask"))):
                for sentence in pick(card, key, limit=1):
                    lines.append(pen.say(f"- {lead.zh}：{sentence}{pen.cite(quote(card))}", f"- {lead.en}: {sentence} {pen.cite(quote(card))}"))
    return "\n".join(lines)


def policy_changes(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What has changed in policy that this customer will feel."""
    entries = in_language(shelf["policies"], pen.language)
    if not entries:
        return Missing(Text("没有适用的政策变化", "no policy change applies"))
    return "\n".join(_quoted(pen, entry, "change", "what_to_do", limit=2) for entry in entries[:3])


def talk_tracks(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """How to open, what to bring across and what to ask at this stage."""
    fitting = about(in_language(shelf["talk_tracks"], pen.language), facts.products)
    staged = [entry for entry in fitting if facts.deal is not None and facts.deal.stage_key in entry.stages]
    entries = staged or fitting
    if not entries:
        return Missing(Text("没有适合的话术", "no talk track fits"))
    blocks = []
    for entry in entries[:2]:
        lines = [f"**{entry.title}**{pen.say('：', ':')}"]
        if not is_structured(entry):
            lines += [f"- {sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}" for sentence in pick(entry, limit=3)]
            blocks.append("\n".join(lines))
            continue
        for key, lead in (("opening", Text("开场", "Open")), ("key_points", Text("要点", "Bring across")), ("questions", Text("追问", "Ask")), ("close", Text("收尾", "Close"))):
            for sentence in pick(entry, key, limit=2 if key in {"key_points", "questions"} else 1):
                lines.append(pen.say(f"- {lead.zh}：{sentence}{pen.cite(quote(entry))}", f"- {lead.en}: {sentence} {pen.cite(quote(entry))}"))
        blocks.append("\n".join(dict.fromkeys(lines)))
    return "\n\n".join(blocks)


def cases(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Customers like them and what they gained."""
    entries = about(in_language(shelf["cases"], pen.language), facts.products)
    if not entries:
        return Missing(Text("没有相近的案例", "no similar case"))
    return "\n".join(_case(pen, entry) for entry in entries[:2])


def _case(pen: Pen, entry: Found) -> str:
    if not is_structured(entry):
        return _quoted(pen, entry, limit=3)
    return f"{_quoted(pen, entry, 'problem', limit=1)}\n{_quoted(pen, entry, 'result', 'in_one_line', limit=2, titled=False)}"


def compliance_risks(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What legal and finance would stop: shown by records and policies, never invented."""
    lines = []
    if facts.quote is not None and facts.quote.payment_terms_days > commerce.STANDARD_PAYMENT_TERMS_DAYS:
        days = pen.count("payment_terms_days", Text("账期", "payment terms"), facts.quote.payment_terms_days, DAYS, facts.quote.evidence)
        lines.append(pen.say(f"- 最近报价的账期是 {days}，超过标准账期，须由财务先批。", f"- The latest quote grants {days} to pay, more than the standard terms: finance approves first. ") + pen.cite(facts.quote.evidence))
    floor = facts.floor_total
    if facts.quote is not None and floor is not None and facts.quote.total.currency == floor.currency and facts.quote.total.amount_minor < floor.amount_minor:
        lines.append(pen.say("- 最近报价低于底价，不得签发。", "- The latest quote is below floor price and may not be issued. ") + pen.cite(facts.quote.evidence))
    if facts.quote is not None and facts.quote.valid_until and facts.quote.valid_until < facts.now.date():
        lines.append(pen.say(f"- 报价已于 {pen.date(facts.quote.valid_until)} 过期，当面不要再引用其中的价格。", f"- The quote expired on {pen.date(facts.quote.valid_until)}: do not name its prices. ") + pen.cite(facts.quote.evidence))
    refused = [point for point in facts.reachable if point.light is TrafficLight.RED]
    for point in list({point.person: point for point in refused}.values())[:2]:
        channel = pen.words(CHANNELS[point.channel])
        lines.append(pen.say(f"- {point.person}不接受{channel}联系：{_closed(point.reason.zh, '。')}", f"- {point.person} may not be contacted by {channel}: {_closed(point.reason.en, '.')} ") + pen.cite(point.evidence))
    for entry in in_language(shelf["policies"], pen.language)[:3]:
        for sentence in pick(entry, "risk", limit=1) if is_structured(entry) else ():
            lines.append(f"- {sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}")
    return "\n".join(lines) if lines else Missing(Text("记录与政策中没有发现合规风险", "neither records nor policies show a compliance risk"))


def contactability(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """How each person may be reached for follow-up, with the reason."""
    if not facts.reachable:
        return Missing(Text("没有可判断授权的联系人", "no contact whose consent could be judged"))
    people: dict[str, list[context.Reachable]] = {}
    for point in facts.reachable:
        people.setdefault(point.person, []).append(point)
    lines = []
    for name, points in list(people.items())[:6]:
        allowed = [pen.words(CHANNELS[point.channel]) for point in points if point.decision is ConsentDecision.ALLOW]
        denied = [f"{pen.words(CHANNELS[point.channel])}（{pen.words(point.reason)}）" for point in points if point.decision in {ConsentDecision.DENY, ConsentDecision.ALLOW_VIA}]
        told = []
        told.append(pen.say(f"可用{pen.join(allowed)}", f"may be reached by {pen.join(allowed)}") if allowed else pen.say("没有获准的渠道，先当面取得同意", "no channel is allowed: ask for consent in person first"))
        if denied:
            told.append(pen.say(f"不可用{pen.join(denied)}", f"not by {pen.join(denied)}"))
        lines.append(pen.say(f"- {name}：{'；'.join(told)}。", f"- {name}: {'; '.join(told)}. ") + pen.cite(points[0].evidence))
    return "\n".join(lines)


def next_actions(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What to do at and after the visit, each from something above."""
    lines = []
    seats = [CommitteeSeat(person.role, person.covered_at is not None) for person in facts.people if person.role]
    coverage = deals.committee_coverage(seats)
    unseen = [person for person in facts.people if person.role in coverage.uncovered]
    for person in unseen[:1]:
        role = pen.words(label(BUYING_ROLES, person.role))
        lines.append(pen.say(f"- 请对方引荐{role} {person.name}，约一次单独沟通。", f"- Ask to be introduced to {person.name} ({role}) and fix a separate talk. ") + pen.cite(person.evidence))
    if not unseen and coverage.unknown and facts.deal is not None:
        role = pen.words(label(BUYING_ROLES, coverage.unknown[0]))
        lines.append(pen.say(f"- 问清谁担任{role}，把名字记进商机。", f"- Find out who the {role} is and put the name into the deal. ") + pen.cite(facts.deal.evidence))
    for person in [person for person in facts.people if person.stance is Stance.OPPOSES][:1]:
        lines.append(pen.say(f"- 先听{person.name}把反对理由说完，再谈方案。", f"- Hear {person.name} out before you talk about the solution. ") + pen.cite(person.evidence))
    for concern in facts.concerns[:2]:
        name = pen.words(label(CONCERNS, concern.category))
        lines.append(pen.say(f"- 离开前确认「{name}」是否已解决。", f"- Before you leave, settle whether “{name}” is resolved. ") + pen.cite(concern.evidence))
    if facts.deal is not None and facts.deal.close_date is not None:
        late = facts.deal.close_date < facts.now.date()
        closing = pen.date(facts.deal.close_date)
        text = (f"- 预计签约日 {closing} 已过，当面重新约定日期。", f"- The close date {closing} has passed: agree on a new one. ") if late else (f"- 倒推 {closing} 签约还缺哪几步，写进会议纪要。", f"- Work back from {closing}: note which steps are still missing. ")
        lines.append(pen.say(*text) + pen.cite(facts.deal.evidence))
    if facts.done:
        lines.append(pen.say(f"- 接着上次的话题谈：{_closed(_short(facts.done[0].subject), '。')}", f"- Pick up where you left: {_closed(_short(facts.done[0].subject), '.')} ") + pen.cite(facts.done[0].evidence))
    return "\n".join(lines) if lines else Missing(Text("没有可依据的记录来提出下一步", "no record to derive a next action from"))


def _quoted(pen: Pen, entry: Found, *keys: str, limit: int, titled: bool = True) -> str:
    lead = [f"- {entry.title}{pen.say('。', '. ')}{pen.cite(quote(entry))}"] if titled else []
    return "\n".join(lead + [f"- {sentence}{pen.say('', ' ')}{pen.cite(quote(entry))}" for sentence in pick(entry, *keys, limit=limit)])


def _short(text: str, limit: int = 160) -> str:
    """One line of a note, cut at a sentence where it is long."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = max(line.rfind(mark, 0, limit) for mark in ("。", ". ", "；", "，", ", "))
    return line[: cut + 1 if cut > limit // 2 else limit].rstrip("，,；; ") + "…"


def _closed(text: str, mark: str) -> str:
    return text if text.endswith(("。", ".", "！", "!", "？", "?", "…", "”")) else text + mark


SKILL = Skill(
    kind=GenerationKind.VISIT_BRIEF,
    subject_kind="Account",
    gather=gather,
    wants=wants,
    sections=(
        SectionPlan("snapshot", Text("客户概况", "Snapshot"), snapshot),
        SectionPlan("decision_chain", Text("决策链", "Decision chain"), decision_chain),
        SectionPlan("recent_activity", Text("最近往来", "Recent activity"), recent_activity),
        SectionPlan("purchase_cycles", Text("采购周期", "Purchase cycles"), purchase_cycles),
        SectionPlan("open_concerns", Text("未解决的顾虑", "Open concerns"), open_concerns),
        SectionPlan("competitors", Text("竞争对手", "Competitors"), competitors),
        SectionPlan("policy_changes", Text("政策变化", "Policy changes"), policy_changes),
        SectionPlan("talk_tracks", Text("话术", "Talk tracks"), talk_tracks, free=True),
        SectionPlan("cases", Text("案例", "Cases"), cases),
        SectionPlan("quote_strategies", Text("报价策略", "Quote strategies"), quote_strategies),
        SectionPlan("compliance_risks", Text("合规风险", "Compliance risks"), compliance_risks),
        SectionPlan("contactability", Text("联系授权", "Contactability"), contactability),
        SectionPlan("next_actions", Text("下一步", "Next actions"), next_actions),
    ),
    queued_by="compliance_risks",
)

