"""The curated knowledge in the schema."""

import strawberry

from api.knowledge.battlecards import BattlecardQueries
from api.knowledge.board import BoardFigures, BoardLists, BoardMutations
from api.knowledge.curation import CurationMutations, CurationQueries
from api.knowledge.effects import EffectQueries
from api.knowledge.entries import EntryMutations, EntryQueries, KnowledgeItem
from api.knowledge.index import IndexQueries
from api.knowledge.media import MediaQueries
from api.knowledge.publication import PublicationQueries
from api.knowledge.questions import QuestionMutations, QuestionQueries
from api.knowledge.roi import RoiMutations, RoiQueries
from api.knowledge.search import SearchQueries
from api.knowledge.sharing import SharingMutations, SharingQueries

__all__ = ["KnowledgeItem", "KnowledgeMutations", "KnowledgeQueries"]


@strawberry.type
class KnowledgeQueries(
    EntryQueries,
    CurationQueries,
    SearchQueries,
    IndexQueries,
    RoiQueries,
    BattlecardQueries,
    MediaQueries,
    SharingQueries,
    EffectQueries,
    BoardFigures,
    BoardLists,
    QuestionQueries,
    PublicationQueries,
):
    """The roots of this room."""


@strawberry.type
class KnowledgeMutations(
    EntryMutations, CurationMutations, RoiMutations, SharingMutations, BoardMutations, QuestionMutations
):
    """The mutations of this room."""
