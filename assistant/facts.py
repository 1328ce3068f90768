"""What the assistant knows when it writes: frozen facts about an account or a lead, each with the record that shows it."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from assistant.draft import Evidence
from domain.accounts import BuyingRole, Channel, LifecycleStage
from domain.activities import ActivityKind
from domain.consent import PREFERENCE, ConsentDecision, TrafficLight
from domain.deals import Stance
from domain.kernel import Money, Ref, Text


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the buying committee."""

    evidence: Evidence
    name: str
    title: str | None
    role: BuyingRole | None
    stance: Stance
    covered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Done:
    """One activity."""

    evidence: Evidence
    kind: ActivityKind
    at: datetime
    subject: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Bought:
    """One order."""

    evidence: Evidence
    number: str
    at: datetime
    total: Money


@dataclass(frozen=True, slots=True)
class Concern:
    """One concern that the customer raised and nobody has resolved."""

    evidence: Evidence
    category: str
    words: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Rival:
    """One competitor in the deal."""

    evidence: Evidence
    key: str
    name: Text
    words: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Quoted:
    """The latest quote of the deal."""

    evidence: Evidence
    number: str
    status: str
    total: Money
    issued_at: datetime | None
    valid_until: date | None
    payment_terms_days: int


@dataclass(frozen=True, slots=True)
class Return:
    """One shown result of a ROI calculation: its value, what it counts (a currency, %, or a word), and how people write it."""

    key: str
    label: Text
    value: Decimal
    unit: Text
    words: Text


@dataclass(frozen=True, slots=True)
class Calculated:
    """The deal's latest ROI calculation, with the title and number of the version of the model."""

    evidence: Evidence
    model: str
    version: int
    at: datetime
    results: tuple[Return, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One product of the deal with its list and floor price."""

    evidence: Evidence
    product: Text
    code: str
    quantity: int
    list_price: Money
    floor_price: Money


@dataclass(frozen=True, slots=True)
class Reachable:
    """One channel to one person, and whether consent allows it."""

    evidence: Evidence
    person: str
    channel: Channel
    decision: ConsentDecision
    light: TrafficLight
    via: Channel | None
    reason: Text


@dataclass(frozen=True, slots=True)
class Deal:
    """The opportunity at hand."""

    evidence: Evidence
    id: UUID
    name: str
    stage_key: str
    stage: Text
    entered_at: datetime
    expected_days: int | None
    amount: Money | None
    close_date: date | None
    primary_competitor: str | None = None


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Everything about one account, and about one deal with it, that the asker sees."""

    now: datetime
    evidence: Evidence
    id: UUID
    name: str
    industry: str | None
    region: str | None
    region_label: Text
    territory: UUID | None
    lifecycle: LifecycleStage
    owner: str | None
    credit_grade: str | None
    employees: int | None
    deal: Deal | None
    open_deals: tuple[Deal, ...] = ()
    people: tuple[Person, ...] = ()
    done: tuple[Done, ...] = ()
    orders: tuple[Bought, ...] = ()
    concerns: tuple[Concern, ...] = ()
    rivals: tuple[Rival, ...] = ()
    quote: Quoted | None = None
    calculation: Calculated | None = None
    lines: tuple[Line, ...] = ()
    reachable: tuple[Reachable, ...] = ()
    category: str | None = None
    words: str | None = None
    persons: tuple[UUID, ...] = ()

    @property
    def subject(self) -> Ref:
        """The account; an objection reply names its deal instead."""
        return Ref("Opportunity", self.deal.id) if self.words is not None and self.deal else Ref("Account", self.id)

    @property
    def subject_label(self) -> str:
        """The account's name, with the deal's where there is one."""
        return f"{self.name} · {self.deal.name}" if self.words is not None and self.deal else self.name

    @property
    def territory_id(self) -> UUID | None:
        """The account's territory."""
        return self.territory

    @property
    def person_ids(self) -> tuple[UUID, ...]:
        """The people of the account that were looked at."""
        return self.persons

    @property
    def person_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(
            dict.fromkeys([person.name for person in self.people] + [point.person for point in self.reachable])
        )

    def own_names(self) -> frozenset[str]:
        """The account itself."""
        return frozenset({self.name})

    @property
    def products(self) -> frozenset[str]:
        """The short codes (PM8) of the deal's products; empty where no line says."""
        return frozenset(line.code.rsplit("-", 1)[-1] for line in self.lines)

    @property
    def floor_total(self) -> Money | None:
        """The deal's lines, which share one currency, at floor price."""
        if not self.lines:
            return None
        total = sum(line.floor_price.amount_minor * line.quantity for line in self.lines)
        return Money(total, self.lines[0].floor_price.currency)


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that a lead looked at or asked."""

    evidence: Evidence
    type: str
    at: datetime
    title: str


@dataclass(frozen=True, slots=True)
class LeadFacts:
    """Everything about one lead that the asker sees."""

    now: datetime
    evidence: Evidence
    id: UUID
    name: str
    company: str | None
    industry: str | None
    region: str | None
    territory: UUID | None
    interest: str | None
    source: str
    captured_at: datetime
    last_activity_at: datetime
    contact_id: UUID
    looked: tuple[Looked, ...]
    rivals: tuple[Rival, ...]
    reachable: tuple[Reachable, ...]
    wanted_channel: Channel | None
    seller: str

    @property
    def subject(self) -> Ref:
        """The lead."""
        return Ref("Lead", self.id)

    @property
    def subject_label(self) -> str:
        """Name and company."""
        return f"{self.name} · {self.company}" if self.company else self.name

    @property
    def territory_id(self) -> UUID | None:
        """The lead's territory."""
        return self.territory

    @property
    def person_ids(self) -> tuple[UUID, ...]:
        """The lead's person."""
        return (self.contact_id,)

    @property
    def person_names(self) -> tuple[str, ...]:
        """The names of the lead and of the contact behind it, and the seller's, who is a person too."""
        return tuple(dict.fromkeys([self.name, *(point.person for point in self.reachable), self.seller]))

    def own_names(self) -> frozenset[str]:
        """The lead's company."""
        return frozenset({self.company} if self.company else ())

    def allowed_channel(self) -> Reachable | None:
        """The channel to use: the one asked for, the one that consent names in its place, else the best allowed."""
        allowed = {point.channel: point for point in self.reachable if point.decision is ConsentDecision.ALLOW}
        wanted = next((point for point in self.reachable if point.channel is self.wanted_channel), None)
        first = [wanted.channel, wanted.via] if wanted is not None else []
        return next((allowed[channel] for channel in (*first, *PREFERENCE) if channel in allowed), None)
