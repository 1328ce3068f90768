"""The sections of a brief that records alone carry: who they are, what happened, how they buy, what to do next."""

from decimal import Decimal
from uuid import UUID

from assistant.draft import Pen
from assistant.facts import AccountFacts, Deal, Person, Reachable
from assistant.skills.base import Missing, Shelf
from assistant.skills.excerpts import closed, shorten
from assistant.skills.returns import returns
from assistant.wording import ACTIVITY_KINDS, BUYING_ROLES, CHANNELS, CONCERNS, INDUSTRIES, LIFECYCLE, STANCES, label
from domain import commerce, deals
from domain.consent import ConsentDecision
from domain.deals import CommitteeCoverage, CommitteeSeat, Stance
from domain.kernel import Text

DAYS = Text("天", "days")
LAST_ORDERS = 3
GLANCE = 7
"""The lines of a snapshot."""


def snapshot(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who they are to us and where the deal stands."""
    labels = (facts.region_label, label(INDUSTRIES, facts.industry), label(LIFECYCLE, facts.lifecycle))
    who = pen.join(words for words in map(pen.words, labels) if words)
    lines = [pen.point(f"{facts.name}：{who}。", f"{facts.name}: {who}.", facts.evidence)]
    if facts.employees:
        staff = pen.count(
            "employees", Text("员工数", "employees"), facts.employees, Text("人", "people"), facts.evidence
        )
        lines.append(pen.point(f"员工 {staff}。", f"Staff: {staff}.", facts.evidence))
    if facts.deal is not None:
        lines += _standing(pen, facts, facts.deal)
        others = [deal for deal in facts.open_deals if deal.id != facts.deal.id]
        lines += [
            pen.point(f"另有「{deal.name}」处于「{deal.stage.zh}」。", f"Also open: “{deal.name}” in {deal.stage.en}.", deal.evidence)
            for deal in others[: GLANCE - len(lines)]
        ]  # fmt: skip
    return "\n".join(lines)


def _standing(pen: Pen, facts: AccountFacts, deal: Deal) -> list[str]:
    held, shown = (facts.now - deal.entered_at).days, deal.evidence
    stay = pen.count("days_in_stage", Text("当前阶段停留", "days in stage"), held, DAYS, shown)
    lines = [
        pen.point(
            f"商机「{deal.name}」处于「{deal.stage.zh}」，已停留 {stay}。", f"“{deal.name}” is in {deal.stage.en} and has been there for {stay}.", shown
        )
    ]  # fmt: skip
    if deal.expected_days and held > deal.expected_days:
        norm = pen.count("expected_days", Text("阶段常规时长", "usual days"), deal.expected_days, DAYS, shown)
        lines.append(
            pen.point(
                f"这一阶段通常用 {norm}，这次拜访要弄清卡在谁那里。",
                f"The stage usually takes {norm}: find out who holds it up.",
                shown,
            )
        )
    if deal.amount:
        amount = pen.money("deal_amount", Text("商机金额", "deal amount"), deal.amount, shown)
        closing = pen.date(deal.close_date) if deal.close_date else ""
        due = pen.say(f"，预计 {closing} 签约", f", expected to close on {closing}") if closing else ""
        lines.append(pen.point(f"金额 {amount}{due}。", f"Amount {amount}{due}.", shown))
    return lines + returns(pen, facts)


def decision_chain(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Who decides, how they stand, and which needed role nobody has spoken to."""
    seated = [person for person in facts.people if person.role is not None]
    if not seated:
        return Missing(Text("还没有登记决策链上的人", "nobody of the buying committee is known yet"))
    lines = [_seat(pen, person) for person in seated[:9]]
    coverage = _coverage(facts)
    source = facts.deal.evidence if facts.deal else facts.evidence
    share = pen.percent(
        "committee_coverage", Text("决策链覆盖度", "committee coverage"), Decimal(coverage.percent), source
    )
    roles = pen.join(pen.words(label(BUYING_ROLES, role)) for role in (*coverage.uncovered, *coverage.unknown))
    zh, en = (
        (f"，还差：{roles}", f"; still open: {roles}")
        if roles
        else ("，需要的角色都谈过了", "; every needed role has been spoken to")
    )
    return "\n".join([*lines, pen.point(f"决策链覆盖度 {share}{zh}。", f"Committee coverage {share}{en}.", source)])


def _seat(pen: Pen, person: Person) -> str:
    role, stance = pen.words(label(BUYING_ROLES, person.role)), pen.words(STANCES[person.stance])
    who = f"{person.name} {person.title}" if person.title else person.name
    at = pen.date(person.covered_at) if person.covered_at else ""
    zh, en = (f"{at} 谈过", f"spoken to on {at}") if at else ("还没谈过", "not spoken to yet")
    return pen.point(f"{who}：{role}，{stance}，{zh}。", f"{who}: {role}, {stance}, {en}.", person.evidence)


def _coverage(facts: AccountFacts) -> CommitteeCoverage:
    return deals.committee_coverage(
        [CommitteeSeat(person.role, person.covered_at is not None) for person in facts.people if person.role]
    )


def recent_activity(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """The last things that were done, newest first."""
    if not facts.done:
        return Missing(Text("近半年没有活动记录", "no activity in the last half year"))
    lines = []
    for done in facts.done[:5]:
        at, kind = pen.date(done.at), pen.words(label(ACTIVITY_KINDS, done.kind))
        text = shorten(done.subject) + (pen.say("：", ": ") + shorten(done.body) if done.body else "")
        lines.append(
            pen.point(f"{at} {kind}，{closed(text, '。')}", f"{at} {kind}, {closed(text, '.')}", done.evidence)
        )
    return "\n".join(lines)


def purchase_cycles(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """The rhythm of their last three orders and when the next one is due, reckoned by code."""
    if not facts.orders:
        return Missing(Text("没有历史订单", "no orders so far"))
    lines = []
    for order in facts.orders[:LAST_ORDERS]:
        total = pen.money(
            "order_total", Text(f"订单 {order.number}", f"order {order.number}"), order.total, order.evidence
        )
        at = pen.date(order.at)
        lines.append(pen.point(f"{at} 订单 {total}。", f"{at}: order of {total}.", order.evidence))
    return "\n".join(lines + _rhythm(pen, facts))


def _rhythm(pen: Pen, facts: AccountFacts) -> list[str]:
    cycle = commerce.purchase_cycle([(order.at, order.total) for order in facts.orders], facts.now)
    newest, cites = facts.orders[0].evidence, [order.evidence for order in facts.orders[:LAST_ORDERS]]
    if cycle is None:
        return [
            pen.point(
                "订单不足以看出节奏，当面问清下一次采购计划。",
                "Too few orders to show a rhythm: ask for the next purchase plan.",
                *cites,
            )
        ]
    interval = pen.count(
        "cycle_interval_days", Text("采购间隔", "purchase interval"), cycle.interval_days, DAYS, newest
    )
    swing = pen.count("cycle_swing_days", Text("间隔波动", "swing"), cycle.swing_days, DAYS, newest)
    rhythm = pen.point(
        f"平均每 {interval}采购一次，前后波动 {swing}。",
        f"They buy every {interval} on average, give or take {swing}.",
        *cites,
    )
    due = pen.date(cycle.next_due)
    if cycle.overdue_days == 0:
        return [
            rhythm,
            pen.point(
                f"按这个节奏下一次采购在 {due} 前后。", f"By that rhythm the next order is due around {due}.", *cites
            ),
        ]
    late = pen.count("cycle_overdue_days", Text("超过预计采购日", "days overdue"), cycle.overdue_days, DAYS, newest)
    zh = f"按这个节奏应在 {due} 下单，已过 {late}，先弄清是推迟还是转给了别人。"
    en = f"By that rhythm the next order was due on {due} and is {late} late: find out whether it slipped or went elsewhere."
    return [rhythm, pen.point(zh, en, *cites)]


def contactability(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """How each person may be reached for follow-up, with the reason."""
    if not facts.reachable:
        return Missing(Text("没有可判断授权的联系人", "no contact whose consent could be judged"))
    people: dict[UUID, list[Reachable]] = {}
    for point in facts.reachable:
        people.setdefault(point.evidence.record.id, []).append(point)
    return "\n".join(_channels(pen, points) for points in list(people.values())[:6])


def _channels(pen: Pen, points: list[Reachable]) -> str:
    allowed = pen.join(
        pen.words(CHANNELS[point.channel]) for point in points if point.decision is ConsentDecision.ALLOW
    )
    zh, en = f"可用{allowed}", f"may be reached by {allowed}"
    if not allowed:
        zh, en = "没有获准的渠道，先当面取得同意", "no channel is allowed: ask for consent in person first"
    denied = [point for point in points if point.decision in {ConsentDecision.DENY, ConsentDecision.ALLOW_VIA}]
    if denied:
        zh += "；不可用" + "、".join(f"{CHANNELS[point.channel].zh}（{point.reason.zh}）" for point in denied)
        en += "; not by " + ", ".join(f"{CHANNELS[point.channel].en} ({point.reason.en})" for point in denied)
    name = points[0].person
    return pen.point(f"{name}：{zh}。", f"{name}: {en}.", points[0].evidence)


def next_actions(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """What to do at and after the visit, each from something above."""
    lines = _people_to_see(pen, facts)
    for concern in facts.concerns[:2]:
        name = pen.words(label(CONCERNS, concern.category))
        lines.append(
            pen.point(
                f"离开前确认「{name}」是否已解决。",
                f"Before you leave, settle whether “{name}” is resolved.",
                concern.evidence,
            )
        )
    if facts.deal is not None and facts.deal.close_date is not None:
        closing = pen.date(facts.deal.close_date)
        zh, en = (
            f"倒推 {closing} 签约还缺哪几步，写进会议纪要。",
            f"Work back from {closing}: note which steps are still missing.",
        )
        if facts.deal.close_date < facts.now.date():
            zh, en = (
                f"预计签约日 {closing} 已过，当面重新约定日期。",
                f"The close date {closing} has passed: agree on a new one.",
            )
        lines.append(pen.point(zh, en, facts.deal.evidence))
    if facts.done:
        topic = shorten(facts.done[0].subject)
        lines.append(
            pen.point(
                f"接着上次的话题谈：{closed(topic, '。')}",
                f"Pick up where you left: {closed(topic, '.')}",
                facts.done[0].evidence,
            )
        )
    return (
        "\n".join(lines)
        if lines
        else Missing(Text("没有可依据的记录来提出下一步", "no record to derive a next action from"))
    )


def _people_to_see(pen: Pen, facts: AccountFacts) -> list[str]:
    coverage = _coverage(facts)
    unseen = [person for person in facts.people if person.role in coverage.uncovered]
    lines = []
    for person in unseen[:1]:
        role = pen.words(label(BUYING_ROLES, person.role))
        zh, en = (
            f"请对方引荐{role} {person.name}，约一次单独沟通。",
            f"Ask to be introduced to {person.name} ({role}) and fix a separate talk.",
        )
        lines.append(pen.point(zh, en, person.evidence))
    if not unseen and coverage.unknown and facts.deal is not None:
        role = pen.words(label(BUYING_ROLES, coverage.unknown[0]))
        zh, en = f"问清谁担任{role}，把名字记进商机。", f"Find out who the {role} is and put the name into the deal."
        lines.append(pen.point(zh, en, facts.deal.evidence))
    for person in [person for person in facts.people if person.stance is Stance.OPPOSES][:1]:
        zh, en = (
            f"先听{person.name}把反对理由说完，再谈方案。",
            f"Hear {person.name} out before you talk about the solution.",
        )
        lines.append(pen.point(zh, en, person.evidence))
    return lines
