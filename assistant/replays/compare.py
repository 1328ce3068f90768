"""Two writings of one answer side by side: their sections, sources and checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from assistant.draft import Section


@dataclass(frozen=True, slots=True)
class SectionDifference:
    """One section as it was and as it would be; None where it was not or would not be written."""

    key: str
    heading: str
    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether one word is different."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class CheckDifference:
    """One check whose result is another."""

    key: str
    passed_before: bool
    passed_after: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different between an answer and its replay."""

    sections: tuple[SectionDifference, ...]
    sources_kept: tuple[str, ...]
    sources_lost: tuple[str, ...]
    sources_gained: tuple[str, ...]
    checks: tuple[CheckDifference, ...]

    @property
    def changed(self) -> bool:
        """Whether anything that a reader sees is different."""
        return bool(self.sources_lost or self.sources_gained or self.checks) or any(
            one.changed for one in self.sections
        )


@dataclass(frozen=True, slots=True)
class Writing:
    """One writing of an answer: its sections, the sources that it cites, and whether each check passed."""

    sections: Sequence[Section]
    sources: Sequence[str]
    checks: Mapping[str, bool]


def difference(before: Writing, after: Writing) -> Difference:
    """Two writings compared: sections by their keys in the order of the first, then those that it has not; sources as sets.

    A check that one of them does not know counts as passed there: a check that was not made found nothing.
    """
    old, new = ({section.key: section for section in writing.sections} for writing in (before, after))
    sections = [
        SectionDifference(key, (old.get(key) or new[key]).heading, _words(old.get(key)), _words(new.get(key)))
        for key in dict.fromkeys(chain(old, new))
    ]
    cited, would = dict.fromkeys(before.sources), dict.fromkeys(after.sources)
    checks = [
        CheckDifference(key, before.checks.get(key, True), after.checks.get(key, True))
        for key in dict.fromkeys(chain(before.checks, after.checks))
    ]
    return Difference(
        tuple(sections),
        sources_kept=tuple(one for one in cited if one in would),
        sources_lost=tuple(one for one in cited if one not in would),
        sources_gained=tuple(one for one in would if one not in cited),
        checks=tuple(one for one in checks if one.passed_before != one.passed_after),
    )


def _words(section: Section | None) -> str | None:
    return None if section is None or section.missing else section.body
