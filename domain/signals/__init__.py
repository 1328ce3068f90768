"""Facts about buyers and sellers: append-only, with two clocks, a dedupe key and an evidence grade, kept by the month."""

from domain.signals.model import SIGNAL_ROWS, SUBJECTS, EvidenceGrade, MonthRemoval, Signal, SignalKey
from domain.signals.months import AHEAD, ensure_months, remove_old_months
from domain.signals.policy import CHINESE, LABELS, TYPES, Fact, check
from domain.signals.service import SignalsRecorded, record, record_many, told_of

__all__ = [
    "AHEAD", "CHINESE", "LABELS", "SIGNAL_ROWS", "SUBJECTS", "TYPES", "EvidenceGrade", "Fact", "MonthRemoval", "Signal", "SignalKey", "SignalsRecorded", "check", "ensure_months", "record", "record_many",
    "remove_old_months", "told_of",
]  # fmt: skip
