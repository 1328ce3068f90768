"""Products and their prices."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import custom_fields
from domain.commerce.model import PriceBookEntry, Product
from domain.kernel import Conflict, Invalid, Money, Role, Text, UnitOfWork, load

PRICING = (Role.SALES_OPS,)
"""Who keeps products and prices."""


async def create_product(
    uow: UnitOfWork, *, code: str, name: Text, list_price: Money, floor_price: Money, series: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Product:  # fmt: skip
    """Create a product with its price.

    Raises Invalid for an empty code or name, two currencies, or a floor that is not positive or above list; Conflict for a
    code that is taken.
    """
    if await _coded(uow, code) is not None:
        raise Conflict(Text(f"产品编码 {code} 已存在", f"there is a product {code} already"), ("code",))
    return await add_product(
        uow, code=code, name=name, list_price=list_price, floor_price=floor_price, series=series, custom=custom
    )  # fmt: skip


async def add_product(
    uow: UnitOfWork, *, code: str, name: Text, list_price: Money, floor_price: Money, series: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Product:  # fmt: skip
    """Create a product with its price, or return the one that has the code.

    Raises Invalid for an empty code or name, two currencies, or a floor that is not positive or above list.
    """
    if not code.strip():
        raise Invalid(Text("产品编码不能为空", "a product needs a code"), ("code",))
    found = await _coded(uow, code)
    if found is not None:
        return found
    _check_names({"name_zh": name.zh, "name_en": name.en})
    product = Product(id=uow.new_id(), code=code.strip(), name_zh=name.zh, name_en=name.en, series=series)
    product.custom = await custom_fields.apply(uow, Product.entity(), None, custom, new=custom is not None)
    entry = _priced(uow, product, list_price, floor_price)
    uow.session.add(product)
    await uow.session.flush()
    uow.session.add(entry)
    uow.note("product.added", product)
    await uow.session.flush()
    return product


async def _coded(uow: UnitOfWork, code: str) -> Product | None:
    await uow.wait_turn(f"product\0{code.strip()}")
    return (await uow.session.execute(select(Product).where(Product.code == code.strip()))).scalar_one_or_none()


def _check_names(given: Mapping[str, Any]) -> None:
    for name, field in (("name_zh", "nameZh"), ("name_en", "nameEn")):
        if name in given and not (given[name] or "").strip():
            raise Invalid(Text("产品名称不能为空", "a product needs its name"), (field,))


async def update_product(
    uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]
) -> Product:  # fmt: skip
    """Change `name_zh`, `name_en`, `series`, `custom`, or whether the product is `discontinued`.

    Raises NotFound, StaleVersion, Invalid for an empty name.
    """
    actor = uow.actor.only(*PRICING)
    product = await load(uow.session, actor, Product, id, expected_version=expected_version, lock=True)
    values = dict(changes)
    _check_names(values)
    if (gone := values.pop("discontinued", None)) is not None:
        values["discontinued_at"] = (product.discontinued_at or uow.now) if gone else None
    if "custom" in values:
        values["custom"] = await custom_fields.apply(uow, Product.entity(), product.custom, values["custom"])
    if product.change(values):
        uow.note("product.updated", product)
    await uow.session.flush()
    return product


async def set_price(
    uow: UnitOfWork, id: UUID, list_price: Money, floor_price: Money, *, expected_version: int | None = None
) -> Product:
    """Give a product new prices in their currency from now on; the ones before stay on record.

    Raises NotFound, StaleVersion, Invalid for two currencies, or a floor that is not positive or above list.
    """
    actor = uow.actor.only(*PRICING)
    product = await load(uow.session, actor, Product, id, expected_version=expected_version, lock=True)
    fresh = _priced(uow, product, list_price, floor_price)
    current = (PriceBookEntry.product_id == id) & PriceBookEntry.valid_to.is_(None)
    current &= PriceBookEntry.currency == fresh.currency
    for entry in (await uow.session.execute(select(PriceBookEntry).where(current))).scalars():
        entry.valid_to = uow.now
    uow.session.add(fresh)
    product.touch()
    uow.note("product.priced", product)
    await uow.session.flush()
    return product


def _priced(uow: UnitOfWork, product: Product, list_price: Money, floor_price: Money) -> PriceBookEntry:
    if floor_price.currency != list_price.currency or not 0 < floor_price.amount_minor <= list_price.amount_minor:
        words = Text(
            f"{product.code} 的底价须为正、不高于目录价、币种一致",
            f"the floor of {product.code} must be positive, not above list, in the same currency",
        )
        raise Invalid(words, ("floorPrice",))
    return PriceBookEntry(
        id=uow.new_id(), product_id=product.id, list_minor=list_price.amount_minor, floor_minor=floor_price.amount_minor,
        currency=list_price.currency, valid_from=uow.now,
    )  # fmt: skip
