"""Taking quotable sentences out of knowledge entries by the headings that their curators use."""

import re
from functools import lru_cache

from assistant.checks import sentences
from assistant.draft import KnowledgeQuote, Pen
from assistant.wording import PASSAGE_KEYS
from domain.kernel import Language, Text
from knowledge import Found, guarding

HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*#*\s*$")
BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.、)])\s+")
PRODUCT = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d(?![A-Za-z0-9])")
EMPHASIS = re.compile(r"\*\*|__|`")
NOISE = re.compile(r"https?:|www\.|!\[|\]\(|<[a-zA-Z/!]|```|\||\[\d{1,4}\]")
SENTENCE_LENGTH = range(6, 320)


def quote(found: Found) -> KnowledgeQuote:
    """The source under which sentences of an entry are cited: its text without lines that may be meant to steer an answer."""
    text = f"{found.title}\n{guarding.without_orders(found.body)}"
    return KnowledgeQuote(found.item_id, found.version, found.title, text, found.language, found.source)


@lru_cache(maxsize=512)
def parts(body: str) -> dict[str, list[str]]:
    """The quotable sentences of an entry by the key of their heading; those before any known heading under "text".

    Lines that may be meant to steer an answer are not.
    """
    key = "text"
    kept: dict[str, list[str]] = {}
    for line in guarding.without_orders(body).split("\n"):
        heading = HEADING.match(line)
        if heading:
            key = PASSAGE_KEYS.get(heading["title"].strip().lower(), "text")
            continue
        text = EMPHASIS.sub("", BULLET.sub("", line)).strip()
        if not text or text == guarding.OMITTED or NOISE.search(text):
            continue
        kept.setdefault(key, []).extend(
            part.strip() for part in sentences(text) if len(part.strip()) in SENTENCE_LENGTH
        )
    return kept


def is_structured(found: Found) -> bool:
    """Whether an entry is cut by the headings of its kind; what other systems export is not."""
    return parts(found.body).keys() != {"text"}


def pick(found: Found, *keys: str, limit: int) -> list[str]:
    """The first sentences under the headings, in the order of the keys; of an entry without such headings, its first ones."""
    by_key = parts(found.body)
    if by_key.keys() == {"text"}:
        return by_key["text"][:limit]
    return [sentence for key in keys for sentence in by_key.get(key, [])][:limit]


def products_in(text: str) -> set[str]:
    """The product codes (PM8) that a text names."""
    return set(PRODUCT.findall(text))


def about(found: list[Found], products: frozenset[str]) -> list[Found]:
    """The entries whose title names no other product than these; all of them where these are unknown or nothing is left."""
    if not products:
        return found
    return [entry for entry in found if products_in(entry.title) <= products] or found


def say(pen: Pen, entry: Found, sentence: str, lead: Text | None = None) -> str:
    """One line of a list that quotes an entry, after a word that says what it is for."""
    zh, en = (f"{lead.zh}：", f"{lead.en}: ") if lead else ("", "")
    return pen.point(zh + sentence, en + sentence, quote(entry))


def in_language(found: list[Found], language: Language) -> list[Found]:
    """The entries in the reader's language first, the order kept otherwise."""
    return sorted(found, key=lambda entry: entry.language is not language)


def shorten(text: str, limit: int = 160) -> str:
    """A note, cut at a sentence where it is long, and never inside a number."""
    if len(text) <= limit:
        return text
    cut = max(text.rfind(mark, 0, limit) for mark in ("。", ". ", "；", "，", ", "))
    kept = text[: cut + 1] if cut > limit // 2 else re.sub(r"[A-Za-z0-9.,%]+$", "", text[:limit])
    return kept.rstrip("，,；; ") + "…"


def closed(text: str, mark: str) -> str:
    """A text with a full stop, unless it ends in a mark."""
    return text if text.endswith(("。", ".", "！", "!", "？", "?", "…", "”")) else text + mark
