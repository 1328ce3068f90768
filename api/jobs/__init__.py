"""Work beside the requests: durable jobs with their schedules and timers, the hand-over of events, the sealing of the ledger."""

from api.jobs.upkeep import Upkeep, find_model

__all__ = ["Upkeep", "find_model"]
