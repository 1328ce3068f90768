"""What a commit changed, told to whoever listens: ids, never what the records say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.kernel.values import Ref

CHANNEL = "sortie_changes"
MOST = 64
"""Records of one class that a commit tells one by one; more are told as the class."""
EVERYTHING = "*"
"""In the place of a class: whatever it is."""
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


def told(records: Mapping[Ref, ChangeKind], classes: Sequence[str]) -> str:
    """The payload that tells what a commit changed, empty for nothing.

    Of `classes`, of those with too many records, and of the largest where all together are too long, it has the name alone.
    """
    lines = [f"{ref.kind} {what.value} {ref.id.hex}" for ref, what in records.items()]
    if len(lines) > MOST or classes:
        lines = _shortened(lines, classes)
    return "\n".join(lines)


def _shortened(lines: list[str], classes: Sequence[str]) -> list[str]:
    by_class: dict[str, list[str]] = {kind: [] for kind in classes}
    for line in lines:
        by_class.setdefault(line.partition(" ")[0], []).append(line)
    whole = {*classes, *(kind for kind, own in by_class.items() if len(own) > MOST)}
    while True:
        for kind in whole:
            by_class[kind] = [f"{kind} {ChangeKind.RESYNC.value}"]
        kept = [line for own in by_class.values() for line in own]
        if sum(map(len, kept)) + len(kept) <= PAYLOAD_BYTES:
            return kept
        whole.add(max(by_class, key=lambda kind: len(by_class[kind])))


def together(payloads: Sequence[str]) -> list[str]:
    """The payloads of several commits, in their order, in as few as carry them."""
    joined: list[str] = []
    for payload in payloads:
        if joined and len(joined[-1]) + len(payload) < PAYLOAD_BYTES:
            joined[-1] += "\n" + payload
        else:
            joined.append(payload)
    return joined


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
