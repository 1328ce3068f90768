"""One box for every kind of record: Chinese and English words, numbers and complete addresses, within what is seen."""

from typing import Any

import pytest

from api.search import SearchKind
from domain import accounts, activities, commerce, erasure
from domain.activities import ActivityKind
from domain.kernel import SYSTEM, Language, Money, Text, search
from tests.api.conftest import Ask, Company, Statements

SEARCH = """
query Search($query: String!, $kinds: [SearchKind!], $first: Int! = 20) { searchRecords(query: $query, kinds: $kinds, first: $first) {
  kind title score snippet { text matched } node { __typename id }
} }
"""


async def hits(ask: Ask, query: str, who: Any = "lei", **more: Any) -> list[Any]:
    answer = await ask(SEARCH, who, query=query, **more)
    assert answer.errors == []
    found: list[Any] = answer.data["searchRecords"]
    return found


def words(hit: Any) -> str:
    return "".join(f"[{piece['text']}]" if piece["matched"] else piece["text"] for piece in hit["snippet"])


async def titles(ask: Ask, query: str, who: Any = "lei", **more: Any) -> list[tuple[str, str]]:
    return [(hit["kind"], hit["title"]) for hit in await hits(ask, query, who, **more)]


async def test_one_query_finds_every_kind_with_the_match_marked(company: Company, ask: Ask) -> None:
    found = await hits(ask, "第一医院")
    assert (found[0]["kind"], found[0]["title"], words(found[0])) == ("ACCOUNT", "杭州第一医院", "杭州[第一医院]")
    assert found[0]["node"] == {"__typename": "Account", "id": company.id(company.accounts["hospital"])}
    assert {hit["kind"] for hit in found} == {"ACCOUNT", "CONTACT", "OPPORTUNITY"}
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    assert await titles(ask, "医院", kinds=["CONTACT"]) == [("CONTACT", "杭州第一医院·采购")]
    assert await titles(ask, "采购经理 苏州") == [("CONTACT", "苏州精密零部件·采购")]
    assert len(await hits(ask, "第", first=2)) == 2
    assert await hits(ask, "医院", kinds=[]) == []
    assert await hits(ask, "  ！ ") == []


async def test_a_lead_is_found_by_name_and_company_together(company: Company, ask: Ask) -> None:
    assert await titles(ask, "宁波 线索mine", kinds=["LEAD"]) == [("LEAD", "线索mine")]
    (hit,) = await hits(ask, "宁波电子 线索 min", kinds=["LEAD"])
    assert words(hit) == "[宁波电子]"
    (hit,) = await hits(ask, "线索 min", kinds=["LEAD"])
    assert words(hit) == "[线索min]e"


async def test_nobody_finds_what_they_do_not_see(company: Company, ask: Ask) -> None:
    assert await titles(ask, "价格", "lei") == [
        ("ACTIVITY", f"第{number}次电话") for number in (4, 3, 2, 1, 4, 3, 2, 1)
    ]
    for who in ("na", "SALES_OPS", "FINANCE", "AUDITOR", "CURATOR"):
        found = await titles(ask, "价格 第一次", who)
        assert found == [], who
    assert await titles(ask, "医院", "na") == []
    assert await titles(ask, "医院", "AUDITOR") == [("ACCOUNT", "杭州第一医院")]
    assert await titles(ask, "采购经理", "LEGAL") == []
    assert len(await titles(ask, "采购经理", "SALES_OPS")) == 3
    assert (await ask(SEARCH, None, query="医院")).codes == ["UNAUTHENTICATED"]


async def test_a_person_is_found_by_a_complete_address_alone(company: Company, ask: Ask) -> None:
    for query in ("13800001200", "138 0000 1200", "+86 138-0000-1200", "１３８００００１２００", "HOSPITAL@example.cn"):
        (hit,) = await hits(ask, query)
        assert (hit["kind"], hit["title"]) == ("CONTACT", "杭州第一医院·采购"), query
        assert words(hit) in {"[138****1200]", "[h***@example.cn]"}
        assert "00001200" not in str(hit)
    for query in ("1380000120", "138000", "00001200", "hospital@example", "example.cn"):
        assert await hits(ask, query) == [], query
    # Another's person, and roles that see people but not their addresses.
    assert await hits(ask, "13800001200", "na") == []
    assert await hits(ask, "13800001200", "SALES_OPS") == []


async def test_products_and_quotes_are_found_by_what_is_written_on_them(company: Company, ask: Ask) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await commerce.add_product(
            uow,
            code="GTX-2000",
            name=Text("超声诊断仪", "Ultrasound scanner"),
            list_price=Money(100, "CNY"),
            floor_price=Money(90, "CNY"),
        )
    for query in ("超声", "gtx-2000", "GTX 20", "ultra"):
        assert await titles(ask, query) == [("PRODUCT", "超声诊断仪")], query
    answer = await ask(SEARCH, query="超声", language=Language.EN)
    assert [hit["title"] for hit in answer.data["searchRecords"]] == ["Ultrasound scanner"]


async def test_long_texts_show_where_they_meet_the_query(company: Company, ask: Ask) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await activities.log(
            uow, related_to=company.accounts["hospital"].ref(), kind=ActivityKind.VISIT, subject="拜访", body="寒暄。" * 100 + "院长关心售后响应时间。" + "闲聊。" * 100,
        )  # fmt: skip
    (hit,) = await hits(ask, "售后响应")
    assert hit["title"] == "拜访"
    assert "[售后响应]" in words(hit)
    assert words(hit).startswith("…")
    assert len(words(hit)) < 140


@pytest.mark.parametrize("query", ["医" * 201, "a " * 101])
async def test_an_overlong_query_is_invalid(company: Company, ask: Ask, query: str) -> None:
    answer = await ask(SEARCH, query=query)
    assert answer.codes == ["INVALID"]
    assert answer.errors[0]["extensions"]["path"] == ["query"]
    assert (await ask(SEARCH, query="医院", first=101)).codes == ["INVALID"]


async def test_a_search_costs_a_bounded_number_of_statements(
    company: Company, ask: Ask, statements: Statements
) -> None:
    found = await hits(ask, "第", "min", first=100)
    kinds = {hit["kind"] for hit in found}
    assert len(found) > 20
    # the index, then of each kind its words and its records
    assert len(statements) == 1 + 2 * len(kinds)


async def test_an_erased_person_is_found_no_more(company: Company, ask: Ask) -> None:
    assert await titles(ask, "医院 采购", kinds=["CONTACT"]) == [("CONTACT", "杭州第一医院·采购")]
    async with company.database.open_uow(company.people["DPO"]) as uow:
        await erasure.erase_person(uow, company.contacts["hospital"].id)
    assert await titles(ask, "医院 采购", kinds=["CONTACT"]) == []
    assert await hits(ask, "13800001200") == []


async def test_renamed_accounts_are_found_by_their_new_name(company: Company, ask: Ask) -> None:
    account = company.accounts["hospital"]
    async with company.database.open_uow(company.people["lei"]) as uow:
        await accounts.update_account(uow, account.id, expected_version=1, changes={"name": "杭州市总医院"})
    assert await titles(ask, "总医院", kinds=["ACCOUNT"]) == [("ACCOUNT", "杭州市总医院")]
    assert await titles(ask, "第一医院", kinds=["ACCOUNT"]) == []


def test_every_class_that_can_be_searched_has_a_kind() -> None:
    assert {kind.entity for kind in SearchKind} == set(search.searched())
