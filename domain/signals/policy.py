"""What a source may deliver: the registered types, the form of a fact, and why one is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator, ValidationError

from domain.kernel import Invalid, Ref, Text
from domain.signals.model import SUBJECTS, EvidenceGrade

TEXT = {"type": "string", "minLength": 1, "maxLength": 4000, "pattern": "^[^\\x00]*$"}
KEY = {"type": "string", "pattern": "^[a-z0-9_]{1,60}$"}
NUMBER = {"type": "number", "minimum": 0}


def _schema(required: Sequence[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


TYPES: dict[str, dict[str, Any]] = {
    "page_viewed": _schema(["title"], title=TEXT, url=TEXT, seconds=NUMBER),
    "document_downloaded": _schema(["title"], title=TEXT, url=TEXT),
    "enquiry_sent": _schema(["text"], text=TEXT),
    "demo_requested": _schema(["title"], title=TEXT),
    "event_attended": _schema(["title"], title=TEXT),
    "email_opened": _schema(["title"], title=TEXT),
    "quote_sent": _schema(["number"], number=TEXT),
    "quote_opened": _schema(["number"], number=TEXT),
    "payment_received": _schema(["order"], order=TEXT, share=NUMBER),
    "usage_reported": _schema(["module"], module=TEXT, hours=NUMBER),
    "concern_raised": _schema(["category", "words"], category=KEY, words=TEXT),
    "concern_resolved": _schema(["category"], category=KEY, words=TEXT),
    "competitor_mentioned": _schema(["competitor"], competitor=KEY, words=TEXT),
    "generation_outcome": _schema(["verdict"], verdict=TEXT),
    "outreach_answered": _schema(["outcome"], outcome=TEXT, words=TEXT),
}
"""The registered types, each with the JSON schema of its payload."""

LABELS = {
    "page_viewed": Text("浏览页面", "Page viewed"),
    "document_downloaded": Text("下载资料", "Document downloaded"),
    "enquiry_sent": Text("发来询盘", "Enquiry sent"),
    "demo_requested": Text("申请演示", "Demo requested"),
    "event_attended": Text("参加活动", "Event attended"),
    "email_opened": Text("打开邮件", "E-mail opened"),
    "quote_sent": Text("发出报价", "Quote sent"),
    "quote_opened": Text("查看报价", "Quote opened"),
    "payment_received": Text("收到付款", "Payment received"),
    "usage_reported": Text("使用情况", "Usage reported"),
    "concern_raised": Text("提出顾虑", "Concern raised"),
    "concern_resolved": Text("顾虑已解决", "Concern resolved"),
    "competitor_mentioned": Text("提到竞争对手", "Competitor mentioned"),
    "generation_outcome": Text("答复的采用情况", "Outcome of an answer"),
    "outreach_answered": Text("对外联络的回应", "Outreach answered"),
}
"""What people call each type."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A signal as a source delivers it; account and contact are those of the subject wherever it names them."""

    type: str
    subject: Ref
    source: str
    dedupe_key: str
    occurred_at: datetime
    payload: dict[str, Any]
    account_id: UUID | None = None
    contact_id: UUID | None = None
    evidence_grade: EvidenceGrade = EvidenceGrade.CLAIMED
    consent_receipt_id: UUID | None = None


@cache
def _validator(type: str) -> Draft202012Validator:
    return Draft202012Validator(TYPES[type])


def check(fact: Fact, now: datetime) -> None:
    """Refuse what cannot be taken.

    Raises Invalid for an unknown type or kind of subject, an empty source or dedupe key, a payload that its schema refuses,
    or an instant more than a day ahead.
    """
    if fact.type not in TYPES:
        raise Invalid(Text(f"未登记的信号类型“{fact.type}”", f"“{fact.type}” is no registered signal type"), ("type",))
    if fact.subject.kind not in SUBJECTS:
        words = Text(f"信号不能记在 {fact.subject.kind} 上", f"a signal cannot be about a {fact.subject.kind}")
        raise Invalid(words, ("subject",))
    for field, value in (("source", fact.source), ("dedupeKey", fact.dedupe_key)):
        if not value.strip():
            raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be empty"), (field,))
    problem = next(iter(_validator(fact.type).iter_errors(fact.payload)), None)
    if problem is not None:
        raise _misfit(fact.type, problem)
    if fact.occurred_at > now + timedelta(days=1):
        raise Invalid(Text("发生时间不能晚于一天之后", "occurredAt is more than a day ahead"), ("occurredAt",))


CHINESE = {
    "required": "缺少必填项",
    "additionalProperties": "含有未登记的项",
    "type": "类型不对",
    "minLength": "不能为空",
    "maxLength": "过长",
    "pattern": "含有不允许的字符",
    "minimum": "不能为负",
}
"""What each keyword of the schemas means when it is not met; the English words are the validator's."""


def _misfit(type: str, problem: ValidationError) -> Invalid:
    path = ("payload", *map(str, problem.absolute_path))
    where, keyword, message = "/".join(path), str(problem.validator), problem.message[:200]
    zh = f"{where} 不符合 {type} 的格式：{CHINESE[keyword]}（{message}）"
    return Invalid(Text(zh, f"{where} does not fit {type}: {message}"), path)
