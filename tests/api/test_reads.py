"""Declared reads: relations, pages, filters, orders, and how many statements they cost."""

from typing import Any

from api.reads import global_id
from domain import deals
from domain.kernel import SYSTEM, Language, Money, Role, new_id
from tests.api.conftest import Ask, Company, Statements

WALK = """
query Walk($id: ID!) {
  node(id: $id) {
    __typename id
    ... on Account {
      name industry region version createdAt owner { name roles }
      contacts { edges { node { name title account { name } contactPoints { channel masked } } } pageInfo { hasNextPage } totalCount }
      opportunities(first: 2) { edges { cursor node { name stage { key label } amount { amount currency } owner { name } activities(last: 1) { subject } } } totalCount }
      activities(last: 3) { subject occurredAt kind relatedTo { __typename id } actor { kind displayName user { email } } }
    }
  }
}
"""


async def test_an_account_shows_what_hangs_on_it(company: Company, ask: Ask) -> None:
    answer = await ask(WALK, id=company.id(company.accounts["hospital"]))
    assert answer.errors == []
    account = answer.data["node"]
    assert (account["name"], account["region"], account["owner"]) == (
        "杭州第一医院",
        "east-china",
        {"name": "张磊", "roles": ["REP"]},
    )
    assert account["createdAt"] == "2026-03-02T01:30:00.000000Z"
    (contact,) = (edge["node"] for edge in account["contacts"]["edges"])
    assert contact["account"] == {"name": "杭州第一医院"}
    assert contact["contactPoints"] == [
        {"channel": "PHONE", "masked": "138****1200"},
        {"channel": "EMAIL", "masked": "h***@example.cn"},
    ]
    assert account["contacts"]["totalCount"] == 1
    assert account["opportunities"]["totalCount"] == 3
    newest, older = (edge["node"] for edge in account["opportunities"]["edges"])
    assert newest["amount"] is None
    assert older["amount"] == {"amount": "200000.00", "currency": "CNY"}
    assert older["stage"] == {"key": "proposal", "label": "方案报价"}
    assert [activity["subject"] for activity in account["activities"]] == ["第1次电话", "第2次电话", "第3次电话"]
    assert account["activities"][0]["actor"] == {
        "kind": "USER",
        "displayName": "张磊",
        "user": {"email": "lei.zhang@example.com"},
    }
    assert account["activities"][1]["relatedTo"] == {"__typename": "Account", "id": account["id"]}


async def test_labels_come_in_the_readers_language(company: Company, ask: Ask) -> None:
    document = "{ pipelines { edges { node { label stages { label position } } } } }"
    chinese, english = await ask(document), await ask(document, language=Language.EN)
    assert chinese.data["pipelines"]["edges"][0]["node"]["label"] == "新签"
    assert [stage["label"] for stage in english.data["pipelines"]["edges"][0]["node"]["stages"]] == [
        "Qualification",
        "Proposal",
        "Won",
    ]


NESTED = """
{ accounts(first: 10) { edges { node {
    name owner { name } contacts { edges { node { name } } } opportunities { edges { node { name stage { label } activities { subject } } } } activities(last: 2) { subject }
} } } }
"""


async def test_a_nested_list_costs_one_statement_a_level(company: Company, ask: Ask, statements: Statements) -> None:
    answer = await ask(NESTED, "min")
    assert answer.errors == []
    assert len(answer.data["accounts"]["edges"]) == 3
    assert [len(edge["node"]["activities"]) for edge in answer.data["accounts"]["edges"]] == [2, 2, 2]
    # accounts, owners, contacts, opportunities, activities of accounts, stages, activities of opportunities
    assert len(statements) == 7


STATEMENTS = {
    "{ accounts { edges { node { name } } } }": 1,
    "{ accounts { totalCount } }": 1,
    "{ accounts { totalCount pageInfo { endCursor } edges { cursor } } }": 2,
    "{ accounts { edges { node { owner { name } } } } leads { edges { node { owner { name } } } } }": 3,
    "{ a: accounts { edges { node { contacts { totalCount } } } } }": 2,
    "{ contacts { edges { node { contactPoints { masked } account { name } } } } }": 3,
    '{ contacts { edges { node { contactability(purpose: "marketing") { channel light } } } } }': 3,
    "{ viewer { name roles } }": 2,
    "{ pipelineByStage { count totals { amount } stage { label } } }": 2,
    "{ auditEvents { edges { node { action } } } }": 1,
}


