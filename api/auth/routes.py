"""Signing in over HTTP: with a password or at another provider into a session, and from the session into access tokens."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from api.auth.oidc import Provider, Started
from api.auth.page import FOLDER, PAGE_HEADERS, sign_in_page
from api.auth.tokens import LocalVerifier, signing_key
from api.context import preferred_language
from api.settings import Settings
from domain import people
from domain.kernel import (
    SYSTEM,
    Database,
    ErrorCode,
    Forbidden,
    Invalid,
    Language,
    RateLimited,
    SalesError,
    Text,
    Unauthenticated,
)

PREFIX = "/auth"
COOKIE, OIDC_COOKIE = "sortie_session", "sortie_oidc"
BODY_BYTES = 16_384
SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
STATUS = {
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.UNAVAILABLE: 503,
}

FOREIGN = Text("此请求来自别的网站", "this request comes from another site")
NO_LOGIN = Text(
    '请求正文应为 {"email": …, "password": …} 形式的 JSON', 'the body should be JSON like {"email": …, "password": …}'
)
TOO_LARGE = Text("请求正文过大", "the body is too large")
NO_PASSWORDS = Text("本系统不使用本地密码登录", "nobody signs in with a password here")
NO_SESSION = Text("尚未登录", "nobody is signed in here")


class SignIn:
    """The pages and endpoints under /auth of one installation."""

    def __init__(self, database: Database, settings: Settings, *, home: str) -> None:
        self._database = database
        self._settings = settings
        self._home = home
        self._tokens = LocalVerifier(signing_key(settings))
        self._provider = Provider(settings) if settings.oidc_issuer else None

    def routes(self) -> list[BaseRoute]:
        """What is served."""
        served = [
            Route(f"{PREFIX}/sign-in", self._told(self.page), methods=["GET"]),
            Route(f"{PREFIX}/sign-in", self._told(self.sign_in), methods=["POST"]),
            Route(f"{PREFIX}/login", self._told(self.login), methods=["POST"]),
            Route(f"{PREFIX}/token", self._told(self.token), methods=["POST"]),
            Route(f"{PREFIX}/sign-out", self._told(self.sign_out), methods=["POST"]),
            Route(f"{PREFIX}/sign-in.css", lambda _request: FileResponse(FOLDER / "sign-in.css", headers=SAFE)),
        ]
        if self._provider is not None:
            served.append(Route(f"{PREFIX}/oidc/start", self._told(self.start), methods=["GET"]))
            served.append(Route(f"{PREFIX}/oidc/callback", self._told(self.callback), methods=["GET"]))
        return [*served]

    # ---- the page ----------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The sign-in page; for somebody who is signed in, who they are and how to sign out."""
        return await self._page(request)

    async def sign_in(self, request: Request) -> Response:
        """Take in the page's form: a session and the way to where the person came from, or the page again with the reason."""
        self._own_site(request, page=True)
        given = dict(parse_qsl((await _body(request)).decode("utf-8", "replace"), max_num_fields=10))
        goal = _local(given.get("next"), self._home)
        try:
            user_id = await self._checked(request, given.get("email", ""), given.get("password", ""))
        except SalesError as error:
            return await self._page(request, error, goal=goal, email=given.get("email", "")[:254])
        response = RedirectResponse(goal, 303, SAFE)
        await self._begin(request, response, user_id, "password")
        return response

    async def _page(
        self, request: Request, error: SalesError | None = None, *, goal: str | None = None, email: str = ""
    ) -> Response:
        language = preferred_language(request.headers.get("accept-language"))
        goal = goal or _local(request.query_params.get("next"), self._home)
        html = sign_in_page(
            language,
            goal=goal,
            email=email,
            problem=error.text.words(language) if error else "",
            signed_in=await self._signed_in_name(request),
            passwords=self._settings.takes_passwords,
            provider=f"{PREFIX}/oidc/start?next={quote(goal, safe='')}" if self._provider else None,
        )
        return Response(html, _status(error) if error else 200, PAGE_HEADERS | SAFE | _retry(error), "text/html")

    async def _signed_in_name(self, request: Request) -> str | None:
        try:
            async with self._database.read(SYSTEM) as connection:
                session = await people.session_of(connection, request.cookies.get(COOKIE, ""), self._database.clock())
                return (await people.sign_in(connection, self._database.clock(), user_id=session.user_id)).display_name
        except Unauthenticated:
            return None

    # ---- for programs --------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """An access token for an address and a password, and a session in a cookie that gives the next ones."""
        self._own_site(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Invalid(NO_LOGIN)
        try:
            given = orjson.loads(await _body(request))
        except ValueError as error:
            raise Invalid(NO_LOGIN) from error
        if not isinstance(given, dict) or not all(isinstance(given.get(name), str) for name in ("email", "password")):
            raise Invalid(NO_LOGIN)
        user_id = await self._checked(request, given["email"], given["password"])
        response = Response(status_code=200, headers=SAFE, media_type="application/json")
        session = await self._begin(request, response, user_id, "password")
        response.body = await self._access(session)
        response.headers["content-length"] = str(len(response.body))
        return response

    async def token(self, request: Request) -> Response:
        """A fresh access token for the session in the cookie."""
        self._own_site(request)
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            raise Unauthenticated(NO_SESSION)
        return Response(await self._access(cookie), 200, SAFE, "application/json")

    async def sign_out(self, request: Request) -> Response:
        """End the session: its access tokens end with it."""
        self._own_site(request)
        cookie = request.cookies.get(COOKIE)
        if cookie is not None:
            async with self._database.open_uow(SYSTEM) as uow:
                await people.end_session(uow, cookie)
        wants_page = "text/html" in request.headers.get("accept", "")
        response = RedirectResponse(f"{PREFIX}/sign-in", 303, SAFE) if wants_page else Response(None, 204, SAFE)
        response.delete_cookie(COOKIE, path=PREFIX)
        return response

    async def _checked(self, request: Request, email: str, password: str) -> UUID:
        if not self._settings.takes_passwords:
            raise Invalid(NO_PASSWORDS)
        place = request.client.host if request.client else ""
        return await people.check_password(self._database, email, password, place)

    async def _access(self, session: str) -> bytes:
        now = self._database.clock()
        async with self._database.read(SYSTEM) as connection:
            found = await people.session_of(connection, session, now)
        lifetime = min(timedelta(minutes=self._settings.access_minutes), found.ends_at - now)
        told = {
            "accessToken": self._tokens.sign(found.user_id, now, lifetime, found.id),
            "tokenType": "Bearer",
            "expiresIn": int(lifetime.total_seconds()),
        }
        return orjson.dumps(told)

    async def _begin(self, request: Request, response: Response, user_id: UUID, way: str) -> str:
        lifetime = timedelta(hours=self._settings.session_hours)
        async with self._database.open_uow(SYSTEM) as uow:
            secret = await people.begin_session(uow, user_id, lifetime, way)
        response.set_cookie(
            COOKIE, secret, max_age=int(lifetime.total_seconds()), path=PREFIX, httponly=True, samesite="strict",
            secure=self._is_secure(request),
        )  # fmt: skip
        return secret

    def _own_site(self, request: Request, *, page: bool = False) -> None:
        """Refuse what a page of another site has a browser send, unless that site is listed; a page's form is ours alone.

        Raises Forbidden.
        """
        origin = request.headers.get("origin")
        if origin is None:
            foreign = page
        else:
            listed = not page and origin in self._settings.cors_origins
            foreign = not listed and urlsplit(origin).netloc != request.headers.get("host", "")
        if foreign:
            raise Forbidden(FOREIGN)

    def _is_secure(self, request: Request) -> bool:
        return self._settings.production or request.url.scheme == "https"

    # ---- another provider --------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        """The way to the provider; what has to come back is kept in a signed cookie for ten minutes."""
        provider = self._at()
        started, address = await provider.start(
            self._callback_url(request), _local(request.query_params.get("next"), self._home)
        )
        response = RedirectResponse(address, 302, SAFE)
        response.set_cookie(
            OIDC_COOKIE, started.signed(self._tokens, self._database.clock()), max_age=Started.SECONDS,
            path=f"{PREFIX}/oidc", httponly=True, samesite="lax", secure=self._is_secure(request),
        )  # fmt: skip
        return response

    async def callback(self, request: Request) -> Response:
        """A session for the known person whom the provider names, or the page with the reason."""
        try:
            now = self._database.clock()
            started = Started.read(self._tokens, request.cookies.get(OIDC_COOKIE, ""), now)
            email = await self._at().finish(started, dict(request.query_params), self._callback_url(request), now)
            async with self._database.read(SYSTEM) as connection:
                user_id = await people.user_id_of(connection, email)
        except SalesError as error:
            response = await self._page(request, error)
        else:
            response = RedirectResponse(started.goal, 303, SAFE)
            await self._begin(request, response, user_id, "oidc")
        response.delete_cookie(OIDC_COOKIE, path=f"{PREFIX}/oidc")
        return response

    def _at(self) -> Provider:
        if self._provider is None:
            raise Invalid(NO_PASSWORDS)
        return self._provider

    def _callback_url(self, request: Request) -> str:
        base = self._settings.public_url or str(request.base_url)
        return f"{base.rstrip('/')}{PREFIX}/oidc/callback"

    def _told(self, serve: Any) -> Any:
        """Serve; a refusal is told as JSON in the reader's language."""

        async def served(request: Request) -> Response:
            try:
                response: Response = await serve(request)
            except SalesError as error:
                language = preferred_language(request.headers.get("accept-language"))
                return _refusal(error, language)
            return response

        return served


def _refusal(error: SalesError, language: Language) -> Response:
    told = {"message": error.text.words(language), "extensions": {"code": error.code.value}}
    return Response(orjson.dumps({"errors": [told]}), _status(error), SAFE | _retry(error), "application/json")


def _status(error: SalesError) -> int:
    return STATUS.get(error.code, 400)


def _retry(error: SalesError | None) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, RateLimited) else {}


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > BODY_BYTES:
            raise Invalid(TOO_LARGE)
    return bytes(found)


def _local(goal: str | None, home: str) -> str:
    """A path of this server to go on to; the home page for everything else."""
    fits = goal is not None and goal.startswith("/") and not goal.startswith(("//", "/\\")) and goal.isprintable()
    return goal if fits and goal is not None else home
