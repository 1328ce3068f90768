"""Curated knowledge: entries with versions and a life cycle, and hybrid retrieval over what is published."""

from knowledge.library import Library
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
from knowledge.sharing import SHARED_KINDS, ContentRequest, forget_old_requests, is_shared, log_requests, share

__all__ = [
    "CURATING", "SHARED_KINDS", "CachedVector", "Content", "ContentRequest", "Facets", "Filter", "Found", "Hit", "ImportedItem", "KnowledgeChanged", "KnowledgeItem", "KnowledgeKind",
    "KnowledgeState", "KnowledgeVersion", "Library", "Passage", "Publication", "Retrieval", "SearchResult", "Situation", "Wanted", "draft",
    "forget_old_requests", "imported_rows", "index_imported", "is_shared", "log_requests",
    "publish", "retire", "revise", "share", "stored_content", "submit",
]  # fmt: skip
