"""What an answer must hold before anybody sees it: pure decisions on its sentences, sources and figures."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from assistant.draft import Draft, Figure, KnowledgeQuote, Section, Source
from assistant.masking import Kind
from assistant.numbers import (
    CITATION,
    LIST_MARK,
    NumberInText,
    amounts_in_words,
    dates_in,
    numbers_in,
    numbers_in_lines,
)
from domain.kernel import Language
from knowledge.guarding import gives_orders

SENTENCE = re.compile(
    r".+?(?:[。！？!?；][”’」』）)\"]*(?:\s*\[\d{1,4}\])*|\.[”’\")]*(?=[\s\[]|$)(?:\s*\[\d{1,4}\])*(?=\s|$)|$)",
    re.DOTALL,
)
DOMAINS = "com|cn|net|org|io|info|biz|top|xyz|ai|dev|co|me|app|shop|site|vip|cc|link|online|club|tv|gov|edu|eu|de|uk|us|hk|tw|ru|jp"
LINK = re.compile(
    r"!\[[^\]]*\]|\]\(|\]\s*:\s*\S*//|https?:|ftp:|javascript:|data:[a-z]+/|(?<![A-Za-z0-9])www\."
    r"|<\s*/?\s*[a-z][a-z0-9]*[\s>/]|<!|&(?:lt|#60|#x3c);"
    rf"|(?<![A-Za-z0-9@.-])(?:[a-z0-9-]+\.)+(?:{DOMAINS})(?![A-Za-z0-9-])",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(rf"[⟦⟧]|(?<![A-Za-z0-9_])(?:{'|'.join(Kind)})_\d+(?![A-Za-z0-9_])")
CHINESE = re.compile(r"[一-鿿]")
RUNS = re.compile(r"[一-鿿]+|[^\W_一-鿿]+")
SHORT_WORD, LABEL_LENGTH = 3, 120

SUPPORT_FLOOR, SUPPORT_FULL = 0.08, 0.45
"""Shares of a sentence's words found in its source: below the first it is not carried, from the second on it is."""
LIKE_DRAFT = 0.3
"""The share of a reworded sentence's words that the composer's section holds when it says the same."""

CHECKS = (
    "outside_link",
    "masked_leak",
    "no_orders",
    "citation_numbers",
    "foreign_customer",
    "figures_sourced",
    "claims_cited",
    "claims_supported",
)
"""The checks in the order in which a sentence meets them; the first that it fails names its removal."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: whether the whole answer passed, and what was removed if not."""

    key: str
    passed: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer after its checks: what is left of it, every number as a figure, and how well each source carries."""

    sections: list[Section]
    figures: list[Figure]
    results: list[CheckResult]
    support: dict[int, float]


def sentences(line: str) -> list[str]:
    """The sentences of one line, each with the citation marks that follow it."""
    return [part for part in SENTENCE.findall(line) if part.strip()]


def words_of(text: str) -> frozenset[str]:
    """What a text is made of, for comparison: pairs of Chinese characters, and other words of three letters or more."""
    found: set[str] = set()
    for run in RUNS.findall(CITATION.sub(" ", text).lower()):
        if CHINESE.match(run):
            found.update(run[at : at + 2] for at in range(len(run) - 1))
        elif len(run) >= SHORT_WORD:
            found.add(run)
    return frozenset(found)


def support_share(sentence: str, source: str) -> float:
    """The share (0–1) of a sentence's words that its source contains."""
    return _share(words_of(sentence), words_of(source))


def _share(said: frozenset[str], known: frozenset[str]) -> float:
    return len(said & known) / len(said) if said else 0.0


