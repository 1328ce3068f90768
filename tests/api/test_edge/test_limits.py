"""What one operation may ask for, measured in linear time, whoever asks."""

import json
from typing import Any

import httpx2
import pytest
from graphql import OperationDefinitionNode, get_introspection_query, parse

from api.limits import ANONYMOUS, KEPT_DOCUMENTS, Limits, Measure, Measuring, nesting
from api.schema import schema
from api.settings import Settings
from domain.kernel import Actor, ActorKind, Language, Reach, Role
from tests.api.conftest import Ask, Company
from tests.api.test_edge.conftest import Edge
from tests.installation import Home, running


def measured(text: str, **variables: Any) -> tuple[Measure, int]:
    """What a document asks for, and how many selections were looked at."""
    document = parse(text)
    walk = Measuring(schema._schema, document, variables)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return walk.operation(operation), walk.visits


def nested(levels: int, spreads: int = 2) -> str:
    """Fragments that each spread the next one several times: the document grows linearly, its expansion does not."""
    chain = " ".join(f"fragment f{at} on Query {{ {f'...f{at + 1} ' * spreads} }}" for at in range(levels))
    return f"query {{ ...f0 }} {chain} fragment f{levels} on Query {{ a: __typename }}"


@pytest.mark.parametrize("levels", [10, 40, 200])
def test_every_fragment_is_looked_at_once(levels: int) -> None:
    """The stock limiters walk a fragment at each of its spreads: at 40 levels a million million times."""
    found, visits = measured(nested(levels))
    assert visits == 2 * levels + 2
    assert found.aliases == min(2**levels, 1 << 53)


def test_a_circle_of_fragments_ends() -> None:
    found, visits = measured("{...a} fragment a on Query{...b __typename} fragment b on Query{...a}")
    assert (found.fields, visits) == (1, 4)


@pytest.mark.parametrize(
    ("text", "variables", "cost"),
    [
        ("{__typename}", {}, 0),
        ("{viewer{name}}", {}, 1),
        ("{accounts(first: 100){edges{node{name}}}}", {}, 1 + 100),
        ("{accounts{edges{node{name}}}}", {}, 1 + 20),
        ("{accounts(first: 50){edges{node{contacts(first: 10){edges{node{name}}}}}}}", {}, 1 + 50 * (1 + 1 + 10)),
        ("query($n: Int!){accounts(first: $n){edges{node{name}}}}", {"n": 70}, 1 + 70),
        ("query($n: Int!){accounts(first: $n){edges{node{name}}}}", {"n": 70.0}, 1 + 70),
        ("query($n: Int = 30){accounts(first: $n){edges{node{name}}}}", {}, 1 + 30),
        ("{accounts(first: 10){edges{node{activities(last: 3){subject}}}}}", {}, 1 + 10 * (1 + 1)),
        ("{accounts(first: 10){edges{node{...f}}}} fragment f on Account{owner{name}}", {}, 1 + 10 * (1 + 1)),
        ("{accounts(first: 999999999999){edges{node{name}}}}", {}, 1 + 999_999_999_999),
        ("{pipelines(first: 1){edges{node{stages{label pipeline{key}}}}}}", {}, 1 + 1 + 1 + 10),
        ("{verifyLedger{sound}}", {}, 200),
    ],
)
def test_the_cost_counts_rows_by_their_page_sizes(text: str, variables: dict[str, Any], cost: int) -> None:
    assert measured(text, **variables)[0].cost == cost


def test_brackets_in_strings_and_comments_do_not_nest() -> None:
    assert nesting('{a(b: "{{{{", c: """ {{ \\""" {{ """) # {{{{\n}') == 2
    assert nesting("{" * 500) == 500
    assert nesting("#\r" + "{" * 500) == 500, "a carriage return ends a comment"
    assert nesting('"\r' + "{" * 500) == 500


async def test_every_limit_is_held_and_told(ask: Ask) -> None:
    deep = "parent{" * 12 + "name" + "}" * 12
    for name, query in {
        "depth": f"{{accounts{{edges{{node{{{deep}}}}}}}}}",
        "aliases": "{" + " ".join(f"a{number}: __typename" for number in range(61)) + "}",
        "fields": "{" + " __typename" * 501 + "}",
        "directives": "{" + " ".join(f"__typename @skip(if: {value})" for value in ["false"] * 51) + "}",
        "cost": "{accounts(first: 100){edges{node{contacts(first: 100){edges{node{name}}}}}}}",
    }.items():
        answer = await ask(query)
        assert answer.codes == ["TOO_COSTLY"], name
        assert answer.errors[0]["extensions"]["limit"] == name
        assert answer.errors[0]["extensions"]["found"] > answer.errors[0]["extensions"]["allowed"]
        assert "最多" in answer.errors[0]["message"]
        assert answer.data is None


