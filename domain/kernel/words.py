"""The words of a text as search over records compares them, what a query asks of them, and where it meets a text."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

WORDS_VERSION = "nfkc-lower+han-1-2/1"
"""Names what `tokens` does; it changes whenever the same text would give other tokens."""

WORD_LENGTH = 64
TERM_LIMIT = 32
SHORTEST_PREFIX = 2
BEFORE, AROUND = 24, 120
"""Characters of an excerpt: before the first match, and in all."""

# Ideographs with their extensions, kana and hangul: scripts written without spaces or searched as if they were.
_CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U000323af"
_RUNS = re.compile(rf"([{_CJK}]+)|([^\W_{_CJK}]+)")


def _folded(text: str) -> str:
    """NFKC and lower case: full-width forms and capitals look like their plain forms."""
    return unicodedata.normalize("NFKC", text).lower()


def tokens(text: str) -> list[str]:
    """The distinct tokens in reading order: of Chinese each character and each pair of neighbours, of the rest each word."""
    found: dict[str, None] = {}
    for run in _RUNS.finditer(_folded(text)):
        han, word = run.groups()
        if word:
            found[word[:WORD_LENGTH]] = None
        else:
            found.update(dict.fromkeys((*han, *map("".join, pairwise(han)))))
    return list(found)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a query asks for: tokens that a text has all of, and the beginning of one more word."""

    whole: tuple[str, ...] = ()
    prefix: str | None = None

    def __bool__(self) -> bool:
        return bool(self.whole or self.prefix)


def terms(query: str) -> Terms:
    """The terms of a query, at most TERM_LIMIT: its last word may be half typed, unless something follows it."""
    folded = _folded(query)
    found: dict[str, None] = {}
    prefix = None
    for run in _RUNS.finditer(folded):
        han, word = run.groups()
        if word and run.end() == len(folded) and len(word) >= SHORTEST_PREFIX:
            prefix = word[:WORD_LENGTH]
        elif word:
            found[word[:WORD_LENGTH]] = None
        else:
            found.update(dict.fromkeys(map("".join, pairwise(han)) if len(han) > 1 else han))
    return Terms(tuple(found)[:TERM_LIMIT], prefix)


# ---- excerpts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text that a query meets, or that it does not."""

    text: str
    matched: bool


def _unfolded(text: str) -> tuple[str, list[int]]:
    """The folded text, character by character, and for each of its characters the place that it has in the text."""
    folded = [_folded(character) for character in text]
    places = [at for at, characters in enumerate(folded) for _ in characters]
    return "".join(folded), places


def _spans(folded: str, asked: Terms) -> Iterator[tuple[int, int]]:
    for run in _RUNS.finditer(folded):
        han, word = run.groups()
        if word:
            if word[:WORD_LENGTH] in asked.whole:
                yield run.span()
            elif asked.prefix and word.startswith(asked.prefix):
                yield run.start(), run.start() + len(asked.prefix)
            continue
        for at in range(len(han)):
            for length in (1, 2):
                if han[at : at + length] in asked.whole:
                    yield run.start() + at, run.start() + min(at + length, len(han))


def met(text: str, asked: Terms) -> int:
    """How many different stretches of the terms are in the text."""
    folded = _folded(text)
    return len({folded[start:end] for start, end in _spans(folded, asked)})


def excerpt(text: str, asked: Terms) -> list[Piece]:
    """The beginning of what a query meets in a text with a little around it, in pieces; an ellipsis where more is left out."""
    line = " ".join(text.split())
    folded, places = _unfolded(line)
    hit = {places[at] for start, end in _spans(folded, asked) for at in range(start, end)}
    start = max(0, min(hit, default=0) - BEFORE)
    # A little before the first match is worth leaving out only where the text is long.
    start = 0 if len(line) <= AROUND else start
    end = min(len(line), start + AROUND)
    pieces = [Piece("…", matched=False)] if start else []
    for at in range(start, end):
        matched = at in hit
        if pieces and pieces[-1].matched is matched:
            pieces[-1] = Piece(pieces[-1].text + line[at], matched)
        else:
            pieces.append(Piece(line[at], matched))
    return [*pieces, Piece("…", matched=False)] if end < len(line) else pieces
