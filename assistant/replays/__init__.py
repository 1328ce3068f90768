"""Replays: stored answers written once more against another prompt, model or state of the knowledge, and compared; nothing else happens."""

from assistant.replays.compare import CheckDifference, Difference, SectionDifference, difference
from assistant.replays.model import (
    REPLAYING,
    ReplayedKnowledge,
    ReplayedModel,
    ReplayOutcome,
    ReplayResult,
    ReplayRun,
)
from assistant.replays.running import replay, work_off
from assistant.replays.service import SAMPLE_LIMIT, Against, Sample, start

__all__ = [
    "REPLAYING", "SAMPLE_LIMIT", "Against", "CheckDifference", "Difference", "ReplayOutcome", "ReplayResult", "ReplayRun", "ReplayedKnowledge", "ReplayedModel", "Sample",
    "SectionDifference", "difference", "replay", "start", "work_off",
]  # fmt: skip