def run(
    draft: Draft,
    *,
    foreign_names: frozenset[str] = frozenset(),
    own_names: frozenset[str] = frozenset(),
    free_sections: frozenset[str] = frozenset(),
    composed: Draft | None = None,
) -> Checked:
    """Keep the sentences that hold and remove those that do not.

    A sentence goes when it carries an outside link or markup, a placeholder of masking, words of a model's that give
    orders, a citation number that nobody gave
    out, the name of another customer that its sources do not name, or a number, date or amount in words that neither code
    computed for this section nor a cited source contains. Outside `free_sections` (greetings, questions) each line cites at
    least one source. Where a model reworded what was `composed`, a sentence that shares next to nothing with its source
    and with the composer's section goes as well. A section that loses every sentence is missing.
    """
    sources = {number: _SourceText(source) for number, source in draft.sources.items()}
    judge = _Judge(draft, sources, foreign_names, own_names, composed)
    kept = [
        section if section.missing else judge.section(section, free=section.key in free_sections)
        for section in draft.sections
    ]
    results = [
        CheckResult(key, key not in judge.removed, " ⏐ ".join(judge.removed.get(key, [])) or None) for key in CHECKS
    ]
    return Checked(kept, _written(judge.figures, kept), results, judge.support)


def _written(figures: list[Figure], sections: list[Section]) -> list[Figure]:
    """The figures that are still to be read in their sections, in the order of these."""
    found = []
    for section in sections:
        numbers = numbers_in_lines(section.body) if not section.missing else []
        mine = [figure for figure in figures if figure.section_key == section.key]
        found += [figure for figure in mine if any(_same(number, figure) for number in numbers)]
    return found


def _same(number: NumberInText, figure: Figure) -> bool:
    counted = figure.unit if figure.unit == "%" or re.fullmatch(r"[A-Z]{3}", figure.unit) else ""
    return number.value == figure.value and number.unit == counted


def _languages(text: str) -> set[Language]:
    """The languages in which a record has words; codes and numbers are in none."""
    found = {Language.ZH} if CHINESE.search(text) else set()
    return found | ({Language.EN} if re.search(r"[A-Za-z]{3}", text) else set())


class _SourceText:
    """What one source holds, read once."""

    def __init__(self, source: Source) -> None:
        self.text = source.text
        self.languages = {source.language} if isinstance(source, KnowledgeQuote) else _languages(source.text)

    @cached_property
    def numbers(self) -> frozenset[NumberInText]:
        return frozenset(numbers_in_lines(self.text))

    @cached_property
    def dates(self) -> set[str]:
        return dates_in(self.text)

    @cached_property
    def lower(self) -> str:
        return " ".join(self.text.lower().split())

    @cached_property
    def words(self) -> frozenset[str]:
        return words_of(self.text)


