"""Purchase cycles and quote strategies: figures that follow the rows, prices that never fall below floor."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.commerce import (
    PricedLine,
    PurchaseCycle,
    QuoteStrategy,
    StrategyKind,
    approval_reasons,
    payment_status,
    purchase_cycle,
    quote_strategies,
    rounding_step,
)
from domain.kernel import (
    ErrorCode,
    Language,
    Money,
    SalesError,
    Text,
)

NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)


def cny(amount: int) -> Money:
    """Whole yuan."""
    return Money(amount * 100, "CNY")


# ---- purchase cycle --------------------------------------------------------------------------------------------------


def bought(*days_ago: int) -> list[tuple[datetime, Money]]:
    """Orders so many days before now."""
    return [(NOW - timedelta(days=days), cny(100_000 + days)) for days in days_ago]


def test_three_orders_show_interval_swing_and_the_next_date() -> None:
    cycle = purchase_cycle(bought(40, 130, 240), NOW)
    assert cycle == PurchaseCycle(interval_days=100, swing_days=10, next_due=date(2026, 5, 1), overdue_days=0)
    assert cycle.swing_share == Decimal("0.100")


def test_a_customer_who_should_have_ordered_is_overdue() -> None:
    cycle = purchase_cycle(bought(100, 160, 220), NOW)
    assert cycle is not None
    assert (cycle.interval_days, cycle.swing_days, cycle.next_due, cycle.overdue_days) == (60, 0, date(2026, 1, 21), 40)


def test_on_the_due_day_nobody_is_late() -> None:
    cycle = purchase_cycle(bought(60, 120, 180), NOW)
    assert cycle is not None
    assert (cycle.next_due, cycle.overdue_days) == (NOW.date(), 0)


def test_only_the_last_three_orders_count() -> None:
    assert purchase_cycle(bought(10, 40, 70, 500, 900), NOW) == purchase_cycle(bought(10, 40, 70), NOW)


@pytest.mark.parametrize("days_ago", [(), (10,), (10, 40), (10, 10, 10)])
def test_too_few_orders_or_a_single_day_show_no_rhythm(days_ago: tuple[int, ...]) -> None:
    assert purchase_cycle(bought(*days_ago), NOW) is None


orders_drawn = st.lists(st.integers(0, 2000), min_size=3, max_size=8).map(lambda days: bought(*days))


@given(orders_drawn, st.randoms(use_true_random=False))
def test_a_cycle_does_not_depend_on_the_order_of_rows(orders: list[tuple[datetime, Money]], chance: Any) -> None:
    shuffled = orders.copy()
    chance.shuffle(shuffled)
    assert purchase_cycle(shuffled, NOW) == purchase_cycle(orders, NOW)


@given(orders_drawn, st.integers(1, 400))
def test_a_cycle_moves_with_its_orders(orders: list[tuple[datetime, Money]], days: int) -> None:
    there = purchase_cycle(orders, NOW)
    moved = purchase_cycle([(at + timedelta(days=days), total) for at, total in orders], NOW + timedelta(days=days))
    assert (there is None) == (moved is None)
    if there is not None and moved is not None:
        assert (moved.interval_days, moved.swing_days, moved.overdue_days) == (
            there.interval_days,
            there.swing_days,
            there.overdue_days,
        )
        assert moved.next_due == there.next_due + timedelta(days=days)


@given(orders_drawn)
def test_interval_and_swing_are_those_of_the_last_two_gaps(orders: list[tuple[datetime, Money]]) -> None:
    newest, middle, oldest = sorted((at.date() for at, _ in orders), reverse=True)[:3]
    cycle = purchase_cycle(orders, NOW)
    if newest == oldest:
        assert cycle is None
        return
    assert cycle is not None
    assert 2 * cycle.interval_days - (newest - oldest).days in {0, 1}
    gaps = ((newest - middle).days, (middle - oldest).days)
    assert min(gaps) <= cycle.interval_days <= max(gaps)
    assert cycle.swing_days == max(abs(gap - cycle.interval_days) for gap in gaps)


# ---- quote strategies ------------------------------------------------------------------------------------------------

MONITORS = PricedLine(12, cny(38_000), cny(31_500))
ULTRASOUND = PricedLine(2, cny(285_000), cny(238_000))
CONSERVATIVE, BALANCED, AGGRESSIVE = StrategyKind


def test_three_strategies_for_twelve_monitors_to_the_fen() -> None:
    held, middle, low = quote_strategies([MONITORS], payment_terms_days=60)
    assert [strategy.kind for strategy in (held, middle, low)] == [CONSERVATIVE, BALANCED, AGGRESSIVE]
    assert [strategy.price for strategy in (held, middle, low)] == [cny(444_300), cny(420_900), cny(393_600)]
    assert [strategy.margin for strategy in (held, middle, low)] == [cny(66_300), cny(42_900), cny(15_600)]
    assert [strategy.payment_terms_days for strategy in (held, middle, low)] == [30, 60, 60]
    assert [strategy.terms_cost for strategy in (held, middle, low)] == [
        Money(219_107, "CNY"),
        Money(415_134, "CNY"),
        Money(388_208, "CNY"),
    ]
    assert low.discount_share == 1 - Decimal(393_600) / 456_000
    assert low.margin_share == Decimal(15_600) / 393_600
    assert (held.price.words(Language.ZH), held.price.words(Language.EN)) == ("¥444,300", "CN¥444,300")


def test_a_weak_credit_grade_keeps_every_strategy_within_standard_terms() -> None:
    assert {
        strategy.payment_terms_days
        for strategy in quote_strategies([MONITORS], payment_terms_days=90, credit_grade="C")
    } == {30}
    assert [
        strategy.payment_terms_days
        for strategy in quote_strategies([MONITORS], payment_terms_days=90, credit_grade="B")
    ] == [30, 90, 90]


def test_payment_at_once_costs_nothing() -> None:
    assert {strategy.terms_cost for strategy in quote_strategies([MONITORS], payment_terms_days=0)} == {cny(0)}


def test_dearer_money_makes_terms_dearer_and_prices_no_different() -> None:
    cheap, dear = (
        quote_strategies([MONITORS], payment_terms_days=90, cost_of_capital_per_year=Decimal(rate))
        for rate in ("0.03", "0.09")
    )
    assert [one.price for one in cheap] == [one.price for one in dear]
    assert all(
        one.terms_cost.amount_minor < other.terms_cost.amount_minor for one, other in zip(cheap, dear, strict=True)
    )


def test_rivals_and_price_concerns_change_the_words_and_never_a_figure() -> None:
    plain, pressed = quote_strategies([MONITORS]), quote_strategies([MONITORS], rivals=1, price_concern=True)
    assert [_figures(one) for one in plain] == [_figures(one) for one in pressed]
    assert [one.why != other.why for one, other in zip(plain, pressed, strict=True)] == [False, True, True]
    assert pressed[2].why == Text(
        "有竞争对手在场，只在对方当场承诺时使用。",
        "A competitor is in the deal: use it only against a commitment on the spot.",
    )


def _figures(strategy: QuoteStrategy) -> tuple[Any, ...]:
    return strategy.price, strategy.margin, strategy.payment_terms_days, strategy.terms_cost


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [MONITORS, PricedLine(1, Money(100_00, "USD"), Money(90_00, "USD"))],
        [PricedLine(1, cny(100), cny(101))],
        [PricedLine(1, cny(100), cny(0))],
    ],
    ids=["no lines", "two currencies", "floor above list", "no floor"],
)
def test_lines_without_one_currency_or_a_sound_floor_are_refused(lines: list[PricedLine]) -> None:
    with pytest.raises(SalesError) as caught:
        quote_strategies(lines)
    assert (caught.value.code, caught.value.path) == (ErrorCode.INVALID, ("lines",))


@pytest.mark.parametrize(
    ("total", "step"),
    [
        (cny(10_000_000), 100_00), (cny(10_000), 100_00), (Money(999_999, "CNY"), 10_00), (cny(1_200), 10_00), (cny(55), 10), (Money(99, "CNY"), 1),
        (Money(880_000, "JPY"), 100), (Money(9_999, "JPY"), 10), (Money(55, "JPY"), 1),
    ],
)  # fmt: skip
def test_prices_are_rounded_to_a_hundred_or_a_hundredth(total: Money, step: int) -> None:
    assert rounding_step(total) == step


def _line(quantity: int, list_minor: int, permille: int, currency: str = "CNY") -> PricedLine:
    return PricedLine(quantity, Money(list_minor, currency), Money(max(1, list_minor * permille // 1000), currency))


lines_drawn = st.lists(
    st.builds(_line, st.integers(1, 60), st.integers(1, 90_000_000), st.integers(1, 1000)), min_size=1, max_size=5
)
terms_drawn = st.integers(0, 365)


@given(lines_drawn, terms_drawn, st.sampled_from([None, "A", "B", "C", "D"]))
def test_prices_lie_between_floor_and_list_and_fall_from_one_to_the_next(
    lines: list[PricedLine], terms: int, grade: str | None
) -> None:
    listed = sum(line.list_price.amount_minor * line.quantity for line in lines)
    floor = sum(line.floor_price.amount_minor * line.quantity for line in lines)
    found = quote_strategies(lines, payment_terms_days=terms, credit_grade=grade)
    prices = [strategy.price.amount_minor for strategy in found]
    assert listed >= prices[0] >= prices[1] >= prices[2] >= floor
    for strategy in found:
        price = strategy.price.amount_minor
        assert price == listed or price % rounding_step(Money(listed, "CNY")) == 0
        assert strategy.margin.amount_minor == price - floor
        assert 0 <= strategy.discount_share < 1
        assert 0 <= strategy.margin_share < 1
        assert 0 <= strategy.payment_terms_days <= terms
        exact = Decimal(price) * Decimal("0.06") * strategy.payment_terms_days / 365
        assert abs(strategy.terms_cost.amount_minor - exact) <= Decimal("0.5")


@given(lines_drawn, st.data())
def test_a_higher_floor_never_lowers_a_price_or_widens_a_margin(lines: list[PricedLine], data: st.DataObject) -> None:
    raised = [
        PricedLine(
            line.quantity,
            line.list_price,
            Money(data.draw(st.integers(line.floor_price.amount_minor, line.list_price.amount_minor)), "CNY"),
        )
        for line in lines
    ]
    step = rounding_step(Money(sum(line.list_price.amount_minor * line.quantity for line in lines), "CNY"))
    for before, after in zip(quote_strategies(lines), quote_strategies(raised), strict=True):
        assert after.price.amount_minor >= before.price.amount_minor
        assert after.margin.amount_minor <= before.margin.amount_minor + step


@given(st.integers(1, 60), st.integers(10, 900_000), st.integers(700, 900))
def test_all_three_follow_a_floor_that_rises_by_a_tenth(quantity: int, list_yuan: int, permille: int) -> None:
    line = _line(quantity, list_yuan * 100, permille)
    dearer = PricedLine(quantity, line.list_price, Money(line.floor_price.amount_minor * 11 // 10, "CNY"))
    for before, after in zip(quote_strategies([line]), quote_strategies([dearer]), strict=True):
        assert after.price.amount_minor > before.price.amount_minor
        assert after.margin.amount_minor < before.margin.amount_minor


# ---- approval and payment --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "days", "reasons"),
    [
        ([(100, 100)], 30, []), ([(99, 100)], 30, ["BELOW_FLOOR"]), ([(100, 90), (1, None)], 0, ["BELOW_FLOOR"]), ([(100, 90), (89, 90)], 30, ["BELOW_FLOOR"]),
        ([(100, 90)], 31, ["LONG_TERMS"]), ([(1, 2)], 180, ["BELOW_FLOOR", "LONG_TERMS"]),
    ],
)  # fmt: skip
def test_an_offer_below_a_floor_or_beyond_standard_terms_needs_approval(
    prices: list[tuple[int, int | None]], days: int, reasons: list[str]
) -> None:
    assert approval_reasons(prices, days) == reasons


DAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("received", "due_in", "status"),
    [
        (0, 0, "DUE"), (0, 1, "DUE"), (1, 0, "PARTLY"), (99, 5, "PARTLY"), (0, -1, "OVERDUE"), (99, -1, "OVERDUE"), (100, -9, "PAID"), (100, 9, "PAID"),
    ],
)  # fmt: skip
def test_where_a_payment_stands_follows_from_amounts_and_days(received: int, due_in: int, status: str) -> None:
    assert payment_status(100, received, DAY + timedelta(days=due_in), DAY) == status
