"""What the values of a column look like: dates in which styles, money in which currency, addresses."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.importing.sheet import read_moment

CLOCKS = ("", " %H:%M", " %H:%M:%S")
CLEAR = (
    *(day + clock for day in ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日") for clock in CLOCKS),
    *("%Y-%m-%dT%H:%M:%S" + rest for rest in (".%f%z", "%z", "", ".%f")),
    *(day + clock for day in ("%d %b, %Y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y") for clock in CLOCKS),
)
"""Styles that can be read in one way."""
UNCLEAR = tuple(
    (f"%d{sep}%m{sep}{year}{clock}", f"%m{sep}%d{sep}{year}{clock}")
    for sep in "-/."
    for year in ("%Y", "%y")
    for clock in CLOCKS
)
"""Pairs of styles that differ in whether the day or the month comes first."""
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥￥元万亿"}
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+\d[\d\s()-]{6,20}|1[3-9]\d{9}|0\d{2,3}-?\d{7,8}")
SHARE = 0.9
PIVOT = 69


@dataclass(frozen=True, slots=True)
class Dates:
    """The styles of a column's dates; those of which only people know which comes first, and values of no known style."""

    styles: tuple[str, ...]
    unclear: tuple[str, ...]
    unread: tuple[str, ...]


def _fits(value: str, style: str) -> bool:
    return read_moment(value, (style,), PIVOT) is not None


def dates_of(values: Iterable[str]) -> Dates:
    """The styles in which dates are written: where some value rules one reading out, the other is taken."""
    left, styles, unclear = list(dict.fromkeys(values)), [], []
    for style in CLEAR:
        if any(_fits(value, style) for value in left):
            styles.append(style)
            left = [value for value in left if not _fits(value, style)]
    for day_first, month_first in UNCLEAR:
        mine = [value for value in left if _fits(value, day_first) or _fits(value, month_first)]
        if not mine:
            continue
        days, months = (sum(_fits(value, style) for value in mine) for style in (day_first, month_first))
        chosen = month_first if months > days else day_first
        styles.append(chosen)
        if months == days:
            unclear.append(chosen)
        left = [value for value in left if not _fits(value, chosen)]
    return Dates(tuple(styles), tuple(unclear), tuple(left))


def currency_of(values: Iterable[str]) -> str | None:
    """The currency whose sign stands in amounts; None where none does."""
    written = "".join(values)
    return next((code for code, signs in SIGNS.items() if any(sign in written for sign in signs)), None)


def looks_like(pattern: re.Pattern[str], values: Sequence[str]) -> bool:
    """Whether nearly all values have a form."""
    return bool(values) and sum(bool(pattern.fullmatch(value)) for value in values) >= SHARE * len(values)
