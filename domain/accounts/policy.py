"""What addresses and names are equal, how addresses are shown, and which family trees hold: pure decisions."""

import re
import unicodedata
from collections.abc import Mapping
from uuid import UUID

import phonenumbers

from domain.accounts.model import UNSHOWN, Channel
from domain.kernel import Invalid, Text

NAME_LENGTH, TITLE_LENGTH, WORD_LENGTH, ADDRESS_LENGTH = 200, 200, 200, 500
EMPLOYEES_LIMIT = 10_000_000
_HOST = re.compile(r"(?=.{1,253}$)(?:[\w](?:[\w-]{0,61}[\w])?\.)+[^\W\d_][\w-]{0,61}[\w]")


_CHINESE_FORM = re.compile(r"(?:股份|有限责任|有限|集团|公司)+$")
_ENGLISH_FORM = re.compile(r"(?<![^\s,.])(?:co\.?,?\s*ltd|ltd|limited|inc|corp|corporation|gmbh|llc)[\s,.]*$")
_SEPARATORS = re.compile(r"[^\w&+]+")


def company_key(company: str | None) -> str:
    """A company's name without spaces, punctuation, case and legal form, for comparison; a key is its own key."""
    name = unicodedata.normalize("NFKC", company or "").lower()
    while (shorter := _CHINESE_FORM.sub("", _SEPARATORS.sub("", _ENGLISH_FORM.sub("", name)))) != name:
        name = shorter
    return name


def normal_domain(address: str, path: tuple[str, ...] = ("domain",)) -> str:
    """The domain of a web site's address, in lower case and without `www.`.

    Raises Invalid for what names none.
    """
    words = unicodedata.normalize("NFKC", address).strip().lower()
    host = re.sub(r"^https?://", "", words).split("/")[0].split(":")[0].removeprefix("www.").rstrip(".")
    if not _HOST.fullmatch(host):
        raise Invalid(Text(f"“{address}”不是网站域名", f"“{address}” is not the domain of a web site"), path)
    return host


def match_key(channel: Channel, value: str, path: tuple[str, ...] = ("value",)) -> str:
    """The form of an address by which equal ones are found: E.164 for telephones, lower case elsewhere.

    Raises Invalid for an e-mail address or telephone number that cannot be one.
    """
    text = unicodedata.normalize("NFKC", value).strip()
    if channel in {Channel.PHONE, Channel.SMS}:
        try:
            number = phonenumbers.parse(text, "CN")
        except phonenumbers.NumberParseException as error:
            raise Invalid(Text(f"“{value}”不是电话号码", f"“{value}” is not a telephone number"), path) from error
        if not phonenumbers.is_possible_number(number):
            raise Invalid(Text(f"“{value}”不是可用的电话号码", f"“{value}” cannot be a telephone number"), path)
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if channel is Channel.EMAIL and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text):
        raise Invalid(Text(f"“{value}”不是邮箱地址", f"“{value}” is not an e-mail address"), path)
    if not text:
        raise Invalid(Text("联系方式不能为空", "a contact point cannot be empty"), path)
    return text.lower()


def masked(channel: Channel, value: str) -> str:
    """An address with its middle hidden, enough to recognise it and too little to use it."""
    if channel is Channel.EMAIL:
        local, _, domain = value.partition("@")
        return f"{local[:1] if len(local) > 1 else ''}***@{domain}"
    if channel in {Channel.PHONE, Channel.SMS}:
        digits = re.sub(r"\D", "", value)
        return f"{digits[:3]}****{digits[-4:]}" if len(digits) > 10 else f"****{digits[-2:]}"  # noqa: PLR2004 - seven shown digits leave too few to guess of a short number
    return f"{value[:1]}***{value[-1:]}" if len(value) > 2 else UNSHOWN  # noqa: PLR2004 - nothing to show of two letters


def closes_circle(parents: Mapping[UUID, UUID | None], account_id: UUID, parent_id: UUID) -> bool:
    """Whether an account would be above itself under this parent, by the parents of the parent and of those above it."""
    seen: set[UUID] = set()
    above: UUID | None = parent_id
    while above is not None and above not in seen:
        if above == account_id:
            return True
        seen.add(above)
        above = parents.get(above)
    return False


def named(name: str | None, missing: Text) -> str:
    """A name without the blanks round it.

    Raises Invalid, in the given words, for one of blanks alone.
    """
    if name is None or not name.strip():
        raise Invalid(missing, ("name",))
    return name.strip()
