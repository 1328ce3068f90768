"""The small tree of errors that a caller can act on; everything else is a bug."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence or label in both languages."""

    zh: str
    en: str

    def words(self, language: str) -> str:
        """The text in a language; English for any that is not Chinese."""
        return self.zh if language == "ZH" else self.en


class ErrorCode(StrEnum):
    """What clients switch on."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    INVALID = "INVALID"
    STALE_VERSION = "STALE_VERSION"
    KEY_REUSED = "KEY_REUSED"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_COSTLY = "TOO_COSTLY"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class SalesError(Exception):
    """An operation refused for a reason that its caller may read: what, where, in both languages."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, text: Text, path: tuple[str, ...] = ()) -> None:
        super().__init__(text.en)
        self.text = text
        self.path = path


class Unauthenticated(SalesError):
    """Nobody known is asking."""

    code = ErrorCode.UNAUTHENTICATED


class Forbidden(SalesError):
    """Somebody known asks for what their role does not allow."""

    code = ErrorCode.FORBIDDEN


class NotFound(SalesError):
    """A record that is absent or not the caller's, which look alike."""

    code = ErrorCode.NOT_FOUND


class Invalid(SalesError):
    """Input that cannot be taken."""

    code = ErrorCode.INVALID


class StaleVersion(SalesError):
    """An edit of a version that is no longer the current one."""

    code = ErrorCode.STALE_VERSION


class KeyReused(SalesError):
    """A client key that came before with other input."""

    code = ErrorCode.KEY_REUSED


class Conflict(SalesError):
    """A change that the record's state does not allow now."""

    code = ErrorCode.CONFLICT


class Unavailable(SalesError):
    """A part that is needed and does not answer now: a locked database, a full disk, a model."""

    code = ErrorCode.UNAVAILABLE


class RateLimited(SalesError):
    """More than may be asked for now; it can be asked again in so many seconds."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, text: Text, retry_after_seconds: int, path: tuple[str, ...] = ()) -> None:
        super().__init__(text, path)
        self.retry_after_seconds = retry_after_seconds
