"""What customers owe, added up account by account."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import case, func, select
from sqlalchemy.engine import RowMapping

from api.context import Context
from api.reads import Money, batched
from domain import kernel
from domain.commerce import Payment
from domain.kernel import rows_visible


@strawberry.type(description="What a customer owes in one currency, over all payments that the reader sees.")
class Receivables:
    """One currency's sums."""

    owed: Money = strawberry.field(description="All that was ever owed.")
    received: Money = strawberry.field(description="What came in of it.")
    overdue: Money = strawberry.field(description="What did not come in by its day.")
    overdue_since: date | None = strawberry.field(
        description="The due day of the oldest of that; null where nothing is late."
    )


async def _sums(context: Context, ids: list[UUID]) -> Mapping[UUID, list[Receivables]]:
    """Add up in the database, in one statement."""
    missing = Payment.amount_minor - Payment.received_minor
    late = (missing > 0) & (Payment.due_on < context.now.date())
    owed, received = func.sum(Payment.amount_minor), func.sum(Payment.received_minor)
    statement = (
        select(
            Payment.account_id, Payment.currency, owed.label("owed"), received.label("received"),
            func.sum(case((late, missing), else_=0)).label("overdue"), func.min(case((late, Payment.due_on))).label("since"),
        )
        .where(Payment.account_id.in_(ids), rows_visible(Payment, context.reader))
        .group_by(Payment.account_id, Payment.currency)
        .order_by(Payment.account_id, Payment.currency)
    )  # fmt: skip
    found: dict[UUID, list[Receivables]] = {}
    for row in await context.rows(statement):
        found.setdefault(row["account_id"], []).append(_receivables(row))
    return found


def _receivables(row: RowMapping) -> Receivables:
    owed, received, overdue = (
        kernel.Money(int(row[name]), row["currency"]) for name in ("owed", "received", "overdue")
    )
    return Receivables(owed=owed, received=received, overdue=overdue, overdue_since=row["since"])  # type: ignore[arg-type]


def receivables(description: str) -> Any:
    """The field of an account with what the customer owes, one entry a currency."""
    return batched(_sums, description)
