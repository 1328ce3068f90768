"""A record's timeline: every class in one order, in pages that join, within what each reader sees; and a record's log."""

from datetime import timedelta
from typing import Any

from domain import activities, consent, deals, leads, signals
from domain.accounts import Channel
from domain.activities import ActivityKind
from domain.consent import ConsentStatus
from domain.deals import Stage
from domain.kernel import SYSTEM, Language
from tests.api.conftest import Ask, Company, Statements
from tests.factories import START

NODES = """
__typename ... on Activity { subject body } ... on Signal { type label payload about { __typename } actor { displayName } evidenceGrade }
... on StageTransition { toStage { label } } ... on ConsentGrant { status purpose } ... on Generation { subjectLabel }
... on Quote { number } ... on Order { number }
"""
PAGE = f"""
query Timeline($id: ID!, $first: Int!, $after: String, $kinds: [TimelineKind!], $since: DateTime, $until: DateTime) {{ node(id: $id) {{
  ... on Account {{ timeline(first: $first, after: $after, kinds: $kinds, since: $since, until: $until) {{ ...Page }} }}
  ... on Contact {{ timeline(first: $first, after: $after, kinds: $kinds, since: $since, until: $until) {{ ...Page }} }}
  ... on Lead {{ timeline(first: $first, after: $after, kinds: $kinds, since: $since, until: $until) {{ ...Page }} }}
  ... on Opportunity {{ timeline(first: $first, after: $after, kinds: $kinds, since: $since, until: $until) {{ ...Page }} }}
}} }}
fragment Page on TimelineEntryConnection {{
  edges {{ cursor node {{ at kind node {{ {NODES} }} }} }} pageInfo {{ hasNextPage endCursor hasPreviousPage }}
}}
"""


async def happen(company: Company) -> None:
    """Something of every kind on the hospital."""
    account, deal = company.accounts["hospital"], company.deals["hospital-1"]
    contact = company.contacts["hospital"]
    async with company.database.open_uow(SYSTEM) as uow:
        await signals.record(
            uow, type="enquiry_sent", subject=deal.ref(), source="官网", dedupe_key="1", occurred_at=START - timedelta(hours=1), payload={"text": "能便宜些吗"}
        )  # fmt: skip
        await signals.record(
            uow, type="page_viewed", subject=contact.ref(), source="官网", dedupe_key="2", occurred_at=START - timedelta(hours=2), payload={"title": "报价页"}
        )  # fmt: skip
        await consent.record(
            uow, contact_id=contact.id, purpose="marketing", channel=Channel.PHONE, status=ConsentStatus.OPT_IN, source="电话", occurred_at=START - timedelta(hours=3)
        )  # fmt: skip
        await activities.log(
            uow, related_to=company.leads["mine"].ref(), kind=ActivityKind.CALL, subject="回电", occurred_at=START
        )
    assert account.id == deal.account_id


async def page(ask: Ask, id: str, who: Any = "lei", first: int = 100, **more: Any) -> Any:
    answer = await ask(PAGE, who, id=id, first=first, **more)
    assert answer.errors == []
    return answer.data["node"]["timeline"]


def entries(found: Any) -> list[Any]:
    return [edge["node"] for edge in found["edges"]]


async def test_an_account_shows_what_happened_on_all_that_hangs_on_it(company: Company, ask: Ask) -> None:
    await happen(company)
    found = entries(await page(ask, company.id(company.accounts["hospital"])))
    kinds = [entry["kind"] for entry in found]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "ACTIVITY": 4,
        "SIGNAL": 2,
        "STAGE_TRANSITION": 3,
        "CONSENT": 1,
    }
    assert [entry["at"] for entry in found] == sorted((entry["at"] for entry in found), reverse=True)
    assert found[0]["node"] == {"__typename": "Activity", "subject": "第1次电话", "body": "谈了价格"}
    enquiry = next(entry["node"] for entry in found if entry["kind"] == "SIGNAL")
    assert enquiry == {
        "__typename": "Signal", "type": "enquiry_sent", "label": "发来询盘", "payload": {"text": "能便宜些吗"}, "about": {"__typename": "Opportunity"},
        "actor": {"displayName": "系统"}, "evidenceGrade": "CLAIMED",
    }  # fmt: skip
    assert {entry["node"]["toStage"]["label"] for entry in found if entry["kind"] == "STAGE_TRANSITION"} == {
        "资格确认", "方案报价", "赢单",
    }  # fmt: skip


