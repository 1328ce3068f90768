"""The ways out against real receivers on this machine: a mail server, webhooks that check signatures, bots."""

import json
import socket
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from apprise.plugins.dingtalk import NotifyDingTalk
from apprise.plugins.feishu import NotifyFeishu
from apprise.plugins.wecombot import NotifyWeComBot
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

from api.outbound import Outbound, OutboundEndpoint, read_endpoints
from assistant.deliveries import DeliveryRoute, Parcel, Sent, Unsent
from domain.kernel import Invalid, Language

DELIVERY, GENERATION = UUID(int=7), UUID(int=8)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def parcel(route: DeliveryRoute, address: str | None = "zhou@example.cn") -> Parcel:
    return Parcel(
        DELIVERY,
        1,
        route,
        "出口",
        address,
        "关于「便携彩超」",
        "周敏您好，\n报价有效期到周五。",
        Language.ZH,
        GENERATION,
    )


def way(route: DeliveryRoute, url: str, **more: Any) -> Outbound:
    return Outbound({"出口": OutboundEndpoint.model_validate({"route": route, "url": url} | more)})


# ---- e-mail ----------------------------------------------------------------------------------------------------------


class Mailbox:
    """A mail server's inside: keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.says = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.says.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.says

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.came.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    inside = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(inside, hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield inside, f"smtp://127.0.0.1:{port}"
    finally:
        server.stop()


async def test_an_email_has_its_subject_its_words_and_says_that_it_was_generated(mailbox: tuple[Mailbox, str]) -> None:
    inside, url = mailbox
    outbound = way(DeliveryRoute.EMAIL, url, sender="澜溪医疗 <sales@example.cn>")
    sent = await outbound.send(parcel(DeliveryRoute.EMAIL))
    (message,) = inside.came
    assert isinstance(sent, Sent)
    assert sent.provider_id == message["Message-ID"]
    assert DELIVERY.hex in message["Message-ID"]
    assert (message["Subject"], message["To"]) == ("关于「便携彩超」", "zhou@example.cn")
    assert message["From"] == "澜溪医疗 <sales@example.cn>"
    assert message["X-AI-Generated"] == "assisted"
    assert message.get_content().replace("\r\n", "\n").strip() == "周敏您好，\n报价有效期到周五。"


@pytest.mark.parametrize(("says", "again"), [("451 later", True), ("550 no such user", False)])
async def test_what_a_mail_server_refuses_is_told_without_the_address(
    mailbox: tuple[Mailbox, str], says: str, again: bool
) -> None:
    inside, url = mailbox
    inside.says = says
    refused = await way(DeliveryRoute.EMAIL, url, sender="a@example.cn").send(parcel(DeliveryRoute.EMAIL))
    assert refused == Unsent(f"SMTP {says[:3]}", again=again)
    assert inside.came == []


async def test_nobody_at_the_address_is_tried_again() -> None:
    found = await way(DeliveryRoute.EMAIL, "smtp://127.0.0.1:9", sender="a@example.cn").send(
        parcel(DeliveryRoute.EMAIL)
    )
    assert found == Unsent("ConnectionRefusedError", again=True)


# ---- webhooks --------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_signed_and_named_by_the_delivery(httpserver: HTTPServer) -> None:
    seen: list[Request] = []

    def take(request: Request) -> Response:
        seen.append(request)
        return Response(status=204)

    httpserver.expect_request("/hook", method="POST").respond_with_handler(take)
    outbound = way(DeliveryRoute.WEBHOOK, httpserver.url_for("/hook"), secret=SECRET)
    assert await outbound.send(parcel(DeliveryRoute.WEBHOOK)) == Sent(f"msg_{DELIVERY.hex}")
    assert await outbound.send(parcel(DeliveryRoute.WEBHOOK)) == Sent(f"msg_{DELIVERY.hex}")
    for request in seen:
        told = Webhook(SECRET).verify(request.get_data(), dict(request.headers.items()))
        assert told["data"]["text"] == "周敏您好，\n报价有效期到周五。"
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    assert len({request.headers["webhook-id"] for request in seen}) == 1, "the receiver knows the repeated one"


@pytest.mark.parametrize(("status", "again"), [(503, True), (429, True), (410, False), (400, False), (302, False)])
async def test_what_a_receiver_answers_decides_whether_it_is_called_again(
    httpserver: HTTPServer, status: int, again: bool
) -> None:
    httpserver.expect_request("/hook").respond_with_data("", status=status, headers={"location": "http://127.0.0.1:9/"})
    outbound = way(DeliveryRoute.WEBHOOK, httpserver.url_for("/hook"), secret=SECRET)
    assert await outbound.send(parcel(DeliveryRoute.WEBHOOK)) == Unsent(f"HTTP {status}", again=again)


async def test_an_endpoint_that_is_gone_is_not_looked_for_again() -> None:
    assert await Outbound({}).send(parcel(DeliveryRoute.WEBHOOK)) == Unsent(
        "the endpoint is not configured any more", again=False
    )


# ---- bots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "plugin", "url", "fine"),
    [
        (DeliveryRoute.WECOM, NotifyWeComBot, "wecombot://0123456789abcdef", {"errcode": 0}),
        (DeliveryRoute.DINGTALK, NotifyDingTalk, "dingtalk://0123456789abcdef", {"errcode": 0}),
        (DeliveryRoute.FEISHU, NotifyFeishu, "feishu://0123456789abcdef", {"code": 0, "StatusCode": 0}),
    ],
)
async def test_bots_post_the_words_and_failures_are_tried_again(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, route: DeliveryRoute, plugin: Any, url: str, fine: Any
) -> None:
    monkeypatch.setattr(plugin, "notify_url", httpserver.url_for("/bot"))
    httpserver.expect_ordered_request("/bot", method="POST").respond_with_json(fine)
    httpserver.expect_ordered_request("/bot", method="POST").respond_with_data("", status=500)
    outbound = way(route, url)
    assert await outbound.send(parcel(route)) == Sent()
    assert "周敏您好" in json.dumps(httpserver.log[0][0].get_json(), ensure_ascii=False)
    assert await outbound.send(parcel(route)) == Unsent("the bot did not take it", again=True)


# ---- the file of endpoints -------------------------------------------------------------------------------------------


def test_the_file_names_ways_and_takes_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    file = tmp_path / "outbound.toml"
    file.write_text(
        '["客户邮件"]\nroute = "EMAIL"\nurl = "smtps://u:p@smtp.example.cn"\nsender = "a@example.cn"\n'
        '[crm]\nroute = "WEBHOOK"\nurl = "https://crm.example.cn/hook"\nsecret = "env:HOOK_SECRET"\n',
        encoding="utf-8",
    )
    outbound = read_endpoints(file)
    assert outbound.named(None, DeliveryRoute.EMAIL) == "客户邮件"
    assert outbound.named(None, DeliveryRoute.COPY) is None
    assert SECRET not in repr(outbound.endpoints)
    with pytest.raises(Invalid) as refused:
        outbound.named("短信", DeliveryRoute.EMAIL)
    assert "可用：客户邮件" in refused.value.text.zh
    with pytest.raises(Invalid):
        outbound.named(None, DeliveryRoute.WECOM)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[a]\nroute = "EMAIL"\nurl = "smtp://127.0.0.1"\n', "EMAIL needs a sender"),
        ('[a]\nroute = "WEBHOOK"\nurl = "https://x.cn"\n', "WEBHOOK needs a secret"),
        ('[a]\nroute = "WEBHOOK"\nurl = "http://x.cn"\nsecret = "s"\n', "called by https"),
        ('[a]\nroute = "WECOM"\nurl = "https://x.cn"\n', "begins with wecombot://"),
        ('[a]\nroute = "FAX"\nurl = "https://x.cn"\n', "route"),
        ('[a]\nroute = "WEBHOOK"\nurl = "env:NO_SUCH_THING"\nsecret = "s"\n', "the environment has no NO_SUCH_THING"),
        ('[a]\nroute = "COPY"\nurl = "https://x.cn"\n', "COPY needs no endpoint"),
        ("[a\n", "outbound.toml"),
    ],
)
def test_a_file_that_cannot_be_is_told_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "outbound.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        read_endpoints(file)
    assert says in refused.value.text.en
    assert "无法读取出口配置" in refused.value.text.zh
    with pytest.raises(Invalid):
        read_endpoints(tmp_path / "none.toml")
