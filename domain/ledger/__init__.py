"""The ledger: what was done, by whom and to what, in events that nobody can change unseen."""

from domain.ledger.model import AuditEvent, ImportBatch, KeyHolder, LedgerHead, PersonKey
from domain.ledger.policy import (
    Audit,
    Content,
    Entry,
    Head,
    InclusionProof,
    LedgerProblem,
    Signer,
    VerifiedHead,
    plain,
    verify_inclusion,
)
from domain.ledger.service import (
    HeadFile,
    LedgerRecorder,
    Revelation,
    RowsDigest,
    Verification,
    destroy_keys,
    entries,
    head_problem,
    import_rows,
    prove,
    reveal,
    rows_digest,
    seal,
    stored_heads,
    verify,
)

__all__ = [
    "Audit", "AuditEvent", "Content", "Entry", "Head", "HeadFile", "ImportBatch", "InclusionProof", "KeyHolder", "LedgerHead", "LedgerProblem", "LedgerRecorder", "PersonKey", "Revelation", "RowsDigest", "Signer",
    "Verification", "VerifiedHead", "destroy_keys", "entries", "head_problem", "import_rows", "plain", "prove", "reveal", "rows_digest", "seal", "stored_heads", "verify", "verify_inclusion",
]  # fmt: skip
