"""Values that every room shares: references, money, bilingual text, languages."""

import hashlib
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from babel.numbers import format_currency, get_currency_precision, is_currency

from domain.kernel.errors import Invalid, Text


class Language(StrEnum):
    """The languages that people read."""

    ZH = "ZH"
    EN = "EN"


@dataclass(frozen=True, slots=True)
class Ref:
    """One record, named by its class and id, wherever a foreign key would point up."""

    kind: str
    id: UUID

    def __str__(self) -> str:
        return f"{self.kind}:{self.id.hex}"


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in minor units of one ISO 4217 currency."""

    amount_minor: int
    currency: str

    @property
    def amount(self) -> Decimal:
        """The amount in major units with the currency's own number of decimals."""
        return Decimal(self.amount_minor).scaleb(-get_currency_precision(self.currency))

    def times(self, factor: Decimal) -> "Money":
        """The amount times a factor, rounded half up to a minor unit."""
        minor = (Decimal(self.amount_minor) * factor).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        return Money(int(minor), self.currency)

    def words(self, language: Language) -> str:
        """The amount as people write it: ¥1,250,000 or CN¥1,250,000; decimals only where there are any."""
        whole = self.amount == self.amount.to_integral_value()
        locale = "zh_CN" if language is Language.ZH else "en_US"
        pattern = "¤#,##0" if whole else "¤#,##0.00"
        return format_currency(self.amount, self.currency, format=pattern, locale=locale, currency_digits=not whole)


def money(amount: Decimal, currency: str, path: tuple[str, ...] = ()) -> Money:
    """Money from an amount in major units.

    Raises Invalid for an unknown currency, an amount that is not finite or finer than a minor unit, or one beyond 15 digits.
    """
    code = currency.upper()
    if not is_currency(code):
        raise Invalid(Text(f"未知币种“{currency}”", f"unknown currency “{currency}”"), (*path, "currency"))
    if not amount.is_finite():
        raise Invalid(Text("金额必须是有限的数", "the amount must be a finite number"), (*path, "amount"))
    minor = amount.scaleb(get_currency_precision(code))
    if minor != minor.to_integral_value():
        raise Invalid(
            Text(f"金额 {amount} 的小数位多于 {code} 的最小单位", f"{amount} is finer than the minor unit of {code}"),
            (*path, "amount"),
        )
    if abs(minor) >= Decimal(10) ** 15:
        raise Invalid(Text("金额过大", "the amount is too large"), (*path, "amount"))
    return Money(int(minor), code)


def fingerprint(values: dict[str, Any]) -> str:
    """The SHA-256 of an operation's input: the same input has the same one, whatever the order of its fields."""
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()
