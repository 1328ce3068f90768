"""The curated knowledge in the schema."""

import strawberry

from api.knowledge.effects import EffectQueries
from api.knowledge.entries import EntryMutations, EntryQueries, KnowledgeItem
from api.knowledge.search import SearchQueries

__all__ = ["KnowledgeItem", "KnowledgeMutations", "KnowledgeQueries"]


@strawberry.type
class KnowledgeQueries(EntryQueries, SearchQueries, EffectQueries):
    """The roots of this room."""


@strawberry.type
class KnowledgeMutations(EntryMutations):
    """The mutations of this room."""