async def test_the_other_records_have_theirs(company: Company, ask: Ask) -> None:
    await happen(company)
    kinds = {}
    for row in (company.contacts["hospital"], company.leads["mine"], company.deals["hospital-1"]):
        kinds[row.entity()] = [entry["kind"] for entry in entries(await page(ask, company.id(row)))]
    assert kinds == {
        "Contact": ["SIGNAL", "CONSENT"],
        "Lead": ["ACTIVITY"],
        "Opportunity": ["ACTIVITY", "STAGE_TRANSITION", "SIGNAL", "ACTIVITY"],
    }


async def test_every_reader_sees_their_part(company: Company, ask: Ask) -> None:
    await happen(company)
    id = company.id(company.accounts["hospital"])
    counted = {who: len(entries(await page(ask, id, who))) for who in ("lei", "min", "SALES_OPS", "FINANCE", "AUDITOR")}
    assert counted == {"lei": 10, "min": 10, "SALES_OPS": 3, "FINANCE": 0, "AUDITOR": 0}
    assert (await ask(PAGE, "na", id=id, first=5)).data == {"node": None}


async def test_kinds_and_instants_narrow(company: Company, ask: Ask) -> None:
    await happen(company)
    id = company.id(company.accounts["hospital"])
    assert len(entries(await page(ask, id, kinds=["SIGNAL", "CONSENT"]))) == 3
    assert entries(await page(ask, id, kinds=[])) == []
    since, until = "2026-03-01T23:30:00Z", "2026-03-02T00:30:00Z"
    assert [entry["node"]["type"] for entry in entries(await page(ask, id, since=since, until=until))] == [
        "page_viewed"
    ]
    answer = await ask(PAGE, id=id, first=101)
    assert answer.codes == ["INVALID"]
    answer = await ask(PAGE, id=id, first=1, after="nonsense")
    assert answer.codes == ["INVALID"]


async def test_pages_join_whatever_their_size_and_whatever_arrives(company: Company, ask: Ask) -> None:
    await happen(company)
    id = company.id(company.accounts["hospital"])
    whole = [edge["cursor"] for edge in (await page(ask, id))["edges"]]
    assert len(set(whole)) == 10
    for size in (1, 2, 3, 7):
        seen: list[str] = []
        after = None
        for number in range(20):
            part = await page(ask, id, first=size, after=after)
            seen += [edge["cursor"] for edge in part["edges"]]
            after = part["pageInfo"]["endCursor"]
            if not part["pageInfo"]["hasNextPage"]:
                break
            # What arrives at the front while somebody pages is on no later page.
            async with company.database.open_uow(SYSTEM) as uow:
                await activities.log(
                    uow, related_to=company.accounts["hospital"].ref(), kind=ActivityKind.NOTE, subject=f"新{size}-{number}",
                    occurred_at=START + timedelta(minutes=size * 20 + number),
                )  # fmt: skip
        assert seen == whole
        whole = [edge["cursor"] for edge in (await page(ask, id))["edges"]]


async def test_entries_of_one_instant_are_told_apart(company: Company, ask: Ask) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        for number in range(3):
            await activities.log(
                uow,
                related_to=company.deals["parts-1"].ref(),
                kind=ActivityKind.NOTE,
                subject=f"同时{number}",
                occurred_at=START,
            )
            await signals.record(
                uow, type="email_opened", subject=company.deals["parts-1"].ref(), source="邮件", dedupe_key=str(number), occurred_at=START, payload={"title": "周报"}
            )  # fmt: skip
    id = company.id(company.deals["parts-1"])
    whole = [edge["cursor"] for edge in (await page(ask, id))["edges"]]
    seen: list[str] = []
    after = None
    while len(seen) < len(whole):
        part = await page(ask, id, first=1, after=after)
        seen.append(part["edges"][0]["cursor"])
        after = part["pageInfo"]["endCursor"]
    assert seen == whole
    assert len(set(whole)) == 3 + 3 + 3


MANY = """{ accounts { edges { node { timeline(first: 3) { edges { node { at kind node { __typename ... on Activity { subject } } } } } } } } }"""
COUNTED = "{ accounts { edges { node { timeline { totalCount } } } } }"


