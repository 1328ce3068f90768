"""Work items over the schema: opened once, found by who looks, ended by who may."""

from datetime import timedelta
from typing import Any

import pytest

from api.reads import read_id
from domain import work_items
from domain.kernel import Language, Role, Text
from domain.work_items import WorkKind
from tests.api.conftest import Ask, Company
from tests.factories import START, Clock

DIGEST = "a" * 64
FIELDS = """id version kind state overdue title reason queue dueAt acceptance contentDigest decision decidedAt decisionReason escalatedTo cancelReason
  subject { id } owner { name } openedBy { name } decidedBy { name } delegatedBy { name } evidence { criterion note recordId }"""
LIST = f"""query($filter: WorkItemFilter) {{ workItems(filter: $filter) {{ edges {{ node {{ {FIELDS} }} }} totalCount }} }}"""


def call(name: str) -> str:
    kind = "WorkItemReason" if name in {"escalateWorkItem", "cancelWorkItem"} else name[0].upper() + name[1:]
    return f"""mutation($input: {kind}Input!) {{ {name}(input: $input) {{ workItem {{ {FIELDS} }} errors {{ path code message }} }} }}"""


async def do(ask: Ask, who: str, name: str, **input: Any) -> Any:
    answer = await ask(call(name), who, input=input)
    assert answer.errors == []
    return answer.data[name]


async def refused(ask: Ask, who: str, name: str, **input: Any) -> tuple[str, list[str], str]:
    """The one refusal of a mutation: code, path and words; nothing has changed."""
    before = (await ask(LIST, "AUDITOR")).data
    told = await do(ask, who, name, **input)
    assert told["workItem"] is None
    assert (await ask(LIST, "AUDITOR")).data == before
    (error,) = told["errors"]
    return error["code"], error["path"], error["message"]


async def found(ask: Ask, who: str, **filter: Any) -> list[str]:
    answer = await ask(LIST, who, filter=filter)
    assert answer.errors == []
    titles = [edge["node"]["title"] for edge in answer.data["workItems"]["edges"]]
    assert answer.data["workItems"]["totalCount"] == len(titles)
    return titles


def task(company: Company, **more: Any) -> dict[str, Any]:
    return {
        "clientKey": "k1", "kind": "TASK", "subjectId": company.id(company.accounts["hospital"]), "title": "补签协议", "ownerId": company.user("lei"),
        "dueAt": (START + timedelta(days=2)).isoformat(), "acceptance": ["客户书面确认"],
    } | more  # fmt: skip


@pytest.fixture
async def approval(company: Company) -> str:
    """An approval in the queue of LEGAL, bound to a text."""
    async with company.database.open_uow(company.people["lei"]) as uow:
        item = await work_items.open_item(
            uow, kind=WorkKind.APPROVAL, subject=company.accounts["hospital"].ref(), title=Text("审批话术", "approve a script"), queue=Role.LEGAL,
            due_at=START + timedelta(hours=8), content_digest=DIGEST, territory_id=company.accounts["hospital"].territory_id,
        )  # fmt: skip
    return company.id(item)


async def test_a_task_is_opened_once_and_ended_with_evidence(ask: Ask, company: Company) -> None:
    first = await do(ask, "min", "createWorkItem", **task(company))
    assert first["errors"] == []
    item = first["workItem"]
    assert (item["state"], item["overdue"], item["owner"], item["openedBy"]) == ("OPEN", False, {"name": "张磊"}, {"name": "王敏"})  # fmt: skip
    assert item["subject"] == {"id": company.id(company.accounts["hospital"])}
    again = await do(ask, "min", "createWorkItem", **task(company))
    assert again["workItem"]["id"] == item["id"]
    other = await refused(ask, "min", "createWorkItem", **task(company, title="别的"))
    assert other == ("KEY_REUSED", ["clientKey"], "该 clientKey 已用于另一个内容不同的请求")

    end: dict[str, Any] = {"id": item["id"], "expectedVersion": item["version"], "decision": "ACCEPTED"}
    bare = await refused(ask, "lei", "decideWorkItem", **end)
    assert bare == ("INVALID", ["evidence"], "第 1 条验收标准缺少证据")
    shown = [{"criterion": 0, "note": "邮件已收到", "recordId": item["subject"]["id"]}]
    stale = await refused(ask, "lei", "decideWorkItem", **(end | {"evidence": shown, "expectedVersion": 7}))
    assert stale[:2] == ("STALE_VERSION", ["expectedVersion"])
    done = (await do(ask, "lei", "decideWorkItem", **end, evidence=shown))["workItem"]
    assert (done["state"], done["decidedBy"], done["evidence"]) == ("DONE", {"name": "张磊"}, shown)
    over = await refused(ask, "min", "cancelWorkItem", id=item["id"], expectedVersion=done["version"], reason="不办了")
    assert over == ("CONFLICT", ["id"], "这项工作已经结束")


