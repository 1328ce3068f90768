"""Whether a person may be contacted: a pure decision on what they said, where they can be reached, and why we ask."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from domain.accounts import Channel
from domain.consent.model import ConsentDecision, ConsentStatus, LawfulBasis, TrafficLight
from domain.kernel import Text

CHANNEL_LABELS = {
    Channel.EMAIL: Text("邮件", "e-mail"),
    Channel.PHONE: Text("电话", "telephone"),
    Channel.WECHAT: Text("微信", "WeChat"),
    Channel.SMS: Text("短信", "SMS"),
    Channel.APP: Text("应用消息", "app message"),
    Channel.IN_PERSON: Text("当面", "in person"),
    Channel.MAIL: Text("信函", "mail"),
}

PREFERENCE = (
    Channel.WECHAT,
    Channel.SMS,
    Channel.APP,
    Channel.EMAIL,
    Channel.PHONE,
    Channel.MAIL,
    Channel.IN_PERSON,
)
"""The order in which an allowed channel is chosen: written messages disturb least, a visit most."""

NO_ADDRESS_NEEDED = frozenset({Channel.IN_PERSON})

WITHOUT_CONSENT = frozenset({LawfulBasis.CONTRACT, LawfulBasis.LEGAL_OBLIGATION})
"""Bases on which nobody has to be asked (PIPL article 13 (2), (3)); it knows no legitimate interest, which needs an opt-in here."""

RESTRICTIVENESS = (
    ConsentStatus.OPT_IN,
    ConsentStatus.NOT_ASKED,
    ConsentStatus.PENDING,
    ConsentStatus.EXPIRED,
    ConsentStatus.OPT_OUT,
)
"""Of two statements of the same instant, the later one in this row holds."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PurposeFact:
    """A purpose as far as decisions are concerned."""

    code: str
    lawful_basis: LawfulBasis
    label: Text