async def test_list_queries_cost_an_exact_number_of_statements(
    company: Company, ask: Ask, statements: Statements
) -> None:
    for document, expected in STATEMENTS.items():
        statements.seen.clear()
        answer = await ask(document)
        assert answer.errors == [], document
        assert len(statements) == expected, document


async def test_a_role_without_sight_costs_no_statement(company: Company, ask: Ask, statements: Statements) -> None:
    answer = await ask("{ leads { edges { node { id } } totalCount pageInfo { hasNextPage endCursor } } }", "CURATOR")
    assert answer.data == {
        "leads": {"edges": [], "totalCount": 0, "pageInfo": {"hasNextPage": False, "endCursor": None}}
    }
    assert len(statements) == 0


# ---- pages -----------------------------------------------------------------------------------------------------------

PAGE = """
query Page($first: Int!, $after: String, $orderBy: OpportunityOrder) {
  opportunities(first: $first, after: $after, orderBy: $orderBy) {
    edges { cursor node { id amount { amount } closeDate } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
  }
}
"""


async def all_pages(ask: Ask, size: int, **arguments: Any) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        answer = await ask(PAGE, "min", first=size, after=after, **arguments)
        assert answer.errors == []
        page = answer.data["opportunities"]
        nodes += [edge["node"] for edge in page["edges"]]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return nodes
        after = page["pageInfo"]["endCursor"]
        assert after == page["edges"][-1]["cursor"]


async def test_pages_join_without_gap_or_repeat_in_every_order(company: Company, ask: Ask) -> None:
    for order in ("AMOUNT_DESC", "CLOSE_DATE_ASC", "CREATED_DESC", None):
        whole = await all_pages(ask, 100, orderBy=order)
        assert len({node["id"] for node in whole}) == 9
        for size in (1, 2, 4):
            assert await all_pages(ask, size, orderBy=order) == whole, (order, size)


async def test_orders_put_what_is_missing_last_and_equals_by_id(company: Company, ask: Ask) -> None:
    amounts = [node["amount"] and node["amount"]["amount"] for node in await all_pages(ask, 2, orderBy="AMOUNT_DESC")]
    assert amounts == ["200000.00"] * 3 + ["100000.00"] * 3 + [None] * 3
    ids = [node["id"] for node in await all_pages(ask, 100, orderBy="AMOUNT_DESC")]
    assert ids[:3] == sorted(ids[:3])
    days = [node["closeDate"] for node in await all_pages(ask, 100, orderBy="CLOSE_DATE_ASC")]
    assert days == sorted(days)
    newest = [node["id"] for node in await all_pages(ask, 3)]
    assert newest == sorted(newest, reverse=True)


async def test_pages_of_every_default_order_join(company: Company, ask: Ask) -> None:
    for root in ("activities", "leads", "contacts", "auditEvents"):
        await _check_pages(ask, root)


async def _check_pages(ask: Ask, root: str) -> None:
    document = f"query($first: Int!, $after: String) {{ {root}(first: $first, after: $after) {{ edges {{ node {{ id }} }} pageInfo {{ endCursor hasNextPage }} }} }}"
    who = "AUDITOR" if root == "auditEvents" else "min"
    whole = [edge["node"]["id"] for edge in (await ask(document, who, first=100)).data[root]["edges"]]
    assert len(whole) > 2
    ids: list[str] = []
    page: dict[str, Any] = {"pageInfo": {"endCursor": None, "hasNextPage": True}}
    while page["pageInfo"]["hasNextPage"]:
        page = (await ask(document, who, first=2, after=page["pageInfo"]["endCursor"])).data[root]
        ids += [edge["node"]["id"] for edge in page["edges"]]
    assert ids == whole


