"""Curated knowledge: entries with versions and a life cycle, and hybrid retrieval over what is published."""

from knowledge.effectiveness import KnowledgeEffectiveness
from knowledge.library import Library
from knowledge.likeness import KnowledgeLikeness
from knowledge.model import (
    CURATING,
    CachedVector,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Passage,
    Publication,
    Retrieval,
)
from knowledge.retirement import RetirementProposal
from knowledge.retrieval import Filter, Found, Hit, SearchResult, Situation, Wanted
from knowledge.service import (
    Content,
    Facets,
    ImportedItem,
    KnowledgeChanged,
    draft,
    imported_rows,
    index_imported,
    publish,
    retire,
    revise,
    stored_content,
    submit,
)
from knowledge.usage import LoggedSearch

__all__ = [
    "CURATING", "CachedVector", "Content", "Facets", "Filter", "Found", "Hit", "ImportedItem", "KnowledgeChanged", "KnowledgeEffectiveness", "KnowledgeItem", "KnowledgeKind", "KnowledgeLikeness",
    "KnowledgeState", "KnowledgeVersion", "Library", "LoggedSearch", "Passage", "Publication", "RetirementProposal", "Retrieval", "SearchResult", "Situation", "Wanted", "draft",
    "imported_rows", "index_imported",
    "publish", "retire", "revise", "stored_content", "submit",
]  # fmt: skip
