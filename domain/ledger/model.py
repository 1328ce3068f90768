"""The ledger's tables: events, signed heads, persons' keys, import batches."""

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import BigInteger, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import Access, ActorKind, Base, Conflict, Everyone, Role, Text, ThroughSubject, sights

NONCE_BYTES = 12
TAMPERED = Text("该事件的密文或承诺被改动", "the event's ciphertext or commitment was tampered with")
_FIELDS = frozenset({"subject", "sealed_at"})
_OF_VISIBLE_GENERATIONS = ThroughSubject(("Generation",))


class AuditEvent(Base):
    """One thing that somebody did, with a digest over all of it; sealed once it is a leaf of the Merkle tree."""

    __tablename__ = "audit_events"
    __beyond__ = frozenset({
        "seq", "at", "actor_kind", "actor_id", "actor_name", "on_behalf_of_id", "action", "subject_kind", "subject_id", "detail",
    })  # fmt: skip
    __unledgered__ = "it is the ledger"
    __stays__ = "what was noted stays as it was sealed"
    __access__ = Access(
        sights((Role.REP, Role.MANAGER), _OF_VISIBLE_GENERATIONS, _FIELDS)
        | sights((Role.AUDITOR, Role.DPO), Everyone(), _FIELDS)
    )

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    at: Mapped[datetime]
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    on_behalf_of_id: Mapped[UUID | None]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    detail: Mapped[dict[str, Any]]
    digest_version: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str]
    leaf_index: Mapped[int | None] = mapped_column(unique=True)
    sealed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_audit_events_subject", "subject_id", "seq"),
        Index("ix_audit_events_action", "action", "seq"),
        Index("ix_audit_events_actor", "actor_id", "seq"),
        Index("ix_audit_events_at", "at"),
        Index("ix_audit_events_sealed", "sealed_at", "seq"),
        # A number never comes back after its row is gone.
        {"sqlite_autoincrement": True},
    )


class LedgerHead(Base):
    """The signed root of the tree when it had `size` leaves, and the frontier from which it grows on."""

    __tablename__ = "ledger_heads"
    __unledgered__ = "it is the ledger"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root_hash: Mapped[str]
    seq_digest: Mapped[str]
    frontier: Mapped[list[str]]
    at: Mapped[datetime]
    signature: Mapped[str]


@dataclass(frozen=True, slots=True)
class Cipher:
    """What enciphers personal values of one set of persons: a key's id, and its secret until one of them is erased."""

    id: UUID
    secret: bytes | None = field(repr=False)

    def encipher(self, event_id: UUID, plaintext: bytes) -> dict[str, Any]:
        """AES-256-GCM with the nonce in front, bound to the event, and the commitment; only a mark once erased."""
        if self.secret is None:
            return {"key": self.id.hex, "erased": True}
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = nonce + AESGCM(self.secret).encrypt(nonce, plaintext, event_id.bytes)
        return {"key": self.id.hex, "ciphertext": ciphertext.hex(), "commitment": self._commitment(event_id, plaintext)}

    def decipher(self, event_id: UUID, blob: Mapping[str, str]) -> bytes | None:
        """The plaintext of a blob of that event; None once it is erased.

        Raises Conflict when the ciphertext or its commitment was tampered with.
        """
        if self.secret is None or "ciphertext" not in blob:
            return None
        sealed = bytes.fromhex(blob["ciphertext"])
        try:
            plaintext = AESGCM(self.secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], event_id.bytes)
        except InvalidTag as error:
            raise Conflict(TAMPERED, ("detail", "sealed")) from error
        if not hmac.compare_digest(self._commitment(event_id, plaintext), blob["commitment"]):
            raise Conflict(TAMPERED, ("detail", "sealed"))
        return plaintext

    def _commitment(self, event_id: UUID, plaintext: bytes) -> str:
        """Fix the plaintext, which GCM alone does not, for whoever has the key; nobody else can try values against it."""
        key = hmac.digest(self.secret or b"", b"sortie ledger commitment", "sha256")
        return hmac.digest(key, event_id.bytes + plaintext, "sha256").hex()


class PersonKey(Base):
    """The key under which personal values of one set of persons enter events, until one of them is erased."""

    __tablename__ = "person_keys"
    __unledgered__ = "keys have no place in a log; their destruction is noted"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_set: Mapped[str] = mapped_column(unique=True)
    secret: Mapped[bytes | None]
    created_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]

    @property
    def cipher(self) -> Cipher:
        """What enciphers with it."""
        return Cipher(self.id, self.secret)


class KeyHolder(Base):
    """One person whose erasure destroys a key."""

    __tablename__ = "key_holders"
    __unledgered__ = "keys have no place in a log; their destruction is noted"
    __stays__ = "a key stays theirs under whose name the ledger sealed with it"

    key_id: Mapped[UUID] = mapped_column(ForeignKey("person_keys.id"), primary_key=True)
    person_id: Mapped[UUID] = mapped_column(primary_key=True)

    __table_args__ = (Index("ix_key_holders_person", "person_id"),)


class ImportBatch(Base):
    """Rows that came in together from one source; the event about it holds their digest, keyed by the salt."""

    __tablename__ = "import_batches"
    __unledgered__ = "it is written together with the event about it, and the salt must stay out of that"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    started_at: Mapped[datetime]
    row_count: Mapped[int]
    salt: Mapped[bytes]
