"""Saved views over GraphQL: what is kept can be asked, and what cannot be asked is not kept."""

from typing import Any

import pytest

from api.schema import schema
from tests.api.conftest import Ask, Company

FIELDS = "id version name entity filter orderBy columns sharedWith region owner { name }"
CREATE = f"mutation($input: CreateSavedViewInput!) {{ createSavedView(input: $input) {{ savedView {{ {FIELDS} }} errors {{ path code message }} }} }}"
UPDATE = f"mutation($input: UpdateSavedViewInput!) {{ updateSavedView(input: $input) {{ savedView {{ {FIELDS} }} errors {{ path code message }} }} }}"
DELETE = (
    "mutation($input: DeleteSavedViewInput!) { deleteSavedView(input: $input) { savedViewId errors { path code } } }"
)
LISTS = f"query($entity: String) {{ savedViews(filter: {{ entity: $entity }}) {{ edges {{ node {{ {FIELDS} }} }} }} }}"


def view(company: Company, **changes: Any) -> dict[str, Any]:
    """Lei's open deals, largest first."""
    words = {
        "clientKey": "列表-1", "name": "我的大单", "entity": "Opportunity", "filter": {"open": True, "ownerId": company.user("lei")}, "orderBy": "AMOUNT_DESC",
        "columns": ["name", "amount.currency", "account.owner.name"],
    }  # fmt: skip
    return words | changes


async def refusal(ask: Ask, document: str, root: str, who: str = "lei", **input: Any) -> tuple[list[str], str, str]:
    answer = await ask(document, who, input=input)
    assert answer.errors == []
    payload = answer.data[root]
    assert payload["savedView"] is None
    (error,) = payload["errors"]
    return error["path"], error["code"], error["message"]


async def test_what_is_kept_is_found_and_answers_when_it_is_asked(company: Company, ask: Ask) -> None:
    answer = await ask(CREATE, input=view(company))
    assert answer.data["createSavedView"]["errors"] == []
    kept = answer.data["createSavedView"]["savedView"]
    assert (kept["name"], kept["version"], kept["sharedWith"], kept["owner"]) == (
        "我的大单",
        1,
        "NOBODY",
        {"name": "张磊"},
    )
    assert (await ask(CREATE, input=view(company))).data["createSavedView"]["savedView"] == kept
    (found,) = (await ask(LISTS, entity="Opportunity")).data["savedViews"]["edges"]
    assert found["node"] == kept
    assert (await ask(LISTS, entity="Account")).data == {"savedViews": {"edges": []}}
    document = "query($f: OpportunityFilter, $o: OpportunityOrder) { opportunities(filter: $f, orderBy: $o) { edges { node { amount { amount } } } } }"
    rows = await ask(document, f=kept["filter"], o=kept["orderBy"])
    assert rows.errors == []
    amounts = [edge["node"]["amount"]["amount"] for edge in rows.data["opportunities"]["edges"]]
    assert amounts == ["200000.00"] * 2 + ["100000.00"] * 2


def nested(depth: int) -> dict[str, Any]:
    """A filter in a filter in a filter."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"custom": [value]}
    return value


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"entity": "Deal"}, ["entity"]),
    ({"entity": "Stage"}, ["entity"]),
    ({"filter": {"closed": True}}, ["filter", "closed"]),
    ({"filter": {"open": "是"}}, ["filter", "open"]),
    ({"filter": {"stageKey": 7}}, ["filter", "stageKey"]),
    (
        {"entity": "Account", "orderBy": None, "columns": [], "filter": {"custom": [{"key": "size", "than": 1}]}},
        ["filter", "custom", "0", "than"],
    ),
    ({"filter": ["open"]}, ["filter"]),
    ({"entity": "Account", "orderBy": None, "columns": [], "filter": nested(400)}, ["filter"]),
    ({"filter": "open"}, ["filter"]),
    ({"entity": "Lead", "orderBy": None, "columns": [], "filter": {"status": "WON"}}, ["filter", "status"]),
    (
        {"entity": "Payment", "orderBy": "DUE_ASC", "columns": [], "filter": {"dueBefore": "明天"}},
        ["filter", "dueBefore"],
    ),
    ({"orderBy": "NAME_ASC"}, ["orderBy"]),
    ({"entity": "Contact", "filter": None, "columns": []}, ["orderBy"]),
    ({"columns": ["name", "price"]}, ["columns", "1"]),
    ({"columns": ["name.length"]}, ["columns", "0"]),
    ({"columns": [""]}, ["columns", "0"]),
    ({"columns": ["name"] * 101}, ["columns"]),
    ({"name": ""}, ["name"]),
    ({"name": "长" * 201}, ["name"]),
    ({"sharedWith": "TERRITORY", "region": "华南"}, ["region"]),
]


@pytest.mark.parametrize(("changes", "path"), REFUSED)
async def test_what_cannot_be_asked_is_not_kept_and_says_where(
    company: Company, ask: Ask, changes: dict[str, Any], path: list[str]
) -> None:
    where, code, message = await refusal(ask, CREATE, "createSavedView", **view(company, **changes))
    assert (where, code, bool(message)) == (path, "INVALID", True)
    assert (await ask(LISTS)).data == {"savedViews": {"edges": []}}


async def test_a_change_is_checked_against_the_entity_of_the_list(company: Company, ask: Ask) -> None:
    kept = (await ask(CREATE, input=view(company))).data["createSavedView"]["savedView"]
    words = {"id": kept["id"], "expectedVersion": 1}
    where, code, _ = await refusal(ask, UPDATE, "updateSavedView", **words, filter={"industry": "hospital"})
    assert (where, code) == (["filter", "industry"], "INVALID")
    changed = await ask(
        UPDATE,
        input=words
        | {"filter": {"stageKey": "proposal"}, "orderBy": None, "sharedWith": "TERRITORY", "region": "华东"},
    )
    found = changed.data["updateSavedView"]["savedView"]
    assert (found["filter"], found["orderBy"], found["region"], found["version"]) == (
        {"stageKey": "proposal"}, None, "east-china", 2,
    )  # fmt: skip
    assert (await refusal(ask, UPDATE, "updateSavedView", **words, name="旧"))[:2] == (
        ["expectedVersion"],
        "STALE_VERSION",
    )
    assert (await refusal(ask, UPDATE, "updateSavedView", "min", **words | {"expectedVersion": 2}))[:2] == (
        ["id"],
        "FORBIDDEN",
    )
    assert (await refusal(ask, UPDATE, "updateSavedView", "na", **words))[:2] == (["id"], "NOT_FOUND")
    gone = await ask(DELETE, input={"id": kept["id"], "expectedVersion": 2})
    assert gone.data == {"deleteSavedView": {"savedViewId": kept["id"], "errors": []}}
    assert (await ask(LISTS)).data == {"savedViews": {"edges": []}}


async def test_every_list_that_takes_a_filter_can_be_kept(company: Company, ask: Ask) -> None:
    assert schema._schema.query_type is not None
    fields = schema._schema.query_type.fields.values()
    entities = sorted(str(field.type).strip("!").removesuffix("Connection") for field in fields if "filter" in field.args and str(field.type).endswith("Connection!"))  # fmt: skip
    assert {"Account", "Contact", "Lead", "Opportunity", "Activity", "Quote", "Order", "Payment"} <= set(entities)
    for number, entity in enumerate(entities):
        words = {"clientKey": str(number), "name": entity, "entity": entity, "filter": {}, "columns": ["id"]}
        answer = await ask(CREATE, input=words)
        assert answer.data["createSavedView"]["errors"] == [], entity
