"""What people allow: for which purpose, on which channel, and the receipt behind every decision."""

from domain.consent.model import (
    ConsentDecision,
    ConsentGrant,
    ConsentReceipt,
    ConsentStatus,
    LawfulBasis,
    Purpose,
    TrafficLight,
)
from domain.consent.policy import (
    CHANNEL_LABELS,
    PREFERENCE,
    Decision,
    GrantFact,
    PurposeFact,
    contactability,
    decide,
)
from domain.consent.service import contactability_of, ensure_purposes, receipt, record

__all__ = [
    "CHANNEL_LABELS", "PREFERENCE", "ConsentDecision", "ConsentGrant", "ConsentReceipt", "ConsentStatus", "Decision", "GrantFact", "LawfulBasis", "Purpose", "PurposeFact",
    "TrafficLight", "contactability", "contactability_of", "decide", "ensure_purposes", "receipt", "record",
]  # fmt: skip
