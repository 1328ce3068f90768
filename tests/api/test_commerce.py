"""Commerce over GraphQL: a whole sale by its mutations, lists with filters, masks, statements, refusals that change nothing."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from api.jobs.kinds import KINDS, Tools
from api.settings import Settings
from domain.commerce import Invoice, Order, OrderLine, Payment, PriceBookEntry, Product, Quote, QuoteLine, QuoteStatus
from domain.ledger import AuditEvent
from tests.api.conftest import Ask, Company, Statements

PRICE = {"listPrice": {"amount": "38000.00", "currency": "CNY"}, "floorPrice": {"amount": "31500", "currency": "CNY"}}
PRODUCT = {"clientKey": "产品-1", "code": "CM-PM8", "nameZh": "病人监护仪 PM8", "nameEn": "Patient Monitor PM8"} | PRICE
FIELDS = {
    "Product": "id version code name discontinuedAt prices { listPrice { amount currency } floorPrice { amount } validTo } priceHistory { totalCount }",
    "Quote": "id version number revision revises { id } status total { amount currency } paymentTermsDays issuedAt validUntil reason approvalReasons opportunity { name } account { name } lines { product { code } quantity unitPrice { amount currency } total { amount } }",
    "Order": "id version number quote { number } account { name } opportunity { name } total { amount currency } poNumber expectedOn paymentTermsDays lines { product { code } quantity unitPrice { amount } total { amount } } payments { status } invoices { number }",
    "Invoice": "id version number amount { amount currency } issuedOn dueOn voidedOn order { number } payments { id }",
    "Payment": "id version status amount { amount currency } received { amount } dueOn paidOn method reference invoice { number } order { number } account { name }",
}
COUNTED = (Product, PriceBookEntry, Quote, QuoteLine, Order, OrderLine, Invoice, Payment, AuditEvent)


async def counts(company: Company) -> list[int]:
    async with company.database.read() as connection:
        found = [await connection.execute(select(func.count()).select_from(model)) for model in COUNTED]
    return [one.scalar_one() for one in found]


class Shop:
    """A seller's hands: mutations that are taken, or refused without any change."""

    def __init__(self, company: Company, ask: Ask) -> None:
        self.company = company
        self.ask = ask

    async def _payload(self, name: str, who: str, input: dict[str, Any], entity: str) -> dict[str, Any]:
        kind, field = name[0].upper() + name[1:] + "Input", entity.lower()
        if name.endswith("Quote") and name not in {"createQuote", "updateQuote", "reviseQuote"}:
            kind = "QuoteActionInput"
        document = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ {field} {{ {FIELDS[entity]} }} errors {{ path code message }} }} }}"
        answer = await self.ask(document, who, input=input)
        assert answer.errors == [], answer.errors
        return dict(answer.data[name])

    async def do(self, name: str, entity: str, who: str = "lei", **input: Any) -> dict[str, Any]:
        """The record after a mutation that is taken."""
        payload = await self._payload(name, who, input, entity)
        assert payload["errors"] == []
        return dict(payload[entity.lower()])

    async def refuse(self, name: str, entity: str, who: str = "lei", **input: Any) -> tuple[list[str], str]:
        """Where and why a mutation was refused; nothing has changed."""
        before = await counts(self.company)
        payload = await self._payload(name, who, input, entity)
        assert payload[entity.lower()] is None
        (error,) = payload["errors"]
        assert error["message"]
        assert await counts(self.company) == before
        return error["path"], error["code"]

    async def product(self) -> dict[str, Any]:
        """The monitor."""
        return await self.do("createProduct", "Product", "SALES_OPS", **PRODUCT)

    def line(self, product: dict[str, Any], quantity: int = 2, price: str = "36500.00") -> dict[str, Any]:
        """Some of a product at a price."""
        return {"productId": product["id"], "quantity": quantity, "unitPrice": {"amount": price, "currency": "CNY"}}

    async def quote(self, product: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A draft on lei's hospital deal."""
        words = {
            "clientKey": "报价-1", "opportunityId": self.company.id(self.company.deals["hospital-1"]), "lines": [self.line(product)], "validUntil": "2026-04-01",
        }  # fmt: skip
        return await self.do("createQuote", "Quote", **words | more)

    async def step(self, name: str, record: dict[str, Any], who: str = "lei", **more: Any) -> dict[str, Any]:
        """A quote after its next step."""
        return await self.do(name, "Quote", who, id=record["id"], expectedVersion=record["version"], **more)

    async def order(self, product: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A free order of the hospital."""
        account = self.company.id(self.company.accounts["hospital"])
        words = {"clientKey": "订单-1", "accountId": account, "lines": [self.line(product)]}
        return await self.do("createOrder", "Order", **words | more)


@pytest.fixture
def shop(company: Company, ask: Ask) -> Shop:
    return Shop(company, ask)


async def test_a_sale_from_product_to_payment(company: Company, shop: Shop) -> None:
    product = await shop.product()
    assert (product["name"], product["prices"]) == (
        "病人监护仪 PM8",
        [
            {
                "listPrice": {"amount": "38000.00", "currency": "CNY"},
                "floorPrice": {"amount": "31500.00"},
                "validTo": None,
            }
        ],
    )
    quote = await shop.quote(product)
    assert (quote["number"], quote["status"], quote["total"]) == (
        "Q-2026-000001", "DRAFT", {"amount": "73000.00", "currency": "CNY"},
    )  # fmt: skip
    assert quote["lines"] == [
        {"product": {"code": "CM-PM8"}, "quantity": 2, "unitPrice": {"amount": "36500.00", "currency": "CNY"}, "total": {"amount": "73000.00"}}
    ]  # fmt: skip
    assert (quote["opportunity"]["name"], quote["account"]["name"]) == ("杭州第一医院 第1期", "杭州第一医院")
    quote = await shop.do(
        "updateQuote", "Quote", id=quote["id"], expectedVersion=1, lines=[shop.line(product, 3)], paymentTermsDays=60
    )
    assert (quote["version"], quote["total"]["amount"], quote["paymentTermsDays"], quote["validUntil"]) == (
        2, "109500.00", 60, "2026-04-01",
    )  # fmt: skip
    assert await shop.refuse("issueQuote", "Quote", id=quote["id"], expectedVersion=2) == (["id"], "CONFLICT")
    quote = await shop.step("submitQuote", quote)
    assert (quote["status"], quote["approvalReasons"]) == ("IN_APPROVAL", ["LONG_TERMS"])
    assert await shop.refuse("approveQuote", "Quote", "min", id=quote["id"], expectedVersion=3) == (["id"], "FORBIDDEN")
    quote = await shop.step("approveQuote", quote, "FINANCE")
    quote = await shop.step("acceptQuote", await shop.step("issueQuote", quote))
    order = await shop.do("createOrder", "Order", clientKey="订单-1", quoteId=quote["id"], poNumber="HZ-88")
    assert (order["number"], order["quote"], order["total"]["amount"], order["paymentTermsDays"]) == (
        "O-2026-000001", {"number": "Q-2026-000001"}, "109500.00", 60,
    )  # fmt: skip
    invoice = await shop.do(
        "recordInvoice", "Invoice", "FINANCE", clientKey="发票-1", orderId=order["id"], number="2411700000", amount={"amount": "109500", "currency": "CNY"}, issuedOn="2026-03-02",
    )  # fmt: skip
    payment = await shop.do(
        "recordPayment", "Payment", "FINANCE", clientKey="回款-1", orderId=order["id"], invoiceId=invoice["id"],
        amount={"amount": "109500.00", "currency": "CNY"}, dueOn="2026-05-01",
    )  # fmt: skip
    assert (payment["status"], payment["invoice"], payment["received"]) == (
        "DUE", {"number": "2411700000"}, {"amount": "0.00"},
    )  # fmt: skip
    part = {"received": {"amount": "32850.00", "currency": "CNY"}, "paidOn": "2026-03-02", "method": "BANK_TRANSFER"}
    payment = await shop.do("updatePayment", "Payment", "FINANCE", id=payment["id"], expectedVersion=1, **part)
    assert (payment["status"], payment["version"]) == ("PARTLY", 2)
    rest = {"received": {"amount": "109500", "currency": "CNY"}}
    payment = await shop.do("updatePayment", "Payment", "FINANCE", id=payment["id"], expectedVersion=2, **rest)
    assert (payment["status"], payment["paidOn"]) == ("PAID", "2026-03-02")


async def test_below_the_floor_a_manager_agrees_first(shop: Shop) -> None:
    product = await shop.product()
    quote = await shop.quote(product, lines=[shop.line(product, 1, "31499.99")])
    refused = {"id": quote["id"], "expectedVersion": 1}
    assert await shop.refuse("issueQuote", "Quote", **refused) == (["id"], "CONFLICT")
    quote = await shop.step("submitQuote", quote)
    assert quote["status"] == "IN_APPROVAL"
    refused = {"id": quote["id"], "expectedVersion": 2}
    assert await shop.refuse("approveQuote", "Quote", **refused) == ([], "FORBIDDEN")
    assert await shop.refuse("approveQuote", "Quote", "na", **refused) == ([], "FORBIDDEN")
    quote = await shop.step("returnQuote", quote, "min", reason="先谈账期")
    assert (quote["status"], quote["reason"]) == ("DRAFT", "先谈账期")
    quote = await shop.step("submitQuote", quote)
    quote = await shop.step("approveQuote", quote, "FINANCE")
    assert (await shop.step("issueQuote", quote))["status"] == "ISSUED"


async def test_a_revision_names_what_it_revises(shop: Shop) -> None:
    first = await shop.step("issueQuote", await shop.quote(await shop.product()))
    words = {"clientKey": "修订-1", "id": first["id"], "expectedVersion": first["version"]}
    second = await shop.do("reviseQuote", "Quote", **words)
    assert (second["number"], second["revision"], second["revises"]) == (first["number"], 2, {"id": first["id"]})
    assert (await shop.do("reviseQuote", "Quote", **words))["id"] == second["id"]
    gone = await shop.step("rejectQuote", first, reason="预算取消")
    assert (gone["status"], gone["reason"]) == ("REJECTED", "预算取消")


async def test_a_job_lets_quotes_expire_after_their_last_day(company: Company, shop: Shop, tmp_path: Path) -> None:
    await shop.step("issueQuote", await shop.quote(await shop.product()))
    company.database.clock.advance(days=31)  # type: ignore[attr-defined]
    expire = next(kind for kind in KINDS if kind.name == "expire_quotes")
    assert expire.cron
    assert await expire.work(Tools(company.database, Settings(home=tmp_path)), {}) == 1
    async with company.database.read() as connection:
        assert (await connection.execute(select(Quote.status))).scalar_one() is QuoteStatus.EXPIRED


async def test_a_client_key_makes_each_record_once(company: Company, shop: Shop) -> None:
    product = await shop.product()
    quote, order = await shop.quote(product), await shop.order(product)
    payment = {
        "clientKey": "回款-1", "orderId": order["id"], "amount": {"amount": "1", "currency": "CNY"}, "dueOn": "2026-03-02",
    }  # fmt: skip
    paid = await shop.do("recordPayment", "Payment", "FINANCE", **payment)
    before = await counts(company)
    assert (await shop.product())["id"] == product["id"]
    assert (await shop.quote(product))["id"] == quote["id"]
    assert (await shop.order(product))["id"] == order["id"]
    assert (await shop.do("recordPayment", "Payment", "FINANCE", **payment))["id"] == paid["id"]
    assert await counts(company) == before
    other = PRODUCT | {"code": "CM-PM9"}
    assert await shop.refuse("createProduct", "Product", "SALES_OPS", **other) == (["clientKey"], "KEY_REUSED")


async def test_a_new_price_is_one_of_today_and_the_old_stays_in_history(company: Company, shop: Shop, ask: Ask) -> None:
    product = await shop.product()
    company.database.clock.advance(days=1)  # type: ignore[attr-defined]
    fresh = {"listPrice": {"amount": "39000", "currency": "CNY"}, "floorPrice": {"amount": "33000", "currency": "CNY"}}
    priced = await shop.do("setProductPrice", "Product", "SALES_OPS", id=product["id"], expectedVersion=1, **fresh)
    assert (priced["version"], [price["listPrice"]["amount"] for price in priced["prices"]], priced["priceHistory"]) == (
        2, ["39000.00"], {"totalCount": 2},
    )  # fmt: skip
    stale = {"id": product["id"], "expectedVersion": 1} | fresh
    assert await shop.refuse("setProductPrice", "Product", "SALES_OPS", **stale) == (
        ["expectedVersion"],
        "STALE_VERSION",
    )
    gone = await shop.do(
        "updateProduct", "Product", "SALES_OPS", id=product["id"], expectedVersion=2, discontinued=True
    )
    assert gone["discontinuedAt"] == "2026-03-03T01:30:00.000000Z"
    found = 'query($d: Boolean!) { products(filter: { discontinued: $d, search: "pm8" }, orderBy: CODE_ASC) { totalCount } }'
    assert (await ask(found, d=True)).data == {"products": {"totalCount": 1}}
    assert (await ask(found, d=False)).data == {"products": {"totalCount": 0}}


BAD_ORDERS: list[tuple[dict[str, Any], list[str], str]] = [
    ({"quoteId": "quo_" + "0" * 32}, ["quoteId"], "INVALID"),
    ({"accountId": None}, ["accountId"], "INVALID"),
    ({"lines": None}, ["lines"], "INVALID"),
    ({"lines": []}, ["lines"], "INVALID"),
    ({"number": " "}, ["number"], "INVALID"),
    ({"orderedAt": "2026-03-04T00:00:00Z"}, ["orderedAt"], "INVALID"),
    ({"paymentTermsDays": -1}, ["paymentTermsDays"], "INVALID"),
    ({"poNumber": "号" * 101}, ["poNumber"], "INVALID"),
    ({"accountId": "什么都不是"}, ["accountId"], "NOT_FOUND"),
]


@pytest.mark.parametrize(("changes", "path", "code"), BAD_ORDERS)
async def test_an_order_that_cannot_be_taken_says_where(
    company: Company, shop: Shop, changes: dict[str, Any], path: list[str], code: str
) -> None:
    product = await shop.product()
    words = {"clientKey": "1", "accountId": company.id(company.accounts["hospital"]), "lines": [shop.line(product)]}
    assert await shop.refuse("createOrder", "Order", **words | changes) == (path, code)


async def test_lines_say_which_of_them_is_wrong(company: Company, shop: Shop) -> None:
    product = await shop.product()
    words: dict[str, Any] = {"clientKey": "1", "opportunityId": company.id(company.deals["hospital-1"])}
    foreign = shop.line(product) | {"productId": company.id(company.accounts["hospital"])}
    fine = shop.line(product, price="1.005")
    assert await shop.refuse("createQuote", "Quote", **words, lines=[shop.line(product), foreign]) == (
        ["lines", "1", "productId"], "NOT_FOUND",
    )  # fmt: skip
    assert await shop.refuse("createQuote", "Quote", **words, lines=[fine]) == (
        ["lines", "0", "unitPrice", "amount"], "INVALID",
    )  # fmt: skip
    assert await shop.refuse("createQuote", "Quote", **words, lines=[shop.line(product)] * 501) == (
        ["lines"],
        "INVALID",
    )


FORBIDDEN = {
    "createProduct": ("Product", PRODUCT, {"SALES_OPS"}),
    "recordPayment": ("Payment", None, {"FINANCE", "SALES_OPS", "min"}),
}


async def test_who_may_not_is_refused(company: Company, shop: Shop) -> None:
    order = await shop.order(await shop.product())
    payment = {
        "clientKey": "1",
        "orderId": order["id"],
        "amount": {"amount": "1", "currency": "CNY"},
        "dueOn": "2026-03-02",
    }
    for name, (entity, input, may) in FORBIDDEN.items():
        for who in company.people.keys() - may:
            assert await shop.refuse(name, entity, who, **(input or payment)) == ([], "FORBIDDEN"), (name, who)


async def test_foreign_records_are_absent(company: Company, shop: Shop) -> None:
    product = await shop.product()
    quote, order = await shop.quote(product), await shop.order(product)
    words = {"id": quote["id"], "expectedVersion": 1}
    assert await shop.refuse("updateQuote", "Quote", "na", **words, paymentTermsDays=1) == (["id"], "NOT_FOUND")
    assert await shop.refuse("issueQuote", "Quote", "na", **words) == (["id"], "NOT_FOUND")
    words = {"id": order["id"], "expectedVersion": 1}
    assert await shop.refuse("updateOrder", "Order", "na", **words, poNumber="1") == (["id"], "NOT_FOUND")


# ---- reads -----------------------------------------------------------------------------------------------------------

SEEN = "{ products { totalCount } quotes { totalCount } orders { totalCount } invoices { totalCount } payments { totalCount } }"
EACH_FINDS = {
    "lei": (1, 1, 1, 1, 2), "na": (1, 0, 0, 0, 0), "min": (1, 1, 1, 1, 2), "FINANCE": (1, 1, 1, 1, 2), "SALES_OPS": (1, 1, 1, 1, 2),
    "CSM": (1, 0, 0, 0, 0), "EXECUTIVE": (1, 0, 0, 0, 0), "CURATOR": (1, 0, 0, 0, 0), "LEGAL": (1, 0, 0, 0, 0), "AUDITOR": (1, 0, 0, 0, 0),
    "DPO": (1, 0, 0, 0, 0), "ADMIN": (1, 0, 0, 0, 0),
}  # fmt: skip


async def sold(shop: Shop) -> tuple[dict[str, Any], dict[str, Any]]:
    """One of everything, and two payments: one late, one begun."""
    product = await shop.product()
    quote = await shop.step("acceptQuote", await shop.step("issueQuote", await shop.quote(product)))
    order = await shop.do("createOrder", "Order", clientKey="订单-1", quoteId=quote["id"])
    amount = {"amount": "1000", "currency": "CNY"}
    bill = {"clientKey": "发票-1", "orderId": order["id"], "number": "1", "amount": amount, "issuedOn": "2026-03-01"}
    await shop.do("recordInvoice", "Invoice", "FINANCE", **bill)
    late = {"clientKey": "回款-1", "orderId": order["id"], "amount": amount, "dueOn": "2026-03-01"}
    begun = late | {
        "clientKey": "回款-2", "dueOn": "2026-03-02", "received": {"amount": "1", "currency": "CNY"}, "paidOn": "2026-03-02",
    }  # fmt: skip
    for payment in (late, begun):
        await shop.do("recordPayment", "Payment", "FINANCE", **payment)
    return quote, order


async def test_each_caller_finds_their_own(shop: Shop, ask: Ask) -> None:
    await sold(shop)
    for who, expected in EACH_FINDS.items():
        answer = await ask(SEEN, who)
        assert answer.errors == []
        assert tuple(part["totalCount"] for part in answer.data.values()) == expected, who


async def test_the_floor_is_withheld_where_it_is_nobodys_business(shop: Shop, ask: Ask) -> None:
    await shop.product()
    document = "{ products { edges { node { series prices { listPrice { amount } floorPrice { amount } } } } } }"

    async def prices(who: str) -> Any:
        return (await ask(document, who)).data["products"]["edges"][0]["node"]["prices"]

    shown = {"listPrice": {"amount": "38000.00"}, "floorPrice": {"amount": "31500.00"}}
    for who in ("lei", "min", "FINANCE", "SALES_OPS"):
        assert await prices(who) == [shown], who
    assert await prices("CSM") == [shown | {"floorPrice": None}]
    for who in ("CURATOR", "LEGAL", "AUDITOR", "ADMIN"):
        assert await prices(who) == [], who


NESTED = """
query($id: ID!) { node(id: $id) { ... on Account {
  quotes { totalCount edges { node { number lines { quantity product { code } unitPrice { currency } } } } }
  orders { edges { node { number lines { product { code } total { amount } } payments { status } invoices { number } } } }
  payments { edges { node { status dueOn order { number } } } }
} ... on Opportunity { quotes { totalCount } orders { totalCount } payments { totalCount } } } }
"""


async def test_an_account_and_a_deal_show_their_commerce(
    company: Company, shop: Shop, ask: Ask, statements: Statements
) -> None:
    await sold(shop)
    statements.seen.clear()
    account = await ask(NESTED, id=company.id(company.accounts["hospital"]))
    assert account.errors == []
    found = account.data["node"]
    assert [edge["node"]["status"] for edge in found["payments"]["edges"]] == ["OVERDUE", "PARTLY"]
    assert found["orders"]["edges"][0]["node"]["payments"] == [{"status": "OVERDUE"}, {"status": "PARTLY"}]
    assert found["quotes"]["edges"][0]["node"]["lines"][0]["unitPrice"] == {"currency": "CNY"}
    # account; quotes and their count, orders, payments; lines of quotes, of orders, payments and invoices of orders; orders of payments; products
    assert len(statements) == 11
    deal = await ask(NESTED, "FINANCE", id=company.id(company.deals["hospital-1"]))
    assert deal.data["node"] == {
        "quotes": {"totalCount": 1},
        "orders": {"totalCount": 1},
        "payments": {"totalCount": 2},
    }


async def test_payments_are_found_by_where_they_stand(shop: Shop, ask: Ask) -> None:
    await sold(shop)
    document = "query($s: PaymentStatus!) { payments(filter: { status: $s }) { edges { node { status } } } }"
    for status, count in (("OVERDUE", 1), ("PARTLY", 1), ("DUE", 0), ("PAID", 0)):
        edges = (await ask(document, s=status)).data["payments"]["edges"]
        assert [edge["node"]["status"] for edge in edges] == [status] * count
    late = '{ payments(filter: { dueBefore: "2026-03-02" }, orderBy: DUE_DESC) { totalCount } }'
    assert (await ask(late)).data == {"payments": {"totalCount": 1}}


async def test_an_account_says_what_it_owes(company: Company, shop: Shop, ask: Ask, statements: Statements) -> None:
    await sold(shop)
    statements.seen.clear()
    document = "{ accounts { edges { node { name receivables { owed { amount currency } received { amount } overdue { amount } overdueSince } } } } }"
    answer = await ask(document)
    assert (answer.errors, len(statements)) == ([], 2)
    owing = {
        "owed": {"amount": "2000.00", "currency": "CNY"}, "received": {"amount": "1.00"}, "overdue": {"amount": "1000.00"}, "overdueSince": "2026-03-01",
    }  # fmt: skip
    found = {edge["node"]["name"]: edge["node"]["receivables"] for edge in answer.data["accounts"]["edges"]}
    assert found == {"杭州第一医院": [owing], "苏州精密零部件": []}
    assert sorted(
        map(len, (edge["node"]["receivables"] for edge in (await ask(document, "FINANCE")).data["accounts"]["edges"]))
    ) == [0, 0, 1]
    for edge in (await ask(document, "AUDITOR")).data["accounts"]["edges"]:
        assert edge["node"]["receivables"] == []


FOUND = {
    'quotes(filter: { status: ACCEPTED, search: "q-2026", issuedSince: "2026-03-01T00:00:00Z", endsBefore: "2026-04-02" })': 1,
    'quotes(filter: { issuedBefore: "2026-03-01T00:00:00Z" })': 0,
    'quotes(filter: { accountId: "acc_00000000000000000000000000000000" })': 0,
    'orders(filter: { search: "000001", orderedSince: "2026-03-01T00:00:00Z" }, orderBy: TOTAL_DESC)': 1,
    'orders(filter: { poNumber: "无" })': 0,
    "orders(filter: { delivered: false })": 1,
    "orders(filter: { delivered: true })": 0,
    'invoices(filter: { search: "1", issuedSince: "2026-03-01", issuedBefore: "2026-03-02" })': 1,
    'payments(filter: { paidSince: "2026-03-02", paidBefore: "2026-03-03" })': 1,
}


async def test_filters_find_what_they_say(shop: Shop, ask: Ask) -> None:
    await sold(shop)
    for root, count in FOUND.items():
        answer = await ask(f"{{ found: {root} {{ totalCount }} }}")
        assert (answer.errors, answer.data) == ([], {"found": {"totalCount": count}}), root


STATEMENTS = {
    "{ products { edges { node { name prices { listPrice { amount } } } } } }": 2,
    "{ quotes(orderBy: VALID_UNTIL_ASC) { edges { node { number total { amount } lines { quantity total { amount } } account { name } } } } }": 3,
    "{ orders(orderBy: EXPECTED_ASC) { edges { node { number lines { unitPrice { amount } product { name } } } } } }": 3,
    "{ payments(orderBy: AMOUNT_DESC) { edges { node { status order { number } invoice { number } } } } }": 2,
}


async def test_lists_cost_an_exact_number_of_statements(shop: Shop, ask: Ask, statements: Statements) -> None:
    await sold(shop)
    for document, expected in STATEMENTS.items():
        statements.seen.clear()
        answer = await ask(document)
        assert answer.errors == [], document
        assert len(statements) == expected, document
