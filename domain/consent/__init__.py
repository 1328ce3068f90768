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
    Statement,
    contactability,
    decide,
    narrowed,
)
from domain.consent.service import contactability_of, ensure_purposes, narrow, receipt, record

__all__ = [
    "CHANNEL_LABELS", "PREFERENCE", "ConsentDecision", "ConsentGrant", "ConsentReceipt", "ConsentStatus", "Decision", "GrantFact", "LawfulBasis", "Purpose", "PurposeFact",
    "Statement", "TrafficLight", "contactability", "contactability_of", "decide", "ensure_purposes", "narrow", "narrowed", "receipt", "record",
]  # fmt: skip
