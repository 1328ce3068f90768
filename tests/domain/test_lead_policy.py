"""The steps of a lead: which status may follow which, who may take them, and when a reply counts."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.leads import (
    FOLLOWING,
    LeadStatus,
    LeadStep,
    Refusal,
    Standing,
    first_response_minutes,
    refusal,
)
from tests.factories import START

NOBODY, STRANGER = Standing(manages=False, owns=False, owned=False), Standing(manages=False, owns=False, owned=True)
OWNER, MANAGER = Standing(manages=False, owns=True, owned=True), Standing(manages=True, owns=False, owned=True)
OVER_THE_POOL = Standing(manages=True, owns=False, owned=False)

TABLE = """
         NEW          ASSIGNED     WORKING      NURTURING    QUALIFIED    CONVERTED DISQUALIFIED
CLAIM    ASSIGNED     ASSIGNED     WORKING      NURTURING    QUALIFIED    -         -
ASSIGN   ASSIGNED     ASSIGNED     WORKING      NURTURING    QUALIFIED    -         ASSIGNED
RELEASE  -            NEW          NEW          NEW          NEW          -         -
RESPOND  WORKING      WORKING      WORKING      NURTURING    QUALIFIED    -         -
QUALIFY  -            QUALIFIED    QUALIFIED    QUALIFIED    -            -         -
NURTURE  -            NURTURING    NURTURING    -            NURTURING    -         -
DISQUALIFY DISQUALIFIED DISQUALIFIED DISQUALIFIED DISQUALIFIED DISQUALIFIED -       -
CONVERT  -            CONVERTED    CONVERTED    CONVERTED    CONVERTED    -         -
"""


def test_the_status_after_each_step_is_the_one_of_the_table() -> None:
    head, *lines = [line.split() for line in TABLE.strip().splitlines()]
    written = {
        LeadStep(step): {LeadStatus(at): LeadStatus(to) for at, to in zip(head, ends, strict=True) if to != "-"}
        for step, *ends in lines
    }
    assert {step: dict(ends) for step, ends in FOLLOWING.items()} == written


WHO = [
    (LeadStep.CLAIM, LeadStatus.NEW, {NOBODY: None, OVER_THE_POOL: None}),
    (LeadStep.CLAIM, LeadStatus.ASSIGNED, {STRANGER: Refusal.TAKEN, MANAGER: Refusal.TAKEN, OWNER: Refusal.TAKEN}),
    (LeadStep.ASSIGN, LeadStatus.NEW, {NOBODY: Refusal.CLAIM_FIRST, OVER_THE_POOL: None}),
    (LeadStep.ASSIGN, LeadStatus.WORKING, {OWNER: None, MANAGER: None, STRANGER: Refusal.NOT_ALLOWED}),
    (LeadStep.ASSIGN, LeadStatus.DISQUALIFIED, {OWNER: Refusal.NOT_ALLOWED, MANAGER: None}),
    (LeadStep.RESPOND, LeadStatus.NEW, {NOBODY: Refusal.CLAIM_FIRST, OVER_THE_POOL: Refusal.CLAIM_FIRST}),
    (LeadStep.RESPOND, LeadStatus.ASSIGNED, {OWNER: None, MANAGER: None, STRANGER: Refusal.NOT_ALLOWED}),
    (LeadStep.DISQUALIFY, LeadStatus.NEW, {NOBODY: Refusal.CLAIM_FIRST, OVER_THE_POOL: None, OWNER: Refusal.NOT_ALLOWED}),
    (LeadStep.DISQUALIFY, LeadStatus.WORKING, {OWNER: None, MANAGER: None, STRANGER: Refusal.NOT_ALLOWED}),
    (LeadStep.CONVERT, LeadStatus.WORKING, {OWNER: None, MANAGER: None, NOBODY: Refusal.CLAIM_FIRST}),
    (LeadStep.RELEASE, LeadStatus.QUALIFIED, {OWNER: None, MANAGER: None, STRANGER: Refusal.NOT_ALLOWED}),
]  # fmt: skip


@pytest.mark.parametrize(("step", "status", "expected"), WHO, ids=[f"{step}-{status}" for step, status, _ in WHO])
def test_who_may_take_a_step(step: LeadStep, status: LeadStatus, expected: dict[Standing, Refusal | None]) -> None:
    assert {standing: refusal(step, status, standing) for standing in expected} == expected


standings = st.builds(Standing, st.booleans(), st.booleans(), st.booleans()).filter(lambda s: s.owned or not s.owns)


@given(st.sampled_from(LeadStep), standings)
def test_what_is_converted_stays(step: LeadStep, standing: Standing) -> None:
    assert refusal(step, LeadStatus.CONVERTED, standing) is Refusal.WRONG_STATUS


@given(st.sampled_from(LeadStep), st.sampled_from(LeadStatus), standings)
def test_a_manager_may_do_whatever_an_owner_may(step: LeadStep, status: LeadStatus, standing: Standing) -> None:
    above = Standing(manages=True, owns=standing.owns, owned=standing.owned)
    if refusal(step, status, standing) is None:
        assert refusal(step, status, above) is None


@given(st.lists(st.tuples(st.sampled_from(LeadStep), st.booleans()), max_size=30))
def test_from_new_every_story_keeps_owner_and_status_in_step(story: list[tuple[LeadStep, bool]]) -> None:
    """Whatever is tried in whatever order: what nobody owns is NEW or closed, what is worked on has an owner."""
    status, owned = LeadStatus.NEW, False
    for step, manages in story:
        standing = Standing(manages=manages, owns=owned and not manages, owned=owned)
        if refusal(step, status, standing) is not None:
            continue
        status = FOLLOWING[step][status]
        owned = True if step in {LeadStep.CLAIM, LeadStep.ASSIGN} else False if step is LeadStep.RELEASE else owned
        assert owned or status in {LeadStatus.NEW, LeadStatus.DISQUALIFIED}
        assert status is not LeadStatus.NEW or not owned


def test_every_open_status_leads_to_a_deal() -> None:
    reached = {LeadStatus.NEW}
    for _ in LeadStatus:
        reached |= {ends[at] for ends, at in product(FOLLOWING.values(), reached) if at in ends}
    assert reached == set(LeadStatus)


RESPONSES = [
    (None, None, 0, None),
    (None, 0, 0, None),
    (90, None, 0, 90),
    (90, 30, 0, 60),
    (90, 120, 0, 90),
    (0, 0, 0, 0),
]


@pytest.mark.parametrize(("responded", "assigned", "captured", "minutes"), RESPONSES)
def test_the_first_response_counts_from_the_assignment_before_it(
    responded: int | None, assigned: int | None, captured: int, minutes: int | None
) -> None:
    def at(minute: int | None) -> object:
        return None if minute is None else START + timedelta(minutes=minute, seconds=59 if minute == responded else 0)

    assert first_response_minutes(at(responded), at(assigned), at(captured)) == minutes  # type: ignore[arg-type]
