"""What must still hold of a user for what is remembered of them to be taken."""

from dataclasses import dataclass
from uuid import UUID


class StandingChanged(Exception):
    """The user's grants, keys or standing have changed since they were remembered."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The session by which a user came, if any, and the epoch, which every change of their grants, keys or address moves on."""

    user_id: UUID
    session_id: UUID | None
    epoch: int