async def test_an_approval_is_decided_by_its_queue_for_its_content(ask: Ask, approval: str) -> None:
    end: dict[str, Any] = {"id": approval, "expectedVersion": 1, "decision": "REJECTED", "reason": "措辞过头"}
    assert (await refused(ask, "lei", "decideWorkItem", **end, contentDigest=DIGEST))[0] == "FORBIDDEN"
    assert (await refused(ask, "FINANCE", "decideWorkItem", **end, contentDigest=DIGEST))[0] == "NOT_FOUND"
    assert (await refused(ask, "LEGAL", "decideWorkItem", **end))[:2] == ("INVALID", ["contentDigest"])
    other = await refused(ask, "LEGAL", "decideWorkItem", **end, contentDigest="b" * 64)
    assert other == ("CONFLICT", ["contentDigest"], "内容与送审时不一致，需要重新审批")
    done = (await do(ask, "LEGAL", "decideWorkItem", **end, contentDigest=DIGEST))["workItem"]
    assert (done["state"], done["decision"], done["decisionReason"]) == ("REJECTED", "REJECTED", "措辞过头")


async def test_refusals_are_told_in_english_to_who_reads_it(ask: Ask, approval: str) -> None:
    end = {"id": approval, "expectedVersion": 1, "decision": "ACCEPTED", "contentDigest": "b" * 64}
    answer = await ask(call("decideWorkItem"), "LEGAL", language=Language.EN, input=end)
    told = answer.data["decideWorkItem"]["errors"][0]["message"]
    assert told == "the content is not the one that was submitted: it needs an approval of its own"


async def test_an_item_is_handed_on_and_moved_up(ask: Ask, company: Company, approval: str) -> None:
    mine = {"id": approval, "expectedVersion": 1}
    stranger = await refused(ask, "LEGAL", "delegateWorkItem", **mine, ownerId=company.user("FINANCE"))
    assert stranger == ("INVALID", ["ownerId"], "该同事不存在、已停用，或没有所需的角色")
    handed = (await do(ask, "LEGAL", "delegateWorkItem", **mine, ownerId=company.user("LEGAL")))["workItem"]
    assert (handed["owner"], handed["delegatedBy"], handed["queue"]) == ({"name": "Legal"}, {"name": "Legal"}, "LEGAL")
    assert await found(ask, "EXECUTIVE") == []
    for version, to in ((2, "MANAGER"), (3, "EXECUTIVE")):
        up = await do(ask, "lei", "escalateWorkItem", id=approval, expectedVersion=version, reason="客户在等")
        assert up["workItem"]["escalatedTo"] == to
    top = await refused(ask, "lei", "escalateWorkItem", id=approval, expectedVersion=4, reason="客户在等")
    assert top == ("CONFLICT", ["id"], "已经升级到最高层级")
    assert await found(ask, "EXECUTIVE") == ["审批话术"]
    gone = (await do(ask, "lei", "cancelWorkItem", id=approval, expectedVersion=4, reason="客户撤回"))["workItem"]
    assert (gone["state"], gone["cancelReason"]) == ("CANCELLED", "客户撤回")


async def test_each_finds_what_concerns_them(ask: Ask, company: Company, approval: str, clock: Clock) -> None:
    await do(ask, "min", "createWorkItem", **task(company))
    deal = company.id(company.deals["device-1"])
    await do(ask, "na", "createWorkItem", **task(company, subjectId=deal, title="跟进试用", ownerId=company.user("na")))
    assert await found(ask, "lei") == ["审批话术", "补签协议"]
    assert await found(ask, "lei", mine=True) == ["补签协议"]
    assert await found(ask, "lei", mine=False) == ["审批话术"]
    assert await found(ask, "LEGAL", queue="LEGAL") == ["审批话术"]
    assert await found(ask, "FINANCE") == []
    assert await found(ask, "AUDITOR") == ["审批话术", "补签协议", "跟进试用"]
    assert await found(ask, "AUDITOR", subjectId=deal) == ["跟进试用"]
    assert await found(ask, "AUDITOR", kind="TASK", ownerId=company.user("lei")) == ["补签协议"]
    assert await found(ask, "AUDITOR", until=(START + timedelta(days=1)).isoformat()) == ["审批话术"]
    clock.advance(hours=9)
    assert await found(ask, "AUDITOR", overdue=True) == ["审批话术"]
    assert await found(ask, "AUDITOR", overdue=False) == ["补签协议", "跟进试用"]
    await do(ask, "lei", "cancelWorkItem", id=approval, expectedVersion=1, reason="客户撤回")
    assert await found(ask, "AUDITOR", overdue=True) == []
    assert await found(ask, "AUDITOR", state="CANCELLED") == ["审批话术"]
    assert await found(ask, "AUDITOR", state="OPEN") == ["补签协议", "跟进试用"]


async def test_what_cannot_be_met_is_not_opened(ask: Ask, company: Company) -> None:
    far = company.id(company.accounts["device"])
    assert (await refused(ask, "lei", "createWorkItem", **task(company, subjectId=far)))[:2] == ("NOT_FOUND", ["subjectId"])  # fmt: skip
    for words in ("nonsense", company.user("lei")):
        assert (await refused(ask, "lei", "createWorkItem", **task(company, subjectId=words)))[0] == "NOT_FOUND"
    past = (START - timedelta(days=1)).isoformat()
    assert (await refused(ask, "lei", "createWorkItem", **task(company, dueAt=past)))[:2] == ("INVALID", ["dueAt"])
    assert (await refused(ask, "lei", "createWorkItem", **task(company, ownerId=None)))[:2] == ("INVALID", ["ownerId"])
    long = await refused(ask, "lei", "createWorkItem", **task(company, title="长" * 2001))
    assert long == ("INVALID", ["title"], "title 不能超过 2000 个字符，收到 2001 个")
    assert read_id((await do(ask, "lei", "createWorkItem", **task(company)))["workItem"]["id"])
