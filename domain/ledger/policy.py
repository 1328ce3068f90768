r"""The ledger's mathematics: canonical form and digest, Merkle tree, signed heads, and what an audit finds.

Canonical form, version 1, so that a verifier can be written in any language. An event is this JSON object:

    {"v": 1, "id": HEX, "at": INSTANT, "action": TEXT, "detail": OBJECT,
     "actor": {"kind": TEXT, "id": HEX | null, "name": TEXT, "on_behalf_of": HEX | null},
     "subject": {"kind": TEXT, "id": HEX}}

as UTF-8 without white space; keys sorted by code point at every level; characters outside ASCII as themselves; in strings
only `"`, `\` and U+0000–U+001F escaped (`\b \t \n \f \r`, else `\u00xx` in lower case). HEX is a UUID as 32 lower-case
digits. INSTANT is UTC as `2026-03-02T01:30:00.000000Z`. Numbers are integers within ±(2^53 - 1); every other number is a
decimal string. The digest is SHA-256 over those bytes, written as hex.

Tree: RFC 6962 section 2.1 (SHA-256); leaf n is the hash of 0x00 and the 32 digest bytes of the event with leaf_index n.

Head: Ed25519 (RFC 8032) over the canonical JSON of {"v": 1, "size", "root": HEX, "seq_digest": HEX, "at": INSTANT}; seq_digest
is SHA-256 over the 8-byte big-endian `seq` of each event that this head adds to the one before it, in the order of leaves.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.kernel import Money, Ref, Text

DIGEST_VERSION = 1
MAX_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259 section 6)."""


def instant(at: datetime) -> str:
    """An instant in UTC with microseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_PLAIN_FORMS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((NoneType, bool), lambda value: value),
    (Enum, lambda value: plain(value.value)),
    # PostgreSQL's JSON stores no U+0000, and UTF-8 has no lone surrogates.
    (str, lambda value: value if value.isascii() and "\0" not in value else _text(value)),
    (int, lambda value: value if abs(value) <= MAX_EXACT_INTEGER else str(value)),
    (float, lambda value: format(Decimal(repr(value)), "f")),
    (Decimal, lambda value: format(value, "f")),
    (datetime, instant),
    (date, date.isoformat),
    (UUID, lambda value: value.hex),
    (bytes, bytes.hex),
    (Ref, str),
    (Money, lambda value: {"amount_minor": plain(value.amount_minor), "currency": value.currency}),
    (Mapping, lambda value: {str(plain(key)): plain(inner) for key, inner in value.items()}),
    ((list, tuple), lambda value: [plain(inner) for inner in value]),
    ((set, frozenset), lambda value: sorted((plain(inner) for inner in value), key=str)),
)


def plain(value: Any) -> Any:
    """The value as JSON that canonicalises: no floats, no large integers, nothing that a database would rewrite.

    Raises TypeError for what has no plain form.
    """
    kind: Any = type(value)
    return _plain_form(kind)(value)


@lru_cache(maxsize=1024)
def _plain_form(kind: type) -> Callable[[Any], Any]:
    for kinds, form in _PLAIN_FORMS:
        if issubclass(kind, kinds):
            return form
    raise TypeError(f"{kind.__name__} cannot enter the ledger")


def _text(value: str) -> str:
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def canonical(value: Any) -> bytes:
    """Plain JSON as the bytes that are hashed and signed."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Content:
    """What an event says: all that its digest covers."""

    id: UUID
    at: datetime
    actor_kind: str
    actor_id: UUID | None
    actor_name: str
    on_behalf_of_id: UUID | None
    action: str
    subject_kind: str
    subject_id: UUID
    detail: dict[str, Any]
    digest_version: int = DIGEST_VERSION

    def canonical(self) -> bytes:
        """The canonical form of version 1.

        Raises ValueError for any other version.
        """
        if self.digest_version != DIGEST_VERSION:
            raise ValueError(f"digest version {self.digest_version} is unknown")
        actor_id, behalf = (id and id.hex for id in (self.actor_id, self.on_behalf_of_id))
        actor = {"kind": str(self.actor_kind), "id": actor_id, "name": self.actor_name, "on_behalf_of": behalf}
        return canonical({
            "v": self.digest_version, "id": self.id.hex, "at": instant(self.at), "actor": actor, "action": self.action,
            "subject": {"kind": self.subject_kind, "id": self.subject_id.hex}, "detail": self.detail,
        })  # fmt: skip

    def digest(self) -> str:
        """SHA-256 of the canonical form, hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is stored: its content, and its place in the ledger."""

    seq: int
    content: Content
    digest: str
    leaf_index: int | None
    sealed_at: datetime | None

    def intact(self) -> bool:
        """Whether the digest is the content's own."""
        try:
            return self.content.digest() == self.digest
        except (AttributeError, TypeError, ValueError):
            return False

    def named(self) -> Text:
        """The event as problems name it."""
        leaf = "" if self.leaf_index is None else f"#{self.leaf_index} "
        words = f"{leaf}({self.content.id}, {self.content.action})"
        return Text(f"事件 {words}", f"event {words}")


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class CompactRange:
    """A Merkle tree of `size` leaves, kept as the roots of its perfect subtrees, largest first."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)

    def append(self, digest: str) -> None:
        """Add the event with this digest as the next leaf."""
        node, size = leaf_hash(bytes.fromhex(digest)), self.size
        while size & 1:
            node = node_hash(self.frontier.pop(), node)
            size >>= 1
        self.frontier.append(node)
        self.size += 1

    def root(self) -> str:
        """The tree's root, hex."""
        if not self.frontier:
            return hashlib.sha256(b"").hexdigest()
        *larger, node = self.frontier
        for left in reversed(larger):
            node = node_hash(left, node)
        return node.hex()


