"""The ledger's notary: holds the signing key, seals what waits, publishes heads, verifies."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from api.ledger_file import write_ledger
from api.secret_files import read_key
from api.settings import Settings
from domain import ledger
from domain.kernel import SYSTEM, Database, Invalid, Text
from domain.ledger import AuditEvent, Head, HeadFile, Signer, Verification, VerifiedHead

WHOLE_EVENTS = 20_000
"""A ledger up to this size is recomputed whole each time, which takes about a second; a larger one on from where it last was sound."""
WHOLE_AGAIN_SECONDS = 3_600.0


class Notary:
    """The one who seals and verifies the ledger of a database, with an installation's key and published heads."""

    def __init__(
        self,
        database: Database,
        signer: Signer,
        heads: HeadFile,
        *,
        timer: Callable[[], float] = time.monotonic,
        whole_events: int = WHOLE_EVENTS,
    ) -> None:
        self._database = database
        self._signer = signer
        self._heads = heads
        self._timer = timer
        self._whole_events = whole_events
        self._verified: VerifiedHead | None = None
        self._whole_at = float("-inf")
        self._verifying = asyncio.Lock()

    @classmethod
    def of(cls, database: Database, settings: Settings, heads_file: HeadFile | None = None) -> "Notary":
        """The notary that the settings name, with their published heads or others; the key is made on first use.

        Raises Unavailable for a key file or a folder of heads that cannot be used.
        """
        heads: Path = settings.heads_file
        heads.parent.mkdir(parents=True, exist_ok=True)
        return cls(database, Signer(read_key(settings.ledger_key)), heads_file or HeadFile(heads))

    async def seal(self) -> Head | None:
        """Seal and publish what waits; the newest head, None in an empty ledger.

        Raises LedgerProblem when the stored tree is not the one that was signed last.
        """
        return await ledger.seal(self._database, self._signer, self._heads)

    async def export(self, file: Path, progress: Callable[[int, int], None]) -> int:
        """Write the ledger to a file that can be verified anywhere; the number of events.

        Raises LedgerProblem for what cannot be read.
        """
        async with self._database.read(SYSTEM) as connection:
            total = (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one()
            return await write_ledger(connection, self._signer.public_key, file, progress, total)

    async def head_problem(self) -> Text | None:
        """What is wrong with the newest stored head, seen without reading the ledger: its signature, or the published ones."""
        published = await asyncio.to_thread(self._heads.last)
        async with self._database.read(SYSTEM) as connection:
            return await ledger.head_problem(connection, self._signer.public_key, published)

    async def verify(self) -> Verification:
        """Verify the ledger: whole while it is small or an hour has passed, else what is new since it last was sound."""
        async with self._verifying:
            found = await self.audit(since=self._start())
            if found.verified is not None and found.events > self._whole_events:
                self._verified = found.verified
            elif not found.sound:
                self._verified = None
            return found

    def _start(self) -> VerifiedHead | None:
        if self._verified is not None and self._timer() - self._whole_at < WHOLE_AGAIN_SECONDS:
            return self._verified
        self._whole_at = self._timer()
        return None

    async def audit(
        self,
        *,
        remembered: Head | None = None,
        since: VerifiedHead | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Verification:
        """Recompute the ledger and compare it with the published heads and a remembered one.

        Raises Invalid for a file of heads that cannot be read.
        """
        published = await asyncio.to_thread(self._heads.read)
        total, done = published[-1].size if published else 0, 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress(done, max(total, done))

        async with self._database.read(SYSTEM) as connection:
            return await ledger.verify(
                connection,
                self._signer.public_key,
                heads=published,
                remembered=remembered,
                since=since,
                progress=count,
            )


def remembered_head(words: str) -> Head:
    """The head that somebody kept elsewhere: its line, or @FILE with that line in it.

    Raises Invalid for anything else.
    """
    try:
        line = Path(words[1:]).read_text(encoding="utf-8") if words.startswith("@") else words
        return Head.from_line(line.strip().encode())
    except (OSError, ValueError) as error:
        raise Invalid(Text(f"不是账本头：{error}", f"this is no ledger head: {error}"), ("head",)) from error
