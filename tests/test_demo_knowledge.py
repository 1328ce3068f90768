"""The demo company's knowledge: well-formed, in both languages, for many concerns, no two entries alike."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.wording import CONCERNS, INDUSTRIES
from demo import records
from demo.records import FOLDER, EntryRecord
from domain.accounts import BuyingRole
from domain.kernel import Language
from knowledge import KnowledgeKind

OVERLAP = 0.30
GRAM = 8
ENTRIES = records.entries()
BY_FILE = pytest.mark.parametrize(("path", "entry"), ENTRIES.items(), ids=[path.stem for path in ENTRIES])
LISTS = ("concerns", "stages", "roles", "industries", "regions", "competitors")
COMPANY = records.company()
KNOWN = {
    "concerns": set(CONCERNS),
    "stages": {stage.key for pipeline in COMPANY.pipelines for stage in pipeline.stages},
    "roles": {role.value.lower() for role in BuyingRole},
    "industries": set(INDUSTRIES),
    "regions": {territory.key for territory in COMPANY.territories},
    "competitors": {competitor.key for competitor in COMPANY.competitors},
}


def headings() -> dict[tuple[str, str], list[str]]:
    """The headings of each kind in each language, from the table in demo/README.md."""
    table = re.findall(
        r"^\| ([A-Z_]+) \| (.+?) \| (.+?) \|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return {(kind, language): row.split(" · ") for kind, zh, en in table for language, row in (("ZH", zh), ("EN", en))}


@BY_FILE
def test_front_matter_is_valid(path: Path, entry: EntryRecord) -> None:
    assert path.stem == entry.key
    assert path.parent.name == entry.kind.value.lower()
    assert entry.owner in {"yu.zhao@example.com", "lan.xu@example.com"}
    assert {name: set(getattr(entry, name)) - KNOWN[name] for name in LISTS} == {name: set() for name in LISTS}


@BY_FILE
def test_headings_are_those_of_the_kind(path: Path, entry: EntryRecord) -> None:
    found = re.findall(r"^## (.+)$", entry.body, re.MULTILINE)
    assert found == headings()[entry.kind.value, entry.language.value], path


def test_keys_and_titles_are_unique() -> None:
    for name in ("key", "title"):
        values = Counter(getattr(entry, name) for entry in ENTRIES.values())
        assert [value for value, times in values.items() if times > 1] == []


def test_a_good_quarter_is_english_and_objections_are_of_many_kinds() -> None:
    languages = Counter(entry.language for entry in ENTRIES.values())
    assert languages[Language.EN] * 4 >= len(ENTRIES)
    answered = {
        concern
        for entry in ENTRIES.values()
        if entry.kind is KnowledgeKind.OBJECTION_RESPONSE
        for concern in entry.concerns
    }
    assert len(answered) >= 14


def grams(entry: EntryRecord) -> set[tuple[str, ...]]:
    """Runs of eight: characters without white space in Chinese, words in English."""
    parts = (
        re.findall(r"[\w']+", entry.body.lower())
        if entry.language is Language.EN
        else list(re.sub(r"\s+", "", entry.body))
    )
    return {tuple(parts[start : start + GRAM]) for start in range(len(parts) - GRAM + 1)}


def overlapping(sets: dict[str, set[tuple[str, ...]]]) -> Iterator[tuple[str, str, float]]:
    """Each pair that shares too many runs, with the share of the smaller one."""
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, runs in sets.items():
        for run in runs:
            holders[run].append(key)
    shared: Counter[tuple[str, str]] = Counter()
    for keys in holders.values():
        shared.update((one, other) for at, one in enumerate(keys) for other in keys[at + 1 :])
    for (one, other), number in shared.items():
        share = number / min(len(sets[one]), len(sets[other]))
        if share >= OVERLAP:
            yield one, other, round(share, 2)


def test_no_two_entries_share_thirty_per_cent_of_their_text() -> None:
    assert list(overlapping({entry.key: grams(entry) for entry in ENTRIES.values()})) == []


def test_copied_text_would_be_found() -> None:
    one, *_, other = ENTRIES.values()
    copied = other.model_copy(update={"language": one.language, "body": other.body + one.body})
    assert [pair[:2] for pair in overlapping({"one": grams(one), "copy": grams(copied)})] == [("one", "copy")]
