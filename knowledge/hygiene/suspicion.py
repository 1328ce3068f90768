"""What in a body looks like orders to the assistant, like something hidden from readers, or like damage."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from domain.kernel import Text
from knowledge.hygiene.disguises import encoded_orders, spelled_out
from knowledge.hygiene.folding import CJK, Folded, folded, unleeted
from knowledge.hygiene.orders import ORDERS, SPEAKER, Order, orders_in
from knowledge.hygiene.unseen import BIDI, CONTROL, TAGS

HUGE = 200_000
"""Characters from which a body is no entry any more but a book."""
LONG_LINE = 20_000
DUPLICATE_LENGTH = 80
"""Characters of a paragraph from which its coming again is no figure of speech."""
UNSEEN_IN_WORDS = 3
MOJIBAKE_LENGTH = 2
COMMENT_WORDS = 12
COMMENT_CHARACTERS = 8
"""Words, or Chinese characters, of a comment from which it is prose that readers do not see."""

_BYTES = 256


class Suspicion(StrEnum):
    """What a finding is of: an order to the assistant, something hidden or active, or damage."""

    OVERRIDE = "OVERRIDE"
    ROLE = "ROLE"
    ADDRESS = "ADDRESS"
    DISCLOSURE = "DISCLOSURE"
    TOOL_CALL = "TOOL_CALL"
    HIDDEN = "HIDDEN"
    DISGUISED = "DISGUISED"
    ACTIVE = "ACTIVE"
    MOJIBAKE = "MOJIBAKE"
    CONTROL = "CONTROL"
    EMPTY = "EMPTY"
    HUGE = "HUGE"
    LONG_LINE = "LONG_LINE"
    DUPLICATE = "DUPLICATE"


STEERING = frozenset(Suspicion) - {
    Suspicion.MOJIBAKE, Suspicion.CONTROL, Suspicion.EMPTY, Suspicion.HUGE, Suspicion.LONG_LINE, Suspicion.DUPLICATE,
}  # fmt: skip
"""The kinds that mark a body for review, as they may be meant to steer an answer; the others are damage."""

WORDS = {
    Suspicion.OVERRIDE: Text("要求助手忽略或更换其规则", "tells the assistant to drop or change its rules"),
    Suspicion.ROLE: Text("给助手指派身份", "gives the assistant another role"),
    Suspicion.ADDRESS: Text("直接对助手下达指令", "speaks to the assistant and tells it what to answer"),
    Suspicion.DISCLOSURE: Text("要求泄露或外传内容", "asks to reveal or to send out what is not to leave"),
    Suspicion.TOOL_CALL: Text("含有对话角色标记或工具调用", "holds marks of conversation roles or calls of tools"),
    Suspicion.HIDDEN: Text("含有读者看不到的文字", "holds text that a reader does not see"),
    Suspicion.DISGUISED: Text("含有编码或变形的文字", "holds text that is encoded or disguised"),
    Suspicion.ACTIVE: Text("含有脚本", "holds scripts"),
    Suspicion.MOJIBAKE: Text("含有乱码", "holds text read in a wrong encoding"),
    Suspicion.CONTROL: Text("含有控制字符", "holds control characters"),
    Suspicion.EMPTY: Text("没有可读的内容", "holds nothing to read"),
    Suspicion.HUGE: Text(f"超过 {HUGE:,} 个字符", f"is longer than {HUGE:,} characters"),
    Suspicion.LONG_LINE: Text(f"有一行超过 {LONG_LINE:,} 个字符", f"has a line of more than {LONG_LINE:,} characters"),
    Suspicion.DUPLICATE: Text("有重复的段落", "holds a paragraph twice"),
}

_COMMENT_ENDS = re.compile(r"<!--|-->")
_CHINESE = re.compile(rf"[{CJK}]")
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_STYLED_AWAY = re.compile(
    r"<[a-z][a-z0-9]{0,15}\b[^<>]{0,400}?(?:(?<![-\w])(?:display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden"
    r"|font-size\s{0,3}:\s{0,3}0(?:\.\d{1,3})?(?:px|pt|em|rem|%)?\s{0,3}[;\"'!]|opacity\s{0,3}:\s{0,3}0(?:\.0\d{0,3})?\s{0,3}[;\"'!]"
    r"|color\s{0,3}[:=]\s{0,3}[\"']?(?:white\b|#fff(?:fff)?\b|transparent\b|rgba?\(\s{0,3}255\s{0,3},\s{0,3}255\s{0,3},\s{0,3}255|rgba\([^)]{0,30},\s{0,3}0\))"
    r"|(?:text-indent|left|top)\s{0,3}:\s{0,3}-\d{3,6})|\shidden(?=[\s=>/])|aria-hidden\s{0,3}=\s{0,3}[\"']?true)",
    re.IGNORECASE,
)
_ACTIVE = re.compile(
    r"<\s{0,3}script\b|<[a-z][^<>]{0,400}?[\s\"'/]on[a-z]{3,20}\s{0,3}=|(?:java|vb)script\s{0,3}:\s{0,3}[\w(]|data:text/html",
    re.IGNORECASE,
)
_PUSHED_AWAY = re.compile(
    r"[ \t\u3000\xa0]{150,}|(?:[ \t]{0,4}\r?\n){60,}|(?:<br ?/?>\s{0,3}){40,}|(?:&nbsp;){80,}", re.IGNORECASE
)
_OVERRIDES = re.compile(
    rf"[\u202d\u202e]|(?<![\U0001f3f4{TAGS}])[{TAGS}]{{2,}}|\U0001f3f4[{TAGS}]{{8,}}|[{BIDI}]{{4,}}"
)
_IN_WORDS = re.compile(
    rf"(?<=[A-Za-z{CJK}])[\u200b-\u200d\u2060-\u2064\ufeff\u3164\u115f\u1160\u180e]{{1,64}}(?=[A-Za-z{CJK}])"
)
_UNSEEN_RUN = re.compile(r"[\u200b-\u200d\u2060-\u2064\ufeff\u3164\u180e\ufe00-\ufe0e]{8,}|[\U000e0100-\U000e01ef]{4,}")
_MIXED_WORD = re.compile(r"[A-Za-z\u0400-\u04ff]{4,40}")
_CYRILLIC, _LATIN = re.compile(r"[\u0400-\u04ff]"), re.compile(r"[A-Za-z]")

# UTF-8 read byte by byte: a lead byte with its continuation bytes, as Windows-1252 or Latin-1 shows them.
_CONTINUED = "[\x80-\xbf €‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_BYTEWISE = re.compile(rf"(?:[à-ï]{_CONTINUED}{{2}}|[Â-ß]{_CONTINUED})+")
_KNOWN_MOJIBAKE = re.compile("\ufffd|锟斤拷|烫烫烫|屯屯屯|ï¿½|â€[™œ\x9d“”]|Ã[¤¶¼Ÿ©¨]")
_GBK_RUN = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff\ue000-\uf8ff€]{4,400}")
_CONTROL = re.compile(rf"[{CONTROL}]+")
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_MARKUP = re.compile(r"<[^<>]{1,2000}>")


@dataclass(frozen=True, slots=True)
class Finding:
    """One suspicious stretch of a body: what it looks like, in words, and its half-open place."""

    kind: Suspicion
    words: Text
    start: int
    end: int

    @property
    def steering(self) -> bool:
        """Whether it may be meant to steer an answer, so that the body is for review."""
        return self.kind in STEERING


def suspicions(body: str) -> list[Finding]:
    """What of a body a curator should look at, in the order of its places; of each kind and place one finding.

    Orders are found past their disguises: look-alike letters, full-width forms, characters that nobody sees, spread-out
    words, traditional characters, comments, and what Base64, escapes, reversal and the like hide. Time grows with the
    body's length.
    """
    if _is_empty(body):
        return damage(body)
    plain = folded(body)
    spans = [*_orders(body, plain), *_hidden(body), *_disguised(body, plain), *_damage(body), *_shape(body)]
    return _found(spans)


def damage(body: str) -> list[Finding]:
    """Of these what cannot be read: nothing there, text read in a wrong encoding, control characters."""
    empty = [Finding(Suspicion.EMPTY, WORDS[Suspicion.EMPTY], 0, len(body))] if _is_empty(body) else []
    return [*empty, *_found(_damage(body))]


def _is_empty(body: str) -> bool:
    return not _WORD.search(_readable(body))


def _found(spans: list[tuple[Suspicion, int, int]] | Iterator[tuple[Suspicion, int, int]]) -> list[Finding]:
    """A finding for each span, those of one kind that overlap being one."""
    findings: list[Finding] = []
    latest: dict[Suspicion, int] = {}
    for kind, start, end in sorted(spans, key=lambda span: (span[1], span[2], span[0])):
        if start < latest.get(kind, -1):
            continue
        latest[kind] = end
        findings.append(Finding(kind, WORDS[kind], start, end))
    return findings


def _readable(body: str) -> str:
    return html.unescape(_MARKUP.sub(" ", body))


def _orders(body: str, plain: Folded) -> Iterator[tuple[Suspicion, int, int]]:
    """What reads as an order, by itself or with digits read as letters."""
    for order, start, end in orders_in(plain.text):
        yield Suspicion(order), *plain.span(start, end)
    for match in SPEAKER.finditer(body):
        yield Suspicion.TOOL_CALL, *match.span()


def _disguised(body: str, plain: Folded) -> Iterator[tuple[Suspicion, int, int]]:
    letters = unleeted(plain.text)
    for order in () if letters == plain.text else (Order.OVERRIDE, Order.ROLE, Order.DISCLOSURE):
        for match in ORDERS[order].finditer(letters):
            if letters[match.start() : match.end()] != plain.text[match.start() : match.end()]:
                yield Suspicion.DISGUISED, *plain.span(*match.span())
    for start, end in spelled_out(plain.text):
        yield Suspicion.DISGUISED, *plain.span(start, end)
    for start, end in encoded_orders(body, plain):
        yield Suspicion.DISGUISED, start, end
    for match in _MIXED_WORD.finditer(body):
        if _CYRILLIC.search(match[0]) and _LATIN.search(match[0]):
            yield Suspicion.DISGUISED, *match.span()


def _hidden(body: str) -> Iterator[tuple[Suspicion, int, int]]:
    for start, end in _comments(body):
        if _is_prose(body[start:end]):
            yield Suspicion.HIDDEN, start, end
    for pattern in (_STYLED_AWAY, _OVERRIDES, _UNSEEN_RUN):
        for match in pattern.finditer(body):
            yield Suspicion.HIDDEN, *match.span()
    for match in _PUSHED_AWAY.finditer(body):
        if body[match.end() : match.end() + 1].strip(" \t|"):
            yield Suspicion.HIDDEN, *match.span()
    inside = list(_IN_WORDS.finditer(body))
    if len(inside) >= UNSEEN_IN_WORDS:
        yield Suspicion.HIDDEN, inside[0].start(), inside[-1].end()
    for match in _ACTIVE.finditer(body):
        yield Suspicion.ACTIVE, *match.span()


def _is_prose(text: str) -> bool:
    return len(_CHINESE.findall(text)) >= COMMENT_CHARACTERS or sum(1 for _ in _WORD.finditer(text)) >= COMMENT_WORDS


def _comments(body: str) -> Iterator[tuple[int, int]]:
    """The comments of a body, one that is never closed reaching to its end."""
    start = -1
    for mark in _COMMENT_ENDS.finditer(body):
        if mark[0] == "<!--":
            start = mark.start() if start < 0 else start
        elif start >= 0:
            yield start, mark.end()
            start = -1
    if start >= 0:
        yield start, len(body)


def _damage(body: str) -> Iterator[tuple[Suspicion, int, int]]:
    for match in _KNOWN_MOJIBAKE.finditer(body):
        yield Suspicion.MOJIBAKE, *match.span()
    bytewise = [match for match in _BYTEWISE.finditer(body) if _was_utf8(match[0])]
    if sum(len(match[0]) for match in bytewise) >= 3 * MOJIBAKE_LENGTH:
        yield from ((Suspicion.MOJIBAKE, *match.span()) for match in bytewise)
    for match in _GBK_RUN.finditer(body):
        if _was_utf8_in_gbk(match[0]):
            yield Suspicion.MOJIBAKE, *match.span()
    for match in _CONTROL.finditer(body):
        if not any(found.start() <= match.start() < found.end() for found in bytewise):
            yield Suspicion.CONTROL, *match.span()


def _was_utf8(shown: str) -> bool:
    """Whether characters are the bytes of a text in UTF-8; a space may have been a no-break space."""
    try:
        data = b"".join(
            bytes([ord(letter)]) if ord(letter) < _BYTES else letter.encode("cp1252")
            for letter in shown.replace(" ", "\xa0")
        )
        return any(letter > "\u2e7f" for letter in data.decode())
    except UnicodeError:
        return False


def _was_utf8_in_gbk(shown: str) -> bool:
    """Whether Chinese characters are the bytes of a text in UTF-8, its last character perhaps cut."""
    try:
        data = shown.encode("gb18030")
    except UnicodeError:
        return False
    for cut in (0, 1, 2):
        try:
            text = data[: len(data) - cut].decode()
        except UnicodeError:
            continue
        return len(_CHINESE.findall(text)) >= max(MOJIBAKE_LENGTH, 0.6 * len(text))
    return False


def _shape(body: str) -> Iterator[tuple[Suspicion, int, int]]:
    """What is too long, and what is there twice."""
    if len(body) > HUGE:
        yield Suspicion.HUGE, 0, len(body)
    start = 0
    for line in body.splitlines(keepends=True):
        if len(line) > LONG_LINE:
            yield Suspicion.LONG_LINE, start, start + len(line)
        start += len(line)
    known: set[str] = set()
    start = 0
    for paragraph in _BLANK_LINES.split(body):
        start = body.index(paragraph, start)
        said = " ".join(paragraph.split())
        if len(said) >= DUPLICATE_LENGTH and said in known:
            yield Suspicion.DUPLICATE, start, start + len(paragraph)
        known.add(said)
        start += len(paragraph)
