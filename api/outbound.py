"""The ways on which released texts leave: e-mail, the bots of WeCom, DingTalk and Feishu, signed webhooks; and the sending itself."""

import asyncio
import logging
import os
import smtplib
import ssl
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import make_msgid
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from assistant import deliveries
from assistant.deliveries import DeliveryRoute, Parcel, Sent, Unsent
from domain.kernel import Database, Invalid, Text

log = logging.getLogger("sortie.outbound")

SECONDS = 20
"""How long a route has for one text."""
SCHEMES = {
    DeliveryRoute.EMAIL: ("smtp", "smtps"),
    DeliveryRoute.WEBHOOK: ("https", "http"),
    DeliveryRoute.WECOM: ("wecombot",),
    DeliveryRoute.DINGTALK: ("dingtalk",),
    DeliveryRoute.FEISHU: ("feishu",),
}
"""How the address of each route begins; the bots' are those of the library apprise."""
PASSING = frozenset({408, 425, 429})
"""What a receiver answers to whom it would hear another time."""
SERVER_ERROR, OK, REDIRECTED = 500, 200, 300
SMTP_TEMPORARY, SMTP_FINAL = 400, 500


class OutboundEndpoint(BaseModel):
    """One way out, as the file of them names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: DeliveryRoute
    url: SecretStr
    sender: Annotated[str, Field(min_length=3)] | None = None
    secret: SecretStr | None = None
    label: str = ""

    @field_validator("url", "secret", mode="before")
    @classmethod
    def _from_environment(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("env:"):
            found = os.environ.get(value.removeprefix("env:"))
            if not found:
                raise ValueError(f"the environment has no {value.removeprefix('env:')}")
            return found
        return value

    @model_validator(mode="after")
    def _fits(self) -> "OutboundEndpoint":
        if self.route is DeliveryRoute.COPY:
            raise ValueError("COPY needs no endpoint")
        url = urlsplit(self.url.get_secret_value())
        if url.scheme not in SCHEMES[self.route]:
            raise ValueError(f"the url of {self.route.value} begins with {' or '.join(SCHEMES[self.route])}://")
        if self.route is DeliveryRoute.EMAIL and self.sender is None:
            raise ValueError("EMAIL needs a sender")
        if self.route is DeliveryRoute.WEBHOOK and self.secret is None:
            raise ValueError("WEBHOOK needs a secret with which it is signed")
        if url.scheme in {"http", "smtp"} and not _here(url) and self.route is DeliveryRoute.WEBHOOK:
            raise ValueError("a webhook beyond this machine is called by https")
        return self


def _here(url: SplitResult) -> bool:
    try:
        return ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


class Outbound:
    """The ways out of an installation, by name."""

    def __init__(self, endpoints: Mapping[str, OutboundEndpoint]) -> None:
        self.endpoints = endpoints

    def named(self, name: str | None, route: DeliveryRoute) -> str | None:
        """The way that is meant: the one named, or the only one of the route; None for a copy, which needs none.

        Raises Invalid for a name that is not there or is of another route, and for a route without a way or with several.
        """
        if route is DeliveryRoute.COPY:
            return None
        fitting = sorted(key for key, endpoint in self.endpoints.items() if endpoint.route is route)
        if name in fitting:
            return name
        if name is None and len(fitting) == 1:
            return fitting[0]
        shown = "、".join(fitting) or "-"
        words = Text(
            f"{route.value} 没有名为“{name or ''}”的出口；可用：{shown}",
            f"{route.value} has no endpoint “{name or ''}”; there are: {', '.join(fitting) or 'none'}",
        )
        raise Invalid(words, ("endpoint",))

    async def send(self, parcel: Parcel) -> Sent | Unsent:
        """Send one text once; whatever goes wrong is told, without a word of the text or its address."""
        endpoint = self.endpoints.get(parcel.endpoint)
        if endpoint is None or endpoint.route is not parcel.route:
            return Unsent("the endpoint is not configured any more", again=False)
        try:
            async with asyncio.timeout(SECONDS + 5):
                if endpoint.route is DeliveryRoute.WEBHOOK:
                    return await _call(endpoint, parcel)
                way = _mail if endpoint.route is DeliveryRoute.EMAIL else _tell_bot
                return await asyncio.to_thread(way, endpoint, parcel)
        except TimeoutError:
            return Unsent("no answer in time", again=True)


NO_WAY_OUT = Outbound({})


async def _call(endpoint: OutboundEndpoint, parcel: Parcel) -> Sent | Unsent:
    """Call a webhook as Standard Webhooks has it: its id is the delivery's, so that a repeated call is known for one."""
    import httpx2
    from standardwebhooks import Webhook

    secret, now = endpoint.secret, datetime.now(UTC)  # noqa: TID251 - the receiver compares it with its own clock
    assert secret is not None  # noqa: S101 - the settings say so
    body = orjson.dumps({
        "type": "generation.released",
        "timestamp": now.isoformat(timespec="seconds"),
        "data": {
            "deliveryId": parcel.delivery_id.hex, "generationId": parcel.generation_id.hex, "address": parcel.address, "subject": parcel.subject,
            "text": parcel.words, "language": parcel.language.value,
        },
    }).decode()  # fmt: skip
    name = f"msg_{parcel.delivery_id.hex}"
    headers = {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret.get_secret_value()).sign(name, now, body),
    }
    try:
        async with httpx2.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
            answer = await client.post(endpoint.url.get_secret_value(), content=body, headers=headers)
    except httpx2.HTTPError as error:
        return Unsent(type(error).__name__, again=True)
    if OK <= answer.status_code < REDIRECTED:
        return Sent(name)
    again = answer.status_code in PASSING or answer.status_code >= SERVER_ERROR
    return Unsent(f"HTTP {answer.status_code}", again=again)