async def test_too_many_tokens_are_not_read(ask: Ask) -> None:
    answer = await ask("{" + " viewer{name}" * 1_400 + "}")
    assert answer.codes == ["INVALID"]
    assert "4000 tokens" in answer.errors[0]["message"]


async def test_a_nesting_that_no_parser_survives_is_refused(ask: Ask) -> None:
    """Without the look at the brackets a RecursionError comes out as an internal error."""
    assert (await ask("{a" * 1_300)).codes == ["TOO_COSTLY"]
    assert (await ask("{a(b: " + "[" * 3_000)).codes == ["TOO_COSTLY"]


async def test_introspection_needs_a_token_and_passes_with_one(ask: Ask, company: Company) -> None:
    found = await ask(get_introspection_query(input_value_deprecation=True))
    assert found.errors == []
    assert found.data["__schema"]["queryType"]["name"] == "Query"
    for query in (get_introspection_query(), '{__type(name: "Account"){name}}'):
        assert (await ask(query, None)).codes == ["UNAUTHENTICATED"]
    deeper = "{__schema{types{fields{type{" + "ofType{" * 16 + "name" + "}" * 16 + "}}}}}"
    assert (await ask(deeper)).codes == ["TOO_COSTLY"]


def test_the_cost_is_echoed_and_a_new_page_size_is_priced_anew(edge: Edge) -> None:
    query = "query($n: Int!){accounts(first: $n){edges{node{name}}}}"
    for size in (10, 20, 10):
        answer = edge.ask(query, variables={"n": size}).json()
        assert answer["extensions"]["cost"] == {"requested": size + 1, "limit": 10_000}
        assert answer["data"] == {"accounts": {"edges": []}}


def test_a_cheap_request_does_not_make_a_dear_one_cheap(edge: Edge) -> None:
    """The measure of a document was once kept without the variable that a first caller had left out."""
    query = "query($n: Int!){accounts(first: $n){edges{node{contacts(first: $n){edges{node{name}}}}}}}"
    for variables in ({}, {"n": None}, {"n": 1}):
        edge.ask(query, variables=variables)
    for size in (100, 100.0):
        assert edge.ask(query, variables={"n": size}).json()["errors"][0]["extensions"]["code"] == "TOO_COSTLY"


def test_strangers_may_ask_for_less(edge: Edge) -> None:
    aliases = "{" + " ".join(f"a{number}: __typename" for number in range(20)) + "}"
    assert edge.ask(aliases).json()["data"]["a19"] == "Query"
    assert edge.ask(aliases, signed_in=False).json()["errors"][0]["extensions"]["code"] == "TOO_COSTLY"


def test_limits_are_settings_for_everybody_and_for_roles() -> None:
    rep = Actor(ActorKind.USER, reaches=(Reach(Role.REP),))
    both = Actor(ActorKind.USER, reaches=(Reach(Role.REP), Reach(Role.AUDITOR)))
    settings = Settings(limits={"depth": 8}, role_limits={"AUDITOR": {"cost": 50_000, "depth": 7}, "REP": {"depth": 9}})  # type: ignore[arg-type,dict-item]
    assert settings.limits_of(None) == ANONYMOUS
    assert settings.limits_of(rep).depth == 9
    assert settings.limits_of(both) == Limits(depth=9, cost=50_000)
    assert settings.limits_of(Actor(ActorKind.USER, reaches=(Reach(Role.DPO),))).depth == 8


@pytest.mark.parametrize(
    ("limits", "status", "code"), [({"page": 5}, 200, "INVALID"), ({"seconds": 0.000_001}, 504, "UNAVAILABLE")]
)
def test_a_page_size_and_a_time_are_limits_too(
    edge_home: Home, limits: dict[str, float], status: int, code: str
) -> None:
    with running(edge_home, SORTIE_LIMITS=json.dumps(limits)) as address:
        bearer = {"authorization": f"Bearer {edge_home.run('token', 'lei.zhang@example.com').stdout.strip()}"}
        query = {"query": "{accounts(first: 6){totalCount}}"}
        answer = httpx2.post(f"http://{address}/graphql", json=query, headers=bearer)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)


async def test_a_thousand_different_documents_leave_a_bounded_memory(ask: Ask) -> None:

    for number in range(KEPT_DOCUMENTS + 50):
        await ask(f"{{a{number}: __typename}}", None)
    assert len(schema.documents._known) == KEPT_DOCUMENTS


async def test_what_is_wrong_with_a_document_is_found_once_and_told_to_each_in_their_words(ask: Ask) -> None:

    nested = "{" * 250 + "a" + "}" * 250
    for text in ("{", "{nothing}", nested, "query A{__typename} query B{__typename}"):
        told = [await ask(text, None, language=language) for language in (Language.ZH, Language.EN, Language.ZH)]
        assert told[0].errors == told[2].errors, text
        assert schema.documents.find(text, None, ANONYMOUS) is schema.documents.find(text, None, ANONYMOUS)
    assert (await ask(nested, None)).errors != (await ask(nested, None, language=Language.EN)).errors
