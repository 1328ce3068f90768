"""Who may do what to a duty, what its decision has to show, and where it moves when nobody meets it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.kernel import Role
from domain.work_items.model import FOUR_EYES, WorkKind, WorkState


class WorkStep(StrEnum):
    """One thing that is done to an open duty."""

    DECIDE = "DECIDE"
    DELEGATE = "DELEGATE"
    ESCALATE = "ESCALATE"
    CANCEL = "CANCEL"


class Refusal(StrEnum):
    """Why a step is not taken."""

    NOT_ALLOWED = "NOT_ALLOWED"
    OWN_REQUEST = "OWN_REQUEST"
    OVER = "OVER"
    AT_THE_TOP = "AT_THE_TOP"


@dataclass(frozen=True, slots=True)
class Duty:
    """What of a work item decides on its steps."""

    kind: WorkKind
    state: WorkState
    owned: bool
    queued: bool
    escalated_to: Role | None
    placed: bool
    """Whether it is in a territory, which has managers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands towards a duty: none of it, unless said."""

    owns: bool = False
    serves: bool = False
    """Whether they hold the role whose queue it is in."""
    opened: bool = False
    manages: bool = False
    above: bool = False
    """Whether it was moved up to a role that they hold there."""
    system: bool = False


def refusal(step: WorkStep, duty: Duty, standing: Standing) -> Refusal | None:
    """Why somebody may not take a step on a duty now; None when they may.

    What is over stays as it ended. A queue's duty is decided by its role alone: by whom it was handed to, or by anybody who
    holds the role while nobody has it. Nobody decides on an approval, review or gate that they asked for.
    """
    if duty.state is not WorkState.OPEN:
        return Refusal.OVER
    if step is WorkStep.DECIDE and standing.opened and duty.kind in FOUR_EYES:
        return Refusal.OWN_REQUEST
    if not _may(step, duty, standing):
        return Refusal.NOT_ALLOWED
    if step is WorkStep.ESCALATE and next_rung(duty.escalated_to, placed=duty.placed) is None:
        return Refusal.AT_THE_TOP
    return None


def _may(step: WorkStep, duty: Duty, standing: Standing) -> bool:
    manages = standing.manages and not duty.queued
    if step is WorkStep.DECIDE:
        if duty.queued:
            return standing.serves and (standing.owns or not duty.owned)
        return standing.owns or manages
    if step is WorkStep.DELEGATE:
        return standing.owns or standing.serves or manages or standing.above
    if step is WorkStep.ESCALATE:
        return standing.owns or standing.serves or standing.opened or standing.manages or standing.system
    return standing.opened or standing.manages or standing.system


def next_rung(escalated_to: Role | None, *, placed: bool) -> Role | None:
    """To whom a duty moves up next: its territory's managers, then the executives; None above them."""
    if escalated_to is None and placed:
        return Role.MANAGER
    return Role.EXECUTIVE if escalated_to in {None, Role.MANAGER} else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that a duty was met: a record, a few words, or both; for one of its criteria where it names one."""

    criterion: int | None = None
    """The place of the criterion in the list, from 0."""
    note: str | None = None
    record_kind: str | None = None
    record_id: UUID | None = None

    @property
    def shows(self) -> bool:
        """Whether it holds anything."""
        return bool((self.note or "").strip()) or self.record_id is not None


def unmet(acceptance: Sequence[str], evidence: Sequence[Evidence]) -> list[int]:
    """The places of the criteria that no evidence is given for."""
    shown = {one.criterion for one in evidence if one.shows}
    return [place for place in range(len(acceptance)) if place not in shown]
