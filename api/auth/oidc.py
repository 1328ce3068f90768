"""Signing in at another provider by OpenID Connect: authorization code with PKCE, state and nonce."""

import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from authlib.common.security import generate_token
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url
from joserfc.jwk import Key

from api.auth.tokens import FETCH_SECONDS, LEEWAY_SECONDS, VERIFIED, LocalVerifier, checked_claims, public_keys
from api.settings import Settings
from domain.kernel import Text, Unauthenticated, Unavailable

SCOPES = "openid email profile"
AUDIENCE = "sortie-oidc"
ANSWER_BYTES = 1_000_000

NO_PROVIDER = Text("现在无法连接登录服务，请稍后重试", "the sign-in provider cannot be reached now: try again shortly")
OTHER_PROVIDER = Text(
    "登录服务的配置与 SORTIE_OIDC_ISSUER 不符", "the provider's configuration does not fit SORTIE_OIDC_ISSUER"
)
NOT_STARTED = Text(
    "登录已超时或不是从这里开始的，请重新登录", "this sign-in has timed out or did not begin here: try again"
)
NOT_GRANTED = Text("登录服务没有确认您的身份", "the provider has not confirmed who you are")
NO_EMAIL = Text("登录服务没有提供已验证的邮箱", "the provider names no verified e-mail address")


@dataclass(frozen=True, slots=True)
class Started:
    """What a sign-in that has begun has to find again when it comes back, and where the person goes then."""

    SECONDS: ClassVar[int] = 600

    state: str
    nonce: str
    verifier: str
    goal: str

    def signed(self, tokens: LocalVerifier, now: datetime) -> str:
        """The text of a cookie that nobody else can make."""
        return tokens.seal(AUDIENCE, asdict(self), now, timedelta(seconds=self.SECONDS))

    @classmethod
    def read(cls, tokens: LocalVerifier, cookie: str, now: datetime) -> "Started":
        """What such a cookie says.

        Raises Unauthenticated for an old one and for any other text.
        """
        try:
            claims = tokens.unseal(AUDIENCE, cookie, now)
        except Unauthenticated as error:
            raise Unauthenticated(NOT_STARTED) from error
        return cls(*(str(claims[name]) for name in ("state", "nonce", "verifier", "goal")))


class Provider:
    """The provider that `SORTIE_OIDC_ISSUER` names, known by its discovery document, fetched anew for each sign-in."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = str(settings.oidc_issuer)
        self._client_id = str(settings.oidc_client_id)
        self._secret = settings.oidc_client_secret
        self._algorithms = settings.token_algorithms
        self._https_only = settings.production

    async def start(self, callback: str, goal: str) -> tuple[Started, str]:
        """What has to come back, and the address at which the person proves who they are.

        Raises Unavailable when the provider cannot be reached or is another than the one that is set.
        """
        about = await self._about()
        started = Started(generate_token(43), generate_token(43), generate_token(64), goal)
        address = prepare_grant_uri(
            about["authorization_endpoint"], self._client_id, "code", redirect_uri=callback, scope=SCOPES, state=started.state,
            nonce=started.nonce, code_challenge=create_s256_code_challenge(started.verifier), code_challenge_method="S256",
        )  # fmt: skip
        return started, str(address)

    async def finish(self, started: Started, answer: Mapping[str, str], callback: str, now: datetime) -> str:
        """The verified e-mail address of the person whom the provider's answer names.

        Raises Unauthenticated for an answer that does not fit what was begun, a code or id token that is not good, and an
        address that is not verified; Unavailable when the provider cannot be reached.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), started.state.encode()):
            raise Unauthenticated(NOT_STARTED)
        # RFC 9207: a provider that names itself in its answer has to be the one that was asked.
        if answer.get("iss", self._issuer) != self._issuer or "error" in answer or not answer.get("code"):
            raise Unauthenticated(NOT_GRANTED)
        about = await self._about()
        token = await self._id_token(about, answer["code"], started.verifier, callback)
        claims = checked_claims(
            token, await self._keys(about), self._algorithms, self._issuer, self._client_id, now, LEEWAY_SECONDS
        )
        nonce, party = claims.get("nonce"), claims.get("azp", self._client_id)
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), started.nonce.encode()):
            raise Unauthenticated(NOT_GRANTED)
        if party != self._client_id:
            raise Unauthenticated(NOT_GRANTED)
        email = claims.get("email")
        if not isinstance(email, str) or not email.strip() or claims.get("email_verified") not in VERIFIED:
            raise Unauthenticated(NO_EMAIL)
        return email

    async def _about(self) -> dict[str, Any]:
        about = await self._fetch("GET", str(get_well_known_url(self._issuer, external=True)))
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        schemes = {"https"} if self._https_only else {"https", "http"}
        fits = all(isinstance(about.get(name), str) and urlsplit(about[name]).scheme in schemes for name in wanted)
        if about.get("issuer") != self._issuer or not fits:
            raise Unavailable(OTHER_PROVIDER)
        return about

    async def _keys(self, about: Mapping[str, Any]) -> list[Key]:
        return public_keys(await self._fetch("GET", about["jwks_uri"]))

    async def _id_token(self, about: Mapping[str, Any], code: str, verifier: str, callback: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        if self._secret is not None:
            form["client_secret"] = self._secret.get_secret_value()
        answer = await self._fetch("POST", about["token_endpoint"], form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated(NOT_GRANTED)
        return token

    async def _fetch(self, method: str, address: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at an address; a refusal of the provider's is one of ours."""
        import httpx2

        try:
            async with httpx2.AsyncClient(timeout=FETCH_SECONDS) as client:
                answer = await client.request(method, address, data=form, headers={"Accept": "application/json"})
                found = answer.json() if len(answer.content) <= ANSWER_BYTES else None
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable(NO_PROVIDER) from error
        if answer.is_client_error and form is not None:
            raise Unauthenticated(NOT_GRANTED)
        if not answer.is_success or not isinstance(found, dict):
            raise Unavailable(NO_PROVIDER)
        return found