@dataclass(slots=True)
class _Judge:
    """The decision on each line and sentence of one answer, with what was removed and why."""

    draft: Draft
    sources: Mapping[int, _SourceText]
    foreign_names: frozenset[str]
    own_names: frozenset[str]
    composed: Draft | None
    figures: list[Figure] = field(init=False)
    removed: dict[str, list[str]] = field(default_factory=dict)
    support: dict[int, float] = field(default_factory=dict)
    _key: str = ""
    _free: bool = False
    _composed_words: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.figures = list(self.draft.figures)

    def section(self, section: Section, *, free: bool) -> Section:
        """The section without what does not hold."""
        self._key, self._free = section.key, free
        own = [each.body for each in self.composed.sections if each.key == section.key] if self.composed else []
        self._composed_words = words_of("\n".join(own))
        lines = [judged for line in section.body.split("\n") if (judged := self._line(line)) is not None]
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        return replace(section, body=body, missing=not body)

    def _line(self, line: str) -> str | None:
        """The line without the sentences that do not hold; None when nothing of it is left."""
        if not line.strip():
            return line
        mark = LIST_MARK.match(line)
        lead, rest = (mark.group(), line[mark.end() :]) if mark else ("", line)
        kept = self._kept(sentences(rest))
        text = "".join(kept).strip()
        if not re.search(r"\w", CITATION.sub("", text)):
            return None
        if not self._cited_enough(text):
            self._remove("claims_cited", text)
            return None
        for sentence in kept:
            self._take(sentence, _citations(sentence) or _citations(text))
        return lead + text

    def _kept(self, parts: list[str]) -> list[str]:
        """The sentences that hold by what they cite, or else by what the others that hold cite."""
        while True:
            cited = _citations("".join(parts))
            kept = [sentence for sentence in parts if self._holds(sentence, _citations(sentence) or cited)]
            if len(kept) == len(parts):
                return kept
            parts = kept

    def _remove(self, key: str, text: str) -> None:
        self.removed.setdefault(key, []).append(text.strip())

    def _holds(self, sentence: str, cites: list[int]) -> bool:
        plain = unicodedata.normalize("NFKC", sentence)
        tests: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("outside_link", lambda: LINK.search(plain) is None),
            ("masked_leak", lambda: PLACEHOLDER.search(sentence) is None),
            ("no_orders", lambda: self.composed is None or not gives_orders(sentence)),
            ("citation_numbers", lambda: all(number in self.sources for number in _citations(sentence))),
            ("foreign_customer", lambda: not self._foreign(sentence, cites)),
            ("figures_sourced", lambda: self._figures_hold(sentence, cites)),
            ("claims_supported", lambda: self._supported(sentence, cites)),
        )
        for key, test in tests:
            if not test():
                self._remove(key, sentence)
                return False
        return True

    def _texts(self, cites: list[int]) -> list[_SourceText]:
        return [self.sources[number] for number in cites if number in self.sources]

    def _foreign(self, sentence: str, cites: list[int]) -> bool:
        said = sentence.lower()
        for name in sorted(self.own_names, key=len, reverse=True):
            said = said.replace(name.lower(), " ")
        named = [name for name in self.foreign_names if name.lower() in said]
        return any(not any(name.lower() in source.lower for source in self._texts(cites)) for name in named)

    def _computed(self, number: NumberInText) -> list[Figure]:
        """The figures of this section that code reckoned and that say the number."""
        return [figure for figure in self.draft.figures if figure.section_key == self._key and _same(number, figure)]

    def _figures_hold(self, sentence: str, cites: list[int]) -> bool:
        texts = self._texts(cites)
        for number in numbers_in(sentence):
            if not self._computed(number) and not any(number in source.numbers for source in texts):
                return False
        ours = {day for key, day in self.draft.dates if key == self._key}
        if not dates_in(sentence) <= ours.union(*(source.dates for source in texts)):
            return False
        return all(any(amount in source.lower for source in texts) for amount in amounts_in_words(sentence))

    def _shares(self, sentence: str, cites: list[int]) -> dict[int, float]:
        """How much of a sentence each source carries; all of it where code reckoned a number of it from the source."""
        said = words_of(sentence)
        computed = {figure.citation for number in numbers_in(sentence) for figure in self._computed(number)}
        known = [number for number in cites if number in self.sources]
        return {number: 1.0 if number in computed else _share(said, self.sources[number].words) for number in known}

    def _supported(self, sentence: str, cites: list[int]) -> bool:
        """Whether a source carries a reworded sentence, or the composer said the same."""
        said = words_of(sentence)
        if self.composed is None or not said or _is_open(sentence) or _share(said, self._composed_words) >= LIKE_DRAFT:
            return True
        if not cites and not self._free:
            # The line as a whole is judged by what it cites.
            return True
        texts = self._texts(cites)
        if texts and all(source.languages and self.draft.language not in source.languages for source in texts):
            return True
        return max(self._shares(sentence, cites).values(), default=0.0) >= SUPPORT_FLOOR

    def _take(self, sentence: str, cites: list[int]) -> None:
        """Keep the numbers of a sentence that holds as figures, and how well its sources carry it."""
        for cite, share in self._shares(sentence, cites).items():
            self.support[cite] = max(self.support.get(cite, 0.0), share)
        for number in numbers_in(sentence):
            if not self._computed(number):
                cite = next(cite for cite in cites if number in self.sources[cite].numbers)
                taken = sum(figure.key.startswith("quoted_") for figure in self.figures)
                said = CITATION.sub("", sentence).strip()[:LABEL_LENGTH]
                self.figures.append(Figure(self._key, f"quoted_{taken + 1}", said, number.value, number.unit, cite))

    def _cited_enough(self, text: str) -> bool:
        if self._free or (text.startswith(("#", "**")) and text.endswith(("**", "：", ":"))):
            return True
        return CITATION.search(text) is not None or _is_open(text)


def _citations(text: str) -> list[int]:
    return [int(number) for number in CITATION.findall(text)]


def _is_open(text: str) -> bool:
    """Whether a text claims nothing by itself: a question, or a line that leads over to what follows."""
    return text.rstrip('”"」） )').endswith(("？", "?", "：", ":"))
