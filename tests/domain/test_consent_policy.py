"""The consent policy: the last statement holds, unknown never means yes, a withdrawal bites at once."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import Channel
from domain.consent import (
    ConsentDecision,
    ConsentStatus,
    Decision,
    GrantFact,
    LawfulBasis,
    PurposeFact,
    TrafficLight,
    contactability,
    decide,
)
from domain.kernel import Text
from tests.factories import START

ALLOW, ALLOW_VIA, DENY, UNKNOWN = ConsentDecision
OPT_IN, OPT_OUT, PENDING, EXPIRED, NOT_ASKED = ConsentStatus
PHONE, WECHAT, EMAIL, SMS = Channel.PHONE, Channel.WECHAT, Channel.EMAIL, Channel.SMS
MARKETING = PurposeFact("marketing", LawfulBasis.CONSENT, Text("营销推广", "Marketing"))
SERVICE = PurposeFact("service", LawfulBasis.CONTRACT, Text("履约与售后服务", "Service under contract"))
ALL = frozenset(Channel)


def said(
    status: ConsentStatus,
    channel: Channel = PHONE,
    day: float = 0,
    *,
    number: int = 1,
    until: float | None = None,
    purpose: str = "marketing",
) -> GrantFact:
    """A statement `day` days from the start, perhaps until another day."""
    end = None if until is None else START + timedelta(days=until)
    return GrantFact(UUID(int=number), purpose, channel, status, START + timedelta(days=day), end)


def on(
    *grants: GrantFact,
    channel: Channel | None = PHONE,
    day: float = 10,
    reachable: frozenset[Channel] = ALL,
    purpose: PurposeFact = MARKETING,
) -> Decision:
    """The decision `day` days from the start."""
    return decide(grants, reachable, purpose, channel, START + timedelta(days=day))


# ---- the policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "decision", "light"),
    [
        (OPT_IN, ALLOW, TrafficLight.GREEN),
        (OPT_OUT, DENY, TrafficLight.RED),
        (EXPIRED, DENY, TrafficLight.RED),
        (PENDING, UNKNOWN, TrafficLight.AMBER),
        (NOT_ASKED, UNKNOWN, TrafficLight.AMBER),
    ],
)
def test_each_status_has_its_decision_and_light(
    status: ConsentStatus, decision: ConsentDecision, light: TrafficLight
) -> None:
    found = on(said(status))
    assert (found.decision, found.light, found.via, found.deciding_grant_ids) == (decision, light, None, (UUID(int=1),))


def test_nothing_said_is_unknown_and_names_no_grant() -> None:
    found = on()
    assert (found.decision, found.light, found.deciding_grant_ids) == (UNKNOWN, TrafficLight.AMBER, ())
    assert found.reason == Text("用途“营销推广”：电话尚未征得同意", "Purpose “Marketing”: telephone: never asked")


def test_refused_voice_gives_way_to_a_message_that_was_agreed() -> None:
    found = on(said(OPT_OUT, PHONE), said(OPT_IN, WECHAT, number=2))
    assert (found.decision, found.via, found.light) == (ALLOW_VIA, WECHAT, TrafficLight.AMBER)
    assert found.reason.zh == "用途“营销推广”：电话已拒绝，微信已同意；请改用微信"
    assert found.reason.en == "Purpose “Marketing”: telephone: refused, WeChat: agreed; use WeChat instead"
    assert found.deciding_grant_ids == (UUID(int=1), UUID(int=2))


def test_refused_voice_is_a_no_when_the_agreed_channel_has_no_contact_point() -> None:
    assert on(said(OPT_OUT, PHONE), said(OPT_IN, WECHAT), reachable=frozenset({PHONE})).decision is DENY


def test_an_unasked_channel_stays_unknown_beside_an_agreed_one() -> None:
    found = on(said(OPT_IN, WECHAT), channel=EMAIL)
    assert (found.decision, found.via) == (UNKNOWN, None)


def test_an_agreed_channel_without_a_contact_point_is_a_no() -> None:
    found = on(said(OPT_IN, EMAIL), channel=EMAIL, reachable=frozenset())
    assert found.decision is DENY
    assert found.reason.zh == "用途“营销推广”：邮件没有联系方式"


def test_talking_in_person_needs_consent_and_no_contact_point() -> None:
    assert on(channel=Channel.IN_PERSON, reachable=frozenset()).decision is UNKNOWN
    assert on(said(OPT_IN, Channel.IN_PERSON), channel=Channel.IN_PERSON, reachable=frozenset()).decision is ALLOW


def test_consent_runs_out_at_its_end_to_the_microsecond() -> None:
    grant = said(OPT_IN, until=5)
    end = START + timedelta(days=5)
    assert decide([grant], ALL, MARKETING, PHONE, end - timedelta(microseconds=1)).decision is ALLOW
    found = decide([grant], ALL, MARKETING, PHONE, end)
    assert (found.decision, found.reason.zh) == (DENY, "用途“营销推广”：电话同意已过期")


def test_expired_consent_does_not_bring_an_older_one_back() -> None:
    assert on(said(OPT_IN, day=0, number=1), said(OPT_IN, day=1, until=2, number=2)).decision is DENY


def test_a_late_report_of_an_older_yes_does_not_overturn_a_newer_no() -> None:
    assert on(said(OPT_OUT, day=2), said(OPT_IN, day=1, number=2)).decision is DENY


@pytest.mark.parametrize("status", [OPT_OUT, EXPIRED, PENDING, NOT_ASKED])
def test_the_statement_that_occurred_last_holds(status: ConsentStatus) -> None:
    assert on(said(status, day=1), said(OPT_IN, day=2, number=2)).decision is ALLOW
    assert on(said(OPT_IN, day=1), said(status, day=2, number=2)).decision is on(said(status)).decision


def test_a_yes_to_another_purpose_is_none_to_this() -> None:
    assert on(said(OPT_IN, purpose="service")).decision is UNKNOWN


def test_a_yes_that_lies_ahead_does_not_count_and_a_no_does() -> None:
    assert on(said(OPT_IN, day=11)).decision is UNKNOWN
    assert on(said(OPT_IN, day=0), said(OPT_OUT, day=10.001, number=2)).decision is DENY


@pytest.mark.parametrize("status", [None, PENDING, NOT_ASKED, EXPIRED, OPT_IN])
def test_a_contract_needs_no_consent(status: ConsentStatus | None) -> None:
    grants = [said(status, purpose="service")] if status else []
    assert on(*grants, purpose=SERVICE, reachable=frozenset({PHONE})).decision is ALLOW


def test_even_under_a_contract_a_refusal_holds() -> None:
    found = on(said(OPT_OUT, purpose="service"), purpose=SERVICE, reachable=frozenset({PHONE}))
    assert (found.decision, found.via) == (ALLOW_VIA, Channel.IN_PERSON)
    both = [said(OPT_OUT, channel, purpose="service") for channel in Channel]
    assert on(*both, purpose=SERVICE).decision is DENY


def test_legitimate_interest_is_asked_for_like_consent() -> None:
    assert on(purpose=replace(MARKETING, lawful_basis=LawfulBasis.LEGITIMATE_INTEREST)).decision is UNKNOWN


def test_the_best_channel_is_the_message_that_disturbs_least() -> None:
    grants = [said(OPT_IN, PHONE), said(OPT_IN, EMAIL, number=2)]
    assert (on(*grants, channel=None).channel, on(*grants, channel=None).decision) == (EMAIL, ALLOW)


def test_without_any_allowed_channel_every_deciding_grant_is_named() -> None:
    found = on(
        said(OPT_OUT, PHONE), said(EXPIRED, EMAIL, number=2), channel=None, reachable=frozenset({PHONE, EMAIL, SMS})
    )
    assert (found.decision, found.channel) == (DENY, EMAIL)
    assert set(found.deciding_grant_ids) == {UUID(int=1), UUID(int=2)}
    assert found.reason.zh == "没有可用的渠道。用途“营销推广”：短信尚未征得同意，邮件同意已过期，电话已拒绝"


def test_without_any_statement_the_best_channel_is_unknown() -> None:
    assert on(channel=None).decision is UNKNOWN
    assert on(channel=None, reachable=frozenset()).decision is UNKNOWN


grants_drawn = st.lists(
    st.builds(
        GrantFact,
        id=st.uuids(version=4),
        purpose=st.sampled_from(["marketing", "service"]),
        channel=st.sampled_from([PHONE, WECHAT, EMAIL]),
        status=st.sampled_from(ConsentStatus),
        occurred_at=st.integers(0, 6).map(lambda day: START + timedelta(days=day)),
        effective_to=st.none() | st.integers(1, 12).map(lambda day: START + timedelta(days=day)),
    ),
    max_size=8,
    unique_by=lambda grant: grant.id,
)
purposes_drawn = st.sampled_from([MARKETING, SERVICE])
reachable_drawn = st.frozensets(st.sampled_from(Channel))
instants_drawn = st.integers(0, 14).map(lambda day: START + timedelta(days=day))


@given(grants_drawn, st.randoms(use_true_random=False), purposes_drawn, reachable_drawn, instants_drawn)
def test_the_order_of_arrival_does_not_matter(
    grants: list[GrantFact], chance: Any, purpose: PurposeFact, reachable: frozenset[Channel], at: datetime
) -> None:
    shuffled = grants.copy()
    chance.shuffle(shuffled)
    assert contactability(shuffled, reachable, purpose, at) == contactability(grants, reachable, purpose, at)
    assert decide(shuffled, reachable, purpose, None, at) == decide(grants, reachable, purpose, None, at)


@given(grants_drawn, purposes_drawn, reachable_drawn, instants_drawn)
def test_a_withdrawal_bites_on_the_next_call(
    grants: list[GrantFact], purpose: PurposeFact, reachable: frozenset[Channel], at: datetime
) -> None:
    known = [grant for grant in grants if grant.occurred_at <= at]
    withdrawal = GrantFact(UUID(int=7), purpose.code, PHONE, OPT_OUT, at)
    found = decide([*known, withdrawal], reachable, purpose, PHONE, at)
    assert found.decision in {DENY, ALLOW_VIA}
    assert found.via is not PHONE
    refusals = {grant.id for grant in (*known, withdrawal) if grant.status is OPT_OUT and grant.occurred_at == at}
    assert refusals & set(found.deciding_grant_ids)


@given(grants_drawn, reachable_drawn, instants_drawn)
def test_a_yes_always_rests_on_a_living_opt_in_for_a_channel_with_a_contact_point(
    grants: list[GrantFact], reachable: frozenset[Channel], at: datetime
) -> None:
    by_id = {grant.id: grant for grant in grants}
    for found in (*contactability(grants, reachable, MARKETING, at), decide(grants, reachable, MARKETING, None, at)):
        used = found.channel if found.decision is ALLOW else found.via
        assert (used is None) == (found.decision in {DENY, UNKNOWN})
        if used is not None:
            grant = next(by_id[id] for id in found.deciding_grant_ids if by_id[id].channel is used)
            assert grant.status is OPT_IN
            assert grant.occurred_at <= at
            assert grant.effective_to is None or grant.effective_to > at
            assert used in reachable | {Channel.IN_PERSON}


@given(grants_drawn, purposes_drawn, reachable_drawn, instants_drawn)
def test_every_channel_gets_the_answer_that_it_gets_alone(
    grants: list[GrantFact], purpose: PurposeFact, reachable: frozenset[Channel], at: datetime
) -> None:
    found = contactability(grants, reachable, purpose, at)
    assert [decision.channel for decision in found] == list(Channel)
    assert list(found) == [decide(grants, reachable, purpose, channel, at) for channel in Channel]


@given(st.permutations(list(ConsentStatus)))
def test_of_simultaneous_statements_the_most_restrictive_holds(order: list[ConsentStatus]) -> None:
    grants = [said(status, number=number) for number, status in enumerate(order, start=1)]
    assert on(*grants).reason.zh == "用途“营销推广”：电话已拒绝"
    without = [grant for grant in grants if grant.status is not OPT_OUT]
    assert on(*without).reason.zh == "用途“营销推广”：电话同意已过期"


def test_of_simultaneous_opt_ins_the_one_that_ends_first_holds() -> None:
    assert on(said(OPT_IN, until=5), said(OPT_IN, until=20, number=2)).decision is DENY
