"""What a skill declares, so that one pipeline can run them all."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.draft import Pen
from assistant.model import GenerationKind
from domain.accounts import Channel
from domain.kernel import Actor, Invalid, Language, Ref, Text
from knowledge import Found, Wanted

DEFAULT_DEADLINE_SECONDS, MAX_DEADLINE_SECONDS = 11, 120
ASK_LENGTH = 4_000
NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What no database stores: NUL and half characters."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody asks of the assistant."""

    kind: GenerationKind
    subject_id: UUID | None
    client_key: str
    words: str | None = None
    opportunity_id: UUID | None = None
    category: str | None = None
    channel: Channel | None = None
    language: Language = Language.ZH
    deadline_seconds: int = DEFAULT_DEADLINE_SECONDS

    def checked(self) -> "Ask":
        """The ask itself, if it can be worked on.

        Raises Invalid for an empty key, an overlong question, characters that no text has, or a deadline outside 1–120 s.
        """
        for name, value in (("clientKey", self.client_key), (self.words_field, self.words)):
            if value is not None and NO_TEXT.search(value):
                raise Invalid(Text(f"{name} 含有无法保存的字符", f"{name} holds characters that no text has"), (name,))
        if not self.client_key.strip() or len(self.client_key) > 200:  # noqa: PLR2004 - longer than any sensible key
            raise Invalid(
                Text("clientKey 不能为空且不超过 200 个字符", "clientKey must have 1 to 200 characters"), ("clientKey",)
            )
        if self.words is not None and len(self.words) > ASK_LENGTH:
            raise Invalid(
                Text(
                    f"内容有 {len(self.words)} 个字符，最多 {ASK_LENGTH} 个",
                    f"{len(self.words)} characters given, at most {ASK_LENGTH} are read",
                ),
                (self.words_field,),
            )
        if not 1 <= self.deadline_seconds <= MAX_DEADLINE_SECONDS:
            raise Invalid(
                Text(
                    f"时限须在 1 到 {MAX_DEADLINE_SECONDS} 秒之间",
                    f"the deadline must be 1 to {MAX_DEADLINE_SECONDS} seconds",
                ),
                ("deadlineSeconds",),
            )
        return self

    @property
    def words_field(self) -> str:
        """The input field that held the words."""
        return {GenerationKind.VISIT_BRIEF: "purpose", GenerationKind.OBJECTION_REPLY: "concern"}.get(self.kind, "ask")


class Facts(Protocol):
    """What a skill gathered; frozen, and readable as JSON."""

    @property
    def subject(self) -> Ref:
        """The record that the answer is about."""
        ...

    @property
    def subject_label(self) -> str:
        """Its name, for people who may not see the record."""
        ...

    @property
    def territory_id(self) -> UUID | None:
        """The territory whose managers answer for it."""
        ...

    @property
    def person_ids(self) -> tuple[UUID, ...]:
        """The people whose erasure makes what was gathered unreadable."""
        ...

    @property
    def person_names(self) -> tuple[str, ...]:
        """Their names, masked before anything leaves."""
        ...

    def own_names(self) -> frozenset[str]:
        """The names of customers that the answer may say."""
        ...


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a section cannot be written."""

    why: Text


class TooLate(Exception):
    """A section needs knowledge that did not come in time."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The knowledge retrieved for an answer, by the name under which the skill wanted it; or that it came too late."""

    found: Mapping[str, list[Found]] = field(default_factory=dict)
    late: bool = False
    held_back: tuple[str, ...] = ()
    """The titles of what was found and is kept from the answer: it is marked, and no reviewer has let it through."""
    wants: Mapping[str, Wanted] = field(default_factory=dict)

    def __getitem__(self, name: str) -> list[Found]:
        """The entries found under a name.

        Raises TooLate on a late shelf.
        """
        if self.late:
            raise TooLate
        return self.found.get(name, [])


Compose = Callable[[Pen, Any, Shelf], str | Missing]


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """One section of a skill: its key, heading, and how the offline composer writes it."""

    key: str
    heading: Text
    compose: Compose
    free: bool = False
    """Whether lines without a claim (a greeting, a question) need no citation."""
    addressed: bool = False
    """Whether these are the words that the customer is to read."""


@dataclass(frozen=True, slots=True)
class Skill:
    """One kind of answer: what it gathers, what knowledge it wants, and its sections."""

    kind: GenerationKind
    subject_kind: str
    gather: Callable[[AsyncSession, Actor, Ask, Any], Awaitable[Any]]
    wants: Callable[[Any, Ask], dict[str, Wanted]]
    sections: tuple[SectionPlan, ...]
    addresses_customer: bool = False
    needs_words: bool = False
    queued_by: str | None = None
    """The section whose presence puts the answer into the queues of LEGAL and FINANCE."""
