"""What two people do in the same moment: numbers stay apart, one step is taken, one order is made."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from domain import commerce
from domain.commerce import Order, Quote, QuoteStatus
from domain.kernel import Conflict, SalesError, StaleVersion, Text
from tests.domain.test_commerce.conftest import Company, cny
from tests.factories import START


async def outcomes(*operations: Awaitable[Any]) -> tuple[list[Any], list[BaseException]]:
    """What came of operations that run at once: results, and errors."""
    found = await asyncio.gather(*operations, return_exceptions=True)
    errors = [one for one in found if isinstance(one, BaseException)]
    assert all(isinstance(error, SalesError) for error in errors), errors
    return [one for one in found if not isinstance(one, BaseException)], errors


async def test_drafts_of_one_moment_have_numbers_of_their_own(company: Company) -> None:
    async def draft() -> str:
        async with company.database.open_uow(company.people["lei"]) as uow:
            words: dict[str, Any] = {"opportunity_id": company.deals["hospital"], "items": company.items()}
            return (await commerce.create_quote(uow, **words)).number

    numbers, errors = await outcomes(*(draft() for _ in range(8)))
    assert (sorted(numbers), errors) == ([f"Q-2026-{number:06}" for number in range(1, 9)], [])


async def test_of_two_answers_to_a_quote_one_is_taken(company: Company) -> None:
    quote = await company.quote()

    async def answer(step: Any) -> Quote:
        async with company.database.open_uow(company.people["lei"]) as uow:
            answered: Quote = await step(uow, quote.id, expected_version=quote.version)
            return answered

    taken, errors = await outcomes(answer(commerce.accept_quote), answer(commerce.reject_quote))
    assert [len(taken), [type(error) for error in errors]] == [1, [StaleVersion]]
    assert await company.count(Quote) == 1


async def test_a_quote_is_ordered_and_revised_once(company: Company) -> None:
    quote = await company.quote(status=QuoteStatus.ACCEPTED)
    other = await company.quote(number="Q-2")

    async def order() -> Order:
        async with company.database.open_uow(company.people["lei"]) as uow:
            return await commerce.order_quote(uow, quote.id)

    async def revise() -> Quote:
        async with company.database.open_uow(company.people["lei"]) as uow:
            return await commerce.revise_quote(uow, other.id, expected_version=other.version)

    made, errors = await outcomes(*(order() for _ in range(4)))
    assert (len(made), {type(error) for error in errors}, await company.count(Order)) == (1, {Conflict}, 1)
    made, errors = await outcomes(*(revise() for _ in range(4)))
    assert (len(made), {type(error) for error in errors}, await company.count(Quote)) == (1, {Conflict}, 3)


async def test_of_two_receipts_on_one_version_one_is_taken(company: Company) -> None:
    order = await company.order()
    async with company.database.open_uow(company.people["FINANCE"]) as uow:
        payment = await commerce.record_payment(uow, order_id=order.id, amount=cny(10), due_on=START.date())

    async def receive(amount: int) -> None:
        async with company.database.open_uow(company.people["FINANCE"]) as uow:
            changes = {"received": cny(amount), "paid_on": START.date()}
            await commerce.update_payment(uow, payment.id, expected_version=1, changes=changes)

    taken, errors = await outcomes(receive(3), receive(4))
    assert [len(taken), [type(error) for error in errors]] == [1, [StaleVersion]]


async def test_the_same_product_code_at_once_makes_one_product(company: Company) -> None:
    async def create() -> None:
        async with company.database.open_uow(company.people["SALES_OPS"]) as uow:
            name = Text("输液泵", "Infusion Pump")
            await commerce.create_product(uow, code="CM-IP1", name=name, list_price=cny(9_800), floor_price=cny(8_000))

    made, errors = await outcomes(*(create() for _ in range(4)))
    assert (len(made), {type(error) for error in errors}) == (1, {Conflict})
