"""Search over records in the schema: one box for every kind, within what the reader sees."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, and_, or_, select

from api.context import Context, Info
from api.reads import SHAPES, Node, check_size, computed, load_ref, roots
from api.scalars import enum
from domain import accounts
from domain.accounts import Channel, ContactPoint
from domain.kernel import SYSTEM, Invalid, Language, Ref, Text, rows_visible, search, words
from domain.kernel.search import Hit
from domain.kernel.words import Piece, Terms

QUERY_LENGTH = 200
SHORTEST_ADDRESS = 5


class SearchKind(StrEnum):
    """The kinds of records that can be searched."""

    ACCOUNT = "ACCOUNT"
    CONTACT = "CONTACT"
    LEAD = "LEAD"
    OPPORTUNITY = "OPPORTUNITY"
    ACTIVITY = "ACTIVITY"
    PRODUCT = "PRODUCT"
    QUOTE = "QUOTE"
    ORDER = "ORDER"

    @property
    def entity(self) -> str:
        """The class."""
        return self.value.title()


enum(
    SearchKind,
    "What can be searched.",
    ACCOUNT="Accounts, by name and domain.",
    CONTACT="People, by name and title, and by a complete address.",
    LEAD="Leads, by name, company and interest.",
    OPPORTUNITY="Opportunities, by name.",
    ACTIVITY="Activities, by subject and body.",
    PRODUCT="Products, by name and code.",
    QUOTE="Quotes, by number.",
    ORDER="Orders, by their number and the customer's.",
)


@strawberry.type(description="A stretch of text that the query meets, or one that it does not.")
class SnippetPiece:
    """One piece of a snippet."""

    text: str = strawberry.field(description="The words.")
    matched: bool = strawberry.field(description="Whether they are what was asked for.")


@strawberry.type(description="A record that was found.")
class SearchHit:
    """What is shown of a hit; the record is looked up when it is asked for."""

    kind: SearchKind = strawberry.field(description="What kind of record.")
    title: str = strawberry.field(description="Its name.")
    snippet: list[SnippetPiece] = strawberry.field(description="Where the query meets it, in pieces; addresses masked.")
    score: float = strawberry.field(description="How well it fits, 0 to 1.")
    ref: strawberry.Private[Ref]

    @computed("The record.")
    async def node(self, info: Info) -> Node | None:
        """Load it together with every other of its kind."""
        found: Node | None = await load_ref(info.context, self.ref)
        return found


async def _texts(context: Context, entity: str, ids: Sequence[UUID]) -> Mapping[UUID, dict[str, str]]:
    """The searched columns of records, those that the reader sees."""
    shape = SHAPES[entity]
    view = shape.view(context.reader, context.language)
    columns = [view.column(column, field).label(column) for column, field in shape.model.__searched__.items()]
    rows = await context.rows(select(view.table.c.id, *columns).where(view.table.c.id.in_(ids), view.rows()))
    return {row["id"]: {key: value for key, value in row.items() if key != "id" and value} for row in rows}


def _title(texts: Mapping[str, str], language: Language) -> str:
    first = next(iter(texts))
    other = f"{first.removesuffix('_zh')}_en"
    return texts[other] if language is Language.EN and other in texts else texts[first]


def _snippet(texts: Mapping[str, str], asked: Terms) -> list[Piece]:
    """The text that has most of what was asked for, the title where others have no more."""
    return words.excerpt(max(texts.values(), key=lambda text: words.met(text, asked)), asked)


# ---- complete addresses ----------------------------------------------------------------------------------------------

CALLED = (Channel.PHONE, Channel.SMS)


def _keys(query: str) -> list[tuple[tuple[Channel, ...], str]]:
    """The addresses that a query may be, with the channels on which they are some: nothing less than a complete one."""
    address = query.strip()
    if len(address) < SHORTEST_ADDRESS or (any(character.isspace() for character in address) and not any(map(str.isdigit, address))):  # fmt: skip
        return []
    others = tuple(channel for channel in Channel if channel not in {*CALLED, Channel.EMAIL})
    found = []
    for channels in (CALLED, (Channel.EMAIL,), others):
        try:
            found.append((channels, accounts.match_key(channels[0], address)))
        except Invalid:
            continue
    return found


async def _by_address(context: Context, query: str, first: int) -> dict[UUID, Piece]:
    """The people who have the address, with its masked form."""
    point = ContactPoint.__table__
    same: list[ColumnElement[bool]] = [
        and_(point.c.channel.in_(channels), point.c.match_key == key) for channels, key in _keys(query)
    ]
    if not same:
        return {}
    columns = (point.c.contact_id, point.c.channel, point.c.value)
    seen = select(*columns).where(or_(*same), rows_visible(ContactPoint, context.reader)).order_by(point.c.id)
    rows = await context.rows(seen.limit(first))
    return {row["contact_id"]: Piece(accounts.masked(row["channel"], row["value"]), matched=True) for row in rows}


# ---- the root --------------------------------------------------------------------------------------------------------


async def _found(context: Context, query: str, kinds: Sequence[SearchKind], first: int) -> list[SearchHit]:
    entities = {kind.entity: kind for kind in kinds}
    addressed = await _by_address(context, query, first) if SearchKind.CONTACT in kinds else {}
    async with context.database.read(SYSTEM) as connection:
        hits = await search.search(connection, context.reader, query, entities, first)
    people = [Hit(Ref("Contact", id), 1.0) for id in addressed]
    hits = [*people, *(hit for hit in hits if hit.ref.id not in addressed)][:first]
    texts: dict[UUID, dict[str, str]] = {}
    for entity in dict.fromkeys(hit.ref.kind for hit in hits):
        texts |= await _texts(context, entity, [hit.ref.id for hit in hits if hit.ref.kind == entity])
    asked = words.terms(query)

    def shown(hit: Hit) -> SearchHit:
        own = texts[hit.ref.id]
        address = addressed.get(hit.ref.id)
        pieces = _snippet(own, asked) if address is None else [address]
        return SearchHit(
            kind=entities[hit.ref.kind], title=_title(own, context.language), score=hit.score, ref=hit.ref,
            snippet=[SnippetPiece(text=piece.text, matched=piece.matched) for piece in pieces],
        )  # fmt: skip

    return [shown(hit) for hit in hits if texts.get(hit.ref.id)]


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


@roots
class SearchQueries:
    """The roots of this room."""

    @computed("The records that have all words of the query, the best first; the last word may be half typed.")
    async def search_records(
        self,
        info: Info,
        query: Annotated[str, _argument("Words, or a person's complete telephone number or address.")],
        kinds: Annotated[list[SearchKind] | None, _argument("Among these kinds alone.")] = None,
        first: Annotated[int, _argument("How many at most: 1 to 100.")] = 20,
    ) -> list[SearchHit]:
        """Find them, and read what is shown of them."""
        check_size(info.context, first, "first")
        if len(query) > QUERY_LENGTH:
            raise Invalid(
                Text(f"查询不能超过 {QUERY_LENGTH} 个字符", f"the query is longer than {QUERY_LENGTH} characters"),
                ("query",),
            )
        chosen = tuple(SearchKind) if kinds is None else tuple(kind for kind in SearchKind if kind in kinds)
        return await _found(info.context, query, chosen, first)
