"""The curated knowledge in the schema."""

import strawberry

from api.knowledge.board import BoardFigures, BoardLists, BoardMutations
from api.knowledge.curation import CurationMutations, CurationQueries
from api.knowledge.effects import EffectQueries
from api.knowledge.entries import EntryMutations, EntryQueries, KnowledgeItem
from api.knowledge.index import IndexQueries
from api.knowledge.search import SearchQueries

__all__ = ["KnowledgeItem", "KnowledgeMutations", "KnowledgeQueries"]


@strawberry.type
class KnowledgeQueries(
    EntryQueries, CurationQueries, SearchQueries, IndexQueries, EffectQueries, BoardFigures, BoardLists
):
    """The roots of this room."""


@strawberry.type
class KnowledgeMutations(EntryMutations, CurationMutations, BoardMutations):
    """The mutations of this room."""
