"""The ledger: what was done, by whom and to what, in events that nobody can change unseen."""

from domain.ledger.model import AuditEvent, ImportBatch, KeyHolder, LedgerHead, PersonKey
from domain.ledger.policy import (
    Content,
    Head,
    InclusionProof,
    Signer,
    VerifiedHead,
    plain,
    verify_inclusion,
)
from domain.ledger.service import (
    HeadFile,
    LedgerRecorder,
    Revelation,
    Verification,
    destroy_keys,
    head_problem,
    import_rows,
    prove,
    reveal,
    rows_digest,
    seal,
    verify,
)

__all__ = [
    "AuditEvent", "Content", "Head", "HeadFile", "ImportBatch", "InclusionProof", "KeyHolder", "LedgerHead", "LedgerRecorder", "PersonKey", "Revelation", "Signer",
    "Verification", "VerifiedHead", "destroy_keys", "head_problem", "import_rows", "plain", "prove", "reveal", "rows_digest", "seal", "verify", "verify_inclusion",
]  # fmt: skip
