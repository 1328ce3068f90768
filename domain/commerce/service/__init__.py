"""Operations on products, prices, quotes, orders, invoices and payments."""

from domain.commerce.service.billing import (
    COLLECTING,
    record_invoice,
    record_payment,
    update_invoice,
    update_payment,
)
from domain.commerce.service.lines import Item
from domain.commerce.service.orders import (
    FULFILLING,
    ORDERING,
    Purchase,
    order_quote,
    place_order,
    place_orders,
    update_order,
)
from domain.commerce.service.products import PRICING, add_product, create_product, set_price, update_product
from domain.commerce.service.quotes import (
    APPROVING,
    SELLING,
    accept_quote,
    approve_quote,
    create_quote,
    expire_quote,
    expire_quotes,
    issue_quote,
    record_quote,
    reject_quote,
    return_quote,
    revise_quote,
    submit_quote,
    update_quote,
)

__all__ = [
    "APPROVING", "COLLECTING", "FULFILLING", "ORDERING", "PRICING", "SELLING", "Item", "Purchase", "accept_quote", "add_product", "approve_quote", "create_product", "create_quote",
    "expire_quote", "expire_quotes", "issue_quote", "order_quote", "place_order", "place_orders", "record_invoice", "record_payment", "record_quote", "reject_quote", "return_quote", "revise_quote",
    "set_price", "submit_quote", "update_invoice", "update_order", "update_payment", "update_product", "update_quote",
]  # fmt: skip
