"""One table over every kind of caller: what they find, and that nothing withheld comes through any door."""

from dataclasses import replace
from typing import Any

from graphql import GraphQLObjectType, get_named_type
from strawberry.utils.str_converters import to_camel_case

from api.reads import SHAPES, Shape
from api.schema import schema
from domain.kernel import SYSTEM, Role, declared
from tests.api.conftest import Ask, Company

COUNTED = ("accounts", "contacts", "leads", "opportunities", "activities")
WHAT_EACH_FINDS = {
    "lei": (2, 2 + 2, 2, 6, 8),
    "na": (1, 1 + 1, 1, 3, 4),
    "min": (3, 3 + 3, 3, 9, 12),
    "EXECUTIVE": (0, 0, 0, 0, 0),
    "CURATOR": (0, 0, 0, 0, 0),
    "SALES_OPS": (3, 6, 0, 9, 0),
    "LEGAL": (0, 6, 0, 0, 0),
    "FINANCE": (3, 0, 0, 9, 0),
    "CSM": (0, 0, 0, 0, 0),
    "AUDITOR": (3, 0, 0, 0, 0),
    "DPO": (0, 6, 0, 0, 0),
    "ADMIN": (0, 0, 0, 0, 0),
}
COUNT = "{ " + " ".join(f"{root} {{ totalCount edges {{ node {{ id }} }} }}" for root in COUNTED) + " }"


async def test_each_caller_finds_their_own(company: Company, ask: Ask) -> None:
    for who, expected in WHAT_EACH_FINDS.items():
        answer = await ask(COUNT, who)
        assert answer.errors == []
        assert tuple(answer.data[root]["totalCount"] for root in COUNTED) == expected, who
        assert tuple(len(answer.data[root]["edges"]) for root in COUNTED) == expected, who


def _selection(shape: Shape) -> str:
    """Every field of a type, as far as it has a value of its own."""
    kind = schema._schema.type_map[shape.kind.__name__]
    assert isinstance(kind, GraphQLObjectType)
    parts = []
    for name, field in kind.fields.items():
        inner = get_named_type(field.type)
        arguments = '(purpose: "marketing")' if "purpose" in field.args else ""
        if inner.name.endswith("Connection"):
            parts.append(f"{name}{arguments} {{ totalCount edges {{ cursor }} }}")
        else:
            parts.append(f"{name}{arguments} {{ __typename }}" if hasattr(inner, "fields") else name)
    return " ".join(parts)


def _empty(value: Any) -> bool:
    return value in (None, []) or value == {"totalCount": 0, "edges": []}


async def test_what_is_withheld_is_empty_and_the_rest_is_true(company: Company, ask: Ask) -> None:
    for who in WHAT_EACH_FINDS:
        for root in (*COUNTED, "auditEvents", "pipelines"):
            await _check_masks(company, ask, who, root)


async def _check_masks(company: Company, ask: Ask, who: str, root: str) -> None:
    entity = {"opportunities": "Opportunity", "activities": "Activity", "auditEvents": "AuditEvent"}.get(
        root, root[:-1].title()
    )
    shape = SHAPES[entity]
    document = f"{{ {root}(first: 100) {{ edges {{ node {{ {_selection(shape)} }} }} }} }}"
    whole = await ask(document, SYSTEM)
    assert whole.errors == []
    truth = {edge["node"]["id"]: edge["node"] for edge in whole.data[root]["edges"]}
    seen = await ask(document, who)
    role = next(iter(company.people[who].roles))
    if seen.data[root] is None:
        assert seen.codes == ["FORBIDDEN"]
        assert declared(shape.model).rule(role) is None
        return
    assert seen.errors == []
    listed = declared(shape.model).fields(role)
    columns = {source.name for source in shape.sources if source.columns}
    for edge in seen.data[root]["edges"]:
        for name in (source.name for source in shape.sources):
            shown, true = edge["node"][to_camel_case(name)], truth[edge["node"]["id"]][to_camel_case(name)]
            if name in shape.withheld and name not in listed:
                assert _empty(shown), (who, entity, name)
            elif name in columns and not isinstance(true, dict):
                assert shown == true, (who, entity, name)


async def test_several_roles_add_up_row_by_row(company: Company, ask: Ask) -> None:
    """As a seller lei sees everything of his own; as FINANCE the names and amounts of all."""
    lei = company.people["lei"]
    both = replace(lei, reaches=lei.reaches + company.people["FINANCE"].reaches)
    document = "{ accounts { edges { node { name industry owner { name } contacts { totalCount edges { node { name } } } opportunities { totalCount } activities { id } } } } }"
    answer = await ask(document, both)
    assert answer.errors == []
    device, parts, hospital = (edge["node"] for edge in answer.data["accounts"]["edges"])
    assert (device["name"], device["industry"], device["owner"], device["activities"]) == (
        "广州医疗器械",
        None,
        None,
        [],
    )
    assert device["contacts"] == {"totalCount": 0, "edges": []}
    assert device["opportunities"] == {"totalCount": 3}
    for mine in (parts, hospital):
        assert (mine["industry"], mine["owner"], mine["contacts"]["totalCount"]) == ("hospital", {"name": "张磊"}, 1)
        assert len(mine["activities"]) == 4
    deals = (await ask("{ opportunities(orderBy: CLOSE_DATE_ASC) { edges { node { name closeDate } } } }", both)).data[
        "opportunities"
    ]["edges"]
    assert [edge["node"]["closeDate"] is None for edge in deals] == [False] * 6 + [True] * 3
    owned = "query($owner: ID!) { opportunities(filter: { ownerId: $owner }) { totalCount } }"
    assert (await ask(owned, both, owner=company.user("na"))).data == {"opportunities": {"totalCount": 0}}


async def test_withheld_fields_cannot_be_found_out_by_filter_or_order(company: Company, ask: Ask) -> None:
    """FINANCE sees neither owner nor close date of an opportunity."""
    document = "query($owner: ID!) { opportunities(filter: { ownerId: $owner }) { totalCount } }"
    assert (await ask(document, "FINANCE", owner=company.user("lei"))).data == {"opportunities": {"totalCount": 0}}
    ordered = "{ opportunities(orderBy: CLOSE_DATE_ASC) { edges { node { id closeDate } cursor } } }"
    edges = (await ask(ordered, "FINANCE")).data["opportunities"]["edges"]
    ids = [edge["node"]["id"] for edge in edges]
    assert ids == sorted(ids)
    assert {edge["node"]["closeDate"] for edge in edges} == {None}


async def test_what_a_relation_leads_to_is_checked_too(company: Company, ask: Ask) -> None:
    """A seller who sees another's activity through their own opportunity does not see that one's account."""
    document = "{ activities(first: 100) { edges { node { relatedTo { id } } } } }"
    mine = {company.id(row) for key, row in (company.accounts | company.deals).items() if not key.startswith("device")}
    answer = await ask(document, "lei")
    assert {edge["node"]["relatedTo"]["id"] for edge in answer.data["activities"]["edges"]} <= mine


async def test_somebody_without_any_role_sees_themselves_alone(company: Company, ask: Ask) -> None:
    nobody = company.people["lei"].__class__(company.people["lei"].kind, company.people["lei"].user_id)
    assert (await ask("{ viewer { name } }", nobody)).data == {"viewer": {"name": "张磊"}}
    assert (await ask("{ accounts { totalCount } }", nobody)).data == {"accounts": {"totalCount": 0}}
    assert Role.REP not in nobody.roles
