"""What an installation decides, read from environment variables with the prefix SORTIE_."""

from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.limits import ANONYMOUS, Limits
from domain.kernel import Actor, Role

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""The algorithms that an issuer's tokens may use: a shared secret is no proof of an issuer."""

DIALECTS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class Environment(StrEnum):
    """How careful an installation is."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Jobs(StrEnum):
    """Where jobs are done."""

    INSIDE = "inside"
    APART = "apart"


class LogFormat(StrEnum):
    """How logs are written."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From where on logs are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Settings(BaseSettings):
    """One installation's settings, checked; `.env.example` says what each is for."""

    model_config = SettingsConfigDict(env_prefix="SORTIE_", env_ignore_empty=True, extra="ignore", frozen=True)

    env: Environment = Environment.DEVELOPMENT
    home: Path = Path("var")
    database_url: str = ""
    replica_url: str | None = None
    replica_lag_seconds: Annotated[float, Field(ge=0.01, le=60)] = 0.25
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    model: str | None = None
    embedding_model: str | None = None
    embedding_directory: Path | None = None
    reranker: str | None = None
    reranker_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    heads: Path | None = None
    ledger_key_file: Path | None = None
    token_key_file: Path | None = None
    token_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 12
    token_issuer: str | None = None
    token_audience: str | None = None
    token_jwks_url: str | None = None
    token_algorithms: Annotated[tuple[str, ...], NoDecode] = ("RS256", "ES256", "EdDSA", "Ed25519")
    email_claim: str = "email"
    passwords: bool | None = None
    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12
    access_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 15
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    public_url: str | None = None
    logs: LogFormat | None = None
    log_level: LogLevel = LogLevel.INFO
    metrics_token: str | None = None
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 0
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    hosts: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    body_bytes: Annotated[int, Field(ge=1_024, le=64 * 1024 * 1024)] = 256 * 1024
    header_seconds: Annotated[float, Field(gt=0, le=300)] = 10
    body_seconds: Annotated[float, Field(gt=0, le=300)] = 15
    connections: Annotated[int, Field(ge=1)] = 1_000
    database_connections: Annotated[int, Field(ge=3)] = 60
    limits: Limits = Limits()
    anonymous_limits: Limits = ANONYMOUS
    role_limits: dict[Role, Limits] = {}
    trusted_documents: Path | None = None
    trusted_only: bool = False
    effectiveness_prior: bool = True
    jobs: Jobs = Jobs.INSIDE
    signal_months: Annotated[int, Field(ge=1, le=1200)] | None = None
    lead_reminder_minutes: Annotated[float, Field(gt=0)] = 30
    lead_escalation_minutes: Annotated[float, Field(gt=0)] = 120
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    answers_per_hour: Annotated[int, Field(ge=1)] | None = None
    content_per_minute: Annotated[int, Field(ge=1)] = 120
    outbound: Path | None = None

    @field_validator(
        "home", "heads", "embedding_directory", "ledger_key_file", "token_key_file", "trusted_documents", "outbound"
    )
    @classmethod
    def _whole_path(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        dialect, separator, rest = url.partition("://")
        if url and (not separator or dialect not in DIALECTS):
            raise ValueError("must begin with sqlite:// or postgresql://")
        return f"{DIALECTS[dialect]}://{rest}" if url else url

    @field_validator("replica_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        if url is None:
            return None
        dialect, _, rest = url.partition("://")
        if not DIALECTS.get(dialect, "").startswith("postgresql"):
            raise ValueError("must begin with postgresql://")
        return f"{DIALECTS[dialect]}://{rest}"

    @field_validator("token_jwks_url", "oidc_issuer", "public_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("must begin with https:// or http://")
        return url

    @field_validator("token_algorithms", "cors_origins", "hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("token_algorithms")
    @classmethod
    def _asymmetric(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not set(names) <= set(ASYMMETRIC):
            raise ValueError(f"must be some of {', '.join(ASYMMETRIC)}")
        return names

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        """Addresses or networks: whoever may be anybody would write what address they like."""
        return tuple(str(ip_network(network)) for network in networks)

    @model_validator(mode="after")
    def _complete_issuer(self) -> "Settings":
        given = [self.token_issuer, self.token_audience, self.token_jwks_url]
        if any(given) and not all(given):
            raise ValueError("SORTIE_TOKEN_ISSUER, SORTIE_TOKEN_AUDIENCE and SORTIE_TOKEN_JWKS_URL come together")
        if bool(self.oidc_issuer) != bool(self.oidc_client_id):
            raise ValueError("SORTIE_OIDC_ISSUER and SORTIE_OIDC_CLIENT_ID come together")
        if self.jobs is Jobs.APART and self.embedded:
            raise ValueError("SORTIE_JOBS=apart needs PostgreSQL: SQLite has one process")
        if self.replica_url is not None and self.embedded:
            raise ValueError("SORTIE_REPLICA_URL needs SORTIE_DATABASE_URL: a replica follows a PostgreSQL")
        if self.trusted_only and self.trusted_documents is None:
            raise ValueError("SORTIE_TRUSTED_ONLY needs SORTIE_TRUSTED_DOCUMENTS: the manifest of what is taken")
        return self

    @model_validator(mode="after")
    def _careful(self) -> "Settings":
        """Keys and codes that come over a line which anybody can change prove nothing."""
        for name in ("token_jwks_url", "oidc_issuer", "public_url"):
            if self.production and urlsplit(getattr(self, name) or "https:").scheme != "https":
                raise ValueError(f"SORTIE_{name.upper()} must begin with https:// in production")
        if self.production and self.oidc_issuer and not self.public_url:
            raise ValueError(
                "SORTIE_OIDC_ISSUER needs SORTIE_PUBLIC_URL in production: the address at which people find us"
            )
        return self

    @property
    def production(self) -> bool:
        """Whether real customers' data is at stake."""
        return self.env is Environment.PRODUCTION

    @property
    def takes_passwords(self) -> bool:
        """Whether people sign in with passwords of this installation: unless somebody else says who they are."""
        return self.passwords if self.passwords is not None else not (self.token_issuer or self.oidc_issuer)

    @property
    def signs_tokens(self) -> bool:
        """Whether this installation signs tokens of its own: after a sign-in here, or where no issuer gives them."""
        return self.token_issuer is None or self.takes_passwords or self.oidc_issuer is not None

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin: https://host, without a path; * is not taken")
        return origins

    @property
    def request_rate(self) -> int:
        """Requests a minute and user."""
        return self.requests_per_minute or (300 if self.production else 6_000)

    @property
    def answer_rate(self) -> int:
        """Answers an hour and user."""
        return self.answers_per_hour or (60 if self.production else 3_000)

    def limits_of(self, actor: Actor | None) -> Limits:
        """What a caller's operations may ask for: of several roles with limits of their own each limit that allows most."""
        if actor is None:
            return self.anonymous_limits
        own = [limits for role, limits in self.role_limits.items() if role in actor.roles]
        if not own:
            return self.limits
        return Limits(**{name: max(getattr(limits, name) for limits in own) for name in Limits.model_fields})

    @property
    def longest_seconds(self) -> float:
        """How long the longest operation of anybody may take."""
        return max(limits.seconds for limits in (self.limits, self.anonymous_limits, *self.role_limits.values()))

    @property
    def log_format(self) -> LogFormat:
        """How logs are written: JSON in production, for a terminal in development, unless it is set."""
        return self.logs or (LogFormat.JSON if self.production else LogFormat.CONSOLE)

    @property
    def embeds(self) -> bool:
        """Whether search uses an embedding model; without one it goes by words alone."""
        return self.embedding_model != "off"

    @property
    def embedded(self) -> bool:
        """Whether everything is in one process with a SQLite file."""
        return self.database.startswith("sqlite")

    @property
    def database(self) -> str:
        """The database's URL; a SQLite file in the home directory unless another is set."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home / 'sortie.db'}"

    @property
    def heads_file(self) -> Path:
        """Where the signed heads of the ledger are published."""
        return self.heads or self.home / "ledger-heads.jsonl"

    @property
    def ledger_key(self) -> Path:
        """The file with the key that signs the ledger's heads."""
        return self.ledger_key_file or self.home / "ledger.key"

    @property
    def token_key(self) -> Path:
        """The file with the key that signs the tokens of `sortie token`."""
        return self.token_key_file or self.home / "token.key"
