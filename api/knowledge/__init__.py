"""The curated knowledge in the schema."""

import strawberry

from api.knowledge.entries import EntryMutations, EntryQueries, KnowledgeItem
from api.knowledge.search import SearchQueries
from api.knowledge.sharing import SharingMutations, SharingQueries

__all__ = ["KnowledgeItem", "KnowledgeMutations", "KnowledgeQueries"]


@strawberry.type
class KnowledgeQueries(EntryQueries, SearchQueries, SharingQueries):
    """The roots of this room."""


@strawberry.type
class KnowledgeMutations(EntryMutations, SharingMutations):
    """The mutations of this room."""
