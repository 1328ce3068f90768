"""The three quote strategies in words; every figure comes from commerce."""

from assistant.draft import Pen
from assistant.facts import AccountFacts, Line
from assistant.skills.base import Missing, Shelf
from domain import commerce
from domain.commerce import QuoteStrategy, StrategyKind
from domain.kernel import Text

STRATEGIES = {
    StrategyKind.CONSERVATIVE: Text("稳健", "Conservative"),
    StrategyKind.BALANCED: Text("均衡", "Balanced"),
    StrategyKind.AGGRESSIVE: Text("进取", "Aggressive"),
}
DAYS = Text("天", "days")


def quote_strategies(pen: Pen, facts: AccountFacts, shelf: Shelf) -> str | Missing:
    """Three ways to price this deal: price, margin over floor, what the payment terms cost, and why."""
    if not facts.lines:
        return Missing(Text("没有报价行或历史订单可以计价", "no quote line or past order to price"))
    terms = facts.quote.payment_terms_days if facts.quote else commerce.STANDARD_PAYMENT_TERMS_DAYS
    priced = [commerce.PricedLine(line.quantity, line.list_price, line.floor_price) for line in facts.lines]
    strategies = commerce.quote_strategies(
        priced, payment_terms_days=terms, credit_grade=facts.credit_grade, rivals=len(facts.rivals), price_concern=_price_concern(facts)
    )  # fmt: skip
    basis = pen.join(_item(pen, line) for line in facts.lines)
    first = pen.point(f"计价依据：{basis}。", f"Priced: {basis}.", *(line.evidence for line in facts.lines))
    return "\n".join([first, *(_strategy(pen, facts, strategy) for strategy in strategies)])


def _price_concern(facts: AccountFacts) -> bool:
    return any(
        concern.category in {"price_too_high", "competitor_cheaper", "budget_not_approved"}
        for concern in facts.concerns
    )


def _item(pen: Pen, line: Line) -> str:
    return (
        f"{pen.words(line.product)} ×{pen.count('quantity', line.product, line.quantity, Text('', ''), line.evidence)}"
    )


def _strategy(pen: Pen, facts: AccountFacts, strategy: QuoteStrategy) -> str:
    sources = [line.evidence for line in facts.lines]
    source, key, name = sources[0], strategy.kind.value.lower(), STRATEGIES[strategy.kind]
    price = pen.money(f"{key}_price", Text(f"{name.zh}报价", f"{name.en} price"), strategy.price, source)
    off = pen.percent(
        f"{key}_discount", Text(f"{name.zh}折让", f"{name.en} discount"), strategy.discount_share * 100, source
    )
    margin = pen.money(
        f"{key}_margin", Text(f"{name.zh}高于底价", f"{name.en} margin over floor"), strategy.margin, source
    )
    share = pen.percent(
        f"{key}_margin_share",
        Text(f"{name.zh}高于底价的比例", f"{name.en} margin share"),
        strategy.margin_share * 100,
        source,
    )
    days = pen.count(
        f"{key}_terms_days",
        Text(f"{name.zh}账期", f"{name.en} payment terms"),
        strategy.payment_terms_days,
        DAYS,
        source,
    )
    cost = pen.money(
        f"{key}_terms_cost", Text(f"{name.zh}账期成本", f"{name.en} cost of terms"), strategy.terms_cost, source
    )
    zh = f"{name.zh}：报价 {price}，比目录价低 {off}，高于底价 {margin}（{share}）；账期 {days}，资金成本 {cost}。{strategy.why.zh}"
    en = f"{name.en}: price {price}, {off} below list, {margin} ({share}) over floor; {days} to pay, which costs {cost}. {strategy.why.en}"
    return pen.point(zh, en, *sources)
