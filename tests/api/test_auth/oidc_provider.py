"""A small OpenID provider over loopback: discovery, authorization with state, codes used once, PKCE, keys, id tokens."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

KEY = RSAKey.generate_key(2048, {"kid": "provider-1"}, auto_kid=False)
CLIENT_ID, CLIENT_SECRET = "sortie", "s3cret-of-the-client"


@dataclass
class OidcProvider:
    """One provider; what a test changes about it is what a bad or strange one would do."""

    server: HTTPServer
    clock: Callable[[], float]
    email: str = "lei.zhang@example.com"
    email_verified: Any = True
    key: RSAKey = field(default_factory=lambda: KEY)
    algorithm: str = "RS256"
    claims: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)
    code_seconds: float = 60
    codes: dict[str, tuple[dict[str, str], float]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path, handler in (
            ("/.well-known/openid-configuration", self._discovery), ("/authorize", self._authorize), ("/token", self._token),
            ("/keys", self._keys),
        ):  # fmt: skip
            self.server.expect_request(path).respond_with_handler(handler)

    @property
    def issuer(self) -> str:
        """Its name, which is where it is."""
        return self.server.url_for("").rstrip("/")

    def _discovery(self, _request: Request) -> Response:
        about = {
            "issuer": self.issuer,
            "authorization_endpoint": self.server.url_for("/authorize"),
            "token_endpoint": self.server.url_for("/token"),
            "jwks_uri": self.server.url_for("/keys"),
        }
        return _json(about | self.discovery)

    def _keys(self, _request: Request) -> Response:
        return _json({"keys": [KEY.as_dict(private=False) | {"use": "sig"}]})

    def _authorize(self, request: Request) -> Response:
        """Take it that the person has proved who they are, and send them back with a code."""
        asked = dict(request.args)
        assert asked["client_id"] == CLIENT_ID
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert "openid" in asked["scope"].split()
        code = hashlib.sha256(repr((len(self.codes), asked)).encode()).hexdigest()
        self.codes[code] = (asked, time.monotonic() + self.code_seconds)
        answer = {"code": code, "state": asked["state"], "iss": self.issuer} | self.answer
        return Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(answer)}"})

    def _token(self, request: Request) -> Response:
        """Give an id token for a code: once, in time, to who asked for it and holds the verifier."""
        form = {name: values[0] for name, values in parse_qs(request.get_data(as_text=True)).items()}
        asked, until = self.codes.pop(form["code"], ({}, 0.0))
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        client = (form["client_id"], form.get("client_secret"))
        good = (
            asked.get("code_challenge") == challenge
            and asked["redirect_uri"] == form["redirect_uri"]
            and client == (CLIENT_ID, CLIENT_SECRET)
            and time.monotonic() < until
        )
        if not good:
            self.asked.append("refused")
            return _json({"error": "invalid_grant"}, 400)
        self.asked.append("given")
        now = int(self.clock())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "u-1", "iat": now, "exp": now + 300, "nonce": asked["nonce"], "email": self.email,
            "email_verified": self.email_verified,
        } | self.claims  # fmt: skip
        told = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode({"alg": self.algorithm, "kid": "provider-1"}, told, self.key, [self.algorithm])
        return _json({"access_token": "opaque", "token_type": "Bearer", "id_token": token})


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")
