"""Released answers on their way out: to whom, by which route, on whose consent, what became of it, and what came back."""

from assistant.deliveries.handling import REASON_LENGTH, WORDS_LENGTH, close, record_reply, retry
from assistant.deliveries.model import (
    SENDERS,
    Delivery,
    DeliveryReply,
    DeliveryRoute,
    DeliveryState,
    ReplyOutcome,
)
from assistant.deliveries.sending import (
    ATTEMPTS,
    DeliveryWaits,
    Parcel,
    Sent,
    Unsent,
    claim,
    due,
    pause_after,
    send,
    settle,
    take_back,
)
from assistant.deliveries.words import content_digest, customer_words, split_subject

__all__ = [
    "ATTEMPTS", "REASON_LENGTH", "SENDERS", "WORDS_LENGTH", "Delivery", "DeliveryReply", "DeliveryRoute", "DeliveryState", "DeliveryWaits", "Parcel", "ReplyOutcome", "Sent",
    "Unsent", "claim", "close", "content_digest", "customer_words", "due", "pause_after", "record_reply", "retry", "send", "settle", "split_subject", "take_back",
]  # fmt: skip
