"""What a body may do: what a screen shows of it, what in it looks like orders or damage, and how it enters a prompt."""

from knowledge.hygiene.display import DISPLAY_LIMIT, Displayed, Removal, Removed, displayed
from knowledge.hygiene.neutral import neutral
from knowledge.hygiene.suspicion import STEERING, Finding, Suspicion, suspicions

__all__ = [
    "DISPLAY_LIMIT", "STEERING", "Displayed", "Finding", "Removal", "Removed", "Suspicion", "displayed", "neutral", "suspicions",
]  # fmt: skip
