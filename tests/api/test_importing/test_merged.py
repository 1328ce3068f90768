"""An export that still knows two accounts comes in rightly after they were made one here."""

from pathlib import Path

from sqlalchemy import select

from domain.accounts import Account, AccountTeamMember
from domain.deals import Opportunity
from domain.kernel import SYSTEM, Database
from domain.merging import Pair, merge_accounts
from tests.api.test_importing.export import Run, add_lines, counts


async def test_what_comes_for_a_merged_account_goes_to_the_one_that_stayed(
    database: Database, run: Run, folder: Path
) -> None:
    await run()
    async with database.open_uow(SYSTEM) as uow:
        found = {row.name: row for row in await uow.session.scalars(select(Account))}
        one, two = found["杭州第一医院"], found["杭州第一医院滨江院区"]
        survivor = await merge_accounts(uow, Pair(one.id, one.version, two.id, two.version))
    add_lines(folder, "商机.csv", "D9,陈芳,杭州第一医院滨江院区,激光打标机,跟进,2025-12-01,,50000")
    assert counts(await run(), "opportunities")[:2] == (7, 1)
    async with database.read() as connection:
        deal = await connection.execute(select(Opportunity.account_id).where(Opportunity.external_id == "D9"))
        assert deal.scalar_one() == survivor.id
        teams = await connection.execute(select(AccountTeamMember.account_id).distinct())
        assert two.id not in set(teams.scalars())
        keys = await connection.execute(select(Account.name, Account.name_key))
        assert {row.name: row.name_key for row in keys}["苏州精密"] == "苏州精密"
