"""What customers owe, added up account by account."""

from datetime import date
from typing import Any

from sqlalchemy import BigInteger, Select, case, cast, func, select

from api.reads import TODAY, Money, Scope, by, column, listed, money, rows
from domain.commerce import Payment
from domain.kernel import rows_visible


@rows
class Receivables:
    """What a customer owes in one currency, over all payments that the reader sees."""

    owed: Money = money("owed", "currency", "All that was ever owed.")
    received: Money = money("received", "currency", "What came in of it.")
    overdue: Money = money("overdue", "currency", "What did not come in by its day.")
    overdue_since: date | None = column("The due day of the oldest of that; null where nothing is late.")


def _sums(scope: Scope) -> Select[Any]:
    payment = Payment.__table__.alias()
    missing = payment.c.amount_minor - payment.c.received_minor
    late = (missing > 0) & (payment.c.due_on < TODAY)
    return scope.within(
        select(
            payment.c.account_id.label("parent"), payment.c.currency, cast(func.sum(payment.c.amount_minor), BigInteger()).label("owed"),
            cast(func.sum(payment.c.received_minor), BigInteger()).label("received"),
            cast(func.sum(case((late, missing), else_=0)), BigInteger()).label("overdue"), func.min(case((late, payment.c.due_on))).label("overdue_since"),
        )
        .where(scope.below(payment.c.account_id), rows_visible(Payment, scope.actor, payment))
        .group_by(payment.c.account_id, payment.c.currency)
    )  # fmt: skip


def receivables(description: str) -> Any:
    """The field of an account with what the customer owes, one entry a currency."""
    return listed(_sums, description, order=by("currency"))
