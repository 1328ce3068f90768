"""Replays: what an answer was written from gives it again, another state shows what is different, and nothing else happens."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text

import knowledge
from assistant import prompts, replays
from assistant.draft import Section
from assistant.language_model import LanguageModel
from assistant.model import GenerationMode, PromptVersion
from assistant.pipeline import Desk
from assistant.replays import Against, ReplayedKnowledge, ReplayedModel, ReplayOutcome, ReplayResult, ReplayRun, Sample
from assistant.replays.compare import Writing, difference
from domain import erasure
from domain.kernel import SYSTEM, Base, Forbidden, Invalid, Language
from knowledge import Content
from tests.assistant.company import Company, rewording

OWN = {"replay_runs", "replay_results", "audit_events"}
"""What a replay writes: itself, and that it was made."""


async def started(company: Company, *ids: UUID, who: str = "ke", against: Against | None = None, **sample: Any) -> UUID:
    async with company.database.open_uow(company.people[who]) as uow:
        run = await replays.start(uow, sample=Sample(ids, **sample), against=against or Against())
        return run.id


async def replayed(
    company: Company, *ids: UUID, model: LanguageModel | None = None, against: Against | None = None
) -> list[Any]:
    """What came of a run over some answers, in the order of the answers."""
    run_id = await started(company, *ids, against=against)
    assert await replays.work_off(Desk(company.database, company.library, model)) == len(ids)
    async with company.database.read(SYSTEM) as connection:
        rows = (await connection.execute(select(*ReplayResult.__table__.c).where(ReplayResult.run_id == run_id))).all()
        finished = (await connection.execute(select(ReplayRun.finished_at).where(ReplayRun.id == run_id))).scalar_one()
    assert finished is not None
    return sorted(rows, key=lambda row: ids.index(row.generation_id))


async def everything(company: Company) -> dict[str, list[Any]]:
    """Each row of each table but those that a replay writes."""
    async with company.database.read(SYSTEM) as connection:
        tables = [table for table in Base.metadata.sorted_tables if table.name not in OWN]
        return {
            table.name: sorted(map(repr, (await connection.execute(text(f"SELECT * FROM {table.name}"))).all()))
            for table in tables
        }


async def test_what_an_answer_was_written_from_gives_it_again_and_nothing_else_happens(company: Company) -> None:
    answers = [
        await company.brief(), await company.reply("你们的价格太高了"), await company.script(),
        await company.reply("Your price is too high", language=Language.EN), await company.brief("clinic", language=Language.EN),
    ]  # fmt: skip
    before = await everything(company)
    found = await replayed(company, *(answer.row.id for answer in answers))
    assert [row.outcome for row in found] == [ReplayOutcome.SAME] * 5, [row.reason for row in found]
    assert [row.mode for row in found] == [GenerationMode.COMPOSER] * 5
    assert {one["before"] for one in found[0].difference["sections"]} >= set(answers[0].bodies.values())
    assert await everything(company) == before
    assert (await company.actions(answers[0].row.id))[-2:] == ["generation.replay_asked", "generation.replayed"]


async def test_the_knowledge_of_today_and_of_an_instant(company: Company) -> None:
    answer = await company.reply("你们的价格太高了")
    cited = next(citation for citation in answer.citations if citation.item_id is not None)
    name = f"KnowledgeItem:{cited.item_id.hex}@{cited.item_version}"  # type: ignore[union-attr]
    then = company.database.clock()
    company.database.clock.advance(minutes=1)  # type: ignore[attr-defined]
    async with company.database.open_uow(SYSTEM) as uow:
        await knowledge.retire(uow, cited.item_id, None)
    now, offered, past = [
        (await replayed(company, answer.row.id, against=against))[0]
        for against in (
            Against(ReplayedKnowledge.NOW),
            Against(),
            Against(ReplayedKnowledge.AT, then),
        )
    ]
    assert now.outcome is ReplayOutcome.CHANGED
    assert name in now.difference["sources_lost"]
    assert offered.outcome is ReplayOutcome.SAME
    assert past.outcome is ReplayOutcome.SAME, past.difference
    assert name in past.difference["sources_kept"]


async def test_an_entry_that_was_published_later_is_not_found_in_the_past(company: Company) -> None:
    answer = await company.reply("你们的价格太高了")
    then = company.database.clock()
    company.database.clock.advance(minutes=1)  # type: ignore[attr-defined]
    body = "## 回应\n价格太高了？先问跟谁比。\n## 证据\n同级医院三年省下四百万元维修费。"
    async with company.database.open_uow(SYSTEM) as uow:
        content = Content("客户说价格太高了怎么回应", body, knowledge.Facets(concerns=("price_too_high",)))
        item = await knowledge.draft(
            uow, kind=knowledge.KnowledgeKind.OBJECTION_RESPONSE, language=Language.ZH, content=content, owner_id=company.people["yu"].user_id,
        )  # fmt: skip
        await knowledge.submit(uow, item.id, None)
        await knowledge.publish(uow, item.id, None)
    (now,) = await replayed(company, answer.row.id, against=Against(ReplayedKnowledge.NOW))
    (past,) = await replayed(company, answer.row.id, against=Against(ReplayedKnowledge.AT, then))
    assert any(source.startswith(f"KnowledgeItem:{item.id.hex}") for source in now.difference["sources_gained"])
    assert past.outcome is ReplayOutcome.SAME, past.difference


async def test_another_model_and_another_prompt(company: Company) -> None:
    polite = rewording(acknowledge=lambda body: f"请您放心：{body}")
    answer = await company.reply("你们的价格太高了", model=polite)
    assert answer.row.mode is GenerationMode.MODEL
    (same,) = await replayed(company, answer.row.id, model=polite)
    assert (same.outcome, same.mode, same.used_prompt) == (
        ReplayOutcome.SAME,
        GenerationMode.MODEL,
        answer.row.prompt_version,
    )
    (plain,) = await replayed(company, answer.row.id, model=polite, against=Against(model=ReplayedModel.COMPOSER))
    assert (plain.outcome, plain.mode) == (ReplayOutcome.CHANGED, GenerationMode.COMPOSER)
    assert any(one["before"] != one["after"] for one in plain.difference["sections"])
    other = prompts.PromptBody("system", "Write in {language}.")
    async with company.database.writer.begin() as connection:
        row = {"id": other.version, "body": other.body, "stored_at": company.database.clock()}
        await connection.execute(insert(PromptVersion).values(**row))
    model = rewording()
    (prompted,) = await replayed(company, answer.row.id, model=model, against=Against(prompt_version=other.version))
    assert prompted.used_prompt == other.version
    assert model.prompts[-1].system.startswith("Write in Chinese")


async def test_what_was_erased_is_not_written_again(company: Company) -> None:
    answer = await company.brief()
    run_id = await started(company, answer.row.id)
    async with company.database.open_uow(company.people["dpo"]) as uow:
        await erasure.erase_person(uow, company.contacts["lin"].id)
    await replays.work_off(Desk(company.database, company.library))
    async with company.database.read(SYSTEM) as connection:
        row = (await connection.execute(select(*ReplayResult.__table__.c).where(ReplayResult.run_id == run_id))).one()
    assert (row.outcome, row.reason, row.difference) == (ReplayOutcome.SKIPPED, "当时的资料已删除", None)


async def test_what_a_replay_showed_is_erased_with_the_answer(company: Company) -> None:
    answer = await company.brief()
    (row,) = await replayed(company, answer.row.id)
    assert "林秀英" in str(row.difference)
    async with company.database.open_uow(company.people["dpo"]) as uow:
        await erasure.erase_person(uow, company.contacts["lin"].id)
    async with company.database.read(SYSTEM) as connection:
        kept = select(ReplayResult.difference).where(ReplayResult.id == row.id)
        assert (await connection.execute(kept)).scalar_one() is None


async def test_a_sample_of_a_window_is_the_same_each_time_and_holds_what_its_asker_sees(company: Company) -> None:
    mine = [(await company.brief("clinic")).row.id for _ in range(4)]
    foreign = (await company.brief("foreign", who="na")).row.id
    ids = []
    for _ in range(2):
        run_id = await started(company, who="ke", count=3)
        async with company.database.read(SYSTEM) as connection:
            of = select(ReplayResult.generation_id).where(ReplayResult.run_id == run_id)
            ids.append(set((await connection.execute(of)).scalars()))
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3
    assert ids[0] <= {*mine, foreign}


@pytest.mark.parametrize(
    ("who", "against", "sample", "error"),
    [
        ("lei", Against(), {}, Forbidden),
        ("ke", Against(ReplayedKnowledge.AT), {}, Invalid),
        ("ke", Against(prompt_version="system@000000000000"), {}, Invalid),
        ("ke", Against(), {"count": 0}, Invalid),
        ("ke", Against(), {"count": 501}, Invalid),
    ],
)
async def test_what_cannot_be_replayed_starts_nothing(
    company: Company, who: str, against: Against, sample: dict[str, Any], error: type[Exception]
) -> None:
    answer = await company.brief("clinic")
    before = await everything(company)
    with pytest.raises(error):
        await started(company, answer.row.id, who=who, against=against, **sample)
    async with company.database.read(SYSTEM) as connection:
        assert (await connection.execute(select(ReplayRun.id))).all() == []
    assert await everything(company) == before


def test_two_writings_side_by_side() -> None:
    before = Writing(
        [Section("a", "甲", "一"), Section("b", "乙", "二")], ["X:1", "X:2"], {"citations": True, "figures": False}
    )
    after = Writing(
        [Section("a", "甲", "一"), Section("c", "丙", "三"), Section("b", "乙", "", missing=True)],
        ["X:2", "X:3"],
        {"figures": True},
    )
    found = difference(before, after)
    assert [(one.key, one.before, one.after, one.changed) for one in found.sections] == [
        ("a", "一", "一", False), ("b", "二", None, True), ("c", None, "三", True),
    ]  # fmt: skip
    assert (found.sources_kept, found.sources_lost, found.sources_gained) == (("X:2",), ("X:1",), ("X:3",))
    assert [(one.key, one.passed_before, one.passed_after) for one in found.checks] == [("figures", False, True)]
    assert found.changed
    assert not difference(before, before).changed
