"""What repeats what, which status may follow which, and who may do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.kernel import Text
from domain.leads.model import CLOSED, DuplicateVerdict, LeadStatus

# ---- what repeats what -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a possible duplicate shares with a new lead."""

    lead_id: UUID
    same_contact: bool
    same_name: bool
    same_company: bool


def duplicate_verdict(candidates: list[Candidate]) -> tuple[DuplicateVerdict, UUID | None]:
    """The verdict on a new lead and the lead it repeats: a shared address decides, a shared name and company hints."""
    for candidate in candidates:
        if candidate.same_contact:
            return DuplicateVerdict.CERTAIN, candidate.lead_id
    for candidate in candidates:
        if candidate.same_name and candidate.same_company:
            return DuplicateVerdict.POSSIBLE, candidate.lead_id
    return DuplicateVerdict.NONE, None


# ---- what is done to a lead ------------------------------------------------------------------------------------------


class LeadStep(StrEnum):
    """One thing that is done to a lead and may change its status."""

    CLAIM = "CLAIM"
    ASSIGN = "ASSIGN"
    RELEASE = "RELEASE"
    RESPOND = "RESPOND"
    QUALIFY = "QUALIFY"
    NURTURE = "NURTURE"
    DISQUALIFY = "DISQUALIFY"
    CONVERT = "CONVERT"


_S = LeadStatus
_WORKED = (_S.ASSIGNED, _S.WORKING, _S.NURTURING, _S.QUALIFIED)
_KEPT = {status: status for status in _WORKED}

FOLLOWING: Mapping[LeadStep, Mapping[LeadStatus, LeadStatus]] = {
    LeadStep.CLAIM: _KEPT | {_S.NEW: _S.ASSIGNED},
    LeadStep.ASSIGN: _KEPT | {_S.NEW: _S.ASSIGNED, _S.DISQUALIFIED: _S.ASSIGNED},
    LeadStep.RELEASE: dict.fromkeys(_WORKED, _S.NEW),
    LeadStep.RESPOND: _KEPT | {_S.NEW: _S.WORKING, _S.ASSIGNED: _S.WORKING},
    LeadStep.QUALIFY: dict.fromkeys((_S.ASSIGNED, _S.WORKING, _S.NURTURING), _S.QUALIFIED),
    LeadStep.NURTURE: dict.fromkeys((_S.ASSIGNED, _S.WORKING, _S.QUALIFIED), _S.NURTURING),
    LeadStep.DISQUALIFY: dict.fromkeys((_S.NEW, *_WORKED), _S.DISQUALIFIED),
    LeadStep.CONVERT: dict.fromkeys(_WORKED, _S.CONVERTED),
}
"""The status after each step from each status that allows it. Work goes on under a new owner; what was given up can be assigned anew."""


STATUS_LABELS: Mapping[LeadStatus, Text] = {
    _S.NEW: Text("待领取", "open to claim"),
    _S.ASSIGNED: Text("已分配", "assigned"),
    _S.WORKING: Text("跟进中", "being worked on"),
    _S.NURTURING: Text("培育中", "being nurtured"),
    _S.QUALIFIED: Text("已确认", "qualified"),
    _S.CONVERTED: Text("已转商机", "converted"),
    _S.DISQUALIFIED: Text("已放弃", "given up"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands towards a lead: whether they manage its territory, and whether they or anybody own it."""

    manages: bool
    owns: bool
    owned: bool


class Refusal(StrEnum):
    """Why a step is not taken."""

    NOT_ALLOWED = "NOT_ALLOWED"
    CLAIM_FIRST = "CLAIM_FIRST"
    TAKEN = "TAKEN"
    WRONG_STATUS = "WRONG_STATUS"


_MANAGED_ONLY = {(LeadStep.ASSIGN, _S.DISQUALIFIED), (LeadStep.DISQUALIFY, _S.NEW)}
"""Steps that an owner does not take: reviving what was given up, and discarding what nobody has looked at."""
_FOR_UNOWNED = {LeadStep.CLAIM, LeadStep.ASSIGN, LeadStep.DISQUALIFY}


def refusal(step: LeadStep, status: LeadStatus, standing: Standing) -> Refusal | None:
    """Why somebody may not take a step on a lead now; None when they may.

    A lead is claimed while nobody owns it. Everything else is its owner's, or its territory's manager's; what nobody owns is
    assigned, claimed or discarded before anybody works on it.
    """
    if not standing.owned and status not in CLOSED and step not in _FOR_UNOWNED:
        return Refusal.CLAIM_FIRST
    if status not in FOLLOWING[step]:
        return Refusal.WRONG_STATUS
    if step is LeadStep.CLAIM:
        return Refusal.TAKEN if standing.owned else None
    if standing.manages or (standing.owns and (step, status) not in _MANAGED_ONLY):
        return None
    return Refusal.NOT_ALLOWED if standing.owned else Refusal.CLAIM_FIRST


def first_response_minutes(
    first_responded_at: datetime | None, assigned_at: datetime | None, captured_at: datetime
) -> int | None:
    """Whole minutes to the first genuine reply, from the assignment, or from the capture where no assignment came before it."""
    if first_responded_at is None:
        return None
    begun = assigned_at if assigned_at is not None and assigned_at <= first_responded_at else captured_at
    return int((first_responded_at - begun).total_seconds() // 60)
