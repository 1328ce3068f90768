"""Units of computed items: a closed list of bases and what they make as quotients, converted exactly."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

from babel.numbers import format_currency, format_decimal, get_currency_precision, is_currency

from domain.kernel.errors import Invalid, Text
from domain.kernel.values import Language

Dimension = tuple[tuple[str, int], ...]

# Minutes and months carry hours and years: both ways are exact. How long a working day is, only an input can say.
_BASES: dict[str, tuple[Fraction, Dimension, tuple[str, str, str]]] = {
    "number": (Fraction(1), (), ("", "", "")),
    "percent": (Fraction(1, 100), (), ("%", "%", "%")),
    "count": (Fraction(1), (("count", 1),), ("个", "unit", "units")),
    "pieces": (Fraction(1), (("pieces", 1),), ("件", "piece", "pieces")),
    "devices": (Fraction(1), (("devices", 1),), ("台", "device", "devices")),
    "people": (Fraction(1), (("people", 1),), ("人", "person", "people")),
    "minutes": (Fraction(1), (("minutes", 1),), ("分钟", "minute", "minutes")),
    "hours": (Fraction(60), (("minutes", 1),), ("小时", "hour", "hours")),
    "days": (Fraction(1), (("days", 1),), ("天", "day", "days")),
    "months": (Fraction(1), (("months", 1),), ("个月", "month", "months")),
    "years": (Fraction(12), (("months", 1),), ("年", "year", "years")),
}
_MOST_BASES = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: hours, CNY, CNY/hours; `factor` turns a value in it into the dimension's base."""

    name: str
    factor: Fraction
    dimension: Dimension

    @property
    def currency(self) -> str | None:
        """The currency where the unit begins with one."""
        first = self.name.partition("/")[0]
        return None if first in _BASES else first

    @property
    def decimals(self) -> int:
        """The decimals that a value of it is kept with: a currency's own for plain money, else 12."""
        return get_currency_precision(self.name) if self.currency == self.name else 12

    def words(self, language: Language) -> str:
        """What it counts: 个月、小时/台."""
        return "/".join(_words(each, language, several=True) for each in self.name.split("/"))

    def written(self, value: Decimal, decimals: int, language: Language) -> str:
        """A value with its unit as people write it: ¥150,000、57.5%、21.44 个月."""
        locale = "zh_CN" if language is Language.ZH else "en_US"
        places = f".{'0' * decimals}" if decimals else ""
        first, *others = self.name.split("/")
        tail = "".join(f"/{_words(each, language).removeprefix('个') or '个'}" for each in others)
        if self.currency:
            pattern = f"¤#,##0{places}"
            return format_currency(value, first, format=pattern, locale=locale, currency_digits=False) + tail
        figure = format_decimal(value, format=f"#,##0{places}", locale=locale)
        if first in {"percent", "number"}:
            return figure + _words(first, language) + tail
        return f"{figure} {_words(first, language, several=abs(value) != 1)}{tail}"


def unit(name: str, path: tuple[str, ...] = ()) -> Unit:
    """The unit of a name: a base or a currency, or several with / between them.

    Raises Invalid for any that is not on the list, for one over itself, and for more than four bases.
    """
    bases = name.split("/")
    if len(bases) > _MOST_BASES:
        raise Invalid(Text(f"单位“{name}”太复杂", f"the unit “{name}” has more than {_MOST_BASES} bases"), path)
    factor, powers = Fraction(1), dict[str, int]()
    for place, base in enumerate(bases):
        each, dimension = _base(base, name, path)
        sign = 1 if place == 0 else -1
        factor *= each**sign
        for key, power in dimension:
            powers[key] = powers.get(key, 0) + sign * power
            if powers[key] == 0:
                raise Invalid(Text(f"单位“{name}”自身相约", f"the unit “{name}” cancels itself out"), path)
    return Unit(name, factor, tuple(sorted(powers.items())))


def product(one: Dimension, other: Dimension, sign: int) -> Dimension:
    """The dimension of a product (sign 1) or a quotient (-1)."""
    powers = dict(one)
    for key, power in other:
        powers[key] = powers.get(key, 0) + sign * power
    return tuple(sorted((key, power) for key, power in powers.items() if power))


def dimension_words(dimension: Dimension) -> str:
    """A dimension for messages: CNY/hours; number where nothing is left."""
    dimension = tuple(("hours" if key == "minutes" else key, power) for key, power in dimension)
    over = [key if power == 1 else f"{key}^{power}" for key, power in dimension if power > 0]
    under = [key if power == -1 else f"{key}^{-power}" for key, power in dimension if power < 0]
    return "/".join(("·".join(over) or ("1" if under else "number"), *under))


def rounded(value: Fraction, decimals: int) -> Decimal:
    """A value rounded half up (away from zero, as money is) to a number of decimals, in whole-number arithmetic."""
    scaled = abs(value) * 10**decimals
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    with localcontext(prec=100, rounding=ROUND_HALF_UP):
        return Decimal(whole if value >= 0 else -whole).scaleb(-decimals)


def _words(base: str, language: Language, *, several: bool = False) -> str:
    if base not in _BASES:
        return base
    zh, one, more = _BASES[base][2]
    return zh if language is Language.ZH else (more if several else one)


def _base(base: str, name: str, path: tuple[str, ...]) -> tuple[Fraction, Dimension]:
    if base in _BASES:
        return _BASES[base][:2]
    if base.isupper() and is_currency(base):
        return Fraction(1), ((base, 1),)
    listed = "、".join(_BASES)
    raise Invalid(
        Text(
            f"单位“{name}”中的“{base}”不认识；可用 {listed} 或币种代码",
            f"unknown “{base}” in the unit “{name}”; known are {listed.replace('、', ', ')} and currency codes",
        ),
        path,
    )
