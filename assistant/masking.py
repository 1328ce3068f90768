"""Reversible masking of personal data in text before it leaves to a model.

No library recognises mainland China's identifiers, so the recognisers are here; check digits and foreign telephone
numbers come from python-stdnum and phonenumbers.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import phonenumbers
from stdnum import luhn
from stdnum.cn import ric, uscc
from stdnum.exceptions import ValidationError


class Kind(StrEnum):
    """What a masked value is; where two recognisers meet, the one that stands first here names the value."""

    LITERAL = "LITERAL"
    PERSON = "PERSON"
    EMAIL = "EMAIL"
    RESIDENT_ID = "RESIDENT_ID"
    CREDIT_CODE = "CREDIT_CODE"
    BANK_CARD = "BANK_CARD"
    PHONE = "PHONE"
    WECHAT = "WECHAT"
    QQ = "QQ"
    PLATE = "PLATE"
    ADDRESS = "ADDRESS"


class Span(NamedTuple):
    """The half-open stretch of a text that holds one value."""

    start: int
    end: int
    kind: Kind


_RANK = {kind: rank for rank, kind in enumerate(Kind)}
_CASED = "[A-Za-zÀ-ɏͰ-ӿ]"
_TOKEN = rf"({'|'.join(Kind)})_([0-9]+)"
# Models return the brackets faithfully most of the time; some swap or drop them.
_BRACKETED = rf"(?i:⟦ ?{_TOKEN} ?⟧|【{_TOKEN}】|\[{{1,2}}{_TOKEN}\]{{1,2}})"
_PLACEHOLDERS = re.compile(rf"{_BRACKETED}|(?<![A-Za-z0-9_]){_TOKEN}(?![A-Za-z0-9_])")
# Wider than what restoring accepts, so that nothing turns into a placeholder when its neighbours are masked.
_LITERALS = re.compile(rf"{_BRACKETED}|{_TOKEN}")


class Masking:
    """A reversible exchange of personal values for placeholders such as ⟦PERSON_1⟧; its repr shows counts only.

    The same spelling of a value has the same placeholder for the life of the object.
    """

    def __init__(self, people: Iterable[str] = ()) -> None:
        self._people = _people_pattern(people)
        self._placeholders: dict[tuple[Kind, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: Counter[Kind] = Counter()

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind}={count}" for kind, count in sorted(self._counts.items()))
        return f"Masking({counts})"

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each kind have been masked so far."""
        return {str(kind): count for kind, count in sorted(self._counts.items())}

    def mask(self, text: str) -> str:
        """Return the text with every recognised value replaced; placeholder-like text in it is masked as LITERAL.

        `restore` undoes exactly one `mask`: mask each text once.
        """
        parts: list[str] = []
        position = 0
        for start, end, kind in _merged(self._spans(_folded(text))):
            parts += (text[position:start], self._placeholder(kind, text[start:end]))
            position = end
        return "".join([*parts, text[position:]])

    def restore(self, text: str) -> str:
        """Return the text with the original values; a placeholder that this object never gave stays as it is."""
        return _PLACEHOLDERS.sub(lambda match: self._values.get(_name(match), match[0]), text)

    def unknown(self, text: str) -> list[str]:
        """Return the placeholders in a text that this object never gave, as a model invents them."""
        return [match[0] for match in _PLACEHOLDERS.finditer(text) if _name(match) not in self._values]

    def _placeholder(self, kind: Kind, value: str) -> str:
        known = self._placeholders.get((kind, value))
        if known is not None:
            return known
        self._counts[kind] += 1
        name = f"{kind}_{self._counts[kind]}"
        self._values[name] = value
        return self._placeholders.setdefault((kind, value), f"⟦{name}⟧")

    def _spans(self, folded: str) -> Iterator[Span]:
        yield from (Span(*match.span(), Kind.LITERAL) for match in _LITERALS.finditer(folded))
        if self._people is not None:
            yield from (Span(*match.span(), Kind.PERSON) for match in self._people.finditer(folded))
        yield from _foreign_telephones(folded)
        for pattern in _PATTERNS:
            yield from pattern.spans(folded)


def _name(match: re.Match[str]) -> str:
    kind, number = (group for group in match.groups() if group is not None)
    return f"{kind.upper()}_{number}"


