"""The curated knowledge in the schema."""

import strawberry

from api.knowledge.board import BoardFigures, BoardLists, BoardMutations
from api.knowledge.effects import EffectQueries
from api.knowledge.entries import EntryMutations, EntryQueries, KnowledgeItem
from api.knowledge.search import SearchQueries

__all__ = ["KnowledgeItem", "KnowledgeMutations", "KnowledgeQueries"]


@strawberry.type
class KnowledgeQueries(EntryQueries, SearchQueries, EffectQueries, BoardFigures, BoardLists):
    """The roots of this room."""


@strawberry.type
class KnowledgeMutations(EntryMutations, BoardMutations):
    """The mutations of this room."""