async def test_many_timelines_cost_a_bounded_number_of_statements(
    company: Company, ask: Ask, statements: Statements
) -> None:
    await happen(company)
    statements.seen.clear()
    answer = await ask(MANY, "min")
    assert answer.errors == []
    assert [len(edge["node"]["timeline"]["edges"]) for edge in answer.data["accounts"]["edges"]] == [3, 3, 3]
    # accounts, all timelines, and one for each kind of entry there is
    shown = {
        entry["node"]["kind"]
        for edge in answer.data["accounts"]["edges"]
        for entry in edge["node"]["timeline"]["edges"]
    }
    assert len(statements) == 2 + len(shown)
    statements.seen.clear()
    answer = await ask(COUNTED, "min")
    assert [edge["node"]["timeline"]["totalCount"] for edge in answer.data["accounts"]["edges"]] == [7, 7, 10]
    assert len(statements) == 2


# ---- logs ------------------------------------------------------------------------------------------------------------

LOG = """
query Log($id: ID!, $last: Int! = 20) { node(id: $id) {
  ... on Lead { log(last: $last) { at action label detail actor { displayName } newOwner { name } } }
  ... on Opportunity { log(last: $last) { at action label detail actor { displayName } newOwner { name } } }
} }
"""


async def test_a_leads_log_tells_who_did_what(company: Company, ask: Ask) -> None:
    lead = company.leads["open"]
    async with company.database.open_uow(company.people["lei"]) as uow:
        await leads.claim(uow, lead.id)
    async with company.database.open_uow(company.people["lei"]) as uow:
        await activities.log(uow, related_to=lead.ref(), kind=ActivityKind.CALL, subject="机密主题")
    async with company.database.open_uow(company.people["lei"]) as uow:
        await activities.log(uow, related_to=lead.ref(), kind=ActivityKind.NOTE, subject="备注")
    answer = await ask(LOG, id=company.id(lead))
    assert answer.errors == []
    log = answer.data["node"]["log"]
    assert [(entry["action"], entry["label"], entry["actor"]["displayName"]) for entry in log] == [
        ("lead.touched", "跟进线索", "张磊"),
        ("lead.responded", "首次答复客户", "张磊"),
        ("lead.claimed", "认领线索", "张磊"),
        ("lead.captured", "录入线索", "系统"),
    ]
    assert [entry["newOwner"] for entry in log] == [None, None, {"name": "张磊"}, None]
    assert log[-1]["detail"]["source"] == "官网"
    assert log[2]["detail"]["status"] == {"before": "NEW", "after": "ASSIGNED"}
    assert "线索open" not in str(log)
    assert "机密" not in str(log)
    english = await ask(LOG, language=Language.EN, id=company.id(lead), last=1)
    assert [entry["label"] for entry in english.data["node"]["log"]] == ["Worked on the lead"]
    assert (await ask(LOG, "na", id=company.id(lead))).data == {"node": None}


async def test_an_opportunitys_log_tells_its_moves_to_those_who_see_them(company: Company, ask: Ask) -> None:
    deal = company.deals["hospital-1"]
    async with company.database.open_uow(company.people["min"]) as uow:
        found = await uow.session.get_one(deals.Opportunity, deal.id)
        stage = await uow.session.get_one(Stage, company.deals["hospital-2"].stage_id)
        await deals.move_opportunity(uow, found, stage)
    log = (await ask(LOG, id=company.id(deal))).data["node"]["log"]
    assert [(entry["action"], entry["detail"]["stage"]) for entry in log] == [
        ("opportunity.moved", "proposal"),
        ("opportunity.opened", "qualify"),
    ]
    assert (await ask(LOG, "FINANCE", id=company.id(deal))).data["node"]["log"] == []


async def test_logs_of_many_records_cost_one_statement(company: Company, ask: Ask, statements: Statements) -> None:
    answer = await ask(
        "{ leads { edges { node { log { action } } } } opportunities { edges { node { log { action } } } } }", "min"
    )
    assert answer.errors == []
    assert all(edge["node"]["log"] for root in ("leads", "opportunities") for edge in answer.data[root]["edges"])
    assert len(statements) == 4


def test_signals_have_names_in_both_languages() -> None:
    assert signals.LABELS.keys() == signals.TYPES.keys()
    assert all(label.zh != label.en for label in signals.LABELS.values())
