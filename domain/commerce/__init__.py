"""What we sell and sold: products with list and floor prices, quotes, orders, and the reckoning that briefs need."""

from domain.commerce.model import (
    ISSUED,
    Order,
    OrderLine,
    PriceBookEntry,
    Product,
    Quote,
    QuoteLine,
    QuoteStatus,
)
from domain.commerce.policy import (
    COST_OF_CAPITAL_PER_YEAR,
    STANDARD_PAYMENT_TERMS_DAYS,
    PricedLine,
    PurchaseCycle,
    QuoteStrategy,
    StrategyKind,
    purchase_cycle,
    quote_strategies,
    rounding_step,
)
from domain.commerce.service import (
    Item,
    Purchase,
    add_product,
    issue_quote,
    place_order,
    place_orders,
    set_price,
)

__all__ = [
    "COST_OF_CAPITAL_PER_YEAR", "ISSUED", "STANDARD_PAYMENT_TERMS_DAYS", "Item", "Order", "OrderLine", "PriceBookEntry", "PricedLine", "Product", "Purchase", "PurchaseCycle",
    "Quote", "QuoteLine", "QuoteStatus", "QuoteStrategy", "StrategyKind", "add_product", "issue_quote", "place_order", "place_orders", "purchase_cycle", "quote_strategies",
    "rounding_step", "set_price",
]  # fmt: skip
