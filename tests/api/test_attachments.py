"""Attachments over GraphQL: on every kind of record, newest first, once per key, and gone when removed."""

from typing import Any

from sqlalchemy import func, select

from domain.attachments import Attachment
from domain.ledger import AuditEvent
from tests.api.conftest import Ask, Company, Statements

FIELDS = (
    "id version title kind url documentId mediaType sizeBytes sha256 addedBy { displayName } subject { __typename id }"
)
ADD = f"mutation($input: AddAttachmentInput!) {{ addAttachment(input: $input) {{ attachment {{ {FIELDS} }} errors {{ path code message }} }} }}"
UPDATE = f"mutation($input: UpdateAttachmentInput!) {{ updateAttachment(input: $input) {{ attachment {{ {FIELDS} }} errors {{ path code }} }} }}"
REMOVE = (
    "mutation($input: RemoveAttachmentInput!) { removeAttachment(input: $input) { attachmentId errors { path code } } }"
)
DOCUMENT = {
    "title": "技术方案 第三版",
    "kind": "PROPOSAL",
    "url": "https://docs.example.cn/方案.pdf",
    "sizeBytes": 3_000_000_000,
}


async def add(company: Company, ask: Ask, subject: str, key: str = "附件-1", **more: Any) -> dict[str, Any]:
    answer = await ask(ADD, input={"clientKey": key, "subjectId": subject} | DOCUMENT | more)
    assert answer.errors == []
    assert answer.data["addAttachment"]["errors"] == []
    return dict(answer.data["addAttachment"]["attachment"])


async def counts(company: Company) -> list[int]:
    async with company.database.read() as connection:
        found = [
            await connection.execute(select(func.count()).select_from(model)) for model in (Attachment, AuditEvent)
        ]
    return [one.scalar_one() for one in found]


ON = "query($id: ID!) { node(id: $id) { ... on Account { attachments { title } } ... on Contact { attachments { title } } ... on Lead { attachments { title } } ... on Opportunity { attachments(last: 1) { title } } ... on Activity { attachments { title } } } }"


async def test_documents_are_added_to_records_and_come_newest_first(company: Company, ask: Ask) -> None:
    activity = (await ask("{ activities(first: 1) { edges { node { id } } } }")).data["activities"]["edges"][0]["node"][
        "id"
    ]
    rows = (
        company.accounts["hospital"],
        company.contacts["hospital"],
        company.leads["mine"],
        company.deals["hospital-1"],
    )
    for number, subject in enumerate([*map(company.id, rows), activity]):
        added = await add(company, ask, subject, f"{number}-1")
        assert (added["subject"]["id"], added["sizeBytes"], added["addedBy"]) == (
            subject, 3_000_000_000, {"displayName": "张磊"},
        )  # fmt: skip
        await add(company, ask, subject, f"{number}-2", title="合同")
        titles = [found["title"] for found in (await ask(ON, id=subject)).data["node"]["attachments"]]
        assert titles == (["合同"] if subject.startswith("opp") else ["合同", "技术方案 第三版"])


async def test_a_document_is_added_once_changed_and_removed(company: Company, ask: Ask) -> None:
    subject = company.id(company.deals["hospital-1"])
    added = await add(company, ask, subject)
    before = await counts(company)
    assert await add(company, ask, subject) == added
    assert await counts(company) == before
    words = {"id": added["id"], "expectedVersion": 1}
    changed = (await ask(UPDATE, input=words | {"url": None, "documentId": "DOC-1", "sizeBytes": None})).data[
        "updateAttachment"
    ]
    assert (changed["errors"], changed["attachment"]["documentId"], changed["attachment"]["url"], changed["attachment"]["sizeBytes"]) == (
        [], "DOC-1", None, None,
    )  # fmt: skip
    stale = (await ask(REMOVE, input=words)).data["removeAttachment"]
    assert stale == {"attachmentId": None, "errors": [{"path": ["expectedVersion"], "code": "STALE_VERSION"}]}
    gone = (await ask(REMOVE, input=words | {"expectedVersion": 2})).data["removeAttachment"]
    assert gone == {"attachmentId": added["id"], "errors": []}
    assert (await ask(ON, id=subject)).data == {"node": {"attachments": []}}


async def test_refusals_say_where_and_change_nothing(company: Company, ask: Ask) -> None:
    mine, foreign = company.id(company.deals["hospital-1"]), company.id(company.deals["device-1"])
    before = await counts(company)
    wrong: list[tuple[str, str, dict[str, Any], list[str], str]] = [
        ("lei", mine, {"url": "javascript:alert(1)"}, ["url"], "INVALID"),
        ("lei", mine, {"documentId": "DOC-1"}, ["url"], "INVALID"),
        ("lei", mine, {"title": "长" * 301}, ["title"], "INVALID"),
        ("lei", mine, {"sizeBytes": 0.5}, ["sizeBytes"], "INVALID"),
        ("lei", foreign, {}, ["subjectId"], "NOT_FOUND"),
        ("lei", company.user("lei"), {}, ["subjectId"], "NOT_FOUND"),
        ("lei", "什么都不是", {}, ["subjectId"], "NOT_FOUND"),
        ("FINANCE", mine, {}, ["subjectId"], "NOT_FOUND"),
        ("LEGAL", mine, {}, [], "FORBIDDEN"),
        ("AUDITOR", mine, {}, [], "FORBIDDEN"),
    ]
    for who, subject, changes, path, code in wrong:
        answer = await ask(ADD, who, input={"clientKey": "1", "subjectId": subject} | DOCUMENT | changes)
        (error,) = answer.data["addAttachment"]["errors"]
        assert (error["path"], error["code"]) == (path, code), changes
    assert await counts(company) == before


async def test_documents_of_many_records_cost_one_statement(company: Company, ask: Ask, statements: Statements) -> None:
    for number, key in enumerate(("hospital-1", "hospital-2", "parts-1")):
        await add(company, ask, company.id(company.deals[key]), str(number))
    statements.seen.clear()
    answer = await ask("{ opportunities { edges { node { attachments { title url } } } } }")
    assert sum(len(edge["node"]["attachments"]) for edge in answer.data["opportunities"]["edges"]) == 3
    assert len(statements) == 2
    foreign = await ask("{ opportunities { edges { node { attachments { title } } } } }", "na")
    assert all(edge["node"]["attachments"] == [] for edge in foreign.data["opportunities"]["edges"])
    blind = await ask("{ opportunities { edges { node { attachments { title } } } } }", "FINANCE")
    assert len(blind.data["opportunities"]["edges"]) == 9
    assert all(edge["node"]["attachments"] == [] for edge in blind.data["opportunities"]["edges"])
