"""What customers do between our visits: signals that follow from a deal's stages, offers and orders, the same each time."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zlib import crc32
from zoneinfo import ZoneInfo

from demo.records import (
    AccountRecord,
    Company,
    ConcernRecord,
    LeadRecord,
    MaterialRecord,
    MentionRecord,
    OpportunityRecord,
    QuoteRecord,
)
from domain.commerce import STANDARD_PAYMENT_TERMS_DAYS, Order
from domain.kernel import Money, Ref
from domain.signals import Fact

SHANGHAI = ZoneInfo("Asia/Shanghai")
OPENING_HOUR, OPEN_MINUTES = 9, 8 * 60
WINDOW_DAYS = 180
"""How far back derived signals reach."""
DEPOSIT_SHARE, DEPOSIT_DAYS, LATE_DAYS = Decimal("0.3"), 3, 45
SOURCES = {
    "usage_reported": "product_usage", "email_opened": "mailing", "event_attended": "events", "quote_sent": "quotes", "quote_opened": "quotes",
    "concern_raised": "sales_notes", "concern_resolved": "sales_notes", "competitor_mentioned": "sales_notes",
}  # fmt: skip
"""Where signals come from; the others come from the website."""


def instant(now: datetime, days: int, salt: str) -> datetime:
    """A time in office hours in Shanghai on the day that many days before now, never after now; the salt picks the minute."""
    opening = (
        (now - timedelta(days=days)).astimezone(SHANGHAI).replace(hour=OPENING_HOUR, minute=0, second=0, microsecond=0)
    )
    return min((opening + timedelta(minutes=crc32(salt.encode()) % OPEN_MINUTES)).astimezone(UTC), now)


@dataclass(frozen=True, slots=True)
class Story:
    """The signals around one record; `key` names it across loadings."""

    now: datetime
    key: str
    subject: Ref

    def fact(self, type: str, days: int, mark: str, payload: dict[str, Any], account_id: UUID | None = None) -> Fact:
        """One signal; the mark tells it from the record's others."""
        key = f"{self.key}/{mark}"
        return Fact(
            type, self.subject, SOURCES.get(type, "website"), key, instant(self.now, days, key), payload, account_id
        )

    def said(self, concerns: list[ConcernRecord], competitors: list[MentionRecord]) -> Iterator[Fact]:
        """Concerns raised and settled, competitors named."""
        for place, one in enumerate(concerns):
            mark = f"concern-{place}"
            yield self.fact("concern_raised", one.days, mark, {"category": one.category, "words": one.words})
            if one.resolved_days is not None:
                yield self.fact("concern_resolved", one.resolved_days, f"{mark}-resolved", {"category": one.category})
        for place, rival in enumerate(competitors):
            payload = {"competitor": rival.key, "words": rival.words}
            yield self.fact("competitor_mentioned", rival.days, f"competitor-{place}", payload)


def of_deal(story: Story, company: Company, account: AccountRecord, deal: OpportunityRecord) -> Iterator[Fact]:
    """What was said on a deal, what became of its offers, and every few days of each stage one of the things that fit it."""
    yield from story.said(deal.concerns, deal.competitors)
    for quote in deal.quotes:
        yield from _offered(story, quote)
    material = _material(company, deal)
    chinese = re.search(r"[一-鿿]", account.name) is not None
    ends = [days for _, days in deal.path[1:]] + [0]
    told: Counter[str] = Counter()
    for (stage, entered), left in zip(deal.path, ends, strict=True):
        steps = company.customer_steps.get(stage, [])
        for place, days in enumerate(_days(min(entered, WINDOW_DAYS - 1), left, story.key)):
            if not steps:
                break
            step = steps[place % len(steps)]
            titles = material.titles(step)
            title = titles[told[step] % len(titles)][0 if chinese else 1]
            payload = (
                {"module": title, "hours": 20 + crc32(f"{story.key}{days}".encode()) % 60}
                if step == "usage_reported"
                else {"title": title}
            )
            yield story.fact(step, days, f"{stage}-{place}", payload)
            told[step] += 1


def _days(start: int, end: int, salt: str) -> Iterator[int]:
    """Days from start down to but not at end, three to five apart."""
    days = start
    while days > end:
        yield days
        days -= 3 + crc32(f"{salt}{days}".encode()) % 3


def _material(company: Company, deal: OpportunityRecord) -> MaterialRecord:
    quoted = {line.code for quote in deal.quotes for line in quote.lines}
    named = (each for each in company.material if any(word.lower() in deal.name.lower() for word in each.words))
    return next(named, None) or next(each for each in company.material if each.product in quoted)


def _offered(story: Story, quote: QuoteRecord) -> Iterator[Fact]:
    """An offer is sent, and opened a day later and again after four."""
    if quote.days >= WINDOW_DAYS:
        return
    yield story.fact("quote_sent", quote.days, f"{quote.number}-sent", {"number": quote.number})
    for later in (1, 4):
        if quote.days > later:
            yield story.fact(
                "quote_opened", quote.days - later, f"{quote.number}-opened-{later}", {"number": quote.number}
            )


def instalments(order: Order, credit_grade: str, today: date) -> Iterator[tuple[Money, date, date | None]]:
    """What is owed on an order, until when, and when it came in: a deposit soon, the rest at the end of the standard terms.

    A customer whose credit grade is C or worse is late with the rest.
    """
    ordered_on = order.ordered_at.astimezone(SHANGHAI).date()
    deposit = order.total.times(DEPOSIT_SHARE)
    rest = Money(order.total.amount_minor - deposit.amount_minor, order.total.currency)
    late = LATE_DAYS if credit_grade.startswith(("C", "D")) else 0
    for amount, after, delay in ((deposit, DEPOSIT_DAYS, 0), (rest, STANDARD_PAYMENT_TERMS_DAYS, late)):
        due_on = ordered_on + timedelta(days=after)
        paid_on = due_on + timedelta(days=delay)
        yield amount, due_on, paid_on if paid_on <= today else None


def of_lead(story: Story, lead: LeadRecord) -> Iterator[Fact]:
    """What a lead looked at, asked and said."""
    yield from story.said([], lead.competitors)
    for place, one in enumerate(lead.signals):
        yield story.fact(one.type, one.days, f"signal-{place}", one.payload())
