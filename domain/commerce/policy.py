"""What orders, prices and payments tell: rhythm of purchases, ways to price a deal, what is owed, exact and explained."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import pairwise

from babel.numbers import get_currency_precision

from domain.kernel import Invalid, Money, Text

STANDARD_PAYMENT_TERMS_DAYS = 30
COST_OF_CAPITAL_PER_YEAR = Decimal("0.06")
"""The yearly price of money with which payment terms are reckoned, until pricing definitions carry it."""


@dataclass(frozen=True, slots=True)
class PurchaseCycle:
    """The rhythm of a customer's last three orders."""

    interval_days: int
    swing_days: int
    next_due: date
    overdue_days: int

    @property
    def swing_share(self) -> Decimal:
        """The swing over the interval, 0–1 and above for a rhythm that is none, to three places."""
        return (Decimal(self.swing_days) / self.interval_days).quantize(Decimal("0.001"), ROUND_HALF_UP)


CYCLE_ORDERS = 3


def purchase_cycle(orders: Sequence[tuple[datetime, Money]], now: datetime) -> PurchaseCycle | None:
    """The rhythm of the last three orders; None for fewer, or when all fell on one day.

    interval = mean of the two gaps in whole days, rounded half up; swing = the larger deviation of a gap from it; next due
    = last order + interval; overdue = days since then, 0 when it lies ahead.
    """
    days = sorted((at.date() for at, _ in orders), reverse=True)[:CYCLE_ORDERS]
    if len(days) < CYCLE_ORDERS or days[0] == days[-1]:
        return None
    gaps = [(newer - older).days for newer, older in pairwise(days)]
    interval = int((Decimal(sum(gaps)) / len(gaps)).quantize(Decimal(1), ROUND_HALF_UP))
    next_due = days[0] + timedelta(days=interval)
    return PurchaseCycle(
        interval, max(abs(gap - interval) for gap in gaps), next_due, max((now.date() - next_due).days, 0)
    )


