"""Saved views on real databases: kept by one person, found by whom they are shared with, changed by their owner alone."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import saved_views
from domain.kernel import SYSTEM, Actor, Database, ErrorCode, Role, SalesError, rows_visible
from domain.ledger import AuditEvent
from domain.saved_views import SavedView, SharedWith
from tests.factories import add_colleague, add_territories


@dataclass
class Company:
    """Reps of East China, of Shanghai in it and of South China, a manager of all China, and everybody else."""

    database: Database
    people: dict[str, Actor]

    async def keep(self, who: str, **changes: Any) -> SavedView:
        """A list of large open deals."""
        words: dict[str, Any] = {"name": "本季大单", "entity_name": "Opportunity", "filter": {"open": True}}
        async with self.database.open_uow(self.people[who]) as uow:
            return await saved_views.create_saved_view(uow, **words | changes)

    async def change(self, who: str, view: SavedView, **changes: Any) -> SavedView:
        """The list after a change."""
        version = changes.pop("version", view.version)
        async with self.database.open_uow(self.people[who]) as uow:
            return await saved_views.update_saved_view(uow, view.id, expected_version=version, changes=changes)

    async def delete(self, who: str, view: SavedView) -> None:
        """Keep it no longer."""
        async with self.database.open_uow(self.people[who]) as uow:
            await saved_views.delete_saved_view(uow, view.id, expected_version=view.version)

    async def finders(self) -> set[str]:
        """Who finds the one list."""
        found = set()
        async with self.database.read() as connection:
            for who, actor in self.people.items():
                seen = select(func.count()).select_from(SavedView.__table__).where(rows_visible(SavedView, actor))
                if (await connection.execute(seen)).scalar_one():
                    found.add(who)
        return found

    async def refused(self, operation: Awaitable[object]) -> SalesError:
        """The error of an operation that must change nothing."""
        before = await self._counts()
        with pytest.raises(SalesError) as caught:
            await operation
        assert await self._counts() == before
        return caught.value

    async def _counts(self) -> list[int]:
        async with self.database.read() as connection:
            found = [await connection.execute(select(func.count()).select_from(m)) for m in (SavedView, AuditEvent)]
        return [one.scalar_one() for one in found]


@pytest.fixture
async def company(database: Database) -> Company:
    places = await add_territories(database)
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[places["east-china"]]),
        "hu": await add_colleague(database, "胡静", Role.REP, territories=[places["shanghai"]]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[places["south-china"]]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=[places["china"]]),
        "SALES_OPS": await add_colleague(database, "高锐", Role.SALES_OPS),
        "AUDITOR": await add_colleague(database, "孙可", Role.AUDITOR),
    }
    return Company(database, people)


EVERYBODY = {"lei", "hu", "na", "min", "SALES_OPS", "AUDITOR"}
SHARING: list[tuple[str, dict[str, Any], set[str]]] = [
    ("lei", {}, {"lei"}),
    ("AUDITOR", {}, {"AUDITOR"}),
    ("lei", {"shared_with": SharedWith.EVERYONE}, EVERYBODY),
    ("lei", {"shared_with": SharedWith.TERRITORY, "region": "华东"}, {"lei", "hu", "min"}),
    ("hu", {"shared_with": SharedWith.TERRITORY, "region": "shanghai"}, {"hu", "lei", "min"}),
    ("min", {"shared_with": SharedWith.TERRITORY, "region": "China"}, {"lei", "hu", "na", "min"}),
    ("SALES_OPS", {"shared_with": SharedWith.TERRITORY, "region": "south-china"}, {"SALES_OPS", "na", "min"}),
]


@pytest.mark.parametrize(("who", "sharing", "finders"), SHARING)
async def test_a_list_is_found_by_its_owner_and_whom_it_is_shared_with(
    company: Company, who: str, sharing: dict[str, Any], finders: set[str]
) -> None:
    view = await company.keep(who, **sharing)
    assert (view.owner_id, view.filter, view.columns) == (company.people[who].user_id, {"open": True}, [])
    assert await company.finders() == finders


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name"),
    ({"name": "长" * 201}, "name"),
    ({"shared_with": SharedWith.TERRITORY}, "region"),
    ({"region": "华东"}, "region"),
    ({"shared_with": SharedWith.TERRITORY, "region": "华南"}, "region"),
    ({"shared_with": SharedWith.TERRITORY, "region": "火星"}, "region"),
    ({"shared_with": SharedWith.EVERYONE, "region": "华东"}, "region"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
async def test_what_makes_no_list_is_refused(company: Company, changes: dict[str, Any], field: str) -> None:
    error = await company.refused(company.keep("lei", **changes))
    assert (error.code, error.path) == (ErrorCode.INVALID, (field,))


async def test_a_list_changes_and_its_region_goes_with_its_sharing(company: Company) -> None:
    view = await company.keep("lei", shared_with=SharedWith.TERRITORY, region="华东")
    view = await company.change(
        "lei", view, name="大单", filter={"open": False}, order_by="AMOUNT_DESC", columns=["name"]
    )
    assert (view.name, view.filter, view.order_by, view.columns, view.region, view.version) == (
        "大单", {"open": False}, "AMOUNT_DESC", ["name"], "east-china", 2,
    )  # fmt: skip
    view = await company.change("lei", view, shared_with=None, filter=None)
    assert (view.shared_with, view.region, view.territory_id, view.filter) == (SharedWith.NOBODY, None, None, {})
    same = await company.change("lei", view, shared_with=SharedWith.NOBODY)
    assert same.version == view.version
    error = await company.refused(company.change("lei", view, version=1, name="旧"))
    assert error.code is ErrorCode.STALE_VERSION


async def test_only_its_owner_changes_a_list(company: Company) -> None:
    view = await company.keep("lei", shared_with=SharedWith.EVERYONE)
    for who in ("min", "SALES_OPS", "na"):
        assert (await company.refused(company.change(who, view, name="改"))).code is ErrorCode.FORBIDDEN
        assert (await company.refused(company.delete(who, view))).code is ErrorCode.FORBIDDEN
    private = await company.keep("lei")
    assert (await company.refused(company.change("min", private, name="改"))).code is ErrorCode.NOT_FOUND
    await company.delete("lei", view)
    await company.delete("lei", private)
    assert await company.finders() == set()


async def test_lists_are_bounded_and_kept_for_people(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "PER_PERSON", 2)
    for name in ("一", "二"):
        await company.keep("lei", name=name)
    assert (await company.refused(company.keep("lei", name="三"))).code is ErrorCode.CONFLICT
    await company.keep("na")
    company.people["system"] = SYSTEM
    assert (await company.refused(company.keep("system"))).code is ErrorCode.INVALID
