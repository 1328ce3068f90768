"""Global ids: a short prefix for the entity, an underscore, and the 32 hexadecimal digits of the record's id."""

import re
from uuid import UUID

from domain.kernel import NotFound, Ref, not_found

PREFIXES = {
    "User": "usr",
    "Account": "acc",
    "Contact": "con",
    "Lead": "lea",
    "Pipeline": "pip",
    "Stage": "stg",
    "Opportunity": "opp",
    "OpportunityContactRole": "ocr",
    "Activity": "act",
    "ConsentReceipt": "rcp",
    "KnowledgeItem": "kno",
    "KnowledgeProposal": "knp",
    "KnowledgePeriod": "kpd",
    "Generation": "gen",
    "AuditEvent": "aud",
    "Product": "prd",
    "Quote": "quo",
    "Order": "ord",
    "Invoice": "inv",
    "Payment": "pay",
    "Attachment": "att",
    "SavedView": "sav",
    "ContactPoint": "cpt",
    "AccountTeamMember": "atm",
    "CustomField": "cfd",
    "RoleGrant": "grt",
    "ServiceKey": "key",
    "Signal": "sig",
    "MeasureSnapshot": "mea",
    "StageTransition": "stt",
    "ConsentGrant": "cgr",
    "Territory": "ter",
    "Brand": "brd",
    "RoiCalculation": "roi",
    "ContentRequest": "crq",
    "KnowledgeEffectiveness": "eff",
    "KnowledgeLikeness": "lik",
    "RetirementProposal": "ret",
    "Delivery": "dlv",
    "RetrievalTest": "rte",
    "RetrievalTestRun": "rtr",
    "ReplayRun": "rpl",
    "WorkItem": "wit",
}
ENTITIES = {prefix: entity for entity, prefix in PREFIXES.items()}
_FORM = re.compile(r"([a-z]{3})_([0-9a-f]{32})")


def global_id(entity: str, id: UUID) -> str:
    """The id of a record among all records."""
    return f"{PREFIXES[entity]}_{id.hex}"


def read_id(words: str) -> Ref | None:
    """The record that a global id names; None for anything that is no such id, which is as good as absent."""
    match = _FORM.fullmatch(words)
    entity = ENTITIES.get(match.group(1)) if match else None
    return Ref(entity, UUID(match.group(2))) if match and entity else None


def id_of(entity: str, words: str) -> UUID | None:
    """The record's own id when a global id names one of the entity; None otherwise."""
    ref = read_id(words)
    return ref.id if ref is not None and ref.kind == entity else None


def expect(entity: str, words: str, *path: str) -> UUID:
    """The record's own id from an input.

    Raises NotFound, as for an absent record, when the global id names no such entity.
    """
    id = id_of(entity, words)
    if id is None:
        raise absent(entity, *path)
    return id


def absent(entity: str, *path: str) -> NotFound:
    """The error for a record that is not there or not the reader's to see."""
    return not_found(entity, path)
