"""How well the knowledge works, in the schema: counted uses with denominators, rates with intervals, by segment."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import strawberry
from sqlalchemy import Boolean

import knowledge
from api.knowledge.entries import KnowledgeItem
from api.reads import Connection, Node, by, column, equals, listing, matching, names, node, roots, to_one
from api.scalars import enum
from knowledge import KnowledgeKind
from knowledge.effectiveness import Segment

enum(
    Segment,
    "By what uses of the knowledge are told apart.",
    ALL="All uses together.",
    INDUSTRY="The customer's industry.",
    STAGE="The deal's stage when the answer was asked for.",
    CONCERN="The concern that was met.",
    LANGUAGE="The language of the answer.",
)


class EffectOrder(StrEnum):
    """In which order figures of effectiveness come."""

    RATE = "RATE"
    OFFERED = "OFFERED"
    ADVANCE_RATE = "ADVANCE_RATE"


enum(
    EffectOrder,
    "In which order figures of effectiveness come.",
    RATE="The best rate of use first.",
    OFFERED="What was offered most first.",
    ADVANCE_RATE="The best rate of advance first.",
)
ORDERS: dict[Any, Any] = {
    EffectOrder.RATE: by("-rate", "-id"),
    EffectOrder.OFFERED: by("-offered", "-id"),
    EffectOrder.ADVANCE_RATE: by("-advance_rate", "-id"),
}
SHRUNK = "(x + a) / (n + a + b), Beta(a, b) being the prior that the entries of its kind in its segment give (moments of the beta-binomial)"


@node(knowledge.KnowledgeEffectiveness, order=by("-offered", "-id"))
class KnowledgeEffectiveness(Node):
    """How one version of an entry worked in one segment over the last year, counted every six hours."""

    item: KnowledgeItem | None = to_one("item_id", "The entry.")
    version_number: int | None = column(
        "Its version; null for all of them together. In a segment versions are told apart where there are several."
    )
    kind: KnowledgeKind = column("What kind of content it holds: rates are shrunk towards the mean of the kind.")
    segment: Segment = column("By what uses are told apart.")
    segment_key: str | None = column("Which industry, stage, concern or language; null for all.")
    offered: int = column("Answers for which a search brought it up and that somebody was shown: the sample of `rate`.")
    cited: int = column("Of these, those that cite it.")
    used: int = column("Answers citing it that were accepted, as they were or after editing.")
    edited: int = column("Of the used, those accepted after editing.")
    rejected: int = column("Answers citing it that were rejected or vetoed.")
    followed: int = column(
        "Uses on a deal whose 14 days are over or that has advanced since: the sample of `advanceRate`."
    )
    advanced: int = column("Of the followed, those whose deal entered a later stage within 14 days of the feedback.")
    rate: float = column(f"Used per offered, shrunk: {SHRUNK}, x = used, n = offered.")
    low: float = column("Below this the rate lies with probability 2.5 %: the posterior Beta's quantile.")
    high: float = column("Above this the rate lies with probability 2.5 %.")
    mean: float = column("The mean of the kind in the segment, towards which the rate is shrunk.")
    advance_rate: float = column(f"Advanced per followed, shrunk: {SHRUNK}, x = advanced, n = followed.")
    advance_low: float = column("Below this the rate of advance lies with probability 2.5 %.")
    advance_high: float = column("Above this the rate of advance lies with probability 2.5 %.")
    advance_mean: float = column("The mean rate of advance of the kind in the segment.")
    computed_at: datetime = column("When it was counted.")


@strawberry.input(description="Which figures of effectiveness; all conditions hold together.")
class KnowledgeEffectivenessFilter:
    """Conditions on figures."""

    item_id: strawberry.ID | None = names("KnowledgeItem", "item_id", "The entry.")
    version_number: int | None = equals("version_number", "Its version.")
    all_versions: bool | None = matching(
        lambda view, value: view.column("version_number").is_(None) == value,
        "All versions together, or versions by themselves.",
        Boolean(),
    )
    kind: KnowledgeKind | None = equals("kind", "What kind of content.")
    segment: Segment | None = equals("segment", "By what uses are told apart.")
    segment_key: str | None = equals("segment_key", "Which industry, stage, concern or language.")


@roots
class EffectQueries:
    """The figures."""

    knowledge_effectiveness: Connection[KnowledgeEffectiveness] = listing(
        "How well entries work, by segment; what was offered most first.",
        filter=KnowledgeEffectivenessFilter,
        orders=ORDERS,
    )
