"""Who asks: admitted at the door, counted, and given the context of one operation."""

from dataclasses import dataclass, field
from typing import NamedTuple

from api.auth import Admission, Door
from api.context import Auditor, Context, Searches, Watching, preferred_language
from api.jobs.board import Board
from api.limits import Limits
from api.outbound import outbound_of
from api.rates import Rates
from api.settings import Settings
from api.standing import Standing
from assistant.pipeline import Desk
from domain.kernel import Actor, Database, Role, Unauthenticated
from knowledge import Library


class Caller(NamedTuple):
    """What a request says of who sent it: its Authorization and Accept-Language headers, and the address it came from."""

    authorization: str | None
    languages: str | None
    address: str


class Entry(NamedTuple):
    """A caller let in: the context of one operation, what must stand of them, and when their token ends (Unix time)."""

    context: Context
    standing: Standing | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Callers:
    """The callers of one server."""

    door: Door
    rates: Rates
    settings: Settings
    database: Database
    auditor: Auditor
    desk: Desk
    library: Library
    board: Board
    hub: Watching | None = None
    searches: Searches | None = None
    _limits: dict[frozenset[Role], Limits] = field(default_factory=dict)

    async def admitted(self, caller: Caller, *, counted: bool = False) -> Entry:
        """Let a caller in whose standing the database has just told; counted unless they were.

        Raises Unauthenticated, Unavailable, and RateLimited for one who asks too often.
        """
        try:
            admission = await self.door.admit(caller.authorization)
        except Unauthenticated:
            self.rates.count_refusal(caller.address)
            raise
        if not counted:
            self.rates.count_request(admission.actor if admission else None, caller.address)
        return self._entry(caller, admission)

    def recalled(self, caller: Caller) -> Entry | None:
        """Let a caller in who was here a moment ago, for whoever has their standing proved with what is read.

        None for one who was not. Raises RateLimited.
        """
        admission = None if caller.authorization is None else self.door.peek(caller.authorization)
        if admission is None:
            return None
        self.rates.count_request(admission.actor, caller.address)
        return self._entry(caller, admission)

    def forget(self, caller: Caller) -> None:
        """Let this caller in by the door alone."""
        if caller.authorization is not None:
            self.door.forget(caller.authorization)

    def _entry(self, caller: Caller, admission: Admission | None) -> Entry:
        actor = admission.actor if admission else None
        context = self._context(actor, caller.languages)
        context.ends_at = admission.expires_at if admission else None
        return Entry(context, admission.standing, admission.expires_at) if admission else Entry(context)

    def _context(self, actor: Actor | None, languages: str | None) -> Context:
        return Context(
            database=self.database,
            actor=actor,
            language=preferred_language(languages),
            now=self.database.clock(),
            auditor=self.auditor,
            desk=self.desk,
            library=self.library,
            board=self.board,
            outbound=outbound_of(self.settings.outbound),
            hub=self.hub,
            searches=self.searches,
            limits=self._limits_of(actor),
            rates=self.rates,
        )

    def _limits_of(self, actor: Actor | None) -> Limits:
        """The limits of a caller; the very same for all with the same roles, so that plans made under them hold."""
        if actor is None or not self.settings.role_limits:
            return self.settings.limits_of(actor)
        roles = actor.roles
        known = self._limits.get(roles)
        if known is None:
            known = self._limits[roles] = self.settings.limits_of(actor)
        return known
