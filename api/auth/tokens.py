"""Access tokens: whom one names, signed with the local key or by an issuer whose public keys are fetched."""

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

from api.secret_files import read_key
from api.settings import Settings
from domain.kernel import Invalid, Text, Unauthenticated, Unavailable

LOCAL_ALGORITHMS = ("HS256",)
LOCAL_NAME = "sortie"
"""Issuer and audience of the tokens that `sortie token` signs."""

LEEWAY_SECONDS = 30
KEYS_SECONDS = 600
RETRY_SECONDS = 15
"""The least time between two fetches of the issuer's keys, whatever key ids tokens name."""
FETCH_SECONDS = 5
VERIFIED = (True, "true")
"""What `email_verified` says of an address that its provider has checked."""

BAD_TOKEN = Text("访问令牌无效", "the access token is not valid")
EXPIRED = Text("访问令牌已过期，请重新登录", "the access token has expired: sign in again")
NO_EMAIL = Text("访问令牌里没有已验证的邮箱", "the access token holds no verified email address")
NO_KEYS = Text("现在无法取得身份提供方的公钥，请稍后重试", "the issuer's keys cannot be fetched now: try again shortly")
OWN_KEY_NEEDED = Text(
    "生产环境不能使用自动生成的令牌密钥：请设置 SORTIE_TOKEN_ISSUER、SORTIE_TOKEN_AUDIENCE、SORTIE_TOKEN_JWKS_URL，或用 SORTIE_TOKEN_KEY_FILE 指定自己的密钥文件",
    "production does not start with a generated token key: set SORTIE_TOKEN_ISSUER, SORTIE_TOKEN_AUDIENCE and SORTIE_TOKEN_JWKS_URL, "
    "or name a key file of your own by SORTIE_TOKEN_KEY_FILE",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified token names, and until when (Unix time)."""

    expires_at: float
    user_id: UUID | None = None
    email: str | None = None
    session_id: UUID | None = None
    """The session that has to last as well, where the token came of one."""


class Verifier(Protocol):
    """Who tells a good token from a bad one."""

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names.

        Raises Unauthenticated for a bad or expired one, Unavailable when its issuer's keys cannot be had.
        """
        ...


def verifier_for(settings: Settings) -> Verifier:
    """The verifier that the settings ask for: an issuer's keys, the local key file, or both, each for its own tokens.

    Raises Invalid in production without either, Unavailable for a key file that cannot be used.
    """
    issuer = IssuerVerifier(settings) if settings.token_jwks_url else None
    if issuer is not None and not settings.signs_tokens:
        return issuer
    local = LocalVerifier(signing_key(settings))
    return local if issuer is None else EitherVerifier(local, issuer)


def signing_key(settings: Settings) -> bytes:
    """The key with which this installation signs tokens.

    Raises Invalid in production for one that nobody chose, Unavailable for a file that cannot be used.
    """
    if settings.production and settings.token_key_file is None:
        raise Invalid(OWN_KEY_NEEDED, ("SORTIE_TOKEN_KEY_FILE",))
    return read_key(settings.token_key)


class EitherVerifier:
    """Two verifiers, of which a token's issuer says which one is asked; neither takes a token of the other's."""

    def __init__(self, local: "LocalVerifier", issuer: "IssuerVerifier") -> None:
        self._local = local
        self._issuer = issuer

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names."""
        return await (self._local if _claimed_issuer(token) == LOCAL_NAME else self._issuer).identity(token, now)


class LocalVerifier:
    """The holder of the local key, which signs tokens and knows them again."""

    def __init__(self, key: bytes) -> None:
        self._key = OctKey.import_key(key)

    def sign(self, user_id: UUID, now: datetime, lifetime: timedelta, session_id: UUID | None = None) -> str:
        """A token for a user, good until then and, where it comes of a session, for no longer than that."""
        session = {} if session_id is None else {"sid": session_id.hex}
        return self.seal(LOCAL_NAME, {"sub": user_id.hex} | session, now, lifetime)

    def seal(self, audience: str, claims: Mapping[str, Any], now: datetime, lifetime: timedelta) -> str:
        """Claims of ours for one audience of ours, for a while."""
        issued = int(now.timestamp())
        ends = int((now + lifetime).timestamp())
        frame = {"iss": LOCAL_NAME, "aud": audience, "iat": issued, "nbf": issued, "exp": ends}
        return jwt.encode({"alg": LOCAL_ALGORITHMS[0]}, frame | dict(claims), self._key, LOCAL_ALGORITHMS)

    def unseal(self, audience: str, sealed: str, now: datetime) -> dict[str, Any]:
        """The claims that were sealed for an audience.

        Raises Unauthenticated for old ones and for any other text.
        """
        return checked_claims(sealed, [self._key], LOCAL_ALGORITHMS, LOCAL_NAME, audience, now)

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names."""
        claims = self.unseal(LOCAL_NAME, token, now)
        try:
            session_id = UUID(hex=claims["sid"]) if "sid" in claims else None
            return Identity(claims["exp"], user_id=UUID(hex=claims["sub"]), session_id=session_id)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise Unauthenticated(BAD_TOKEN) from error


class IssuerVerifier:
    """The holder of an issuer's public keys, fetched when they are needed and kept for a while."""

    def __init__(self, settings: Settings, timer: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._timer = timer
        self._keys: list[Key] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names, by the email claim."""
        own = self._settings
        keys = await self._keys_for(token)
        claims = checked_claims(
            token, keys, own.token_algorithms, str(own.token_issuer), str(own.token_audience), now, LEEWAY_SECONDS
        )
        email = claims.get(own.email_claim)
        # Some providers write the flag as text, and many leave it out of access tokens: only a known one passes.
        if not isinstance(email, str) or not email.strip() or claims.get("email_verified", True) not in VERIFIED:
            raise Unauthenticated(NO_EMAIL)
        return Identity(claims["exp"], email=email)

    async def _keys_for(self, token: str) -> list[Key]:
        """The keys that may have signed the token: the one it names, or all; an unknown name is worth one more fetch."""
        named = _header(token).get("kid")
        await self._fetch_after(KEYS_SECONDS)
        found = [key for key in self._keys if named is None or key.kid == named]
        if not found:
            await self._fetch_after(RETRY_SECONDS)
            found = [key for key in self._keys if key.kid == named]
        if not self._keys:
            raise Unavailable(NO_KEYS)
        return found

    async def _fetch_after(self, seconds: float) -> None:
        """Fetch the keys unless they are fresher than that; the old ones stay when that fails."""
        if self._timer() - self._fetched_at < seconds:
            return
        async with self._fetching:
            if self._timer() - max(self._fetched_at, self._tried_at) < RETRY_SECONDS:
                return
            self._tried_at = self._timer()
            fetched = await self._fetch()
            if fetched:
                self._keys, self._fetched_at = fetched, self._timer()

    async def _fetch(self) -> list[Key]:
        import httpx2

        try:
            async with httpx2.AsyncClient(timeout=FETCH_SECONDS) as client:
                answer = await client.get(str(self._settings.token_jwks_url))
                return public_keys(answer.raise_for_status().json())
        except (httpx2.HTTPError, ValueError):
            return []


def public_keys(found: Any) -> list[Key]:
    """The public signing keys of a key set; what is none, a shared secret first of all, is left out."""
    entries = found.get("keys") if isinstance(found, dict) else None
    keys: list[Key] = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            key = JWKRegistry.import_key(entry)
        except (JoseError, ValueError, TypeError):
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey) and entry.get("use", "sig") == "sig":
            keys.append(key)
    return keys


def _claimed_issuer(token: str) -> Any:
    """The issuer that a token names before anybody has checked it: good for choosing who checks, and for nothing else."""
    try:
        claims = orjson.loads(extract_compact(token.encode("ascii")).payload)
    except (JoseError, ValueError, TypeError) as error:
        raise Unauthenticated(BAD_TOKEN) from error
    return claims.get("iss") if isinstance(claims, dict) else None


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(extract_compact(token.encode("ascii")).protected)
    except (JoseError, ValueError, TypeError) as error:
        raise Unauthenticated(BAD_TOKEN) from error


def checked_claims(
    token: str,
    keys: Sequence[Key],
    algorithms: Sequence[str],
    issuer: str,
    audience: str,
    now: datetime,
    leeway: int = 0,
) -> dict[str, Any]:
    """The claims of a token that one of the keys has signed, for us, and that holds now."""
    required: dict[str, Any] = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": audience},
    }
    rules = jwt.JWTClaimsRegistry(now=int(now.timestamp()), leeway=leeway, exp={"essential": True}, **required)
    registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
    for key in keys:
        try:
            with warnings.catch_warnings():
                # The old name of Ed25519 is still what most providers write; nothing about it is weak.
                warnings.simplefilter("ignore", SecurityWarning)
                claims = jwt.decode(token, key, registry=registry).claims
        except (JoseError, ValueError, TypeError):
            continue
        try:
            rules.validate(claims)
        except ExpiredTokenError as error:
            raise Unauthenticated(EXPIRED) from error
        except JoseError as error:
            raise Unauthenticated(BAD_TOKEN) from error
        return claims
    raise Unauthenticated(BAD_TOKEN)
