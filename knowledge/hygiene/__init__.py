"""What a body may do: what a screen shows of it, what in it looks like orders or damage, and how it enters a prompt."""

from knowledge.hygiene.display import DISPLAY_LIMIT, Displayed, Removed, Removal, displayed



__all__ = [
    "DISPLAY_LIMIT", "STEERING", "Displayed", "Finding", "Removal", "Removed", "Suspicion", "displayed", "neutral", "suspicions",
]  # fmt: skip