async def test_rows_that_arrive_while_paging_neither_repeat_nor_hide_others(company: Company, ask: Ask) -> None:
    first = (await ask(PAGE, "min", first=4)).data["opportunities"]
    async with company.database.open_uow(SYSTEM) as uow:
        stage = (await deals.ensure_pipeline(uow, "new_business", None, ()))["qualify"]  # type: ignore[arg-type]
        await deals.open_opportunity(
            uow, name="新来的", stage=stage, account_id=company.accounts["parts"].id, amount=Money(1, "CNY")
        )
    rest = (await ask(PAGE, "min", first=100, after=first["pageInfo"]["endCursor"])).data["opportunities"]
    assert len(first["edges"]) + len(rest["edges"]) == 9
    assert rest["totalCount"] == 10


async def test_a_page_size_out_of_bounds_is_invalid(company: Company, ask: Ask) -> None:
    for first in (0, -1, 101, 2_000_000_000):
        answer = await ask("query($first: Int!) { accounts(first: $first) { totalCount } }", first=first)
        assert answer.codes == ["INVALID"], first
        assert answer.errors[0]["extensions"]["path"] == ["first"]
        assert "1 到 100" in answer.errors[0]["message"]


async def test_a_cursor_that_is_none_is_invalid(company: Company, ask: Ask) -> None:
    for after in ("x", "%%%", "价格", "W10", "bnVsbA", "Wy1pZCIsMV0", "IjEi", "WyItaWQiLCIxIl0", "A" * 100_000):
        answer = await ask(
            "query($after: String) { accounts(after: $after) { totalCount edges { cursor } } }", after=after
        )
        assert answer.codes == ["INVALID"], after


async def test_a_cursor_of_another_order_is_invalid(company: Company, ask: Ask) -> None:
    page = (await ask(PAGE, "min", first=1, orderBy="AMOUNT_DESC")).data["opportunities"]
    answer = await ask(PAGE, "min", first=1, after=page["pageInfo"]["endCursor"], orderBy="CLOSE_DATE_ASC")
    assert answer.codes == ["INVALID"]
    assert answer.errors[0]["extensions"]["path"] == ["after"]


async def test_nested_pages_go_on_below_their_own_parent(company: Company, ask: Ask) -> None:
    document = "query($id: ID!, $after: String) { node(id: $id) { ... on Account { opportunities(first: 2, after: $after) { edges { node { name } } pageInfo { endCursor hasNextPage } } } } }"
    id = company.id(company.accounts["device"])
    first = (await ask(document, "na", id=id)).data["node"]["opportunities"]
    rest = (await ask(document, "na", id=id, after=first["pageInfo"]["endCursor"])).data["node"]["opportunities"]
    assert first["pageInfo"]["hasNextPage"]
    assert [edge["node"]["name"] for edge in rest["edges"]] == ["广州医疗器械 第1期"]
    assert not rest["pageInfo"]["hasNextPage"]


async def test_newest_lists_have_at_most_a_hundred(company: Company, ask: Ask) -> None:
    answer = await ask("{ accounts { edges { node { activities(last: 101) { id } } } } }")
    assert set(answer.codes) == {"INVALID"}
    assert answer.errors[0]["extensions"]["path"] == ["last"]


# ---- filters ---------------------------------------------------------------------------------------------------------


async def names(
    ask: Ask, root: str, kind: str, filter: dict[str, Any], who: str = "min", show: str = "name"
) -> list[str]:
    document = f"query($filter: {kind}) {{ {root}(filter: $filter) {{ edges {{ node {{ {show} }} }} }} }}"
    answer = await ask(document, who, filter=filter)
    assert answer.errors == []
    return sorted(edge["node"][show] for edge in answer.data[root]["edges"])


async def test_accounts_are_filtered(company: Company, ask: Ask) -> None:
    async def accounts(**filter: Any) -> list[str]:
        return await names(ask, "accounts", "AccountFilter", filter)

    assert await accounts(search="医") == ["广州医疗器械", "杭州第一医院"]
    assert await accounts(search="%") == []
    assert await accounts(region="华南") == ["广州医疗器械"]
    assert await accounts(region="south china") == ["广州医疗器械"]
    assert await accounts(region="south-china", industry="hospital") == ["广州医疗器械"]
    assert await accounts(ownerId=company.user("na")) == ["广州医疗器械"]
    assert await accounts(ownerId="nobody") == []
    assert await accounts(ownerId=None, search=None) == ["广州医疗器械", "杭州第一医院", "苏州精密零部件"]


