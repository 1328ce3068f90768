"""Forged tokens: every known way to have one taken that nobody signed for us, against both kinds of verifier."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pytest_httpserver import HTTPServer

from api.auth import Door, LocalVerifier, Verifier, verifier_for
from api.settings import Settings
from domain.kernel import Database, Role, Unauthenticated
from tests.factories import START, Clock, add_colleague

ISSUER, AUDIENCE, EMAIL = "https://login.example.com", "sortie-api", "lei.zhang@example.com"
SECRET = bytes(range(32))
RSA, ATTACKER = (RSAKey.generate_key(2048, {"kid": kid}, auto_kid=False) for kid in ("first", "evil"))
EC, ED = ECKey.generate_key("P-256", {"kid": "curve"}), OKPKey.generate_key("Ed25519", {"kid": "edwards"})
NOW = int(START.timestamp())


def b64(data: bytes | dict[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return f"{b64(header)}.{b64(claims)}.{b64(signature)}"


def with_hmac(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    return by_hand(header, claims, hmac.digest(secret, f"{b64(header)}.{b64(claims)}".encode(), "sha256"))


def signed(claims: dict[str, Any], key: Any = ATTACKER, alg: str = "RS256", **header: Any) -> str:
    return jwt.encode({"alg": alg} | header, claims, key, [alg])


def raw_number(value: str) -> Callable[[dict[str, Any]], str]:
    """A token whose `exp` is written by hand, so that no encoder mends it."""

    def make(claims: dict[str, Any]) -> str:
        head, body = (
            b64({"alg": "HS256"}),
            b64(json.dumps(claims).replace(f'"exp": {claims["exp"]}', f'"exp": {value}').encode()),
        )
        return f"{head}.{body}.{b64(hmac.digest(SECRET, f'{head}.{body}'.encode(), 'sha256'))}"

    return make


PEM, DER = RSA.as_pem(private=False), RSA.as_der(private=False)
JWK_BYTES = json.dumps(RSA.as_dict(private=False)).encode()

FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": lambda c: by_hand({"alg": "none"}, c),
    "alg NONE": lambda c: by_hand({"alg": "NoNe"}, c),
    "no alg": lambda c: by_hand({"typ": "JWT"}, c),
    "alg is a list": lambda c: by_hand({"alg": ["RS256", "none"]}, c),
    "none, with a signature": lambda c: by_hand({"alg": "none"}, c, b"x" * 32),
    "HS256 with the public key as PEM": lambda c: with_hmac({"alg": "HS256", "kid": "first"}, c, PEM),
    "HS256 with the public key as DER": lambda c: with_hmac({"alg": "HS256", "kid": "first"}, c, DER),
    "HS256 with the public key as JWK": lambda c: with_hmac({"alg": "HS256", "kid": "first"}, c, JWK_BYTES),
    "HS256 with the modulus": lambda c: with_hmac({"alg": "HS256"}, c, base64.urlsafe_b64decode(str(RSA.as_dict()["n"]) + "==")),
    "HS256 with an empty secret": lambda c: with_hmac({"alg": "HS256"}, c, b""),
    "HS256 with a guessed secret": lambda c: with_hmac({"alg": "HS256"}, c, b"secret"),
    "another's key under our kid": lambda c: signed(c, kid="first"),
    "another's key without a kid": signed,
    "another's key in the header (jwk)": lambda c: signed(c, jwk=ATTACKER.as_dict(private=False)),
    "another's key at an address (jku)": lambda c: signed(c, jku="https://evil.example.com/keys.json", kid="evil"),
    "another's certificate at an address (x5u)": lambda c: signed(c, x5u="https://evil.example.com/cert.pem"),
    "another's certificate (x5c)": lambda c: signed(c, x5c=[base64.b64encode(DER).decode()]),
    "kid is a path": lambda c: with_hmac({"alg": "HS256", "kid": "../../../../dev/null"}, c, b""),
    "kid is a file that everybody knows": lambda c: with_hmac({"alg": "HS256", "kid": "/proc/sys/kernel/randomize_va_space"}, c, b"2\n"),
    "kid is SQL": lambda c: with_hmac({"alg": "HS256", "kid": "x' UNION SELECT 'a"}, c, b"a"),
    "kid is an object": lambda c: by_hand({"alg": "RS256", "kid": {"$ne": None}}, c, b"x" * 256),
    "an extension that we do not know": lambda c: by_hand({"alg": "HS256", "crit": ["exp"], "exp": 1}, c, b"x" * 32),
    "an unencoded payload": lambda c: by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}, c, b"x" * 32),
    "a curve signature of zeroes": lambda c: by_hand({"alg": "ES256", "kid": "curve"}, c, bytes(64)),
    "an Edwards signature of zeroes": lambda c: by_hand({"alg": "EdDSA", "kid": "edwards"}, c, bytes(64)),
    "an RSA signature of zeroes": lambda c: by_hand({"alg": "RS256", "kid": "first"}, c, bytes(256)),
    "no signature": lambda c: by_hand({"alg": "HS256"}, c),
    "five parts": lambda c: f"{b64({'alg': 'dir', 'enc': 'A128GCM'})}..{b64(b'x' * 12)}.{b64(c)}.{b64(b'y' * 16)}",
    "claims that are a list": lambda c: by_hand({"alg": "HS256"}, [c], b"x" * 32),  # type: ignore[arg-type]
    "half of a header": lambda c: f"{b64({'alg': 'HS256'})[:-3]}.{b64(c)}.x",
    "JSON nested deep": lambda c: f"{b64(b'[' * 2000)}.{b64(c)}.x",
    "bytes that are no text": lambda c: by_hand({"alg": "HS256"}, c).replace(b64(c), b64(b"\xff\xfe")),
}  # fmt: skip

OURS: dict[str, Callable[[dict[str, Any]], str]] = {
    "exp is text": lambda c: with_hmac({"alg": "HS256"}, c | {"exp": "2099-01-01"}, SECRET),
    "exp is null": lambda c: with_hmac({"alg": "HS256"}, c | {"exp": None}, SECRET),
    "exp is true": lambda c: with_hmac({"alg": "HS256"}, c | {"exp": True}, SECRET),
    "exp is not finite": raw_number("Infinity"),
    "exp is no number": raw_number("NaN"),
    "exp is 1e999": raw_number("1e999"),
    "exp has passed": lambda c: with_hmac({"alg": "HS256"}, c | {"exp": NOW - 1}, SECRET),
    "nbf is to come": lambda c: with_hmac({"alg": "HS256"}, c | {"nbf": NOW + 60}, SECRET),
    "nbf is text": lambda c: with_hmac({"alg": "HS256"}, c | {"nbf": "soon"}, SECRET),
    "no iss": lambda c: with_hmac({"alg": "HS256"}, {k: v for k, v in c.items() if k != "iss"}, SECRET),
    "no aud": lambda c: with_hmac({"alg": "HS256"}, {k: v for k, v in c.items() if k != "aud"}, SECRET),
    "aud of another use": lambda c: with_hmac({"alg": "HS256"}, c | {"aud": "sortie-oidc"}, SECRET),
    "sub is a list": lambda c: with_hmac({"alg": "HS256"}, c | {"sub": [c["sub"]]}, SECRET),
    "sub is nobody's": lambda c: with_hmac({"alg": "HS256"}, c | {"sub": "admin"}, SECRET),
    "sid is nobody's": lambda c: with_hmac({"alg": "HS256"}, c | {"sid": "0" * 32}, SECRET),
    "sid is no id": lambda c: with_hmac({"alg": "HS256"}, c | {"sid": "../x"}, SECRET),
    "HS512 with our key": lambda c: jwt.encode({"alg": "HS512"}, c, OctKey.import_key(SECRET), ["HS512"]),
}  # fmt: skip


def local(_settings: Settings, _server: HTTPServer) -> Verifier:
    return LocalVerifier(SECRET)


def issuer(settings: Settings, server: HTTPServer) -> Verifier:
    keys = [key.as_dict(private=False) | {"use": "sig"} for key in (RSA, EC, ED)]
    server.expect_request("/keys.json").respond_with_json({"keys": keys})
    return verifier_for(
        settings.model_copy(
            update={
                "token_issuer": ISSUER, "token_audience": AUDIENCE, "token_jwks_url": server.url_for("/keys.json"), "passwords": True,
            }
        )
    )  # fmt: skip


@pytest.fixture
async def claims(database: Database, clock: Clock) -> dict[str, dict[str, Any]]:
    """What a good token of each kind says of 张磊."""
    actor = await add_colleague(database, "张磊", Role.REP, email=EMAIL)
    assert actor.user_id is not None
    times = {"iat": NOW, "nbf": NOW, "exp": NOW + 600}
    mine = {"iss": "sortie", "aud": "sortie", "sub": actor.user_id.hex} | times
    return {"local": mine, "issuer": {"iss": ISSUER, "aud": AUDIENCE, "email": EMAIL} | times}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("verifier", [local, issuer])
async def test_good_tokens_are_taken_or_the_table_would_prove_nothing(
    database: Database, claims: dict[str, dict[str, Any]], tmp_path: Path, httpserver: HTTPServer, verifier: Any
) -> None:
    door = Door(database, verifier(Settings(home=tmp_path), httpserver))
    if verifier is local:
        good = [with_hmac({"alg": "HS256"}, claims["local"], SECRET)]
    else:
        keys = ((RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"))
        good = [signed(claims["issuer"], key, alg, kid=key.kid) for key, alg in keys]
        # Addresses in the header are not looked at: what counts is who has signed.
        good.append(signed(claims["issuer"], RSA, jku="https://evil.example.com/keys.json"))
        own = LocalVerifier(bytes.fromhex((tmp_path / "token.key").read_text().strip()))
        user = (await door.admit(f"Bearer {good[0]}")).actor.user_id  # type: ignore[union-attr]
        assert user is not None
        good.append(own.sign(user, START, timedelta(minutes=5)))
    for token in good:
        assert await door.admit(f"Bearer {token}") is not None


@pytest.mark.parametrize("how", FORGED)
@pytest.mark.parametrize("verifier", [local, issuer])
async def test_a_forged_token_is_refused(
    database: Database,
    claims: dict[str, dict[str, Any]],
    tmp_path: Path,
    httpserver: HTTPServer,
    verifier: Any,
    how: str,
) -> None:
    door = Door(database, verifier(Settings(home=tmp_path), httpserver))
    for said in claims.values():
        with pytest.raises(Unauthenticated):
            await door.admit(f"Bearer {FORGED[how](said)}")
    assert not [request for request, _ in httpserver.log if request.path != "/keys.json"]


@pytest.mark.parametrize("how", OURS)
async def test_a_token_of_ours_that_says_something_wrong_is_refused(
    database: Database, claims: dict[str, dict[str, Any]], how: str
) -> None:
    with pytest.raises(Unauthenticated):
        await Door(database, LocalVerifier(SECRET)).admit(f"Bearer {OURS[how](claims['local'])}")


async def test_neither_verifier_takes_a_token_of_the_other(
    database: Database, claims: dict[str, dict[str, Any]], tmp_path: Path, httpserver: HTTPServer
) -> None:
    """With both, the claimed issuer says which keys are tried: it never lets one issuer speak as the other."""
    door = Door(database, issuer(Settings(home=tmp_path), httpserver))
    own = bytes.fromhex((tmp_path / "token.key").read_text().strip())
    for token in (
        signed(claims["local"], RSA, kid="first"), with_hmac({"alg": "HS256"}, claims["issuer"], own),
        signed(claims["issuer"] | {"iss": "sortie"}, RSA, kid="first"),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            await door.admit(f"Bearer {token}")