def _mail(endpoint: OutboundEndpoint, parcel: Parcel) -> Sent | Unsent:
    """Hand an e-mail to the mail server; a plain connection is made safe by STARTTLS unless the server is this machine."""
    if parcel.address is None:
        return Unsent("no address", again=False)
    url = urlsplit(endpoint.url.get_secret_value())
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = endpoint.sender, parcel.address, parcel.subject
    message["Message-ID"] = make_msgid(parcel.delivery_id.hex, url.hostname)
    # China's labelling rules: what is generated says so where machines read it, too.
    message["X-AI-Generated"] = "assisted"
    message.set_content(parcel.words)
    try:
        with _server(url) as server:
            refused = server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        return Unsent(f"SMTP {code}", again=SMTP_TEMPORARY <= code < SMTP_FINAL)
    except smtplib.SMTPResponseException as error:
        return Unsent(f"SMTP {error.smtp_code}", again=SMTP_TEMPORARY <= error.smtp_code < SMTP_FINAL)
    except (OSError, smtplib.SMTPException) as error:
        return Unsent(type(error).__name__, again=True)
    return Unsent("SMTP refused", again=False) if refused else Sent(message["Message-ID"])


def _server(url: SplitResult) -> smtplib.SMTP:
    host = url.hostname or "localhost"
    if url.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, url.port or 465, timeout=SECONDS, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(host, url.port or 587, timeout=SECONDS)
        if not _here(url):
            server.starttls(context=ssl.create_default_context())
    if url.username is not None:
        server.login(unquote(url.username), unquote(url.password or ""))
    return server


def _tell_bot(endpoint: OutboundEndpoint, parcel: Parcel) -> Sent | Unsent:
    """Post to a group by its bot; the library tells success from failure and no more."""
    from apprise import Apprise, NotifyFormat

    bot = Apprise()
    bot.add(endpoint.url.get_secret_value())
    done = bot.notify(body=parcel.words, title=parcel.subject, body_format=NotifyFormat.TEXT, interpret_escapes=False)
    return Sent() if done else Unsent("the bot did not take it", again=True)


def read_endpoints(path: Path | None) -> Outbound:
    """The ways out that a TOML file names, a table each.

    Raises Invalid for a file that cannot be read or says what cannot be, with the table and the key.
    """
    if path is None:
        return NO_WAY_OUT
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return Outbound({name: OutboundEndpoint.model_validate(table) for name, table in tables.items()})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or '-'}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise _unreadable(path, said) from None


def _unreadable(path: Path, why: str) -> Invalid:
    return Invalid(
        Text(f"无法读取出口配置 {path.name}：{why}", f"{path.name} is no file of endpoints: {why}"),
        ("SORTIE_OUTBOUND",),
    )


@lru_cache(8)
def outbound_of(path: Path | None) -> Outbound:
    """The ways out of an installation, read once a process."""
    return read_endpoints(path)


async def deliver(database: Database, outbound: Outbound, delivery_id: UUID) -> bool:
    """Send one delivery that is due, if it may still leave; whether an attempt was made."""
    parcel = await deliveries.claim(database, delivery_id)
    if parcel is None:
        return False
    outcome = await outbound.send(parcel)
    state = await deliveries.settle(database, parcel, outcome)
    log.info("delivery %s, attempt %d: %s", delivery_id, parcel.attempt, state.value)
    return True


async def deliver_due(database: Database, outbound: Outbound) -> int:
    """Send whatever waits and is due, and see to what a process that is gone was sending; how many attempts were made."""
    await deliveries.take_back(database)
    attempts = 0
    for delivery_id in await deliveries.due(database):
        attempts += await deliver(database, outbound, delivery_id)
    return attempts