def _subtree_root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(_subtree_root(leaves[:split]), _subtree_root(leaves[split:]))


def inclusion_path(digests: Sequence[str], index: int) -> tuple[str, ...]:
    """The sibling hashes from a leaf up to the root (RFC 6962 section 2.1.1), nearest first, hex."""
    leaves = [leaf_hash(bytes.fromhex(digest)) for digest in digests]
    path = []
    while len(leaves) > 1:
        split = 1 << (len(leaves) - 1).bit_length() - 1
        left, right = leaves[:split], leaves[split:]
        leaves, sibling = (left, right) if index < split else (right, left)
        index -= 0 if leaves is left else split
        path.append(_subtree_root(sibling).hex())
    return tuple(reversed(path))


def root_by_path(digest: str, index: int, size: int, path: Sequence[str]) -> str | None:
    """The root to which a leaf's path leads (RFC 9162 section 2.1.3.2); None when it fits no tree of that size."""
    if not 0 <= index < size:
        return None
    node, last, steps = leaf_hash(bytes.fromhex(digest)), size - 1, iter(map(bytes.fromhex, path))
    for sibling in steps:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return node.hex() if last == 0 else None


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the ledger at one size, signed."""

    size: int
    root_hash: str
    seq_digest: str
    at: datetime
    signature: str = ""

    def statement(self) -> dict[str, Any]:
        """What the signature covers."""
        return {
            "v": 1,
            "size": self.size,
            "root": self.root_hash,
            "seq_digest": self.seq_digest,
            "at": instant(self.at),
        }

    def line(self) -> bytes:
        """The head as one line of JSON, as it is published and remembered."""
        return canonical(self.statement() | {"signature": self.signature})

    @classmethod
    def from_line(cls, line: bytes) -> "Head":
        """Read a published line.

        Raises ValueError when it is not one.
        """
        try:
            said = orjson.loads(line)
            if said["v"] != 1:
                raise ValueError(f"head version {said['v']} is unknown")
            at = datetime.fromisoformat(said["at"])
            return cls(int(said["size"]), str(said["root"]), str(said["seq_digest"]), at, str(said["signature"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a ledger head: {line[:80]!r}") from error

    def signed_by(self, public_key: bytes) -> bool:
        """Whether the signature is that key's and covers this very head."""
        try:
            key = Ed25519PublicKey.from_public_bytes(public_key)
            key.verify(bytes.fromhex(self.signature), canonical(self.statement()))
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True


