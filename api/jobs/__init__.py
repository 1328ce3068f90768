"""Work beside the requests: durable jobs with their schedules and timers, the hand-over of events, the sealing of the ledger."""

from api.jobs.background import Background
from api.jobs.upkeep import Upkeep, find_model

__all__ = ["Background", "Upkeep", "find_model"]