class StrategyKind(StrEnum):
    """How hard a quote strategy goes for the deal."""

    CONSERVATIVE = "CONSERVATIVE"
    BALANCED = "BALANCED"
    AGGRESSIVE = "AGGRESSIVE"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One product with its quantity, list and floor price a piece."""

    quantity: int
    list_price: Money
    floor_price: Money


@dataclass(frozen=True, slots=True)
class QuoteStrategy:
    """One way to price a deal; shares are 0–1."""

    kind: StrategyKind
    price: Money
    discount_share: Decimal
    margin: Money
    margin_share: Decimal
    payment_terms_days: int
    terms_cost: Money
    why: Text


ROOM_GIVEN = {
    StrategyKind.CONSERVATIVE: Decimal("0.15"),
    StrategyKind.BALANCED: Decimal("0.45"),
    StrategyKind.AGGRESSIVE: Decimal("0.80"),
}
"""The share of the room between list and floor that a strategy gives away."""


def quote_strategies(
    lines: Sequence[PricedLine], *, payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS, credit_grade: str | None = None, rivals: int = 0,
    price_concern: bool = False, cost_of_capital_per_year: Decimal = COST_OF_CAPITAL_PER_YEAR,
) -> list[QuoteStrategy]:  # fmt: skip
    """Three prices for the lines: conservative, balanced, aggressive, each at or above floor and below the one before.

    price = list − share × (list − floor), rounded up as `rounding_step` says but never above list; margin = price − floor,
    its share over price; cost of terms = price × yearly cost of capital × days / 365 (simple interest, actual days). The
    conservative one asks for payment within the standard terms, the others grant what the customer has now unless the
    credit grade is C or worse. A floor at 70 % of list or more that rises by a tenth moves all three prices. Rivals and a concern about price change the words, never a figure.

    Raises Invalid for no lines, mixed currencies, or a floor above list.
    """
    currencies = {line.list_price.currency for line in lines} | {line.floor_price.currency for line in lines}
    if len(currencies) != 1:
        raise Invalid(Text("报价行须有且只有一种币种", "the lines need one currency"), ("lines",))
    total_list = sum(line.list_price.amount_minor * line.quantity for line in lines)
    total_floor = sum(line.floor_price.amount_minor * line.quantity for line in lines)
    if not 0 < total_floor <= total_list:
        raise Invalid(Text("底价不得高于目录价，且须为正", "the floor must be positive and not above list"), ("lines",))
    currency = currencies.pop()
    step = rounding_step(Money(total_list, currency))
    short = min(payment_terms_days, STANDARD_PAYMENT_TERMS_DAYS)
    safe = short if (credit_grade or "A").upper().startswith(("C", "D")) else payment_terms_days
    terms = {StrategyKind.CONSERVATIVE: short, StrategyKind.BALANCED: safe, StrategyKind.AGGRESSIVE: safe}
    strategies = []
    for kind, share in ROOM_GIVEN.items():
        exact = Decimal(total_list) - share * (total_list - total_floor)
        minor = min(int((exact / step).to_integral_value(ROUND_CEILING)) * step, total_list)
        price, margin = Money(minor, currency), Money(minor - total_floor, currency)
        cost = price.times(cost_of_capital_per_year * terms[kind] / 365)
        strategies.append(QuoteStrategy(
            kind, price, 1 - Decimal(minor) / total_list, margin, Decimal(minor - total_floor) / minor, terms[kind], cost,
            _why(kind, rivals=rivals, price_concern=price_concern, shortened=terms[kind] < payment_terms_days),
        ))  # fmt: skip
    return strategies


def rounding_step(list_total: Money) -> int:
    """The minor units to whose multiples prices are rounded: 100 units of currency, or 1 % of a list below 10,000 at most.

    That is the largest power of ten which fits; it depends on the list alone, so that a higher floor never lowers a price.
    """
    digits = len(str(list_total.amount_minor))
    return int(10 ** max(min(2 + get_currency_precision(list_total.currency), digits - 3), 0))


def _why(kind: StrategyKind, *, rivals: int, price_concern: bool, shortened: bool) -> Text:
    if kind is StrategyKind.CONSERVATIVE:
        reason = Text(
            "守住价格，让步放在服务和交付上。", "Hold the price and give way on service and delivery instead."
        )
    elif kind is StrategyKind.BALANCED:
        reason = (
            Text(
                "客户提过价格，用一次性让步换签约日期。",
                "Price has been raised: trade one concession for a signing date.",
            )
            if price_concern
            else Text(
                "客户没有把价格当作主要问题，适度让步即可。",
                "Price is not their main point: a moderate concession will do.",
            )
        )
    else:
        reason = (
            Text(
                "有竞争对手在场，只在对方当场承诺时使用。",
                "A competitor is in the deal: use it only against a commitment on the spot.",
            )
            if rivals
            else Text(
                "没有竞争对手的记录，除非要锁定多年订单，不必用到。",
                "No competitor is known: keep it for a multi-year order.",
            )
        )
    if not shortened:
        return reason
    return Text(f"{reason.zh}账期收回到标准天数。", f"{reason.en} Payment terms go back to standard.")


# ---- approval and payment --------------------------------------------------------------------------------------------


class ApprovalReason(StrEnum):
    """Why an offer needs somebody's word before it goes out."""

    BELOW_FLOOR = "BELOW_FLOOR"
    LONG_TERMS = "LONG_TERMS"


def approval_reasons(prices: Iterable[tuple[int, int | None]], payment_terms_days: int) -> list[ApprovalReason]:
    """Why an offer needs approval: a line below its floor (minor units a piece; None: none is known), or long payment terms."""
    reasons = []
    if any(floor is None or price < floor for price, floor in prices):
        reasons.append(ApprovalReason.BELOW_FLOOR)
    if payment_terms_days > STANDARD_PAYMENT_TERMS_DAYS:
        reasons.append(ApprovalReason.LONG_TERMS)
    return reasons


class PaymentStatus(StrEnum):
    """Where a payment stands on a day."""

    DUE = "DUE"
    PARTLY = "PARTLY"
    PAID = "PAID"
    OVERDUE = "OVERDUE"


def payment_status(owed_minor: int, received_minor: int, due_on: date, today: date) -> PaymentStatus:
    """Where a payment stands: all in, late (whatever came in), begun, or still to come; the due day itself is not late."""
    if received_minor >= owed_minor:
        return PaymentStatus.PAID
    if due_on < today:
        return PaymentStatus.OVERDUE
    return PaymentStatus.PARTLY if received_minor else PaymentStatus.DUE