class Signer:
    """The one who signs heads with an Ed25519 key."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    @staticmethod
    def new_seed() -> bytes:
        """A fresh private key of 32 bytes, for the caller to keep."""
        return Ed25519PrivateKey.generate().private_bytes_raw()

    def sign(self, size: int, root: str, seq_digest: str, at: datetime) -> Head:
        """The signed head."""
        bare = Head(size, root, seq_digest, at)
        return Head(size, root, seq_digest, at, self._key.sign(canonical(bare.statement())).hex())


def seq_bytes(seq: int) -> bytes:
    """A sequence number as a head's seq_digest covers it."""
    return seq.to_bytes(8, "big", signed=True)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """What shows, without the database, that an event is in the tree of a signed head."""

    leaf_index: int
    path: tuple[str, ...]
    head: Head


def verify_inclusion(digest: str, proof: InclusionProof, public_key: bytes) -> bool:
    """Whether the event with this digest is in the ledger that the head describes."""
    try:
        root = root_by_path(digest, proof.leaf_index, proof.head.size, proof.path)
    except ValueError:
        return False
    return root == proof.head.root_hash and proof.head.signed_by(public_key)


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A state of the ledger that an audit has found sound, from which the next one may go on."""

    size: int = 0
    frontier: tuple[bytes, ...] = ()


UNSIGNED = Text("{whose}账本头（大小 {size}）签名无效", "the {whose} head of size {size} has no valid signature")
CUT = Text(
    "账本尾部被截断或恢复了旧备份：{whose}账本头有 {size} 个事件，数据库的只有 {newest} 个",
    "the tail is cut or an old backup was restored: the {whose} head has {size} events, the database's {newest}",
)
INSERTED = Text(
    "{event} 是插入的：自称已封存，但不在树中", "{event} was inserted: it claims to be sealed, outside the tree"
)
DELETED = Text("叶 #{leaf} 的事件被删除：下一个是 {event}", "the event of leaf #{leaf} was deleted: next comes {event}")
EDITED = Text("{event} 被改动：内容与摘要不符", "{event} was edited: its content does not give its digest")
MISDATED = Text("{event} 被改动：封存时间与账本头不符", "{event} was edited: it was not sealed when its head was")
OTHER_ROOT = Text(
    "叶 #{start} 至 #{end} 的事件被改动、替换或调换：得不出{whose}账本头（大小 {size}）",
    "events of leaves #{start} to #{end} were edited, replaced or swapped: the {whose} head of size {size} has another root",
)
RENUMBERED = Text(
    "叶 #{start} 至 #{end} 的序号被改动或调换", "the seqs of leaves #{start} to #{end} were edited or swapped"
)
TAIL_DELETED = Text("账本尾部叶 #{start} 至 #{end} 被删除", "the tail is cut: leaves #{start} to #{end} were deleted")
MISCOUNTED = Text(
    "已验证过的 {size} 个事件现在是 {now} 个", "the {size} events that were verified before are {now} now"
)
UNREADABLE_EVENT = Text("序号 {seq} 的事件无法读取：被改动过", "the event of seq {seq} cannot be read: it was edited")
UNREADABLE_HEAD = Text("有账本头无法读取：被改动过", "a stored head cannot be read: it was edited")
OTHER_HEAD = Text("大小 {size} 的账本头被改动", "the stored head of size {size} was edited")
STORED, VERIFIED = Text("数据库中的", "stored"), Text("上次验证过的", "last verified")


class LedgerProblem(Exception):
    """The first thing that an audit finds wrong: what and where."""

    def __init__(self, found: Text, **where: object) -> None:
        zh = {key: fact.zh if isinstance(fact, Text) else fact for key, fact in where.items()}
        en = {key: fact.en if isinstance(fact, Text) else fact for key, fact in where.items()}
        self.text = Text(found.zh.format(**zh), found.en.format(**en))
        super().__init__(self.text.en)


Witness = tuple[Text, Head]
"""A head from outside, and whose it is."""


class Audit:
    """A running check: sealed entries go in by leaf index, then those that wait; the first thing wrong is raised."""

    def __init__(
        self, stored: Sequence[Head], others: Iterable[Witness], public_key: bytes, since: VerifiedHead
    ) -> None:
        self.since = since
        self.tree = CompactRange(since.size, list(since.frontier))
        self.newest = max((head.size for head in stored), default=0)
        self._key = public_key
        self._due = deque(sorted((head for head in stored if head.size > since.size), key=lambda head: head.size))
        self._witnesses = [(STORED, head) for head in self._due] + list(others)
        self._roots: dict[int, list[Witness]] = {}
        self._start, self._seqs = since.size, hashlib.sha256()

    def check_heads(self) -> None:
        """Check signatures, and that nobody outside remembers a larger ledger.

        Raises LedgerProblem.
        """
        if self.since.size > self.newest:
            raise LedgerProblem(CUT, whose=VERIFIED, size=self.since.size, newest=self.newest)
        for whose, head in self._witnesses:
            if head.size < self.since.size:
                continue
            if not head.signed_by(self._key):
                raise LedgerProblem(UNSIGNED, whose=whose, size=head.size)
            if head.size > self.newest:
                raise LedgerProblem(CUT, whose=whose, size=head.size, newest=self.newest)
            self._roots.setdefault(head.size, []).append((whose, head))
        self._compare_roots()

    def sealed(self, entry: Entry) -> None:
        """Take the next sealed entry.

        Raises LedgerProblem when it is not the leaf that belongs here.
        """
        expected = self.tree.size
        if entry.leaf_index is None or entry.leaf_index < expected:
            raise LedgerProblem(INSERTED, event=entry.named())
        if entry.leaf_index > expected:
            raise LedgerProblem(DELETED, leaf=expected, event=entry.named())
        if not entry.intact():
            raise LedgerProblem(EDITED, event=entry.named())
        if not self._due:
            raise LedgerProblem(INSERTED, event=entry.named())
        if entry.sealed_at != self._due[0].at:
            raise LedgerProblem(MISDATED, event=entry.named())
        self._seqs.update(seq_bytes(entry.seq))
        self.tree.append(entry.digest)
        self._compare_roots()
        if self.tree.size == self._due[0].size:
            self._close_batch()

    def _compare_roots(self) -> None:
        for whose, head in self._roots.get(self.tree.size, ()):
            if self.tree.root() != head.root_hash:
                raise LedgerProblem(OTHER_ROOT, start=self._start, end=head.size - 1, whose=whose, size=head.size)

    def _close_batch(self) -> None:
        head = self._due.popleft()
        if self._seqs.hexdigest() != head.seq_digest:
            raise LedgerProblem(RENUMBERED, start=self._start, end=head.size - 1)
        self._start, self._seqs = head.size, hashlib.sha256()

    def waiting(self, entry: Entry) -> None:
        """Take an entry without a leaf.

        Raises LedgerProblem when it claims to be sealed or does not give its digest.
        """
        if entry.sealed_at is not None:
            raise LedgerProblem(INSERTED, event=entry.named())
        if not entry.intact():
            raise LedgerProblem(EDITED, event=entry.named())

    def finish(self, before: int) -> VerifiedHead:
        """Check that nothing is missing: neither at the end nor among the `before` entries below the verified head.

        Raises LedgerProblem.
        """
        if self._due:
            raise LedgerProblem(TAIL_DELETED, start=self.tree.size, end=self.newest - 1)
        if before != self.since.size:
            raise LedgerProblem(MISCOUNTED, size=self.since.size, now=before)
        return VerifiedHead(self.tree.size, tuple(self.tree.frontier))