async def test_opportunities_are_filtered(company: Company, ask: Ask) -> None:
    async def opportunities(**filter: Any) -> int:
        return len(await names(ask, "opportunities", "OpportunityFilter", filter))

    assert await opportunities(open=True) == 6
    assert await opportunities(open=False) == 3
    assert await opportunities(stageKey="won", accountId=company.id(company.accounts["parts"])) == 1
    assert await opportunities(stageKey="no-such-stage") == 0


async def test_leads_are_filtered(company: Company, ask: Ask) -> None:
    async def leads(**filter: Any) -> list[str]:
        return await names(ask, "leads", "LeadFilter", filter)

    assert await leads(dormantSinceHours=24 * 15) == ["线索far"]
    assert await leads(dormantSinceHours=24 * 5) == ["线索far", "线索open"]
    assert await leads(status="NEW", source="官网", region="华东") == ["线索open"]
    answer = await ask("{ leads(filter: { dormantSinceHours: -1 }) { totalCount } }")
    assert answer.codes == ["INVALID"]
    assert answer.errors[0]["extensions"]["path"] == ["filter", "dormantSinceHours"]


async def test_activities_are_filtered(company: Company, ask: Ask) -> None:
    id = company.id(company.deals["parts-1"])
    assert await names(ask, "activities", "ActivityFilter", {"relatedToId": id}, show="subject") == [
        "第1次电话",
        "第3次电话",
    ]
    assert await names(ask, "activities", "ActivityFilter", {"kind": "VISIT"}, show="subject") == []


# ---- totals ----------------------------------------------------------------------------------------------------------

TOTALS = "query($id: ID) { pipelineByStage(pipelineId: $id) { stage { key } count totals { amount currency } } }"


def _sums(answer: Any) -> dict[str, tuple[int, list[str]]]:
    assert answer.errors == []
    return {
        total["stage"]["key"]: (total["count"], [f"{one['amount']} {one['currency']}" for one in total["totals"]])
        for total in answer.data["pipelineByStage"]
    }


async def test_totals_count_what_the_reader_sees(company: Company, ask: Ask) -> None:
    lei = {"qualify": (2, ["200000.00 CNY"]), "proposal": (2, ["400000.00 CNY"]), "won": (2, [])}
    everything = {"qualify": (3, ["300000.00 CNY"]), "proposal": (3, ["600000.00 CNY"]), "won": (3, [])}
    assert _sums(await ask(TOTALS, "lei")) == lei
    assert _sums(await ask(TOTALS, "min")) == everything
    assert _sums(await ask(TOTALS, "EXECUTIVE")) == everything
    assert _sums(await ask(TOTALS, "CURATOR")) == {"qualify": (0, []), "proposal": (0, []), "won": (0, [])}


async def test_totals_of_one_pipeline_show_its_empty_stages(company: Company, ask: Ask) -> None:
    assert _sums(await ask(TOTALS, "min", id=company.pipelines["renewal"])) == {"due": (0, [])}
    assert list(_sums(await ask(TOTALS, "min", id=company.pipelines["new"]))) == ["qualify", "proposal", "won"]
    assert _sums(await ask(TOTALS, "min", id="pip_unknown")) == {}


# ---- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_that_names_nothing_is_null(company: Company, ask: Ask) -> None:
    for id in ("", "x", "acc_", "acc_zz", "Account:1", "acc_" + "0" * 32, "xxx_" + "0" * 32, "医院", "a" * 100_000):
        answer = await ask("query($id: ID!) { node(id: $id) { id } }", id=id)
        assert (answer.data, answer.errors) == ({"node": None}, []), id[:50]


async def test_every_node_is_found_by_its_id_and_by_nobody_elses(company: Company, ask: Ask) -> None:
    document = "query($id: ID!) { node(id: $id) { __typename id } }"
    for row in (
        company.accounts["hospital"],
        company.contacts["hospital"],
        company.leads["mine"],
        company.deals["hospital-1"],
    ):
        id = company.id(row)
        assert (await ask(document, "lei", id=id)).data == {"node": {"__typename": row.entity(), "id": id}}
        assert (await ask(document, "na", id=id)).data == {"node": None}
    assert (await ask(document, "lei", id=global_id("Account", new_id()))).data == {"node": None}
    assert Role.REP in company.people["na"].roles
