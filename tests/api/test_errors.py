"""Refusals and bugs as clients meet them: a code on every error, in their language, nothing internal."""

from typing import Any

import pytest

from api.reads import fields
from api.schema import schema
from domain.kernel import Language
from tests.api.conftest import Ask, Company, Statements


def _roots(kind: Any) -> list[str]:
    return sorted(kind.fields) if kind is not None else []


def _call(kind: Any, name: str) -> str:
    """A call of a root with some value for every required argument, asking for nothing but the type's name."""
    field = kind.fields[name]
    arguments = '(id: "x")' if "id" in field.args else ""
    return f"{name}{arguments} {{ __typename }}"


QUERY, MUTATION = schema._schema.query_type, schema._schema.mutation_type


@pytest.mark.parametrize(
    "name", [name for name in _roots(QUERY) if name not in {"viewer", "searchKnowledge", "assistantMetrics"}]
)
async def test_without_a_token_every_root_answers_unauthenticated(ask: Ask, statements: Statements, name: str) -> None:
    answer = await ask(f"{{ {_call(QUERY, name)} }}", None)
    assert answer.codes == ["UNAUTHENTICATED"]
    assert answer.errors[0]["message"] == "请先登录：缺少有效的访问令牌"
    assert len(statements) == 0


INPUTS = {
    "captureLead": '{ source: "官网", externalId: "1", name: "李" }',
    "logActivity": '{ clientKey: "k", relatedToId: "x", kind: CALL, subject: "电话" }',
    "recordConsent": '{ contactId: "x", purpose: "marketing", channel: SMS, status: OPT_IN, source: "展会" }',
}


@pytest.mark.parametrize("name", INPUTS)
async def test_without_a_token_every_mutation_answers_unauthenticated(ask: Ask, name: str) -> None:
    answer = await ask(f"mutation {{ {name}(input: {INPUTS[name]}) {{ __typename }} }}", None, language=Language.EN)
    assert answer.codes == ["UNAUTHENTICATED"]
    assert answer.data == {name: None}
    assert answer.errors[0]["message"].startswith("sign in first")


async def test_without_a_token_the_viewer_is_null(ask: Ask) -> None:
    answer = await ask("{ __typename viewer { name } }", None)
    assert (answer.data, answer.errors) == ({"__typename": "Query", "viewer": None}, [])


async def test_the_viewer_is_who_asks(company: Company, ask: Ask) -> None:
    answer = await ask("{ viewer { id name email roles language timeZone } }", "min")
    assert answer.data["viewer"] == {
        "id": company.user("min"), "name": "王敏", "email": "min.wang@example.com", "roles": ["MANAGER"], "language": "ZH", "timeZone": "Asia/Shanghai",
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "{ nosuch }",
        '{ accounts(first: "x") { totalCount } }',
        "{ node { id } }",
        "query($a: Nope) { viewer { id } }",
    ],
)
async def test_a_document_that_cannot_run_is_invalid(ask: Ask, document: str) -> None:
    answer = await ask(document)
    assert set(answer.codes) == {"INVALID"}
    assert "Did you mean" not in str(answer.errors)


async def test_a_variable_of_the_wrong_type_is_invalid(ask: Ask) -> None:
    answer = await ask("query($first: Int!) { accounts(first: $first) { totalCount } }", first="二十")
    assert answer.codes == ["INVALID"]


@pytest.mark.parametrize("unfit", ["价\0格", "\ud83d", "a\udc00b"])
async def test_text_that_no_database_keeps_is_invalid_wherever_it_comes_in(
    ask: Ask, statements: Statements, unfit: str
) -> None:
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
    assert len(statements) == 0


async def test_a_literal_with_an_escaped_nul_is_invalid(ask: Ask) -> None:
    answer = await ask('{ accounts(filter: { search: "价\\u0000格" }) { totalCount } }')
    assert answer.codes == ["INVALID"]
    assert answer.errors[0]["extensions"]["path"] == ["filter", "search"]
    assert (await ask('{ accounts(filter: { search: "\\u4ef7" }) { totalCount } }')).errors == []


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("DateTime", "昨天"), ("DateTime", "2026-03-02T09:30:00"), ("DateTime", "0001-01-01T00:00:00+14:00"), ("DateTime", 1),
        ("Decimal", 0.1), ("Decimal", "NaN"), ("Decimal", "1e999999999"), ("Decimal", True), ("Decimal", "１２"),
    ],
)  # fmt: skip
async def test_a_scalar_that_is_none_is_invalid_and_says_how_to_write_it(ask: Ask, scalar: str, value: Any) -> None:
    if scalar == "DateTime":
        answer = await ask(
            "query($at: DateTime) { auditEvents(filter: { since: $at }) { totalCount } }", "AUDITOR", at=value
        )
    else:
        document = 'mutation($n: Decimal!) { captureLead(input: { source: "a", externalId: "b", name: "c", budget: { amount: $n, currency: "CNY" } }) { errors { code } } }'
        answer = await ask(document, n=value)
    assert answer.codes == ["INVALID"]
    assert "写" in answer.errors[0]["message"]


async def test_a_bug_is_a_number_to_the_reader_and_a_trace_in_the_log(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret detail of the inside")

    monkeypatch.setattr(fields, "_objects", broken)
    answer = await ask("{ viewer { name } }")
    assert answer.codes == ["INTERNAL"]
    assert "secret" not in str(answer.errors)
    number = answer.errors[0]["extensions"]["correlationId"]
    assert number in answer.errors[0]["message"]
    assert number in caplog.text
    assert "secret detail of the inside" in caplog.text


@pytest.mark.parametrize("who", ["CURATOR", "FINANCE", "LEGAL", "ADMIN", "EXECUTIVE"])
async def test_a_list_that_may_be_null_is_forbidden_to_roles_without_sight(ask: Ask, who: str) -> None:
    answer = await ask("{ auditEvents { totalCount } }", who)
    assert (answer.data, answer.codes) == ({"auditEvents": None}, ["FORBIDDEN"])


async def test_the_ledger_is_verified_by_those_who_may(ask: Ask) -> None:
    document = "{ verifyLedger { sound events sealed head problem } }"
    for who in ("AUDITOR", "DPO", "ADMIN"):
        found = (await ask(document, who)).data["verifyLedger"]
        assert found["sound"] is True
        assert found["events"] > 0
        assert (found["sealed"], found["head"], found["problem"]) == (0, None, None)
    assert (await ask(document, "min")).codes == ["FORBIDDEN"]
