"""The four operations as Sortie and as the peer are asked them, and both answers in one neutral form."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

STAGES = ("PROSPECT", "QUALIFIED", "PROPOSAL", "NEGOTIATION", "WON", "LOST")
REQUESTS = 1_000
KINDS = ("CALL", "EMAIL", "MEETING", "NOTE")
USER, OPPORTUNITY = 1, 9
"""The kinds of ids in sortie.sql."""
_PREFIXES = {USER: "usr", OPPORTUNITY: "opp"}

Q1 = """query Q1($id: ID!) { node(id: $id) { ... on Opportunity { id name stage { key } amount { amount currency } closeDate
 account { id name industry contacts(first: 20) { edges { node { id name contactPoints { channel masked } } } } } owner { id name email } } } }"""
Q2 = """query Q2($stage: String!, $owner: ID!) { opportunities(first: 50, filter: {stageKey: $stage, ownerId: $owner}, orderBy: AMOUNT_DESC) {
 edges { node { id name stage { key } amount { amount currency } account { name } owner { name } activities(last: 3) { id kind subject occurredAt } } } } }"""
Q3 = "query Q3 { pipelineByStage { stage { key } count totals { amount currency } } }"
M1 = """mutation M1($input: LogActivityInput!) { logActivity(input: $input) { activity { id kind subject occurredAt relatedTo { id ... on Opportunity { name } } } errors { code message } } }"""

PEER_Q1 = """query Q1($id: Int!) { opportunity: opportunityById(id: $id) { id name stage amount closeDate
 account: accountByAccountId { id name industry contacts: contactsByAccountIdList(orderBy: [ID_ASC]) { id firstName lastName email } } owner: userByOwnerId { id name email } } }"""
PEER_Q2 = """query Q2($stage: String!, $owner: Int!) { opportunities: allOpportunitiesList(condition: {stage: $stage, ownerId: $owner}, orderBy: [AMOUNT_DESC, ID_ASC], first: 50) {
 id name stage amount account: accountByAccountId { name } owner: userByOwnerId { name } activities: activitiesByOpportunityIdList(first: 3, orderBy: [ID_DESC]) { id kind subject createdAt } } }"""
PEER_Q3 = "query Q3 { pipelineByStage: pipelineByStageList { stage count totalAmount } }"
PEER_M1 = """mutation M1($o: Int!, $u: Int!, $k: String!, $s: String!) { logActivity: createActivity(input: {activity: {opportunityId: $o, ownerId: $u, kind: $k, subject: $s}}) {
 activity { id kind subject createdAt opportunity: opportunityByOpportunityId { id name } } } }"""


@dataclass(frozen=True)
class Deal:
    """An opportunity of the dataset with whose it is."""

    id: int
    owner: int


@dataclass(frozen=True)
class Request:
    """One request: the same question in both schemas, and who asks it of Sortie."""

    owner: int
    ours: Mapping[str, Any]
    peer: Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One of the four: its documents, its requests, and how its answers are brought to one form."""

    name: str
    ours: str
    peer: str
    requests: Callable[[Sequence[Deal]], Iterator[Request]]
    our_answer: Callable[[Any], Any]
    peer_answer: Callable[[Any], Any]

    def lines(self, deals: Sequence[Deal], token: Callable[[int], str]) -> Iterator[tuple[str, bytes]]:
        """What Sortie is asked: token and body; `token` gives that of whose deal it is about."""
        for request in self.requests(deals):
            yield token(request.owner), orjson.dumps({"query": self.ours, "variables": request.ours})

    def peer_lines(self, deals: Sequence[Deal]) -> Iterator[tuple[str, bytes]]:
        """What the peer is asked, which knows nobody."""
        for request in self.requests(deals):
            yield "", orjson.dumps({"query": self.peer, "variables": request.peer})


def global_id(kind: int, number: int) -> str:
    """The id in Sortie of a row of the dataset."""
    return f"{_PREFIXES[kind]}_019b76d000{kind:02x}70008000{number:012x}"


def number_of(id: str) -> int:
    """The number of the row that an id comes from."""
    return int(id[-12:], 16)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def _of_one(deals: Sequence[Deal]) -> Iterator[Request]:
    for deal in deals:
        yield Request(deal.owner, {"id": global_id(OPPORTUNITY, deal.id)}, {"id": deal.id})


