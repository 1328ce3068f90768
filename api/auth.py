"""Sign-in: a bearer token becomes the actor whose grants hold now."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

from api.secret_files import read_key
from api.settings import Settings
from domain import people
from domain.kernel import Actor, Conflict, Database, Invalid, Text, Unauthenticated, Unavailable

LOCAL_ALGORITHMS = ("HS256",)
LOCAL_NAME = "sortie"
"""Issuer and audience of the tokens that `sortie token` signs."""

TOKEN_CHARACTERS = 8_192
LEEWAY_SECONDS = 30
ACTOR_SECONDS = 10
"""How long an actor is remembered: a disabled user or a changed grant bites after that."""
REMEMBERED_TOKENS = 10_000
KEYS_SECONDS = 600
RETRY_SECONDS = 15
"""The least time between two fetches of the issuer's keys, whatever key ids tokens name."""
FETCH_SECONDS = 5

NO_BEARER = Text("Authorization 头应为“Bearer <令牌>”", "the Authorization header should read “Bearer <token>”")
BAD_TOKEN = Text("访问令牌无效", "the access token is not valid")
EXPIRED = Text("访问令牌已过期，请重新登录", "the access token has expired: sign in again")
NO_EMAIL = Text("访问令牌里没有已验证的邮箱", "the access token holds no verified email address")
NO_KEYS = Text("现在无法取得身份提供方的公钥，请稍后重试", "the issuer's keys cannot be fetched now: try again shortly")
ISSUER_SIGNS = Text(
    "已配置身份提供方（SORTIE_TOKEN_ISSUER），令牌由它签发",
    "an issuer is configured (SORTIE_TOKEN_ISSUER): it gives the tokens",
)
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


class Verifier(Protocol):
    """Who tells a good token from a bad one."""

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names.

        Raises Unauthenticated for a bad or expired one, Unavailable when its issuer's keys cannot be had.
        """
        ...


def verifier_for(settings: Settings) -> Verifier:
    """The verifier that the settings ask for: an issuer's keys, or the local key file.

    Raises Invalid in production without either, Unavailable for a key file that cannot be used.
    """
    if settings.token_jwks_url:
        return IssuerVerifier(settings)
    if settings.production and settings.token_key_file is None:
        raise Invalid(OWN_KEY_NEEDED, ("SORTIE_TOKEN_KEY_FILE",))
    return LocalVerifier(read_key(settings.token_key))


class LocalVerifier:
    """The holder of the local key, which signs tokens and knows them again."""

    def __init__(self, key: bytes) -> None:
        self._key = OctKey.import_key(key)

    def sign(self, user_id: UUID, now: datetime, lifetime: timedelta) -> str:
        """A token for a user."""
        issued = int(now.timestamp())
        expires = int((now + lifetime).timestamp())
        claims = {
            "iss": LOCAL_NAME,
            "aud": LOCAL_NAME,
            "sub": user_id.hex,
            "iat": issued,
            "nbf": issued,
            "exp": expires,
        }
        return jwt.encode({"alg": LOCAL_ALGORITHMS[0]}, claims, self._key, LOCAL_ALGORITHMS)

    async def identity(self, token: str, now: datetime) -> Identity:
        """Whom the token names."""
        claims = _claims(token, [self._key], LOCAL_ALGORITHMS, LOCAL_NAME, LOCAL_NAME, now)
        try:
            return Identity(claims["exp"], user_id=UUID(hex=claims["sub"]))
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
        claims = _claims(
            token, keys, own.token_algorithms, str(own.token_issuer), str(own.token_audience), now, LEEWAY_SECONDS
        )
        email = claims.get(own.email_claim)
        if not isinstance(email, str) or not email.strip() or claims.get("email_verified") is False:
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
                return _public_keys(answer.raise_for_status().json())
        except (httpx2.HTTPError, ValueError):
            return []


def _public_keys(found: Any) -> list[Key]:
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


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(extract_compact(token.encode("ascii")).protected)
    except (JoseError, ValueError, TypeError) as error:
        raise Unauthenticated(BAD_TOKEN) from error


def _claims(
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
    for key in keys:
        try:
            claims = jwt.decode(
                token, key, registry=JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
            ).claims
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


@dataclass(frozen=True, slots=True)
class Admission:
    """An actor whom a token names, and the second (Unix time) at which the token ends."""

    actor: Actor
    expires_at: float


class Door:
    """Where bearers of tokens become actors; each is remembered for a moment, never longer than the token holds."""

    def __init__(self, database: Database, verifier: Verifier) -> None:
        self._database = database
        self._verifier = verifier
        self._admitted: OrderedDict[bytes, tuple[Admission, float]] = OrderedDict()

    async def admit(self, authorization: str | None) -> Admission | None:
        """Who is asking; None when the header is absent.

        Raises Unauthenticated for a bad token or an unknown or disabled user, Unavailable when nobody can tell now.
        """
        if authorization is None or not authorization.strip():
            return None
        token = _bearer(authorization)
        now = self._database.clock()
        name = hashlib.sha256(token.encode()).digest()
        admission, until = self._admitted.get(name, (None, 0.0))
        if admission is None or now.timestamp() >= until:
            identity = await self._verifier.identity(token, now)
            async with self._database.read() as connection:
                actor = await people.sign_in(connection, now, email=identity.email, user_id=identity.user_id)
            admission = Admission(actor, identity.expires_at)
            self._remember(name, admission, now.timestamp() + ACTOR_SECONDS)
        return admission

    def _remember(self, name: bytes, admission: Admission, until: float) -> None:
        ends = admission.actor.valid_until
        until = min(until, admission.expires_at, ends.timestamp() if ends else until)
        self._admitted[name] = (admission, until)
        self._admitted.move_to_end(name)
        while len(self._admitted) > REMEMBERED_TOKENS:
            self._admitted.popitem(last=False)


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_CHARACTERS or not token.isascii():
        raise Unauthenticated(NO_BEARER)
    return token


async def issue(database: Database, settings: Settings, email: str) -> str:
    """A token of the local key for a known, enabled user.

    Raises Unauthenticated for any other, Conflict where an issuer gives the tokens.
    """
    if settings.token_jwks_url:
        raise Conflict(ISSUER_SIGNS)
    async with database.read() as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
    key = LocalVerifier(read_key(settings.token_key))
    return key.sign(cast("UUID", actor.user_id), database.clock(), timedelta(hours=settings.token_hours))
