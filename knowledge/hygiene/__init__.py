"""What a body may do: what a screen shows of it, what in it looks like orders or damage, and how it enters a prompt."""

from knowledge.hygiene.display import DISPLAY_LIMIT, Displayed, Removal, Removed, displayed
from knowledge.hygiene.neutral import defused, neutral
from knowledge.hygiene.plain import plain_markdown
from knowledge.hygiene.suspicion import STEERING, Finding, Suspicion, damage, suspicions

__all__ = [
    "DISPLAY_LIMIT", "STEERING", "Displayed", "Finding", "Removal", "Removed", "Suspicion", "damage", "defused", "displayed", "neutral", "plain_markdown", "suspicions",
]  # fmt: skip
