"""What an entry says and for what it is made, checked before it is kept."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from domain.kernel import Invalid, Text
from knowledge import guarding

TITLE_LENGTH, BODY_LENGTH, FACET_COUNT = 300, 200_000, 50
DATES = ("expires_at", "effective_from", "review_at")


@dataclass(frozen=True, slots=True)
class Facets:
    """For what an entry is made; an empty list fits everything."""

    concerns: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    industries: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def lists(self) -> dict[str, list[str]]:
        """The facets as columns hold them."""
        return {field.name: list(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Content:
    """What a version says and for what it is made."""

    title: str
    body: str
    facets: Facets = Facets()
    expires_at: datetime | None = None
    effective_from: datetime | None = None
    review_at: datetime | None = None

    def checked(self) -> "Content":
        """The content itself, if it can be kept.

        Raises Invalid for a title or body that is empty, too long, binary or in a mixed encoding, or too many facets.
        """
        for name, value, limit in (("title", self.title, TITLE_LENGTH), ("body", self.body, BODY_LENGTH)):
            if not value.strip():
                raise Invalid(Text(f"{name} 不能为空", f"{name} cannot be empty"), (name,))
            if len(value) > limit:
                raise Invalid(
                    Text(
                        f"{name} 有 {len(value)} 个字符，最多 {limit} 个",
                        f"{name} has {len(value)} characters, at most {limit} are kept",
                    ),
                    (name,),
                )
        guarding.refuse_damage(self.title, self.body)
        for name, values in self.facets.lists().items():
            if len(values) > FACET_COUNT or any(not value.strip() for value in values):
                raise Invalid(
                    Text(
                        f"{name} 含空值或超过 {FACET_COUNT} 个", f"{name} has an empty value or more than {FACET_COUNT}"
                    ),
                    (name,),
                )
        if self.effective_from and self.expires_at and self.effective_from >= self.expires_at:
            raise Invalid(Text("生效时间须早于失效时间", "an entry takes effect before it expires"), ("effectiveFrom",))
        return self

    @property
    def dates(self) -> dict[str, datetime | None]:
        """The dates by their names."""
        return {name: getattr(self, name) for name in DATES}

    def stored_facets(self) -> dict[str, Any]:
        """Facets and dates as a version keeps them."""
        dates = {name: value.isoformat() if value else None for name, value in self.dates.items()}
        return self.facets.lists() | dates
