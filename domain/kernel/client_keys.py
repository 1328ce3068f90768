"""Client keys: the same key of the same actor makes a record once, however often it is sent."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.access import load
from domain.kernel.errors import KeyReused, Text
from domain.kernel.orm import Base, Record
from domain.kernel.uow import UnitOfWork
from domain.kernel.values import fingerprint

T = TypeVar("T", bound=Record)

REUSED = Text("该 clientKey 已用于另一个内容不同的请求", "this clientKey was used for another request")


class ClientKey(Base):
    """One key that an actor sent with a create, and the record that came of it."""

    __tablename__ = "client_keys"
    __unledgered__ = "it repeats what the note of the record that it names says"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None]
    key: Mapped[str]
    fingerprint: Mapped[str]
    record_kind: Mapped[str]
    record_id: Mapped[UUID]
    used_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("user_id", "key"),)


async def once(
    uow: UnitOfWork,
    key: str | None,
    operation: str,
    given: Mapping[str, Any],
    model: type[T],
    make: Callable[[], Awaitable[T]],
) -> T:
    """The record that `make` makes, or the one that the same actor made with the same key, operation and input before.

    Without a key it is made. Two calls at once with one key wait for each other.

    Raises KeyReused when the key came with another operation or input, NotFound when the actor sees that record no more.
    """
    if key is None:
        return await make()
    mark = fingerprint({"operation": operation, "given": dict(given)})
    known = await uow.earlier(ClientKey, user_id=uow.actor.user_id, key=key)
    if known is not None:
        if known.fingerprint != mark:
            raise KeyReused(REUSED, ("clientKey",))
        return await load(uow.session, uow.actor, model, known.record_id, path=("clientKey",))
    row = await make()
    uow.session.add(
        ClientKey(
            id=uow.new_id(), user_id=uow.actor.user_id, key=key, fingerprint=mark, record_kind=row.entity(), record_id=row.id, used_at=uow.now,
        )
    )  # fmt: skip
    await uow.session.flush()
    return row
