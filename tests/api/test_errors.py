"""Refusals and bugs as clients meet them: a code on every error, in their language, nothing internal."""

from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

from api.reads import loading
from api.schema import schema
from domain.kernel import Language
from tests.api.conftest import Ask, Company, Statements


def _roots(kind: GraphQLObjectType | None) -> set[str]:
    return set(kind.fields) if kind is not None else set()


def _literal(kind: Any) -> str:
    """Some value of an input type."""
    if is_non_null_type(kind):
        return _literal(kind.of_type)
    if is_list_type(kind):
        return f"[{_literal(kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    if isinstance(kind, GraphQLInputObjectType):
        fields = (
            f"{name}: {_literal(field.type)}" for name, field in kind.fields.items() if is_required_input_field(field)
        )
        return f"{{ {', '.join(fields)} }}"
    values = {
        "Int": "1",
        "Boolean": "true",
        "DateTime": '"2026-03-02T00:00:00Z"',
        "Date": '"2026-03-02"',
        "Decimal": '"1"',
    }
    return values.get(kind.name, '"甲"')


def _call(kind: Any, name: str) -> str:
    """A call of a root with some value for every required argument, asking for nothing but the type's name."""
    given = [f"{key}: {_literal(own.type)}" for key, own in kind.fields[name].args.items() if is_required_argument(own)]
    return f"{name}{'(' + ', '.join(given) + ')' if given else ''} {{ __typename }}"


QUERY, MUTATION = schema._schema.query_type, schema._schema.mutation_type


async def test_without_a_token_every_root_answers_unauthenticated(ask: Ask, statements: Statements) -> None:
    for name in _roots(QUERY) - {"viewer"}:
        answer = await ask(f"{{ {_call(QUERY, name)} }}", None)
        assert answer.codes == ["UNAUTHENTICATED"], name
        assert answer.errors[0]["message"] == "请先登录：缺少有效的访问令牌"
    assert len(statements) == 0


async def test_without_a_token_every_mutation_answers_unauthenticated(ask: Ask, statements: Statements) -> None:
    for name in _roots(MUTATION):
        answer = await ask(f"mutation {{ {_call(MUTATION, name)} }}", None, language=Language.EN)
        assert (answer.codes, answer.data) == (["UNAUTHENTICATED"], {name: None}), name
        assert answer.errors[0]["message"].startswith("sign in first")
    assert len(statements) == 0


async def test_without_a_token_the_viewer_is_null(ask: Ask) -> None:
    answer = await ask("{ __typename viewer { name } }", None)
    assert (answer.data, answer.errors) == ({"__typename": "Query", "viewer": None}, [])


async def test_the_viewer_is_who_asks(company: Company, ask: Ask) -> None:
    answer = await ask("{ viewer { id name email roles language timeZone } }", "min")
    assert answer.data["viewer"] == {
        "id": company.user("min"), "name": "王敏", "email": "min.wang@example.com", "roles": ["MANAGER"], "language": "ZH", "timeZone": "Asia/Shanghai",
    }  # fmt: skip


BROKEN = (
    "{",
    "{ nosuch }",
    '{ accounts(first: "x") { totalCount } }',
    "{ node { id } }",
    "query($a: Nope) { viewer { id } }",
)


async def test_a_document_that_cannot_run_is_invalid(ask: Ask) -> None:
    for document in BROKEN:
        answer = await ask(document)
        assert set(answer.codes) == {"INVALID"}, document
        assert "Did you mean" not in str(answer.errors)


async def test_a_variable_of_the_wrong_type_is_invalid(ask: Ask) -> None:
    answer = await ask("query($first: Int!) { accounts(first: $first) { totalCount } }", first="二十")
    assert answer.codes == ["INVALID"]


async def test_text_that_no_database_keeps_is_invalid_wherever_it_comes_in(ask: Ask, statements: Statements) -> None:
    for unfit in ("价\0格", "\ud83d", "a\udc00b"):
        await _check_refused(ask, unfit)
    assert len(statements) == 0


