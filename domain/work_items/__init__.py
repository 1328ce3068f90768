"""What somebody owes by a time: opened, decided or called off once, handed on and moved up meanwhile."""

from domain.work_items.model import (
    FOUR_EYES,
    SUBJECTS,
    WorkDecision,
    WorkItem,
    WorkItemPerson,
    WorkKind,
    WorkState,
    state_of,
)
from domain.work_items.policy import Duty, Evidence, Refusal, Standing, WorkStep, next_rung, refusal, unmet
from domain.work_items.service import (
    TEXT_LENGTH,
    cancel,
    create,
    decide,
    delegate,
    escalate,
    escalate_overdue,
    open_item,
)

__all__ = [
    "FOUR_EYES", "SUBJECTS", "TEXT_LENGTH", "Duty", "Evidence", "Refusal", "Standing", "WorkDecision", "WorkItem", "WorkItemPerson", "WorkKind", "WorkState", "WorkStep",
    "cancel", "create", "decide", "delegate", "escalate", "escalate_overdue", "next_rung", "open_item", "refusal", "state_of", "unmet",
]  # fmt: skip
