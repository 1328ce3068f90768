"""What an answer is made of before it is stored: sources, figures, sections, and the pen that keeps them together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from domain.kernel import Language, Money, Ref, Text


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record as of an instant, with the words that carry what is said of it."""

    record: Ref
    as_of: datetime
    text: str


@dataclass(frozen=True, slots=True)
class KnowledgeQuote:
    """One stored knowledge version, with its text and the sentence that is quoted."""

    item_id: UUID
    version: int
    title: str
    text: str
    language: Language
    origin: str | None = None


Source = Evidence | KnowledgeQuote


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the answer: computed by code, or quoted from the source with the citation's number."""

    section_key: str
    key: str
    label: str
    value: Decimal
    unit: str
    citation: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its text as Markdown, or that it is missing and why in one sentence."""

    key: str
    heading: str
    body: str
    missing: bool = False


@dataclass(slots=True)
class Draft:
    """An answer being written."""

    language: Language
    sections: list[Section] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    sources: dict[int, Source] = field(default_factory=dict)
    dates: set[tuple[str, str]] = field(default_factory=set)
    """Each date that code wrote, with the key of its section."""

    def text_of(self, number: int) -> str:
        """The words of a source by its number; empty for a number that nobody gave out."""
        source = self.sources.get(number)
        return source.text if source else ""


class Pen:
    """Writes one section in one language and keeps every figure, date and source that it uses."""

    def __init__(self, draft: Draft, section_key: str) -> None:
        self.draft = draft
        self.section_key = section_key
        self.language = draft.language

    def say(self, zh: str, en: str) -> str:
        """The wording in the answer's language."""
        return zh if self.language is Language.ZH else en

    def words(self, text: Text) -> str:
        """A bilingual text in the answer's language."""
        return text.words(self.language)

    def join(self, items: Iterable[str]) -> str:
        """Items of a list as people write them."""
        return self.say("、", ", ").join(items)

    def point(self, zh: str, en: str, *sources: Source) -> str:
        """One line of a list in the answer's language, with the sources that carry it."""
        return self.say(f"- {zh}", f"- {en} ") + self.cite(*sources)

    def cite(self, *sources: Source) -> str:
        """The citation marks of sources, each numbered at its first use; a knowledge version has one number per answer."""
        numbers = sorted({self._number(source) for source in sources})
        return "".join(f"[{number}]" for number in numbers)

    def money(self, key: str, label: Text, amount: Money, source: Source) -> str:
        """An amount, kept as a figure."""
        self._keep(key, label, amount.amount, amount.currency, source)
        return amount.words(self.language)

    def percent(self, key: str, label: Text, value: Decimal, source: Source) -> str:
        """A percentage (12.5 for 12.5 %), kept as a figure."""
        exact = value.quantize(Decimal("0.1")).normalize()
        self._keep(key, label, exact, "%", source)
        return f"{exact:f}%"

    def count(self, key: str, label: Text, value: Decimal | int, unit: Text, source: Source) -> str:
        """A number with its unit, kept as a figure."""
        self._keep(key, label, Decimal(value), self.words(unit), source)
        number = f"{Decimal(value):f}"
        word = self.words(unit)
        return f"{number} {word}" if word else number

    def figure(self, key: str, label: Text, value: Decimal, unit: Text, words: Text, source: Source) -> str:
        """A number that is written already, kept as a figure."""
        self._keep(key, label, value, self.words(unit), source)
        return self.words(words)

    def date(self, value: date) -> str:
        """A date that code knows."""
        day = value.isoformat()[:10]
        self.draft.dates.add((self.section_key, day))
        return day

    def _keep(self, key: str, label: Text, value: Decimal, unit: str, source: Source) -> None:
        self.draft.figures.append(Figure(self.section_key, key, self.words(label), value, unit, self._number(source)))

    def _number(self, source: Source) -> int:
        for number, known in self.draft.sources.items():
            if known == source:
                return number
        number = len(self.draft.sources) + 1
        self.draft.sources[number] = source
        return number