async def _check_refused(ask: Ask, unfit: str) -> None:
    by_filter = await ask(
        "query($filter: AccountFilter) { accounts(filter: $filter) { totalCount } }", filter={"search": unfit}
    )
    by_argument = await ask(
        "query($purpose: String!) { contacts { edges { node { contactability(purpose: $purpose) { light } } } } }",
        purpose=unfit,
    )
    capture = "mutation($input: CaptureLeadInput!) { captureLead(input: $input) { lead { id } errors { code } } }"
    given = {"source": "官网", "externalId": "1", "name": "李"}
    by_input = await ask(capture, input=given | {"company": unfit})
    by_json = await ask(capture, input=given | {"payload": {"表单": [{"值": unfit}]}})
    by_key = await ask(capture, input=given | {"payload": {unfit: 1}})
    for answer, path in (
        (by_filter, ["filter", "search"]), (by_argument, ["purpose"]), (by_input, ["input", "company"]),
        (by_key, ["input", "payload"]),
    ):  # fmt: skip
        assert answer.codes == ["INVALID"]
        assert answer.errors[0]["extensions"]["path"] == path
        assert ".".join(path) in answer.errors[0]["message"]
    assert by_json.codes == ["INVALID"]


async def test_a_literal_with_an_escaped_nul_is_invalid(ask: Ask) -> None:
    answer = await ask('{ accounts(filter: { search: "价\\u0000格" }) { totalCount } }')
    assert answer.codes == ["INVALID"]
    assert answer.errors[0]["extensions"]["path"] == ["filter", "search"]
    assert (await ask('{ accounts(filter: { search: "\\u4ef7" }) { totalCount } }')).errors == []


async def test_an_instant_that_is_none_is_invalid_and_says_how_to_write_it(ask: Ask) -> None:
    for value in ("昨天", "2026-03-02T09:30:00", "0001-01-01T00:00:00+14:00", 1):
        answer = await ask(
            "query($at: DateTime) { auditEvents(filter: { since: $at }) { totalCount } }", "AUDITOR", at=value
        )
        assert answer.codes == ["INVALID"], value
        assert "时间须写成" in answer.errors[0]["message"]


async def test_a_number_that_is_not_exact_is_invalid_and_says_how_to_write_it(ask: Ask) -> None:
    document = """
    mutation($n: Decimal!) {
      captureLead(input: { source: "a", externalId: "b", name: "c", budget: { amount: $n, currency: "CNY" } }) { errors { code } }
    }
    """
    for value in (0.1, "NaN", "1e999999999", True, "１２"):
        answer = await ask(document, n=value)
        assert answer.codes == ["INVALID"], value
        assert "数值须写成" in answer.errors[0]["message"]


async def test_a_bug_is_a_number_to_the_reader_and_a_trace_in_the_log(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret detail of the inside")

    monkeypatch.setattr(loading, "_objects", broken)
    answer = await ask("{ viewer { name } }")
    assert answer.codes == ["INTERNAL"]
    assert "secret" not in str(answer.errors)
    number = answer.errors[0]["extensions"]["correlationId"]
    assert number in answer.errors[0]["message"]
    assert number in caplog.text
    assert "secret detail of the inside" in caplog.text


async def test_a_list_that_may_be_null_is_forbidden_to_roles_without_sight(ask: Ask) -> None:
    for who in ("CURATOR", "FINANCE", "LEGAL", "ADMIN", "EXECUTIVE"):
        answer = await ask("{ auditEvents { totalCount } }", who)
        assert (answer.data, answer.codes) == ({"auditEvents": None}, ["FORBIDDEN"]), who


async def test_the_ledger_is_verified_by_those_who_may(ask: Ask) -> None:
    document = "{ verifyLedger { sound events sealed head problem } }"
    for who in ("AUDITOR", "DPO", "ADMIN"):
        found = (await ask(document, who)).data["verifyLedger"]
        assert found["sound"] is True
        assert found["events"] > 0
        assert (found["sealed"], found["head"], found["problem"]) == (0, None, None)
    assert (await ask(document, "min")).codes == ["FORBIDDEN"]
