"""The session of a unit of work: it shares the unit's transaction, and new rows go by that."""

from collections.abc import Iterable
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm.attributes import instance_state

from domain.kernel import search
from domain.kernel.finishing import finish
from domain.kernel.orm import Base
from domain.kernel.rows import stored
from domain.kernel.statements import Transaction, is_given


class Unit(Protocol):
    """Whose session it is: told of what changes, before it is written."""

    def add_new(self, row: Base) -> None:
        """Stamp a new row, and remember that it was made."""
        ...


class UnitSession(AsyncSession):
    """The session of one unit of work after the other on a connection.

    New rows wait in the unit's transaction, every other change is SQLAlchemy's to write.
    """

    transaction: Transaction

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, expire_on_commit=False, autoflush=False, join_transaction_mode="create_savepoint")
        self._added: dict[int, Base] = {}
        # What statements of the session look up is kept here: of a connection that was cut nothing may be asked.
        self._shared = connection.info

    def enter(self, transaction: Transaction) -> None:
        """Begin with nothing in it, and share a transaction."""
        self.transaction = self._shared["transaction"] = self.info["transaction"] = transaction
        self._added = {}

    def add(self, instance: object, _warn: bool = True) -> None:
        """Take in a row: a new one is written by the next flush."""
        state = instance_state(instance)
        if state.transient and isinstance(instance, Base) and is_given(type(instance)):
            self._added[id(instance)] = instance
        else:
            super().add(instance)

    def add_all(self, instances: Iterable[object]) -> None:
        """Take in several rows."""
        for instance in instances:
            self.add(instance)

    async def flush(self, objects: Any = None) -> None:
        """Write what changed: whatever is asked later sees it, and the commit has it."""
        if self._added:
            self._hand_over()
        sync = self.sync_session
        if sync.dirty or sync.deleted or sync.new:
            await super().flush(objects)

    def _hand_over(self) -> None:
        unit: Unit = self.info["uow"]
        rows, self._added = list(self._added.values()), {}
        for row in rows:
            unit.add_new(row)
        for row in rows:
            self.transaction.insert(type(row), [row.__dict__])
            stored(self.sync_session, row)
            if row.__searched__:
                self.transaction.insert(search.SearchText, search.texts(type(row), row.__dict__))

    async def leave(self, *, kept: bool) -> None:
        """End before the transaction does, with nothing left in it; what was written stays where the unit is to be kept."""
        self._shared.pop("transaction", None)
        self.info.clear()
        if not self.in_transaction():
            self.sync_session.close()
        elif kept:
            await self.commit()
            await self.close()
        else:
            await finish(self.close())
