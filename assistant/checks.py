"""What an answer must hold before anybody sees it: pure decisions on its sentences, sources and figures."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from assistant.draft import Draft, Figure, KnowledgeQuote, Section
from domain.kernel import Language

SENTENCE = re.compile(r".+?(?:[。！？!?；](?:\s?\[\d{1,4}\])*[”」]?|\.[”\"]?(?=[\s\[]|$)(?:\s?\[\d{1,4}\])*(?=\s|$)|$)", re.DOTALL)
CITATION = re.compile(r"\[(\d{1,4})\]")
LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.、)])\s+")
LINK = re.compile(r"!\[[^\]]*\]|\]\(|https?:|www\.|ftp:|javascript:|data:|<\s*/?\s*[a-zA-Z!]|\b[a-z0-9-]+\.(?:com|cn|net|org|io|info|biz|top|xyz)\b", re.IGNORECASE)
PLACEHOLDER = re.compile(r"[⟦⟧]")
ISO_DATE = re.compile(r"(?<!\d)(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?(?!\d)")
NUMBER = re.compile(r"(?P<money>CN¥|US\$|[¥￥$€£]|CNY\s?|RMB\s?|USD\s?)?(?<![A-Za-z0-9_.])(?<![A-Za-z]-)(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s?(?P<scale>[万亿])?\s?(?P<unit>%|％|个百分点|percent|元|CNY|RMB)?")
SCALE = {"万": Decimal(10_000), "亿": Decimal(100_000_000)}


class NumberKind(StrEnum):
    """What a number counts, as far as its surroundings tell."""

    PERCENT = "PERCENT"
    MONEY = "MONEY"
    PLAIN = "PLAIN"


@dataclass(frozen=True, slots=True)
class NumberInText:
    """One number as it stands in a text."""

    value: Decimal
    kind: NumberKind


def numbers_in(text: str) -> list[NumberInText]:
    """Every number of a text but citation marks, list marks, dates and product codes (VX3)."""
    bare = ISO_DATE.sub(" ", CITATION.sub(" ", LIST_MARK.sub("", text)))
    found = []
    for match in NUMBER.finditer(bare):
        value = Decimal(match["digits"].replace(",", "")) * SCALE.get(match["scale"] or "", Decimal(1))
        percent = match["unit"] in {"%", "％", "个百分点", "percent"}
        money = bool(match["money"]) or match["unit"] in {"元", "CNY", "RMB"}
        found.append(NumberInText(value, NumberKind.PERCENT if percent else NumberKind.MONEY if money else NumberKind.PLAIN))
    return found


def dates_in(text: str) -> set[str]:
    """Every full date of a text in ISO form."""
    return {f"{int(year):04d}-{int(month):02d}-{int(day):02d}" for year, month, day in ISO_DATE.findall(text)}


def sentences(line: str) -> list[str]:
    """The sentences of one line, each with the citation marks that follow it."""
    return [part for part in SENTENCE.findall(line) if part.strip()]


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


@dataclass(slots=True)
class _Findings:
    removed: dict[str, list[str]] = field(default_factory=dict)

    def remove(self, key: str, sentence: str) -> None:
        self.removed.setdefault(key, []).append(sentence.strip())


CHECKS = ("outside_link", "masked_leak", "citation_numbers", "foreign_customer", "figures_sourced", "claims_cited")
"""The checks in the order in which a sentence meets them; the first that it fails names its removal."""


def run(draft: Draft, *, foreign_names: frozenset[str] = frozenset(), free_sections: frozenset[str] = frozenset(), strict_support: bool = False) -> Checked:
    """Keep the sentences that hold and remove those that do not.

    A sentence goes when it carries an outside link or markup, a placeholder of masking, a citation number that nobody gave
    out, the name of another customer that its sources do not name, or a number or date that neither code computed nor a
    cited source contains. Outside `free_sections` (greetings, questions) each line cites at least one source. With
    `strict_support` a cited sentence that shares next to nothing with its source goes as well. A section that loses every
    sentence is missing.
    """
    findings = _Findings()
    support: dict[int, float] = {}
    kept = []
    figures = list(draft.figures)
    for section in draft.sections:
        if section.missing:
            kept.append(section)
            continue
        judge = _Judge(draft, section.key, foreign_names, findings, figures, support, free=section.key in free_sections, strict=strict_support)
        lines = [judged for line in section.body.split("\n") if (judged := judge.line(line)) is not None]
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        kept.append(replace(section, body=body, missing=not body))
    keys = (*CHECKS, "claims_supported") if strict_support else CHECKS
    results = [CheckResult(key, key not in findings.removed, " ⏐ ".join(findings.removed.get(key, [])) or None) for key in keys]
    return Checked(kept, _used(figures, kept), results, support)


def _used(figures: list[Figure], sections: list[Section]) -> list[Figure]:
    written = {section.key: {number.value for number in numbers_in(section.body)} for section in sections if not section.missing}
    return [figure for figure in figures if figure.value in written.get(figure.section_key, set())]


@dataclass(slots=True)
class _Judge:
    draft: Draft
    section_key: str
    foreign_names: frozenset[str]
    findings: _Findings
    figures: list[Figure]
    support: dict[int, float]
    free: bool
    strict: bool

    def line(self, line: str) -> str | None:
        """The line without the sentences that do not hold; None when nothing of it is left."""
        if not line.strip():
            return line
        cited = [int(number) for number in CITATION.findall(line)]
        mark = LIST_MARK.match(line)
        lead, rest = (mark.group(), line[mark.end() :]) if mark else ("", line)
        kept = [sentence for sentence in sentences(rest) if self._holds(sentence, cited)]
        text = "".join(kept).strip()
        if not text:
            return None
        if not self._cited_enough(text):
            self.findings.remove("claims_cited", text)
            return None
        return lead + text if not lead or lead.strip() else text

    def _holds(self, sentence: str, line_cites: list[int]) -> bool:
        own = [int(number) for number in CITATION.findall(sentence)]
        cites = own or line_cites
        tests: list[tuple[str, Callable[[], bool]]] = [
            ("outside_link", lambda: LINK.search(sentence) is None),
            ("masked_leak", lambda: PLACEHOLDER.search(sentence) is None),
            ("citation_numbers", lambda: all(number in self.draft.sources for number in own)),
            ("foreign_customer", lambda: not self._foreign(sentence, cites)),
            ("figures_sourced", lambda: self._figures_hold(sentence, cites)),
            ("claims_supported", lambda: self._supported(sentence, own)),
        ]
        for key, test in tests:
            if not test():
                self.findings.remove(key, sentence)
                return False
        return True

    def _foreign(self, sentence: str, cites: list[int]) -> bool:
        named = [name for name in self.foreign_names if name in sentence]
        return any(not any(name in self.draft.text_of(number) for number in cites) for name in named)

    def _figures_hold(self, sentence: str, cites: list[int]) -> bool:
        sourced = {number: set(numbers_in(self.draft.text_of(number))) for number in cites}
        fresh = []
        for number in numbers_in(sentence):
            if any(_same(number, figure) for figure in self.figures if figure.section_key == self.section_key):
                continue
            cite = next((cite for cite, known in sourced.items() if number in known), None)
            if cite is None:
                return False
            fresh.append(self._quoted(number, sentence, cite))
        known_dates = self.draft.dates.union(*(dates_in(self.draft.text_of(number)) for number in cites))
        if not dates_in(sentence) <= known_dates:
            return False
        self.figures.extend(fresh)
        return True

    def _quoted(self, number: NumberInText, sentence: str, cite: int) -> Figure:
        taken = sum(figure.key.startswith("quoted_") for figure in self.figures)
        label = CITATION.sub("", LIST_MARK.sub("", sentence)).strip()
        unit = {"PERCENT": "%", "MONEY": "CNY", "PLAIN": ""}[number.kind]
        return Figure(self.section_key, f"quoted_{taken + 1}", label[:120], number.value, unit, cite)

    def _supported(self, sentence: str, own: list[int]) -> bool:
        for number in own:
            share = support_share(sentence, self.draft.text_of(number))
            computed = any(figure.citation == number for figure in self.figures if figure.section_key == self.section_key)
            self.support[number] = max(self.support.get(number, 0.0), 1.0 if computed else share)
        if not self.strict or not own:
            return True
        foreign = all(_foreign_language(self.draft, number) for number in own)
        return foreign or max(self.support.get(number, 0.0) for number in own) >= SUPPORT_FLOOR

    def _cited_enough(self, text: str) -> bool:
        if self.free or (text.startswith(("#", "**")) and text.endswith(("**", "：", ":"))):
            return True
        return bool(CITATION.search(text)) or text.rstrip('”"」 ').endswith(("？", "?", "：", ":"))


SUPPORT_FLOOR, SUPPORT_FULL = 0.08, 0.45
"""Shares of a sentence's character pairs found in its source: below the first it is not carried, from the second on it is."""


def support_share(sentence: str, source: str) -> float:
    """The share (0–1) of a sentence's character pairs that its source contains."""
    pairs = set(_pairs(CITATION.sub("", sentence)))
    return len(pairs & set(_pairs(source))) / len(pairs) if pairs else 0.0


def _pairs(text: str) -> Iterator[str]:
    bare = re.sub(r"[\W_]+", "", text.lower())
    return (bare[at : at + 2] for at in range(len(bare) - 1))


def _same(number: NumberInText, figure: Figure) -> bool:
    kind = NumberKind.PERCENT if figure.unit == "%" else NumberKind.MONEY if re.fullmatch(r"[A-Z]{3}", figure.unit) else NumberKind.PLAIN
    return number.value == figure.value and number.kind is kind


def _foreign_language(draft: Draft, number: int) -> bool:
    source = draft.sources.get(number)
    if source is None:
        return False
    chinese = source.language is Language.ZH if isinstance(source, KnowledgeQuote) else bool(re.search(r"[一-鿿]", source.text))
    return chinese is not (draft.language is Language.ZH)
