"""A library over an empty database with three entries, and the people who fill it and search it."""

from dataclasses import dataclass, field
from typing import Any

from domain.kernel import Actor, Database, Language
from knowledge import (
    Content,
    Facets,
    Filter,
    Found,
    KnowledgeItem,
    KnowledgeKind,
    Library,
    SearchResult,
    Situation,
    Wanted,
    service,
)

PRICE, DELIVERY, COST, TRAINING = "医院说价格太高", "交期怎么保证", "Price is too high", "培训课程"
KIND = KnowledgeKind.OBJECTION_RESPONSE


@dataclass
class Shelf:
    """A library over an empty database, a curator, a second one, and a rep who searches."""

    database: Database
    curator: Actor
    second: Actor
    rep: Actor
    library: Library
    items: dict[str, KnowledgeItem] = field(default_factory=dict)

    async def draft(self, title: str, body: str, language: Language, kind: KnowledgeKind, **more: Any) -> KnowledgeItem:
        """Start an entry; dates and facets by name."""
        dates = {name: more.pop(name) for name in ("expires_at", "effective_from") if name in more}
        content = Content(title, body, Facets(**{name: tuple(values) for name, values in more.items()}), **dates)
        async with self.database.open_uow(self.curator) as uow:
            return await service.draft(uow, kind=kind, language=language, content=content)

    async def publish(
        self, title: str, body: str, *, language: Language = Language.ZH, kind: KnowledgeKind = KIND, **more: Any
    ) -> KnowledgeItem:
        """Have an entry out, by two people."""
        item = await self.draft(title, body, language, kind, **more)
        return await self.step(await self.step(item, "submit"), "publish", self.second)

    async def revise(self, key: str, **change: Any) -> KnowledgeItem:
        """Have another version of an entry out."""
        item = self.items[key]
        async with self.database.open_uow(self.curator) as uow:
            item = await service.revise(uow, item.id, item.version, change)
        item = await self.step(await self.step(item, "submit"), "publish", self.second)
        self.items[key] = item
        return item

    async def step(self, item: KnowledgeItem, step: str, actor: Actor | None = None) -> KnowledgeItem:
        """Submit, publish or retire an entry."""
        async with self.database.open_uow(actor or self.curator) as uow:
            done: KnowledgeItem = await getattr(service, step)(uow, item.id, item.version)
        return done

    async def fill(self) -> None:
        """Three entries: on price and on delivery in Chinese, on price in English."""
        price = "## 回应\n先认同，再把五年总成本摆出来：采购价只占三成。\n## 证据\n华山医院三年省下四百万。"
        self.items[PRICE] = await self.publish(
            PRICE, price, concerns=["price_too_high"], industries=["hospital"], stages=["proposal"], roles=["REP"]
        )
        self.items[DELIVERY] = await self.publish(
            DELIVERY, "按周给出排产计划，晚一天赔一天。", concerns=["delivery_time"], competitors=["yuanbai"]
        )
        self.items[COST] = await self.publish(
            COST, "Agree first, then show the price over five years.", language=Language.EN, concerns=["price_too_high"]
        )

    async def search(self, query: str, *, actor: Actor | None = None, limit: int = 5, **filter: Any) -> SearchResult:
        """What a search returns, by default to the rep."""
        return await self.library.search(actor or self.rep, query, Filter(**filter), limit)

    async def titles(self, query: str, **more: Any) -> list[str]:
        """The titles that a search returns."""
        found = await self.search(query, **more)
        names = {item.id: title for title, item in self.items.items()}
        return [names.get(hit.item_id, str(hit.item_id)) for hit in found.hits]

    async def find(self, query: str = "价格太高", **more: Any) -> list[Found]:
        """What an answer finds for one want."""
        situation = Situation(**{name: more.pop(name) for name in list(more) if name in Situation.__dataclass_fields__})
        fields: dict[str, Any] = {"kinds": (KIND,), "language": Language.ZH, "limit": 5} | more
        want = Wanted(query=query, situation=situation, **fields)
        return (await self.library.find(self.rep, {"one": want}))["one"]
