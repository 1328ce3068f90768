"""What a commit changed, told to whoever listens: ids, never what the records say."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.kernel.values import Ref

CHANNEL = "sortie_changes"
MOST = 64
"""Records of one class that a commit tells one by one; more are told as the class."""
PAYLOAD_BYTES = 7_900
"""PostgreSQL's NOTIFY takes fewer than 8,000."""


class ChangeKind(StrEnum):
    """What happened to a record."""

    MADE = "MADE"
    CHANGED = "CHANGED"
    GONE = "GONE"
    RESYNC = "RESYNC"
    """Something was missed, or is too much to be told: whoever shows such records reads them again."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a record, or of so many of a class that none is named."""

    kind: str
    what: ChangeKind
    id: UUID | None = None


def told(records: Mapping[Ref, ChangeKind], classes: Iterable[str]) -> list[str]:
    """The payloads that tell what a commit changed; of `classes`, and of those with too many records, the name alone."""
    by_class: dict[str, list[str]] = {}
    for ref, what in records.items():
        by_class.setdefault(ref.kind, []).append(f"{ref.kind} {what.value} {ref.id.hex}")
    for kind in {*classes, *(kind for kind, lines in by_class.items() if len(lines) > MOST)}:
        by_class[kind] = [f"{kind} {ChangeKind.RESYNC.value}"]
    payloads: list[str] = []
    for lines in by_class.values():
        for line in lines:
            if payloads and len(payloads[-1]) + len(line) < PAYLOAD_BYTES:
                payloads[-1] += "\n" + line
            else:
                payloads.append(line)
    return payloads


def heard(payload: str) -> Iterator[Change]:
    """The changes of a payload; a line that is none is passed over, for anybody with the database's password may notify."""
    for line in payload.splitlines():
        kind, _, rest = line.partition(" ")
        what, _, id = rest.partition(" ")
        try:
            change = Change(kind, ChangeKind(what), UUID(id) if id else None)
        except ValueError:
            continue
        if (change.id is None) == (change.what is ChangeKind.RESYNC):
            yield change
