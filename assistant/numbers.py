"""The numbers, dates and amounts in words that stand in a text, read the same way in sentences and in their sources."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

CITATION = re.compile(r"\[(\d{1,4})\]")
LIST_MARK = re.compile(r"^\s*(?:[-*•]\s+|\d{1,2}[.)]\s+|\d{1,2}[、）]\s*)")
ISO_DATE = re.compile(r"(?<!\d)(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?(?!\d)")

CURRENCIES = {
    "CN¥": "CNY", "¥": "CNY", "￥": "CNY", "人民币": "CNY", "元": "CNY", "块": "CNY", "yuan": "CNY", "rmb": "CNY", "cny": "CNY",
    "US$": "USD", "$": "USD", "美元": "USD", "dollars": "USD", "usd": "USD",
    "€": "EUR", "欧元": "EUR", "euros": "EUR", "eur": "EUR",
    "£": "GBP", "英镑": "GBP", "gbp": "GBP",
    "JP¥": "JPY", "日元": "JPY", "jpy": "JPY",
    "HK$": "HKD", "港元": "HKD", "hkd": "HKD",
}  # fmt: skip
"""How people write currencies, with their codes; words in lower case."""
PERCENT = ("%", "％", "个百分点", "百分点", "percent", "per cent")
OFF = ("折", "成")
"""Chinese shares of ten, as discounts are called out: 8 折 leaves 80 %."""
SCALE = {
    "十万": 10**5, "百万": 10**6, "千万": 10**7, "百": 10**2, "千": 10**3, "万": 10**4, "亿": 10**8,
    "k": 10**3, "thousand": 10**3, "million": 10**6, "billion": 10**9,
}  # fmt: skip


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


# A run of digits that a letter leads in is a product code or a document's number, unless the letters are a currency.
NUMBER = re.compile(
    rf"(?:(?P<money>(?<![A-Za-z])(?:{_any(CURRENCIES)})\s?)|(?<![A-Za-z0-9_.])(?<![A-Za-z]-))"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"\s?(?P<scale>十万|百万|千万|百(?!分)|[千万亿]|k(?![A-Za-z])|thousand|million|billion)?"
    rf"\s?(?P<unit>{_any(PERCENT)}|{_any(OFF)}|{_any(CURRENCIES)})?",
    re.IGNORECASE,
)
CHINESE = "零〇一二两三四五六七八九十百千万亿点半"
ENGLISH = (
    "half|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen"
    "|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion"
)
IN_WORDS = re.compile(
    rf"百分之[{CHINESE}]+|[{CHINESE}]+(?:折|成|元|块|倍|个?百分点|万|亿)+|半价|[一二三四五六七八九十]+月(?:[一二三四五六七八九十]+[日号])?"
    rf"|\b(?:(?:{ENGLISH})[\s-]+(?:and\s+)?)+(?:percent|per cent|yuan|rmb|dollars|euros|thousand|million|billion|times)\b|\bhalf[\s-]price\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NumberInText:
    """One number as it stands in a text, with what makes it a price or a share: a currency's code, "%", "折", or nothing."""

    value: Decimal
    unit: str


def numbers_in(text: str) -> list[NumberInText]:
    """Every number of a text but citation marks, full dates and product codes (VX3)."""
    bare = ISO_DATE.sub(" ", CITATION.sub(" ", text))
    return [_number(match) for match in NUMBER.finditer(bare)]


def numbers_in_lines(text: str) -> list[NumberInText]:
    """Every number of a text in lines, list marks (1.) aside."""
    return [number for line in text.split("\n") for number in numbers_in(LIST_MARK.sub("", line))]


def _number(match: re.Match[str]) -> NumberInText:
    value = Decimal(match["digits"].replace(",", "")) * SCALE.get((match["scale"] or "").lower(), 1)
    unit = (match["unit"] or "").lower()
    if unit in PERCENT:
        return NumberInText(value, "%")
    if unit in OFF:
        return NumberInText(value, "折")
    money = (match["money"] or "").strip()
    return NumberInText(
        value, CURRENCIES.get(money.upper()) or CURRENCIES.get(money.lower()) or CURRENCIES.get(unit, "")
    )


def dates_in(text: str) -> set[str]:
    """Every full date of a text in ISO form."""
    return {f"{int(year):04d}-{int(month):02d}-{int(day):02d}" for year, month, day in ISO_DATE.findall(text)}


def amounts_in_words(text: str) -> set[str]:
    """Every price, share or month that a text writes without digits, in lower case: 三十万元, 八折, twenty percent."""
    bare = NUMBER.sub(" ", text)
    return {" ".join(match.group().lower().split()) for match in IN_WORDS.finditer(bare)}
