"""Text as search sees it: normal form, tokens, script, and passages cut from Markdown."""

import hashlib
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import ceil

import Stemmer

TOKENISER_VERSION = "nfkc-lower+han-1-2+snowball-english/1"
"""Names what `tokenise` does; it changes whenever the same text would give other tokens."""

TITLE_SEPARATOR = " › "
"""Between the titles of a path that is stored as one line."""

QUERY_TOKEN_LIMIT = 256
PASSAGE_WORD_LIMIT = 220
"""Words in a passage, a Chinese character counting as one: some 300 model tokens, well inside e5's 512."""

# Ideographs with their extensions, kana and hangul: scripts written without spaces or searched as if they were.
_CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U000323af"
_RUNS = re.compile(rf"([{_CJK}]+)|([^\W_{_CJK}]+)")
_CJK_CHARACTER = re.compile(rf"[{_CJK}]")
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[。！？；!?;])(?![”’」』）)\"'])|(?<=[。！？!?.][”’」』）)\"'])|(?<=\.)(?=\s)|(?<=\n)")
_local = threading.local()


class Script(StrEnum):
    """What a text is mostly written in; NEITHER for bare numbers and product codes."""

    ZH = "ZH"
    EN = "EN"
    NEITHER = "NEITHER"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that can be found and quoted on its own."""

    position: int
    title_path: tuple[str, ...]
    text: str

    @property
    def heading(self) -> str:
        """The nearest heading above the text: the document's own title where there is none."""
        return self.title_path[-1]

    @property
    def searchable(self) -> str:
        """What is indexed and embedded: a passage is understood only with the titles it stands under."""
        return searchable(TITLE_SEPARATOR.join(self.title_path), self.text)


def normalise(text: str) -> str:
    """NFKC and lower case: full-width forms, ligatures and capitals look like their plain forms."""
    return unicodedata.normalize("NFKC", text).lower()


def tokenise(text: str) -> list[str]:
    """Tokens in reading order: of Chinese each character and each pair of neighbours, of other words the English stem."""
    tokens: list[str] = []
    for run in _RUNS.finditer(normalise(text)):
        han, word = run.groups()
        if han:
            tokens.extend(han)
            tokens.extend(first + second for first, second in pairwise(han))
        else:
            tokens.append(_stem(word))
    # One object a word instead of one for each place where it stands.
    return list(map(sys.intern, tokens))


def query_tokens(text: str) -> list[str]:
    """The distinct tokens of a query, the first QUERY_TOKEN_LIMIT: a pasted page costs no more than a long question."""
    return list(dict.fromkeys(tokenise(text)))[:QUERY_TOKEN_LIMIT]


def script_of(text: str) -> Script:
    """ZH when there are at least as many Chinese characters as other words; words with digits are codes and do not count."""
    words = _WORD.findall(normalise(text))
    chinese = sum(1 for word in words if _CJK_CHARACTER.match(word))
    other = sum(1 for word in words if word.isalpha()) - chinese
    if not chinese and not other:
        return Script.NEITHER
    return Script.ZH if chinese >= other else Script.EN


def word_count(text: str) -> int:
    """Words, a Chinese character counting as one."""
    return sum(1 for _ in _WORD.finditer(text))


def searchable(title_path: str, text: str) -> str:
    """What is indexed and embedded for a passage whose title path is stored as one line."""
    return f"{title_path}\n{text}"


def content_hash(passage: Passage) -> str:
    """SHA-256, in hex, of what is indexed: equal passages need encoding once."""
    return hashlib.sha256(passage.searchable.encode()).hexdigest()


def passages(title: str, body: str, word_limit: int = PASSAGE_WORD_LIMIT) -> list[Passage]:
    """The passages of a Markdown document in order: one per headed section, long sections cut at sentence borders.

    Nothing but headings and the space between passages is left out. A document without text under its headings gives
    one passage that holds its title. No passage exceeds `word_limit` words.

    Raises ValueError when the title is blank or the limit is not positive.
    """
    if not title.strip():
        raise ValueError("a document needs a title")
    if word_limit < 1:
        raise ValueError(f"word limit must be positive, not {word_limit}")
    pieces = [
        (path, piece) for path, text in _sections(title.strip(), body) for piece in _cut_evenly(text, word_limit)
    ] or [((title.strip(),), title.strip())]
    return [Passage(position, path, text) for position, (path, text) in enumerate(pieces)]


def pieces(text: str, word_limit: int = PASSAGE_WORD_LIMIT) -> list[str]:
    """A text without a title in pieces of at most `word_limit` words, cut as passages are; headings stand above their pieces."""
    cut = [
        "\n".join([*filter(None, path[1:]), piece])
        for path, section in _sections("", text)
        for piece in _cut_evenly(section, word_limit)
    ]
    return cut or ([text.strip()] if text.strip() else [])


def _stem(word: str) -> str:
    # A stemmer keeps state between calls, so each thread has its own.
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    stem: str = _local.stemmer.stemWord(word)
    return stem


def _sections(title: str, body: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The title path and the text of each section that has text."""
    headings: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""
    for line in body.splitlines():
        mark = _FENCE.match(line)
        if mark and fence in {"", mark[1]}:
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.fullmatch(line)
        if not heading:
            lines.append(line)
            continue
        if text := "\n".join(lines).strip():
            yield _title_path(title, headings), text
        lines = []
        level = len(heading[1])
        headings = [(above, name) for above, name in headings if above < level]
        if heading[2]:
            headings.append((level, heading[2]))
    if text := "\n".join(lines).strip():
        yield _title_path(title, headings), text


def _title_path(title: str, headings: list[tuple[int, str]]) -> tuple[str, ...]:
    names = [name for _, name in headings]
    # A body that opens by repeating the item's title as its first heading would otherwise say it twice.
    return (title, *(names[1:] if names[:1] == [title] else names))


def _cut_evenly(text: str, word_limit: int) -> Iterator[str]:
    """Pieces of at most `word_limit` words and of similar length, so that no lonely last sentence is left over."""
    total = word_count(text)
    target = ceil(total / ceil(total / word_limit)) if total else word_limit
    piece, words = "", 0
    for sentence in _sentences(text, word_limit):
        length = word_count(sentence)
        if words and length and (words >= target or words + length > word_limit):
            yield piece.strip()
            piece, words = "", 0
        piece, words = piece + sentence, words + length
    if piece.strip():
        yield piece.strip()


def _sentences(text: str, word_limit: int) -> Iterator[str]:
    """Sentences and lines with what follows them; one that is over the limit alone is cut between words."""
    for sentence in _SENTENCE_END.split(text):
        start = words = 0
        for word in _WORD.finditer(sentence):
            if words == word_limit:
                yield sentence[start : word.start()]
                start, words = word.start(), 0
            words += 1
        yield sentence[start:]
