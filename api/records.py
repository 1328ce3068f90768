"""What every sales record shows of itself."""

from datetime import datetime

import strawberry

from api.reads import STAMPS, Node, column

RECORD_HIDDEN = STAMPS - {"version", "created_at", "updated_at"}
"""The stamps of a record that no field shows."""


@strawberry.type
class Record(Node):
    """A node with a version and two timestamps."""

    version: int = column("Grows with every stored change; what an edit's `expectedVersion` compares.")
    created_at: datetime = column("When the record was made.")
    updated_at: datetime = column("When the record was last changed.")
