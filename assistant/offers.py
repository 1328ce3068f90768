"""What the knowledge offered for an answer, as rows of the log of searches."""

from collections.abc import Iterator
from typing import Any

from assistant.masking import Masking, addressed
from assistant.model import Generation
from assistant.skills.base import Shelf
from domain.kernel import Base, Role, UnitOfWork
from knowledge import Wanted
from knowledge.usage import Occasion, Offer, logged


def rows(uow: UnitOfWork, generation: Generation, facts: Any, shelf: Shelf) -> Iterator[Base]:
    """Each search that was made for an answer, with what it offered; personal data in its query are masked."""
    masking = Masking(addressed(facts.person_names))
    for name, want in shelf.wants.items():
        if shelf.late:
            continue
        offers = [
            Offer(found.item_id, found.version, f"{found.title}\n{found.body}", found.score, found.explanation)
            for found in shelf.found.get(name, [])
        ]
        occasion = _occasion(uow, generation, facts, want)
        query = masking.mask(want.query)
        yield from logged(uow.new_id, occasion, query, offers, wanted_as=name, generation_id=generation.id)


def _occasion(uow: UnitOfWork, generation: Generation, facts: Any, want: Wanted) -> Occasion:
    """The segment is that of the deal; the concern is what the rep named, else what the answer took it for."""
    deal = getattr(facts, "deal", None)
    guessed = [category["key"] for category in generation.categories or []][:1]
    concerns = [generation.category, *guessed, *want.situation.concerns]
    return Occasion(
        at=uow.now, user_id=generation.requested_by_id, role=Role.REP if uow.actor.has(Role.REP) else Role.MANAGER,
        territory_id=generation.territory_id, opportunity_id=deal.id if deal else None, industry=facts.industry,
        stage=deal.stage_key if deal else want.situation.stage, concern=next((one for one in concerns if one), None), language=generation.language,
    )  # fmt: skip
