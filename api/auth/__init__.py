"""Signing in: tokens, keys, passwords and other providers, and the door where their bearers become actors."""

from api.auth.door import ACTOR_SECONDS, Admission, Door, issue
from api.auth.routes import SignIn
from api.auth.tokens import KEYS_SECONDS, Identity, IssuerVerifier, LocalVerifier, Verifier, verifier_for

__all__ = [
    "ACTOR_SECONDS", "KEYS_SECONDS", "Admission", "Door", "Identity", "IssuerVerifier", "LocalVerifier", "SignIn", "Verifier", "issue", "verifier_for",
]  # fmt: skip
