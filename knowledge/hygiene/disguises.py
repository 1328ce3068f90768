"""Orders that do not stand in a body as they are read: encoded, escaped, mirrored, or with their letters apart."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from knowledge.hygiene.folding import Folded, folded
from knowledge.hygiene.orders import orders_in

# Words of a spaced-out order once the spaces are gone.
_KEYS = re.compile(
    r"(?:ignore|disregard|forget|override)(?:all|any|the|your|my|these)?(?:previous|prior|above|earlier|system|your)|systemprompt|youarenow"
    r"|(?:reveal|print|show)(?:me)?your|developermode|previousinstruction"
)
_TELLING_IN_LATIN = re.compile(r"instruction|prompt|ignore|assistant|reveal|disregard|you are")
_TELLING = re.compile(rf"指令|指示|提示词|规则|忽略|无视|你现在|助手|大模型|{_TELLING_IN_LATIN.pattern}")
_SPELLED = re.compile(r"(?<![a-z0-9])(?:[a-z0-9][ .\-_*|/]{1,2}){9,}[a-z0-9](?![a-z0-9])")
_SEPARATORS = re.compile(r"[ .\-_*|/]")


def _from_base64(text: str) -> str:
    data = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(data[: len(data) // 4 * 4] + _padded(data[len(data) // 4 * 4 :])).decode()


def _padded(tail: str) -> str:
    return tail + "=" * (-len(tail) % 4) if len(tail) > 1 else ""


def _from_hex(text: str) -> str:
    return bytes.fromhex(re.sub(r"\\x|0x|[ ,]", "", text)).decode()


def _from_escapes(text: str) -> str:
    return re.sub(r"\\u\{?([0-9a-fA-F]{4,5})\}?", lambda match: chr(int(match[1], 16)), text)


def _from_bits(text: str) -> str:
    bits = text.replace(" ", "")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)).decode()


_ENCODED: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}"), _from_base64),
    (re.compile(r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}[ ,]?){12,}"), _from_hex),
    (re.compile(r"(?:\\u\{?[0-9a-fA-F]{4,5}\}?[ ]?){4,}"), _from_escapes),
    (re.compile(r"(?:&#[xX]?[0-9a-fA-F]{2,6};[ ]?){4,}"), html.unescape),
    (re.compile(r"(?:%[0-9a-fA-F]{2}|[A-Za-z0-9+_.-]){12,}"), lambda text: unquote(text, errors="strict")),
    (re.compile(r"(?:[01]{8} ?){8,}"), _from_bits),
)


def encoded_orders(body: str, plain: Folded) -> Iterator[tuple[int, int]]:
    """The places whose decoded text holds an order, and those of orders that stand mirrored or in ROT13."""
    for pattern, decode in _ENCODED:
        for match in pattern.finditer(body):
            try:
                text = decode(match[0])
            except (ValueError, OverflowError, binascii.Error):
                continue
            if text != match[0] and orders_in(folded(text).text):
                yield match.span()
    mirrored = plain.text[::-1]
    if _TELLING.search(mirrored):
        for _, start, end in orders_in(mirrored):
            yield plain.span(len(mirrored) - end, len(mirrored) - start)
    rotated = codecs.encode(plain.text, "rot13")
    if _TELLING_IN_LATIN.search(rotated):
        for _, start, end in orders_in(rotated):
            if re.search(r"[a-z]{4}", plain.text[start:end]):
                yield plain.span(start, end)


def spelled_out(text: str) -> Iterator[tuple[int, int]]:
    """The places of a folded text where letters stand apart and make an order together: i g n o r e, and so on."""
    for match in _SPELLED.finditer(text):
        if _KEYS.search(_SEPARATORS.sub("", match[0])):
            yield match.span()
