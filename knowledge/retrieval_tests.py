"""Saved questions with the entries that should come: kept by curators, run against retrieval as it is or as it would be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    Access,
    Actor,
    Base,
    Conflict,
    Everyone,
    Invalid,
    Language,
    Record,
    Role,
    Text,
    Through,
    UnitOfWork,
    insert_rows,
    load,
    sights,
)
from knowledge.library import Library
from knowledge.model import WATCHING, KnowledgeItem, KnowledgeKind
from knowledge.retrieval import Filter, SearchResult
from knowledge.service import may_curate

QUESTION_LENGTH, FACET_LENGTH = 2_000, 100
DEEPEST = 50
"""How many entries a test looks at, and so the greatest `within`."""
NAMED, MOST = 20, 500
"""How many entries a test names of each sort, and how many tests are kept."""
CONDITIONS = {
    "kind": "only_kind", "language": "only_language", "concern": "concern", "stage": "stage", "role": "buying_role",
    "industry": "industry", "competitor": "competitor",
}  # fmt: skip
"""The filter's fields and the columns that hold them."""
WORDS = ("concern", "stage", "buying_role", "industry", "competitor")
SAID = ("question", "language", "within", "asker_role", "territory_id", "brand_id", *CONDITIONS.values())
FIELDS = frozenset({*WORDS, "kind", "entry_language", "territory", "brand", "last_run", "expectations"})
NOBODY = UUID(int=0)
"""The user as whom a test asks: one to whom nothing belongs."""

Progress = Callable[[int, int], None]


class RetrievalTest(Record):
    """One question as somebody of a role and place puts it, for which certain entries should come, and others should not."""

    __tablename__ = "retrieval_tests"
    __stays__ = "it is about entries, and names a role and places alone"
    __access__ = Access(sights(WATCHING, Everyone(), FIELDS))

    question: Mapped[str]
    language: Mapped[Language]
    within: Mapped[int]
    asker_role: Mapped[Role]
    territory_id: Mapped[UUID | None]
    brand_id: Mapped[UUID | None]
    only_kind: Mapped[KnowledgeKind | None]
    only_language: Mapped[Language | None]
    concern: Mapped[str | None]
    stage: Mapped[str | None]
    buying_role: Mapped[str | None]
    industry: Mapped[str | None]
    competitor: Mapped[str | None]

    @property
    def filter(self) -> Filter:
        """The filter with which it asks."""
        return Filter(**{name: getattr(self, column) for name, column in CONDITIONS.items()})


