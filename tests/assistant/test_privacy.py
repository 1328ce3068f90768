"""What leaves is masked, what stays is sealed under people's keys, and who is erased is gone from answers and ledger."""

import pytest
from sqlalchemy import select, text

from assistant import pipeline, review
from assistant.model import Disposition, FeedbackVerdict, GenerationKind
from assistant.pipeline import Desk
from assistant.skills import SKILLS
from domain import accounts, ledger
from domain.accounts import Channel
from domain.consent import ConsentStatus
from domain.erasure import erase_person
from domain.kernel import ERASED, SYSTEM, Base, Conflict, Forbidden
from domain.ledger import AuditEvent
from tests.assistant.company import Answer, Company, allow, rewording
from tests.factories import SIGNER, Board, verify_ledger


async def tables_that_say(company: Company, words: str) -> set[str]:
    """The tables in which the words stand, or stand as JSON writes them."""
    found = set()
    escaped = words.encode("unicode_escape").decode()
    async with company.database.read() as connection:
        for name in Base.metadata.tables:
            rows = str((await connection.execute(text(f"SELECT * FROM {name}"))).all())
            if words in rows or escaped in rows.replace("\\\\", "\\"):
                found.add(name)
    return found


async def sealed(company: Company, answer: Answer) -> tuple[int, int]:
    """How many groups of personal values the ledger's events about an answer still show, and how many are gone."""
    async with company.database.open_uow(SYSTEM) as uow:
        events = (await uow.session.scalars(select(AuditEvent).where(AuditEvent.subject_id == answer.row.id))).all()
        shown = [await ledger.reveal(uow.session, event) for event in events]
    return sum(len(each.values) for each in shown), sum(each.erased for each in shown)


async def test_personal_data_is_masked_on_the_way_out_and_restored_in_the_answer(company: Company) -> None:
    model = rewording()
    answer = await company.brief(model=model, words="林秀英的手机是13800001230，林主任要资料")
    (prompt,) = model.prompts
    for secret in ("林秀英", "林主任", "顾长山", "13800001230"):
        assert secret not in prompt.system + prompt.user
        assert secret not in (answer.row.masked_prompt or "")
    assert "⟦PERSON_1⟧" in prompt.user
    assert "林秀英 设备科主任" in answer.bodies["decision_chain"]
    assert "⟦" not in answer.text
    script = rewording()
    sent = await company.script(model=script)
    assert "周敏" not in script.prompts[0].user
    assert "张磊" not in script.prompts[0].user
    assert "周敏您好，我是张磊" in sent.bodies["script"]


async def test_a_withdrawal_between_reading_and_asking_still_blocks(company: Company) -> None:
    ask = company.ask(GenerationKind.REACTIVATION_SCRIPT, company.leads["zhou"].id)
    desk, skill, lei = Desk(company.database, company.library), SKILLS[ask.kind], company.people["lei"]
    facts = await pipeline._gather(desk, skill, lei, ask)
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, company.leads["zhou"].contact_id, Channel.WECHAT, ConsentStatus.OPT_OUT)
    generation_id, fresh, blocked = await pipeline._request(desk, skill, lei, ask, facts)
    assert (fresh, blocked) == (True, True)
    assert (await company.read(generation_id)).row.disposition is Disposition.BLOCKED


async def used(company: Company) -> Answer:
    """A brief that a rep was handed section by section and used, and that a manager vetoed; its words name people."""
    ask = company.ask(GenerationKind.VISIT_BRIEF, company.accounts["hospital"].id, words="顾长山想先谈账期")

    async def hand_on(_section: object) -> None:
        return

    answer = await company.run(ask, model=rewording(), hand_on=hand_on)
    async with company.database.open_uow(company.people["lei"]) as uow:
        await review.give_feedback(
            uow, answer.row.id, FeedbackVerdict.EDITED, reason="顾长山更关心交期", corrected_text="先问顾长山账期"
        )
    async with company.database.open_uow(company.people["min"]) as uow:
        await review.veto(uow, answer.row.id, "不要点名顾长山")
    return answer