@dataclass(frozen=True, slots=True)
class GrantFact:
    """What a person said about one purpose on one channel, and when."""

    id: UUID
    purpose: str
    channel: Channel
    status: ConsentStatus
    occurred_at: datetime
    effective_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer with its reason: whether, on which channel, and because of which grants."""

    channel: Channel
    decision: ConsentDecision
    via: Channel | None
    reason: Text
    deciding_grant_ids: tuple[UUID, ...]

    @property
    def light(self) -> TrafficLight:
        """Green for yes, amber for another channel or nothing known, red for no."""
        return _LIGHTS[self.decision]


_LIGHTS = {
    ConsentDecision.ALLOW: TrafficLight.GREEN,
    ConsentDecision.ALLOW_VIA: TrafficLight.AMBER,
    ConsentDecision.UNKNOWN: TrafficLight.AMBER,
    ConsentDecision.DENY: TrafficLight.RED,
}


class _Why(Enum):
    """How one channel stands, with the verdict that it has by itself."""

    AGREED = (ConsentDecision.ALLOW, Text("已同意", "agreed"))
    NOT_NEEDED = (ConsentDecision.ALLOW, Text("依合同或法律义务，无需另行同意", "needs no consent by contract or law"))
    REFUSED = (ConsentDecision.DENY, Text("已拒绝", "refused"))
    EXPIRED = (ConsentDecision.DENY, Text("同意已过期", "consent has expired"))
    NO_ADDRESS = (ConsentDecision.DENY, Text("没有联系方式", "no contact point"))
    PENDING = (ConsentDecision.UNKNOWN, Text("正在等待答复", "waiting for an answer"))
    NOT_ASKED = (ConsentDecision.UNKNOWN, Text("尚未征得同意", "never asked"))


@dataclass(frozen=True, slots=True)
class _Standing:
    channel: Channel
    why: _Why
    grant: GrantFact | None

    @property
    def verdict(self) -> ConsentDecision:
        return self.why.value[0]

    @property
    def words(self) -> Text:
        label, why = CHANNEL_LABELS[self.channel], self.why.value[1]
        return Text(f"{label.zh}{why.zh}", f"{label.en}: {why.en}")


def decide(
    grants: Iterable[GrantFact],
    reachable: Collection[Channel],
    purpose: PurposeFact,
    channel: Channel | None,
    at: datetime,
) -> Decision:
    """Whether a person may be contacted for a purpose at an instant, on a channel or on the best one.

    On each channel the statement that occurred last holds, whatever the order in which statements arrived; of simultaneous
    ones the most restrictive. Only an opt-in that has occurred and not run out is a yes, unless the purpose's basis needs
    none and nobody refused. `reachable` are the channels with a contact point. A channel that is a no gives way to the
    first one in `PREFERENCE` that is a yes; one of which nothing is known stays unknown.
    """
    standings = _standings(grants, reachable, purpose, at)
    return _best(standings, reachable, purpose) if channel is None else _on(channel, standings, purpose)


def contactability(
    grants: Iterable[GrantFact], reachable: Collection[Channel], purpose: PurposeFact, at: datetime
) -> tuple[Decision, ...]:
    """The decision on each channel, in the order of `Channel`."""
    standings = _standings(grants, reachable, purpose, at)
    return tuple(_on(channel, standings, purpose) for channel in Channel)


def _standings(
    grants: Iterable[GrantFact], reachable: Collection[Channel], purpose: PurposeFact, at: datetime
) -> dict[Channel, _Standing]:
    latest = _latest(grants, purpose.code, at)
    addressed = set(reachable) | NO_ADDRESS_NEEDED
    return {
        channel: _Standing(channel, _why(latest.get(channel), channel in addressed, purpose, at), latest.get(channel))
        for channel in PREFERENCE
    }


def _latest(grants: Iterable[GrantFact], purpose: str, at: datetime) -> dict[Channel, GrantFact]:
    """The statement that holds on each channel of which something was said."""
    latest: dict[Channel, GrantFact] = {}
    for grant in grants:
        # A refusal holds as soon as it is known, even when the clock that wrote it is ahead of ours.
        ahead = grant.occurred_at > at and grant.status is ConsentStatus.OPT_IN
        if grant.purpose == purpose and not ahead:
            latest[grant.channel] = max(latest.get(grant.channel, grant), grant, key=_precedence)
    return latest


def _precedence(grant: GrantFact) -> tuple[datetime, int, float, UUID]:
    remaining = (grant.effective_to or _NEVER).timestamp()
    return grant.occurred_at, RESTRICTIVENESS.index(grant.status), -remaining, grant.id


def _why(grant: GrantFact | None, addressed: bool, purpose: PurposeFact, at: datetime) -> _Why:
    status = grant.status if grant else ConsentStatus.NOT_ASKED
    if status is ConsentStatus.OPT_OUT:
        return _Why.REFUSED
    if purpose.lawful_basis in WITHOUT_CONSENT:
        return _Why.NOT_NEEDED if addressed else _Why.NO_ADDRESS
    ended = grant is not None and grant.effective_to is not None and grant.effective_to <= at
    if status is ConsentStatus.EXPIRED or (ended and status is ConsentStatus.OPT_IN):
        return _Why.EXPIRED
    if status is ConsentStatus.OPT_IN:
        return _Why.AGREED if addressed else _Why.NO_ADDRESS
    return _Why.PENDING if status is ConsentStatus.PENDING else _Why.NOT_ASKED


def _on(channel: Channel, standings: dict[Channel, _Standing], purpose: PurposeFact) -> Decision:
    asked = standings[channel]
    other = next((standing for standing in standings.values() if standing.verdict is ConsentDecision.ALLOW), None)
    if asked.verdict is not ConsentDecision.DENY or other is None:
        return _decision(asked.verdict, channel, [asked], purpose)
    found = _decision(ConsentDecision.ALLOW_VIA, channel, [asked, other], purpose)
    label = CHANNEL_LABELS[other.channel]
    reason = Text(f"{found.reason.zh}；请改用{label.zh}", f"{found.reason.en}; use {label.en} instead")
    return replace(found, via=other.channel, reason=reason)


def _best(standings: dict[Channel, _Standing], reachable: Collection[Channel], purpose: PurposeFact) -> Decision:
    for standing in standings.values():
        if standing.verdict is ConsentDecision.ALLOW:
            return _decision(standing.verdict, standing.channel, [standing], purpose)
    telling = [s for s in standings.values() if s.grant is not None or s.channel in reachable]
    closed = [s for s in telling if s.verdict is ConsentDecision.DENY]
    first = next(iter(closed or telling), standings[PREFERENCE[0]])
    found = _decision(first.verdict, first.channel, telling or [first], purpose)
    return replace(
        found, reason=Text(f"没有可用的渠道。{found.reason.zh}", f"No channel may be used. {found.reason.en}")
    )


def _decision(
    verdict: ConsentDecision, channel: Channel, standings: Sequence[_Standing], purpose: PurposeFact
) -> Decision:
    reason = Text(
        f"用途“{purpose.label.zh}”：{'，'.join(standing.words.zh for standing in standings)}",
        f"Purpose “{purpose.label.en}”: {', '.join(standing.words.en for standing in standings)}",
    )
    deciding = tuple(standing.grant.id for standing in standings if standing.grant is not None)
    return Decision(channel, verdict, None, reason, deciding)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is to be taken as said about one purpose on one channel."""

    purpose: str
    channel: Channel
    status: ConsentStatus
    occurred_at: datetime
    effective_to: datetime | None


def narrowed(one: Sequence[GrantFact], other: Sequence[GrantFact], at: datetime) -> list[Statement]:
    """What has to be stated when two people turn out to be one, so that what held more strictly of either holds of both.

    Where only one of them was asked, nobody was: what the other's addresses may be used for is unknown.
    """
    said = [*one, *other]
    stated = []
    for purpose in sorted({grant.purpose for grant in said}):
        mine, theirs, merged = (_latest(grants, purpose, at) for grants in (one, other, said))
        for channel in sorted({grant.channel for grant in said if grant.purpose == purpose}):
            standing = [_holding(latest.get(channel), at) for latest in (mine, theirs)]
            status, end = strictest = max(standing, key=_strictness)
            if _strictness(_holding(merged.get(channel), at)) < _strictness(strictest):
                instants = [grant.occurred_at for grant in said if (grant.purpose, grant.channel) == (purpose, channel)]
                # A yes must not be ahead of now; what is stricter must not be older than what it holds against.
                since = at if status is ConsentStatus.OPT_IN else max(at, *instants)
                stated.append(Statement(purpose, channel, status, since, end))
    return stated


def _holding(grant: GrantFact | None, at: datetime) -> tuple[ConsentStatus, datetime | None]:
    if grant is None:
        return ConsentStatus.NOT_ASKED, None
    ended = grant.effective_to is not None and grant.effective_to <= at
    if ended and grant.status is ConsentStatus.OPT_IN:
        return ConsentStatus.EXPIRED, None
    return grant.status, grant.effective_to if grant.status is ConsentStatus.OPT_IN else None


def _strictness(holding: tuple[ConsentStatus, datetime | None]) -> tuple[int, float]:
    status, end = holding
    return RESTRICTIVENESS.index(status), -(end or _NEVER).timestamp()
