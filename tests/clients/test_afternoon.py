"""An afternoon of a frontend developer: what a sales screen needs, by a browser's means alone, against a real server."""

import csv
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import Home, running

pytestmark = pytest.mark.xdist_group("afternoon")
DEALS = 8_800
PASSWORD = "拜访客户要带三样东西-2026"
AGENTS = [f"销售{number:02}" for number in range(30)]


def _write(path: Path, header: list[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _export(folder: Path) -> Path:
    """An export of 8,800 deals in the columns of the built-in mapping."""
    folder.mkdir()
    teams = [
        [name, "主管甲" if at % 2 else "主管乙", ("Central", "East", "West")[at % 3]] for at, name in enumerate(AGENTS)
    ]
    _write(folder / "sales_teams.csv", ["sales_agent", "manager", "regional_office"], teams)
    accounts = [[f"客户{number:03}有限公司", "medical", 2001, 12.5, 300, "China", ""] for number in range(80)]
    columns = ["account", "sector", "year_established", "revenue", "employees", "office_location", "subsidiary_of"]
    _write(folder / "accounts.csv", columns, accounts)
    _write(folder / "products.csv", ["product", "series", "sales_price"], [["监护仪", "M", 5000]])
    deals = []
    for at in range(DEALS):
        won, open_ = at % 4 == 0, at % 4 == 1
        stage, closed, value = (
            ("Won", "2026-06-30", 4000 + at) if won else ("Engaging", "", "") if open_ else ("Lost", "2026-05-01", 0)
        )
        deals.append(
            [f"D{at:05}", AGENTS[at % 30], "监护仪", f"客户{at % 80:03}有限公司", stage, "2026-03-01", closed, value]
        )
    columns = [
        "opportunity_id",
        "sales_agent",
        "product",
        "account",
        "deal_stage",
        "engage_date",
        "close_date",
        "close_value",
    ]
    _write(folder / "sales_pipeline.csv", columns, deals)
    return folder


@dataclass
class Screen:
    """What a person at a screen has: a session, and a token from it."""

    address: str
    email: str

    def __post_init__(self) -> None:
        self.client = httpx2.Client(base_url=f"http://{self.address}", headers={"accept-language": "zh-CN"}, timeout=60)
        signed_in = self.client.post("/auth/login", json={"email": self.email, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        self.client.headers["authorization"] = f"Bearer {self.client.post('/auth/token').json()['accessToken']}"

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a document that must have no errors."""
        answer = self.client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def change(self, operation: str, shown: str, /, **given: Any) -> Any:
        """The payload of a mutation."""
        kind = f"{operation[0].upper()}{operation[1:]}Input"
        query = (
            f"mutation($input: {kind}!) {{ {operation}(input: $input) {{ {shown} errors {{ path code message }} }} }}"
        )
        return self.ask(query, input=given)[operation]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = Home(tmp_path_factory.mktemp("afternoon") / "var")
    assert home.run("demo").returncode == 0
    brought = home.run("import", "crm", str(_export(home.path / "export")))
    assert brought.returncode == 0, brought.stderr
    for email in ("lei.zhang@example.com", "min.wang@example.com", "rui.gao@example.com"):
        done = home.run("user", "password", email, "--password-stdin", typed=PASSWORD)
        assert done.returncode == 0, done.stderr
    with running(home, SORTIE_REQUESTS_PER_MINUTE="100000") as address:
        yield address


Enter = Callable[[str], Screen]


@pytest.fixture
def enter(address: str) -> Iterator[Enter]:
    """Have somebody sign in by address; they leave at the end."""
    inside: list[Screen] = []

    def enter(email: str) -> Screen:
        inside.append(Screen(address, email))
        return inside[-1]

    yield enter
    for screen in inside:
        screen.client.close()


PAGE = "query($after: String) { opportunities(first: 100, after: $after) { edges { node { id name } } pageInfo { hasNextPage endCursor } } }"
PAGE_BY_AMOUNT = PAGE.replace("after: $after)", "after: $after, orderBy: AMOUNT_DESC)")


@pytest.mark.parametrize("query", [PAGE, PAGE_BY_AMOUNT])
def test_paging_through_8800_deals_while_rows_arrive(enter: Enter, query: str) -> None:
    """By offset, each deal that arrives at the top would show one row twice and, where one leaves, skip one."""
    ops, lei = enter("rui.gao@example.com"), enter("lei.zhang@example.com")
    account = lei.ask("{accounts(first: 1){edges{node{id}}}}")["accounts"]["edges"][0]["node"]["id"]
    before = ops.ask("{opportunities(first: 1){totalCount}}")["opportunities"]["totalCount"]
    assert before >= DEALS
    stop = threading.Event()
    made: list[str] = []

    def arrive() -> None:
        while not stop.is_set():
            given = {"clientKey": f"{id(query)}-{len(made)}", "name": f"新到的商机 {len(made)}", "accountId": account}
            money = {"amount": f"{len(made) % 7_000}.00", "currency": "CNY"}
            made.append(
                lei.change("createOpportunity", "opportunity { id }", **given, amount=money)["opportunity"]["id"]
            )

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        seen: list[str] = []
        after = None
        while True:
            page = ops.ask(query, after=after)["opportunities"]
            seen += [edge["node"]["id"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
    finally:
        stop.set()
        arriving.join()
    assert len(made) > 5, "rows arrived meanwhile"
    assert len(set(seen)) == len(seen), "no repeat"
    assert len(set(seen) - set(made)) == before, "no gap"


def test_a_sales_screen(enter: Enter) -> None:
    lei, min_ = enter("lei.zhang@example.com"), enter("min.wang@example.com")
    listed = lei.ask(
        '{opportunities(first: 5, filter: {open: true, stageKey: "proposal"}){edges{node{id name version}}}}'
    )
    deal = listed["opportunities"]["edges"][0]["node"]

    detail = "query($id: ID!) { node(id: $id) { ... on Opportunity { version name amount { amount currency } stage { key label } timeline(first: 5) { edges { node { __typename } } } contactRoles { contact { name } } } } }"
    opened = lei.ask(detail, id=deal["id"])["node"]
    assert opened["timeline"]["edges"]

    renamed = min_.change(
        "updateOpportunity",
        "opportunity { version }",
        id=deal["id"],
        expectedVersion=opened["version"],
        nextStep="请罗总看样机",
    )
    assert renamed["errors"] == []
    stale = lei.change(
        "updateOpportunity", "opportunity { version }", id=deal["id"], expectedVersion=opened["version"], name="改名"
    )
    assert [error["code"] for error in stale["errors"]] == ["STALE_VERSION"]
    assert stale["errors"][0]["path"] == ["expectedVersion"]
    now = lei.ask(detail, id=deal["id"])["node"]
    assert now["name"] == opened["name"]

    moved = lei.change(
        "moveOpportunity",
        "opportunity { version stage { key } }",
        id=deal["id"],
        expectedVersion=now["version"],
        stageKey="negotiate",
    )
    assert moved["errors"] == []
    assert (moved["errors"], moved["opportunity"]["stage"]["key"]) == ([], "negotiate")

    given = {
        "source": "展会",
        "externalId": "booth-1",
        "name": "费南征",
        "phone": "13900017788",
        "company": "甬江泵业有限公司",
        "region": "华东",
    }
    lead = lei.change("captureLead", "lead { id version }", **given)["lead"]
    claimed = lei.change("claimLead", "lead { version }", id=lead["id"])
    assert claimed["errors"] == []
    answered = lei.change(
        "respondToLead",
        "lead { version status firstRespondedAt }",
        leadId=lead["id"],
        kind="CALL",
        subject="回电",
        clientKey="call-1",
    )
    assert answered["lead"]["status"] == "WORKING"
    converted = lei.change(
        "convertLead",
        "lead { status } opportunity { id account { name } timeline(first: 9) { edges { node { __typename } } } }",
        leadId=lead["id"],
        expectedVersion=answered["lead"]["version"],
        clientKey="convert-1",
    )
    assert converted["errors"] == []
    assert converted["opportunity"]["account"]["name"] == "甬江泵业有限公司"
    assert converted["opportunity"]["timeline"]["edges"], "the call came along"

    for words in ("甬江", "泵业", "费南征", "13900017788"):
        hits = lei.ask("query($q: String!) { searchRecords(query: $q) { kind title } }", q=words)["searchRecords"]
        assert hits, words
    kept = lei.change(
        "createSavedView",
        "savedView { id name filter }",
        clientKey="view-1",
        name="我的谈判",
        entity="Opportunity",
        filter={"stageKey": "negotiate"},
    )
    assert kept["errors"] == []