class RetrievalExpectation(Base):
    """One entry that a test names: it should come, or should not."""

    __tablename__ = "retrieval_expectations"
    __aggregate__ = ("RetrievalTest", "test_id")
    __stays__ = "it is about an entry"
    __access__ = Access(sights(WATCHING, Through("test_id", "RetrievalTest"), frozenset({"item"})))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    test_id: Mapped[UUID] = mapped_column(ForeignKey("retrieval_tests.id"), index=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    comes: Mapped[bool]


class RetrievalTestRun(Base):
    """What a test found when it was last run, with the publication and the model by which it searched; it has the test's id."""

    __tablename__ = "retrieval_test_runs"
    __unledgered__ = "what a search found; it is run again at any time"
    __stays__ = "it is about a test"
    __access__ = Access(
        sights(WATCHING, Through("id", "RetrievalTest"), frozenset({"model_fingerprint", "methods", "ranks"}))
    )

    id: Mapped[UUID] = mapped_column(ForeignKey("retrieval_tests.id"), primary_key=True)
    at: Mapped[datetime]
    test_version: Mapped[int]
    publication: Mapped[int]
    model_fingerprint: Mapped[str | None]
    methods: Mapped[list[str]]
    passed: Mapped[bool] = mapped_column(index=True)
    ranks: Mapped[dict[str, Any]]


# ---- keeping ---------------------------------------------------------------------------------------------------------


async def save_retrieval_test(
    uow: UnitOfWork, *, question: str, language: Language, expected: Sequence[UUID] = (), unwanted: Sequence[UUID] = (), **more: Any
) -> RetrievalTest:  # fmt: skip
    """Keep a question; `more` holds others of `SAID`. Without `within` the entries should be among the first five.

    Raises Forbidden for people who do not curate, Invalid for what cannot be asked, NotFound for entries that are not there,
    Conflict for more tests than are kept.
    """
    may_curate(uow)
    if (await uow.session.execute(select(func.count()).select_from(RetrievalTest))).scalar_one() >= MOST:
        raise Conflict(Text(f"最多保存 {MOST} 个检索测试", f"{MOST} retrieval tests are kept at most"), ())
    defaults = {"within": 5, "asker_role": Role.REP}
    given = {name: value for name, value in more.items() if value is not None}
    values = _checked(defaults | given | {"question": question, "language": language})
    test = RetrievalTest(id=uow.new_id(), **values)
    uow.session.add(test)
    await uow.session.flush()
    await _expect(uow, test, expected, unwanted)
    uow.note("knowledge.retrieval_test_saved", test)
    await uow.session.flush()
    return test


async def revise_retrieval_test(
    uow: UnitOfWork, id: UUID | None, expected_version: int | None, change: Mapping[str, Any]
) -> RetrievalTest:
    """Change some of `SAID`, `expected` and `unwanted`; each of the two lists that is given takes the old one's place.

    Raises what saving raises, and StaleVersion.
    """
    may_curate(uow)
    test = await load(uow.session, uow.actor, RetrievalTest, id, expected_version=expected_version, lock=True)
    kept = {name: value for name, value in change.items() if name in SAID}
    for name in ("question", "language", "within", "asker_role"):
        if kept.get(name, ...) is None:
            del kept[name]
    test.change(_checked(kept))
    lists = {name: change[name] for name in ("expected", "unwanted") if change.get(name) is not None}
    if lists:
        named = await named_by(uow, [test.id])
        before = {
            comes: [item for item, one in named.get(test.id, {}).items() if one is comes] for comes in (True, False)
        }
        await uow.session.execute(delete(RetrievalExpectation).where(RetrievalExpectation.test_id == test.id))
        await _expect(uow, test, lists.get("expected", before[True]), lists.get("unwanted", before[False]))
    test.touch()
    uow.note("knowledge.retrieval_test_revised", test, covers=[RetrievalExpectation])
    await uow.session.flush()
    return test


async def delete_retrieval_test(uow: UnitOfWork, id: UUID | None, expected_version: int | None) -> None:
    """Keep a test no longer.

    Raises Forbidden, NotFound, StaleVersion.
    """
    may_curate(uow)
    test = await load(uow.session, uow.actor, RetrievalTest, id, expected_version=expected_version, lock=True)
    await uow.session.execute(delete(RetrievalTestRun).where(RetrievalTestRun.id == test.id))
    await uow.session.execute(delete(RetrievalExpectation).where(RetrievalExpectation.test_id == test.id))
    await uow.session.delete(test)
    uow.note("knowledge.retrieval_test_deleted", test, covers=[RetrievalExpectation])
    await uow.session.flush()


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    question = values.get("question", "？")
    if not question.strip() or len(question) > QUESTION_LENGTH:
        zh, en = f"问题须为 1 到 {QUESTION_LENGTH} 个字符", f"a question takes 1 to {QUESTION_LENGTH} characters"
        raise Invalid(Text(zh, en), ("question",))
    if not 1 <= values.get("within", 1) <= DEEPEST:
        raise Invalid(Text(f"within 须在 1 到 {DEEPEST} 之间", f"within must be 1 to {DEEPEST}"), ("within",))
    for name in WORDS:
        if values.get(name) is not None and not 0 < len(values[name].strip()) <= FACET_LENGTH:
            words = Text(f"{name} 须为 1 到 {FACET_LENGTH} 个字符", f"{name} takes 1 to {FACET_LENGTH} characters")
            raise Invalid(words, (name,))
    return values


async def _expect(uow: UnitOfWork, test: RetrievalTest, expected: Sequence[UUID], unwanted: Sequence[UUID]) -> None:
    if not expected and not unwanted:
        raise Invalid(Text("至少指定一个应出现或不应出现的条目", "name an entry that should come, or one that should not"), ("expected",))  # fmt: skip
    if both := set(expected) & set(unwanted):
        words = Text("同一条目不能既应出现又不应出现", "an entry cannot be expected and unwanted")
        raise Invalid(words, ("unwanted", str(next(at for at, id in enumerate(unwanted) if id in both))))
    for path, comes, ids in (("expected", True, expected), ("unwanted", False, unwanted)):
        if len(set(ids)) > NAMED:
            raise Invalid(Text(f"最多 {NAMED} 个条目", f"{NAMED} entries at most"), (path,))
        for item_id in dict.fromkeys(ids):
            await load(uow.session, uow.actor, KnowledgeItem, item_id, path=(path,))
        uow.session.add_all(
            RetrievalExpectation(id=uow.new_id(), test_id=test.id, item_id=item_id, comes=comes)
            for item_id in dict.fromkeys(ids)
        )


async def named_by(uow: UnitOfWork, ids: Sequence[UUID]) -> dict[UUID, dict[UUID, bool]]:
    """The entries that tests name, and whether each should come, by the test's id."""
    rows = select(RetrievalExpectation).where(RetrievalExpectation.test_id.in_(ids)).order_by(RetrievalExpectation.id)
    named: dict[UUID, dict[UUID, bool]] = {}
    for row in (await uow.session.execute(rows)).scalars():
        named.setdefault(row.test_id, {})[row.item_id] = row.comes
    return named


# ---- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A saved test as it is put: by whom, with which filter, and what should come within how many places."""

    test_id: UUID
    version: int
    words: str
    asker: Actor
    filter: Filter
    within: int
    named: Mapping[UUID, bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came for a question: the rank of each entry that it names, None where it is not among the first DEEPEST."""

    question: Question
    ranks: Mapping[UUID, int | None]
    result: SearchResult

    @property
    def passed(self) -> bool:
        """Whether every expected entry came within the places, and no unwanted one."""
        return not self.amiss

    @property
    def amiss(self) -> list[UUID]:
        """The expected entries that did not come, and the unwanted ones that did."""
        within = self.question.within
        came = {item for item, rank in self.ranks.items() if rank is not None and rank <= within}
        return [item for item, comes in self.question.named.items() if (item in came) is not comes]


async def run(library: Library, questions: Sequence[Question], progress: Progress | None = None) -> list[Outcome]:
    """Put questions to a library, each as its asker."""
    outcomes = []
    for done, question in enumerate(questions, 1):
        result = await library.search(question.asker, question.words, question.filter, DEEPEST)
        # An entry that is folded says what the one above it says: the reader has it at that place.
        places = {id: rank for rank, hit in enumerate(result.hits, 1) for id in (hit.item_id, *hit.folded)}
        outcomes.append(Outcome(question, {id: places.get(id) for id in question.named}, result))
        if progress is not None:
            progress(done, len(questions))
    return outcomes


async def keep_outcomes(
    uow: UnitOfWork, outcomes: Sequence[Outcome], publication: int, model_fingerprint: str | None
) -> None:
    """Have these be the last runs of their tests; one that was changed or deleted meanwhile is left out."""
    current = select(RetrievalTest.id, RetrievalTest.version).with_for_update(read=True)
    versions = {row.id: row.version for row in await uow.session.execute(current)}
    kept = [one for one in outcomes if versions.get(one.question.test_id) == one.question.version]
    ids = [one.question.test_id for one in kept]
    await uow.session.execute(delete(RetrievalTestRun).where(RetrievalTestRun.id.in_(ids)))
    rows = [
        {
            "id": one.question.test_id, "at": uow.now, "test_version": one.question.version, "publication": publication, "model_fingerprint": model_fingerprint,
            "methods": list(one.result.methods), "passed": one.passed, "ranks": {id.hex: rank for id, rank in one.ranks.items()},
        }
        for one in kept
    ]  # fmt: skip
    if rows:
        await insert_rows(uow, RetrievalTestRun, rows)
