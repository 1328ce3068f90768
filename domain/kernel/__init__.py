"""What every room stands on: mapped base, unit of work, access, errors, events, values."""

from domain.kernel import search, words
from domain.kernel.access import (
    Access,
    Everyone,
    HasChild,
    InTerritory,
    Matching,
    Member,
    Owned,
    Sight,
    Through,
    ThroughSubject,
    below_visible,
    declared,
    entity,
    field_visible,
    load,
    may_read,
    not_found,
    rows_visible,
    sights,
    totals_visible,
)
from domain.kernel.actors import SYSTEM, Actor, ActorKind, Reach, Role, Scope
from domain.kernel.changes import EVERYTHING, Change, ChangeKind, heard
from domain.kernel.client_keys import ClientKey, once
from domain.kernel.conditions import among
from domain.kernel.errors import (
    Conflict,
    ErrorCode,
    Forbidden,
    Invalid,
    KeyReused,
    NotFound,
    RateLimited,
    SalesError,
    StaleVersion,
    Text,
    Unauthenticated,
    Unavailable,
)
from domain.kernel.events import Event, OutboxEvent
from domain.kernel.executors import JobExecutor
from domain.kernel.orm import ERASED, PERSONAL, Base, Record, UtcDateTime, found_by
from domain.kernel.outages import unavailable
from domain.kernel.outbox import Delivery, OutboxReceipt, consume, remove_handled
from domain.kernel.reader import WhoReads, beyond, who_reads
from domain.kernel.replica import ReplicaTurn
from domain.kernel.row_changes import RowChange
from domain.kernel.uow import (
    Database,
    Note,
    OvertakenError,
    Recorder,
    UnitOfWork,
    UnledgeredChangeError,
    insert_rows,
    new_id,
    utc_now,
)
from domain.kernel.values import Language, Money, Ref, fingerprint, money

__all__ = [
    "ERASED", "EVERYTHING", "PERSONAL", "SYSTEM", "Access", "Actor", "ActorKind", "Base", "Change", "ChangeKind", "ClientKey", "Conflict", "Database", "Delivery", "ErrorCode", "Event", "Everyone", "Forbidden", "HasChild",
    "InTerritory", "Invalid", "JobExecutor", "KeyReused", "Language", "Matching", "Member", "Money", "NotFound", "Note", "OutboxEvent", "OutboxReceipt", "OvertakenError", "Owned", "RateLimited", "Reach", "Record",
    "Recorder", "Ref", "ReplicaTurn", "Role", "RowChange", "SalesError", "Scope", "Sight", "StaleVersion", "Text", "Through", "ThroughSubject", "Unauthenticated", "Unavailable", "UnitOfWork", "UnledgeredChangeError", "UtcDateTime",
    "WhoReads", "among", "below_visible", "beyond", "consume", "declared", "entity", "field_visible", "fingerprint", "found_by", "heard", "insert_rows", "load", "may_read", "money", "new_id", "not_found", "once",
    "remove_handled", "rows_visible", "search", "sights", "totals_visible", "unavailable", "utc_now", "who_reads", "words",
]  # fmt: skip
