"""Products, quotes, orders, invoices and payments in the schema."""

from api.commerce.lists import CommerceQueries
from api.commerce.mutations import CommerceMutations
from api.commerce.types import Invoice, Order, OrderLine, Payment, PriceBookEntry, Product, Quote, QuoteLine

__all__ = [
    "CommerceMutations", "CommerceQueries", "Invoice", "Order", "OrderLine", "Payment", "PriceBookEntry", "Product", "Quote", "QuoteLine",
]  # fmt: skip
