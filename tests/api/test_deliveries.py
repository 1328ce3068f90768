"""Letting released answers leave over the schema: who may, what they are told, and what others see of it."""

from typing import Any

import pytest

from api.reads import read_id
from assistant import deliveries
from assistant.deliveries import Sent, Unsent
from assistant.model import Disposition, Generation
from domain import accounts, consent
from domain.accounts import Channel, Contact
from domain.consent import ConsentStatus
from domain.kernel import SYSTEM
from tests.api.conftest import Ask, Company

DRAFT = """mutation($input: DraftReactivationScriptInput!) { draftReactivationScript(input: $input) {
  generation { id disposition } errors { code message } } }"""
FIELDS = """id version state route endpoint channel words contentDigest attempts problem dueAt endedAt requestedBy { displayName }
  generation { id disposition } contact { name } consentReceipt { decision channel } replies { outcome words recordedBy { displayName } }"""
SEND = f"""mutation($input: SendGenerationInput!) {{ sendGeneration(input: $input) {{ delivery {{ {FIELDS} }} errors {{ path code message }} }} }}"""
LIST = f"""query($filter: DeliveryFilter) {{ deliveries(filter: $filter) {{ edges {{ node {{ {FIELDS} }} }} totalCount }} }}"""
REPLY = f"""mutation($input: RecordReplyInput!) {{ recordReply(input: $input) {{ delivery {{ {FIELDS} }} errors {{ path code message }} }} }}"""
RETRY = f"""mutation($input: DeliveryActionInput!) {{ retryDelivery(input: $input) {{ delivery {{ {FIELDS} }} errors {{ path code message }} }} }}"""
CLOSE = f"""mutation($input: CloseDeliveryInput!) {{ closeDelivery(input: $input) {{ delivery {{ {FIELDS} }} errors {{ path code message }} }} }}"""


@pytest.fixture
async def script(ask: Ask, company: Company) -> str:
    """A script to a customer who said yes on WeChat, released by a person."""
    lead = company.leads["mine"]
    async with company.database.open_uow(SYSTEM) as uow:
        contact = await uow.session.get(Contact, lead.contact_id)
        assert contact is not None
        await accounts.add_contact_point(uow, contact, Channel.WECHAT, "wx_mine")
        await consent.record(
            uow, contact_id=contact.id, purpose="sales_follow_up", channel=Channel.WECHAT, status=ConsentStatus.OPT_IN, source="微信菜单"
        )  # fmt: skip
    given = {"leadId": company.id(lead), "channel": "WECHAT", "clientKey": "s1"}
    drafted = (await ask(DRAFT, "lei", input=given)).data["draftReactivationScript"]["generation"]
    assert drafted["disposition"] == "NEEDS_APPROVAL"
    return str(drafted["id"])


async def release(company: Company, id: str) -> None:
    found = read_id(id)
    assert found is not None
    async with company.database.open_uow(company.people["min"]) as uow:
        generation = await uow.session.get(Generation, found.id)
        assert generation is not None
        generation.disposition = Disposition.APPROVED
        uow.note("generation.approved", generation)


def copy(id: str, **more: Any) -> dict[str, Any]:
    return {"clientKey": "k1", "generationId": id, "route": "COPY"} | more


async def test_a_copy_leaves_once_and_others_see_it_by_their_roles(ask: Ask, company: Company, script: str) -> None:
    early = (await ask(SEND, "lei", input=copy(script))).data["sendGeneration"]
    assert early["errors"][0]["code"] == "CONFLICT"
    assert "尚未获准发出" in early["errors"][0]["message"]
    await release(company, script)
    sent = (await ask(SEND, "lei", input=copy(script))).data["sendGeneration"]
    assert sent["errors"] == []
    delivery = sent["delivery"]
    assert (delivery["state"], delivery["channel"], delivery["contact"]["name"]) == ("SENT", "WECHAT", "线索mine")
    assert delivery["consentReceipt"] == {"decision": "ALLOW", "channel": "WECHAT"}
    assert delivery["words"].endswith("（本消息由 AI 辅助起草，经人工审核后发送）")
    again = (await ask(SEND, "lei", input=copy(script))).data["sendGeneration"]
    assert again["delivery"]["id"] == delivery["id"]

    for who, sees in (("lei", 1), ("min", 1), ("AUDITOR", 1), ("na", 0)):
        found = (await ask(LIST, who)).data["deliveries"]
        assert found["totalCount"] == sees, who
    assert (await ask(LIST, "CURATOR")).codes == ["FORBIDDEN"]
    nobody = (await ask(SEND, "na", input=copy(script, clientKey="k2"))).data["sendGeneration"]
    assert nobody["errors"][0]["code"] == "NOT_FOUND"
    auditor = await ask(SEND, "AUDITOR", input=copy(script))
    assert auditor.codes == ["FORBIDDEN"] or auditor.data["sendGeneration"]["errors"][0]["code"] == "FORBIDDEN"


async def test_a_route_without_a_way_out_is_told(ask: Ask, company: Company, script: str) -> None:
    await release(company, script)
    refused = (await ask(SEND, "lei", input=copy(script, route="WECOM"))).data["sendGeneration"]
    assert refused["errors"][0] == {
        "path": ["endpoint"],
        "code": "INVALID",
        "message": "WECOM 没有名为“”的出口；可用：-",
    }


async def test_what_failed_waits_for_a_person_and_replies_are_kept(ask: Ask, company: Company, script: str) -> None:
    await release(company, script)
    found = read_id(script)
    assert found is not None
    async with company.database.open_uow(company.people["lei"]) as uow:
        row = await deliveries.send(uow, generation_id=found.id, route=deliveries.DeliveryRoute.WECOM, endpoint="群")
    parcel = await deliveries.claim(company.database, row.id)
    assert parcel is not None
    await deliveries.settle(company.database, parcel, Unsent("HTTP 410", again=False))
    dead = (await ask(LIST, "lei", filter={"state": "FAILED"})).data["deliveries"]["edges"][0]["node"]
    assert (dead["problem"], dead["attempts"], dead["endpoint"]) == ("HTTP 410", 1, "群")
    stale = await ask(RETRY, "lei", input={"id": dead["id"], "expectedVersion": dead["version"] - 1})
    assert stale.data["retryDelivery"]["errors"][0]["code"] == "STALE_VERSION"
    again = await ask(RETRY, "lei", input={"id": dead["id"], "expectedVersion": dead["version"]})
    assert again.data["retryDelivery"]["delivery"]["state"] == "WAITING"
    parcel = await deliveries.claim(company.database, row.id)
    assert parcel is not None
    await deliveries.settle(company.database, parcel, Sent("42"))
    replied = await ask(REPLY, "lei", input={"deliveryId": dead["id"], "outcome": "DECLINED", "words": "不用了"})
    delivery = replied.data["recordReply"]["delivery"]
    assert delivery["replies"] == [{"outcome": "DECLINED", "words": "不用了", "recordedBy": {"displayName": "张磊"}}]
    over = await ask(
        CLOSE, "lei", input={"id": dead["id"], "expectedVersion": delivery["version"], "sent": False, "reason": "x"}
    )
    assert over.data["closeDelivery"]["errors"][0]["code"] == "CONFLICT"