async def test_the_ledger_holds_no_name_in_clear(company: Company) -> None:
    answer = await used(company)
    await company.script()
    for name in ("顾长山", "林秀英", "周敏", "13800001230"):
        assert "audit_events" not in await tables_that_say(company, name)
    shown, erased = await sealed(company, answer)
    assert (shown > 0, erased) == (True, 0)


async def test_erasing_a_person_empties_what_names_them_and_leaves_the_ledger_sound(company: Company) -> None:
    answer, other = await used(company), await company.brief("clinic")
    gu, board = company.contacts["gu"], Board()
    await ledger.seal(company.database, SIGNER, board)
    assert {"contacts", "generations", "generation_sections", "citations"} <= await tables_that_say(company, "顾长山")
    async with company.database.open_uow(company.people["dpo"]) as uow:
        await erase_person(uow, gu.id)
    await ledger.seal(company.database, SIGNER, board)
    assert (await verify_ledger(company.database, heads=board.heads)).sound
    for words in ("顾长山", "wx_gu", "13800001231"):
        assert await tables_that_say(company, words) == set()
    assert (await sealed(company, answer))[0] == 0
    now = await company.read(answer.row.id)
    assert (now.row.disposition, now.row.facts, now.row.masked_prompt, now.row.ask) == (
        Disposition.VETOED,
        None,
        None,
        None,
    )
    assert {section.body for section in now.sections} == {ERASED}
    assert [(figure.value, figure.label) for figure in now.figures] == [
        (figure.value, ERASED) for figure in answer.figures
    ]
    assert (await company.actions(answer.row.id))[-1] == "person.erased"
    untouched = await company.read(other.row.id)
    assert untouched.bodies == other.bodies
    assert (await sealed(company, other))[1] == 0


async def test_erasing_a_lead_takes_along_what_it_did_and_said(company: Company) -> None:
    script = await company.script()
    lead = company.leads["zhou"]
    async with company.database.open_uow(SYSTEM) as uow:
        await erase_person(uow, lead.contact_id)
    for words in ("周敏", "wx_zhou", "zhou@example.cn"):
        assert await tables_that_say(company, words) == set()
    now = await company.read(script.row.id)
    assert (now.row.subject_label, now.row.disposition) == (ERASED, script.row.disposition)
    assert (await sealed(company, script))[0] == 0
    again = await company.script()
    assert (again.row.disposition, again.sections) == (Disposition.BLOCKED, [])


async def test_what_is_asked_after_an_erasure_names_the_person_nowhere(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await erase_person(uow, company.contacts["gu"].id)
    brief = await company.brief()
    assert "顾长山" not in brief.text
    assert "林秀英" in brief.text
    assert await tables_that_say(company, "顾长山") == set()


async def test_only_the_dpo_erases_and_only_once(company: Company) -> None:
    gu = company.contacts["gu"].id
    for who in ("lei", "min", "jun", "ke"):
        with pytest.raises(Forbidden):
            async with company.database.open_uow(company.people[who]) as uow:
                await erase_person(uow, gu)
    assert "contacts" in await tables_that_say(company, "顾长山")
    async with company.database.open_uow(company.people["dpo"]) as uow:
        assert (await erase_person(uow, gu)).erased_at is not None
    with pytest.raises(Conflict):
        async with company.database.open_uow(company.people["dpo"]) as uow:
            await erase_person(uow, gu)


async def test_people_who_share_a_name_are_told_apart(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        twin = await accounts.create_contact(
            uow, name="林秀英", account_id=company.accounts["hospital"].id, title="护士长"
        )
        await uow.session.flush()
        await accounts.add_contact_point(uow, twin, Channel.EMAIL, "twin@example.cn")
        await allow(uow, twin.id, Channel.EMAIL)
    lines = [line for line in (await company.brief()).bodies["contactability"].split("\n") if "林秀英" in line]
    assert len(lines) == 2
    assert [("微信" in line.split("；")[0], "邮件" in line.split("；")[0]) for line in lines] == [
        (True, False),
        (False, True),
    ]