def _folded(text: str) -> str:
    """Return full-width forms and all scripts' decimal digits as ASCII, each character in its old place."""
    return text if text.isascii() else "".join(map(_folded_character, text))


def _folded_character(character: str) -> str:
    if character.isascii():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if "！" <= character <= "～":
        return chr(ord(character) - 0xFEE0)
    return " " if unicodedata.category(character) == "Zs" else character


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the union of the spans, in order and without overlap."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            kind = min(last.kind, span.kind, key=_RANK.__getitem__)
            merged.append(Span(last.start, max(last.end, span.end), kind))
        else:
            merged.append(span)
    return merged


TITLES = (
    "总", "总监", "经理", "主任", "院长", "科长", "处长", "部长", "厂长", "所长", "校长", "主管", "书记", "护士长", "老师", "医生", "大夫", "教授", "工", "工程师",
    "先生", "女士", "小姐",
)  # fmt: skip
COMPOUND_SURNAMES = ("欧阳", "司马", "上官", "诸葛", "司徒", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐", "夏侯")


def addressed(names: Collection[str]) -> list[str]:
    """The names, and how people with a Chinese name are addressed: by surname and title, as notes call them (林主任)."""
    chinese = [name for name in names if re.fullmatch("[一-鿿]{2,4}", name)]
    surnames = dict.fromkeys(name[: 2 if name.startswith(COMPOUND_SURNAMES) else 1] for name in chinese)
    return [*names, *(surname + title for surname in surnames for title in TITLES)]


def _people_pattern(people: Iterable[str]) -> re.Pattern[str] | None:
    names = {" ".join(_folded(name).split()) for name in people}
    # One character is a surname at most: masking it would tear ordinary words apart.
    patterns = [_person_pattern(name) for name in sorted(names, key=len, reverse=True) if len(name) > 1]
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _person_pattern(name: str) -> str:
    if not any(character.lower() != character.upper() for character in name):
        return r"\s?".join(re.escape(character) for character in name if not character.isspace())
    words = rf"(?<!{_CASED})" + r"\s+".join(map(re.escape, name.split())) + rf"(?!{_CASED})"
    # Many a given name is a word when written small: Will, May, Mark.
    return words if " " in name else f"(?-i:{words})"


# A run of digits is no telephone or card number inside a longer code, a path, an amount or a decimal fraction.
_BEFORE = r"(?<![0-9A-Za-z])(?<![0-9A-Za-z][-_=.])(?<![A-Za-z]/)(?<![¥￥$€])(?<![¥￥$€] )"
_AFTER = r"(?![0-9A-Za-z]|\.[0-9]|-[0-9A-Za-z])(?! ?(?:元|万|亿|台|件|套|个|次|支|只|盒|箱|瓶|片|吨|%|美元|人民币|RMB|USD|CNY|EUR))"
_IS = r"(?:就?是|为|is|[-—:=(\"'“”「『 ]){0,4}?"
_OWN_CODE = re.compile(
    r"(?:(?:订单|合同|单据|运单|快递|物料|产品|商品|发票|序列|批次|工单|报价单?|项目|设备|物流|流水|交易)"
    r"(?:编?号码?|编码|条码|单号|ID)?|单号|编号|编码|条码|(?<![A-Za-z])(?:SN|S/N|SKU|PO|UPC|EAN|IMEI|order|invoice"
    r"|contract|serial|batch|part|item)(?: ?(?:no\.?|number|id|code))?)[ :#=是为]{0,4}$",
    re.IGNORECASE,
)
_CARD_LENGTHS = (
    (re.compile("62|60|9558"), range(16, 20)),
    (re.compile("4"), (16, 19)),
    (re.compile("5[1-5]|2[2-7]|35"), (16,)),
    (re.compile("3[47]"), (15,)),
)


def _compact(value: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", value).upper()


def _is_resident_id(value: str) -> bool:
    """Whether birth date and check character agree (GB 11643); the place is no test, since counties come and go."""
    number = _compact(value)
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return False
    return bool(ric.calc_check_digit(number) == number[-1])


def _is_credit_code(value: str) -> bool:
    """Whether the check character agrees (GB 32100)."""
    number = _compact(value)
    return bool(uscc.calc_check_digit(number[:-1]) == number[-1])


def _is_bank_card(value: str) -> bool:
    """Whether an issuer's prefix has this length and the Luhn digit agrees."""
    number = _compact(value)
    fits = any(prefix.match(number) and len(number) in lengths for prefix, lengths in _CARD_LENGTHS)
    return fits and bool(luhn.is_valid(number))


@dataclass(frozen=True)
class _Pattern:
    """A recogniser by regular expression: the group `value`, or all of a match, that `accept` agrees to.

    With `spares_codes`, a number that is called an order, contract, serial or product number is left alone.
    """

    kind: Kind
    expression: re.Pattern[str]
    accept: Callable[[str], bool] = bool
    spares_codes: bool = False

    def spans(self, text: str) -> Iterator[Span]:
        group = "value" if "value" in self.expression.groupindex else 0
        for match in self.expression.finditer(text):
            start, end = match.span(group)
            called_code = self.spares_codes and _OWN_CODE.search(text[max(0, start - 24) : start])
            if not called_code and self.accept(text[start:end]):
                yield Span(start, end, self.kind)


def _pattern(
    kind: Kind, expression: str, accept: Callable[[str], bool] = bool, *, spares_codes: bool = False
) -> _Pattern:
    return _Pattern(kind, re.compile(expression, re.IGNORECASE), accept, spares_codes)


_IDENTIFIERS = (
    _pattern(
        Kind.RESIDENT_ID,
        r"(?<![0-9A-Z])[1-9][0-9]{5}[ -]?[12][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{3}[0-9X](?![0-9A-Z])",
        _is_resident_id,
    ),
    # The number of 15 digits, from before 1999, has no check character: the word before it must tell.
    _pattern(Kind.RESIDENT_ID, rf"身份证(?:号码?)?{_IS}(?P<value>[1-9][0-9]{{14}})(?![0-9A-Z])"),
    _pattern(
        Kind.CREDIT_CODE,
        r"(?<![0-9A-Z])[1-9ANY][0-9](?:[ -]?[0-9]){6}(?:[ -]?[0-9A-HJ-NPQRTUWXY]){10}(?![0-9A-Z])",
        _is_credit_code,
    ),
    _pattern(Kind.BANK_CARD, rf"{_BEFORE}[2-69][0-9](?:[ -]?[0-9]){{13,17}}{_AFTER}", _is_bank_card, spares_codes=True),
    # A small number may follow a card number after a space; the longest run then fails its check.
    _pattern(
        Kind.BANK_CARD, rf"{_BEFORE}[2-69][0-9]{{3}}(?:[ -]?[0-9]{{4}}){{3}}{_AFTER}", _is_bank_card, spares_codes=True
    ),
    _pattern(
        Kind.BANK_CARD,
        rf"(?:卡号|[账帐]号|银行卡|银行[账帐]户|account no\.?){_IS}(?P<value>[0-9](?:[ -]?[0-9]){{11,24}}){_AFTER}",
    ),
    _pattern(Kind.EMAIL, r"(?<![0-9A-Z])[A-Z0-9][A-Z0-9._%+'-]{0,63}+@[A-Z0-9-]++(?:\.[A-Z0-9-]+)+"),
)

_AREA = r"0(?:10|2[0-9]|[3-9][0-9]{2})"
_EXTENSION = r"(?: ?(?:转|分机|ext\.?|x|-) ?[0-9]{1,6})?"
_SPOKEN = "零〇一幺二三四五六七八九"
_TELEPHONES = (
    _pattern(
        Kind.PHONE,
        rf"(?:(?<=tel)|(?<=vx)|(?<=wx)|{_BEFORE})(?:(?:\+|00)?86[ -]?)?"
        r"(?:1[3-9][0-9][ .-]?[0-9]{4}[ .-]?[0-9]{4}|1[3-9][0-9]{2}[ -][0-9]{3}[ -][0-9]{4}"
        r"|1[3-9][0-9]{3}[ -][0-9]{6}|1[3-9][0-9][ -][0-9]{3}[ -][0-9]{5}|1[ -][3-9](?:[ -][0-9]){9})"
        rf"{_AFTER}",
        spares_codes=True,
    ),
    _pattern(Kind.PHONE, rf"(?<![{_SPOKEN}十百])[一幺][三四五六七八九][{_SPOKEN}]{{9}}(?![{_SPOKEN}十百千万亿])"),
    _pattern(
        Kind.PHONE,
        rf"{_BEFORE}(?:(?:\+|00)?86[ -]?)?(?:\({_AREA}\)|{_AREA}|(?<=86[ -])(?:10|2[0-9]|[3-9][0-9]{{2}}))[ -]?"
        rf"[2-9][0-9]{{2,3}}[ -]?[0-9]{{4}}{_EXTENSION}{_AFTER}",
        spares_codes=True,
    ),
    _pattern(
        Kind.PHONE,
        r"(?:电话|座机|固话|传真|手机|回电|致电|(?<![A-Z])(?:tel|phone|mobile|cell|fax|call (?:me|us|him|her) (?:on|at)))"
        rf"\.?(?:号码?)?{_IS}(?!(?:19|20)[0-9]{{2}}-[0-9]{{1,2}}-)"
        rf"(?P<value>\+?\(?[0-9](?:\)?[ -]?\(?[0-9]){{6,17}}+{_EXTENSION}){_AFTER}",
        spares_codes=True,
    ),
)


def _foreign_telephones(text: str) -> Iterator[Span]:
    if "+" in text:
        for match in phonenumbers.PhoneNumberMatcher(text, None):
            yield Span(match.start, match.end, Kind.PHONE)


_WECHAT = r"(?:微信|薇信|威信|V信|(?<![A-Z])(?:we ?chat|weixin)(?![A-Z]))"
_WECHAT_SHORT = r"(?:(?<![A-Z0-9])[vw]x(?![A-Z0-9-])|加微(?!信)|[加+] ?v(?![A-Z0-9]))"
_WECHAT_ID = r"[A-Z][A-Z0-9_-]{5,19}(?![A-Z0-9_-])"
_WECHAT_MIXED_ID = rf"(?=[A-Z-]*[0-9_]){_WECHAT_ID}"
# A word of letters alone may be prose: no id when another word follows, or when it is one that goes with WeChat.
_WECHAT_PLAIN_ID = (
    r"(?!(?:message|please|official|moments|account|number|integration|marketing|article|channel|payment|program"
    rf"|contact|public|video|customer)s?(?![A-Z])){_WECHAT_ID}(?! +[A-Z])"
)
_WECHAT_IS = r" ?(?:(?:就?是|为|[:=(\"“「『]|is|/ ?WeChat) ?){1,3}+[\"“「『]?"
# Between the word and the id people write much; what is built on WeChat is followed by technical names instead.
_WECHAT_GAP = (
    r"(?:(?!小程序|支付|公众|商城|接口|扫码|群|朋友圈|附件|视频|后台|模板|推送|打开|看过|不用|里|中|端)[^A-Z0-9。；\n]){0,10}"
    r"(?:(?<![A-Z])(?:contact|account|handle|name|at|as|is)[ :]{1,2})?"
)
_MESSENGERS = (
    _pattern(Kind.WECHAT, r"(?<![A-Z0-9])wxid_[A-Z0-9_-]{5,}"),
    _pattern(
        Kind.WECHAT,
        rf"(?:{_WECHAT}|{_WECHAT_SHORT})[ (]{{0,2}}(?:号码?|[账帐]号|ID(?![A-Z]))(?:{_WECHAT_IS}|[ \"“「『])?(?P<value>{_WECHAT_ID})",
    ),
    _pattern(
        Kind.WECHAT,
        rf"(?:{_WECHAT}|{_WECHAT_SHORT}){_WECHAT_IS}(?P<value>{_WECHAT_MIXED_ID}|{_WECHAT_PLAIN_ID})",
    ),
    _pattern(
        Kind.WECHAT,
        rf"(?:(?<!企业){_WECHAT}|(?-i:{_WECHAT_SHORT})){_WECHAT_GAP}(?=(?-i:[A-Z0-9_-]*[a-z]))(?P<value>{_WECHAT_MIXED_ID})(?!\.[A-Z])",
    ),
    _pattern(
        Kind.WECHAT,
        rf"(?:加个?|我的?|(?<![A-Z])(?:add|my) )(?:{_WECHAT}|{_WECHAT_SHORT})[ 吧]{{0,3}}(?P<value>{_WECHAT_PLAIN_ID})",
    ),
    _pattern(
        Kind.WECHAT,
        rf"(?<![A-Z0-9_-])(?P<value>{_WECHAT_MIXED_ID}|(?<=add )(?!them|the){_WECHAT_ID})"
        rf"(?= ?(?:on|via|in|的) ?{_WECHAT}| ?\((?:{_WECHAT}|{_WECHAT_SHORT})(?:号|ID)?\)| ?(?:就?是|is) ?(?:我|他|她|本人|my|his|her)的? ?"
        rf"(?:{_WECHAT}|{_WECHAT_SHORT}))",
    ),
    _pattern(Kind.QQ, rf"(?<![A-Z])QQ群?(?:号码?)?{_IS}(?P<value>[1-9][0-9]{{4,10}}){_AFTER}"),
)

_PLATE_TAIL = (
    r"(?-i:[A-HJ-NP-Z](?P<dot>[·•])?[ .-]?(?:(?=[A-Z]*[0-9][A-Z]*[0-9])[A-HJ-NP-Z0-9]{5}|[A-HJK][A-HJ-NP-Z0-9][0-9]{4}"
    r"|[0-9]{5}[A-HJK]|[A-HJ-NP-Z0-9]{4}[挂学警港澳])(?![A-Z0-9a-z]))"
)
_PLATES = (
    _pattern(Kind.PLATE, rf"[京津沪渝冀豫辽黑湘皖鲁苏浙赣鄂桂甘晋蒙陕吉闽粤藏川琼]{_PLATE_TAIL}"),
    # These provinces' signs are ordinary words ("new", "cloud"): a dot or a word about cars must tell.
    _pattern(Kind.PLATE, rf"[云新贵青宁]{_PLATE_TAIL}(?(dot)|(?!))"),
    _pattern(Kind.PLATE, rf"[车牌][^，。；\n]{{0,6}}?(?P<value>[云新贵青宁]{_PLATE_TAIL})"),
)

_HAN = r"[一-龥](?<![在到寄送住请发至是了的于往给把])"
_ROAD = r"(?:(?<![思线电回网套出链油光气水管通铁])路|街|大道|巷|胡同|弄|(?<![渠通频管赛轨味知报])道)"
_NUMERAL = "[0-9一二三四五六七八九十百甲乙]{1,6}(?:-[0-9]{1,4})?"
_UNIT = rf"(?:(?:{_HAN}){{0,8}}?[0-9A-Z一二三四五六七八九十]{{1,5}}(?:号楼|号|栋|幢|座|单元|层|楼|室|房|户|期))"
_REGION = rf"(?:(?:{_HAN}){{2,8}}(?:省|自治区))?(?:(?:{_HAN}){{2,5}}[市州])?(?:(?:{_HAN}){{1,6}}[区县旗市])?"
_QUARTER = rf"(?:(?:{_HAN}){{1,6}}(?:镇|乡|街道|区|园))?"
_ESTATE = "(?:小区|花园|公寓|大厦|广场|家园|新村|苑|大楼|中心)"
_ADDRESSES = (
    _pattern(
        Kind.ADDRESS,
        rf"{_REGION}{_QUARTER}(?:{_HAN}){{1,5}}{_ROAD}(?:[东南西北中][段路])?{_NUMERAL}[号弄](?![线阀机柜口文令])"
        rf"(?:{_UNIT})*(?:{_HAN}{{2,6}}{_ESTATE})?",
    ),
    _pattern(
        Kind.ADDRESS,
        rf"{_REGION}{_QUARTER}(?:{_HAN}){{2,6}}{_ESTATE}[0-9A-Z]{{1,4}}(?:号楼|栋|幢|座|单元|室)(?:{_UNIT})*",
    ),
    _pattern(
        Kind.ADDRESS,
        r"(?:地址|住址|家住)(?:是|为|:) ?(?P<value>(?=[^，。；;,\n]{0,60}[省市区县镇乡村路街])[^，。；;,\n]{4,60})",
    ),
    _pattern(
        Kind.ADDRESS,
        r"(?<![0-9A-Z])(?<!the )(?<!top )(?:(?:Room|Suite|Floor|Unit|Apt) [0-9A-Z-]+, )?(?:No\. ?)?[0-9]{1,5} (?-i:(?:[A-Z][a-z]+ ){1,4}(?:Road|Street|Avenue|Boulevard|Rd|St|Ave|Blvd)"
        r"(?![A-Za-z])\.?(?:, (?:Room|Suite|Floor|Apt|Building|Unit) [0-9A-Z-]+)*)",
    ),
)

_PATTERNS = (*_IDENTIFIERS, *_TELEPHONES, *_MESSENGERS, *_PLATES, *_ADDRESSES)
