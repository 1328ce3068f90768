"""Unqualified interest: captured once, tied to a person, open to claim or owned, worked on until it is a deal or given up."""

from domain.leads.interest import BUYING, evaluate
from domain.leads.model import CLOSED, DuplicateVerdict, Lead, LeadGrade, LeadStatus
from domain.leads.policy import (
    FOLLOWING,
    Candidate,
    LeadStep,
    Refusal,
    Standing,
    duplicate_verdict,
    first_response_minutes,
    refusal,
)
from domain.leads.service import (
    WRITERS,
    assign,
    capture,
    check_step,
    claim,
    disqualify,
    nurture,
    qualify,
    release,
    touch,
    update,
)
from domain.leads.waiting import LeadWaits, Overdue, tell_overdue, waits_since

__all__ = [
    "BUYING", "CLOSED", "FOLLOWING", "WRITERS", "Candidate", "DuplicateVerdict", "Lead", "LeadGrade", "LeadStatus", "LeadStep", "LeadWaits", "Overdue", "Refusal", "Standing", "assign", "capture", "check_step", "claim",
    "disqualify", "duplicate_verdict", "evaluate", "first_response_minutes", "nurture", "qualify", "refusal", "release", "tell_overdue", "touch", "update", "waits_since",
]  # fmt: skip