def _of_many(deals: Sequence[Deal]) -> Iterator[Request]:
    owners = sorted({deal.owner for deal in deals})
    for at in range(len(deals)):
        owner, stage = owners[at % len(owners)], STAGES[at // len(owners) % len(STAGES)]
        yield Request(owner, {"stage": stage, "owner": global_id(USER, owner)}, {"stage": stage, "owner": owner})


def _of_all(deals: Sequence[Deal]) -> Iterator[Request]:
    for deal in deals:
        yield Request(deal.owner, {}, {})


def _writes(deals: Sequence[Deal]) -> Iterator[Request]:
    for at, deal in enumerate(deals):
        kind, subject = KINDS[at % len(KINDS)], f"Call {at}"
        ours = {"clientKey": "@KEY@", "relatedToId": global_id(OPPORTUNITY, deal.id), "kind": kind, "subject": subject}
        yield Request(deal.owner, {"input": ours}, {"o": deal.id, "u": deal.owner, "k": kind, "s": subject})


# ---- what is answered ------------------------------------------------------------------------------------------------


def _cents(money: Any) -> int:
    return round(float(money["amount"] if isinstance(money, dict) else money) * 100)


def _our_deal(row: Any) -> dict[str, Any]:
    common = {"id": number_of(row["id"]), "name": row["name"], "stage": row["stage"]["key"]}
    return common | {"cents": _cents(row["amount"]), "owner": row["owner"]["name"]}


def _peer_deal(row: Any) -> dict[str, Any]:
    common = {"id": row["id"], "name": row["name"], "stage": row["stage"]}
    return common | {"cents": _cents(row["amount"]), "owner": row["owner"]["name"]}


def _our_one(data: Any) -> Any:
    row = data["node"]
    account, owner = row["account"], row["owner"]
    people = [edge["node"] for edge in account["contacts"]["edges"]]
    return _our_deal(row) | {
        "closes": row["closeDate"],
        "account": (number_of(account["id"]), account["name"], account["industry"]),
        "contacts": sorted((number_of(one["id"]), one["name"], len(one["contactPoints"])) for one in people),
        "who": (number_of(owner["id"]), owner["email"]),
    }


def _peer_one(data: Any) -> Any:
    row = data["opportunity"]
    account, owner = row["account"], row["owner"]
    return _peer_deal(row) | {
        "closes": row["closeDate"],
        "account": (account["id"], account["name"], account["industry"]),
        "contacts": sorted((one["id"], f"{one['firstName']} {one['lastName']}", 1) for one in account["contacts"]),
        "who": (owner["id"], owner["email"]),
    }


def _our_many(data: Any) -> Any:
    rows = [edge["node"] for edge in data["opportunities"]["edges"]]
    return [
        _our_deal(row)
        | {
            "account": row["account"] and row["account"]["name"],
            "last": [
                (number_of(one["id"]), one["kind"], one["subject"], one["occurredAt"][:26]) for one in row["activities"]
            ],
        }
        for row in rows
    ]


def _peer_many(data: Any) -> Any:
    return [
        _peer_deal(row)
        | {
            "account": row["account"]["name"],
            "last": [(one["id"], one["kind"], one["subject"], one["createdAt"][:26]) for one in row["activities"]],
        }
        for row in data["opportunities"]
    ]


def _our_all(data: Any) -> Any:
    rows = data["pipelineByStage"]
    return sorted((row["stage"]["key"], row["count"], [_cents(total) for total in row["totals"]]) for row in rows)


def _peer_all(data: Any) -> Any:
    return sorted((row["stage"], row["count"], [_cents(row["totalAmount"])]) for row in data["pipelineByStage"])


def _our_write(data: Any) -> Any:
    made = data["logActivity"]["activity"]
    return made["kind"], made["subject"], number_of(made["relatedTo"]["id"]), made["relatedTo"]["name"]


def _peer_write(data: Any) -> Any:
    made = data["logActivity"]["activity"]
    return made["kind"], made["subject"], made["opportunity"]["id"], made["opportunity"]["name"]


OPERATIONS = (
    Operation("Q1", Q1, PEER_Q1, _of_one, _our_one, _peer_one),
    Operation("Q2", Q2, PEER_Q2, _of_many, _our_many, _peer_many),
    Operation("Q3", Q3, PEER_Q3, _of_all, _our_all, _peer_all),
    Operation("M1", M1, PEER_M1, _writes, _our_write, _peer_write),
)
