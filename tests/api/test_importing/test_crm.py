"""A Chinese CRM export comes in: whole, the same twice, every oddity told."""

from pathlib import Path

from sqlalchemy import func, select

from api.importing import import_crm
from api.importing.accounts import family
from api.importing.users import address
from domain.accounts import Account, AccountTeamMember, LifecycleStage
from domain.commerce import Order, OrderLine, PriceBookEntry, Product
from domain.deals import Opportunity, Stage, StageTransition
from domain.kernel import SYSTEM, Database, Language, Role, rows_visible
from domain.ledger import AuditEvent, ImportBatch, rows_digest
from domain.people import RoleGrant, User
from tests.api.test_importing.export import FILES, MAPPING, Run, add_lines, counts, every, listed, sizes, warnings
from tests.factories import add_colleague, sign_in


async def test_a_chinese_export_comes_in_whole(database: Database, run: Run) -> None:
    summary = await run()
    assert {name: counts(summary, name)[:2] for name in summary.tallies} == {
        "agents": (3, 3), "accounts": (3, 3), "products": (2, 2), "opportunities": (6, 6), "orders": (2, 2),
    }  # fmt: skip
    assert {label.zh: count for label, count in summary.by_kind.items()} == {"洽谈": 3, "赢单": 2, "丢单": 1}
    rows = await every(
        database,
        Account.name,
        Account.industry,
        Account.employees,
        Account.annual_revenue_minor,
        Account.lifecycle_stage,
    )
    assert rows == [
        ("杭州第一医院", "医疗", 1200, 850_500_000, LifecycleStage.ACTIVE),
        ("杭州第一医院滨江院区", "医疗", 300, None, LifecycleStage.PROSPECT),
        ("苏州精密", "机械", 80, 120_000_000, LifecycleStage.PROSPECT),
    ]
    deals = await every(
        database, Opportunity.external_id, Opportunity.name, Opportunity.amount_minor, Opportunity.currency
    )
    assert deals[0] == ("D1", "杭州第一医院 · 监护仪 8", 3_600_000, "CNY")
    assert [deal[2] for deal in deals[1:]] == [3_700_000, None, None, None, None]
    assert await every(database, PriceBookEntry.list_minor, PriceBookEntry.floor_minor) == [
        (3_800_000, 3_040_000),
        (11_800_000, 9_440_000),
    ]


async def test_warnings_name_what_was_odd_and_how_often(run: Run) -> None:
    told = warnings(await run())
    assert told == {
        "没有导入的列": 1,
        "“医療”按映射改为“医疗”": 1,
        "没有底价，按目录价的 80% 计": 2,
        "“监护仪8”按映射改为“监护仪 8”": 1,
        "“丢单”商机的金额为 0，按未知处理": 1,
        "未关闭的商机没有关闭日期": 3,
        "未关闭的商机没有金额": 3,
        "未关闭的商机没有开始日期，以导入时刻为准": 1,
        "未关闭的商机没有客户，照常导入": 1,
        "上级客户未知，不设上级": 1,
        "客户没有负责人": 1,
    }


async def test_each_deal_keeps_its_stays_and_its_order(database: Database, run: Run) -> None:
    await run()
    async with database.open_uow(SYSTEM) as uow:
        stage = select(Stage.key, StageTransition.entered_at, StageTransition.left_at).join(
            Opportunity, Opportunity.id == StageTransition.opportunity_id
        )
        stage = stage.join(Stage, Stage.id == StageTransition.to_stage_id).where(Opportunity.external_id == "D1")
        stays = (await uow.session.execute(stage.order_by(StageTransition.entered_at))).all()
        assert [(key, entered.date().isoformat(), left and left.date().isoformat()) for key, entered, left in stays] == [
            ("talk", "2025-03-01", "2025-04-20"), ("won", "2025-04-20", None),
        ]  # fmt: skip
        bought = select(
            Order.number,
            Order.ordered_at,
            Order.total_minor,
            Product.code,
            OrderLine.quantity,
            OrderLine.unit_price_minor,
        )
        bought = bought.join(OrderLine, OrderLine.order_id == Order.id).join(
            Product, Product.id == OrderLine.product_id
        )
        orders = (await uow.session.execute(bought.order_by(Order.number))).all()
        assert [(number, at.date().isoformat(), *rest) for number, at, *rest in orders] == [
            ("D1", "2025-04-20", 3_600_000, "监护仪 8", 1, 3_600_000), ("D2", "2025-07-20", 3_700_000, "监护仪 8", 1, 3_700_000),
        ]  # fmt: skip


async def test_people_sign_in_and_see_what_is_theirs(database: Database, run: Run) -> None:
    summary = await run()
    assert {(user.name, user.email, user.roles) for user in summary.users} == {
        ("张磊", "lei.zhang@example.com", (Role.REP,)), ("李娜", "李娜@example.com", (Role.REP,)),
        ("陈芳", "陈芳@example.com", (Role.REP,)), ("王敏", "王敏@example.com", (Role.MANAGER,)),
    }  # fmt: skip
    seen = {}
    for email in ("lei.zhang@example.com", "李娜@example.com", "陈芳@example.com", "王敏@example.com"):
        actor = await sign_in(database, email)
        async with database.read() as connection:
            accounts = await connection.execute(select(Account.name).where(rows_visible(Account, actor)))
            deals = await connection.execute(select(Opportunity.external_id).where(rows_visible(Opportunity, actor)))
            seen[email[:2]] = (sorted(accounts.scalars()), sorted(map(str, deals.scalars())))
    hospital, parts = "杭州第一医院", "苏州精密"
    assert seen == {
        "le": ([hospital], ["D1", "D2", "D3"]),
        "李娜": ([hospital, parts], ["D3", "D4", "D5"]),
        "陈芳": ([parts], ["D5", "D6"]),
        "王敏": ([hospital, parts], ["D1", "D2", "D3", "D4", "D5", "D6"]),
    }


async def test_an_equal_number_of_deals_goes_by_name(database: Database, run: Run, folder: Path) -> None:
    add_lines(folder, "商机.csv", "D7,李娜,杭州第一医院,监护仪 8,洽谈中,2025-11-01,,")
    await run()
    async with database.read() as connection:
        owned = select(Account.name, User.name).join(User, User.id == Account.owner_id)
        rows = (await connection.execute(owned.order_by(Account.name))).all()
    assert [tuple(row) for row in rows] == [("杭州第一医院", "张磊"), ("苏州精密", "李娜")]


async def test_a_second_run_changes_nothing(database: Database, run: Run) -> None:
    first = await run()
    before = await sizes(database)
    second = await run()
    assert await sizes(database) == before
    assert counts(second, "opportunities") == (6, 0, 6, 0, 0)
    assert {counts(second, name)[1] for name in second.tallies} == {0}
    assert warnings(second) == warnings(first)
    assert second.users == first.users


async def test_a_dry_run_says_the_same_and_changes_nothing(database: Database, run: Run, folder: Path) -> None:
    add_lines(folder, "商机.csv", "D7,赵六,苏州精密,激光打标机,洽谈中,2025-09-01,,")
    before, files = await sizes(database), listed(folder)
    rehearsal = await run(dry_run=True)
    assert await sizes(database) == before
    assert listed(folder) == files
    earnest = await run()
    assert next(iter(rehearsal.lines(Language.ZH))).startswith("试运行")
    assert rehearsal.tallies == earnest.tallies
    assert rehearsal.warnings == earnest.warnings
    assert [(user.name, user.email) for user in rehearsal.users] == [(user.name, user.email) for user in earnest.users]


async def test_records_that_were_changed_here_stay(database: Database, run: Run, folder: Path) -> None:
    await run()
    text = FILES["商机.csv"].replace(
        "D4,李娜,苏州精密,激光打标机,洽谈中,2025-09-01,,",
        "D4,李娜,苏州精密,激光打标机,赢单,2025-09-01,2025-12-01,99000",
    )
    (folder / "商机.csv").write_text(text, encoding="utf-8")
    add_lines(folder, "商机.csv", "D8,陈芳,杭州第一医院,激光打标机,跟进,2025-12-01,,50000")
    again = await run()
    assert counts(again, "opportunities") == (7, 1, 5, 1, 0)
    assert warnings(again)["商机与现有记录不同，保留现有记录"] == 1
    deals = dict(await every(database, Opportunity.external_id, Opportunity.amount_minor))
    assert (deals["D4"], deals["D8"]) == (None, 5_000_000)
    async with database.read() as connection:
        team = select(User.name).join(AccountTeamMember, AccountTeamMember.user_id == User.id)
        team = team.join(Account, Account.id == AccountTeamMember.account_id).where(Account.name == "杭州第一医院")
        assert sorted((await connection.execute(team)).scalars()) == ["李娜", "陈芳"]


async def test_circles_of_parents_are_cut(database: Database, run: Run, folder: Path) -> None:
    text = FILES["客户.csv"].replace("¥850.5,,", "¥850.5,杭州第一医院滨江院区,").replace("不存在的集团", "苏州精密")
    (folder / "客户.csv").write_text(text, encoding="utf-8")
    told = warnings(await run())
    assert told["上级客户成环，不设上级"] == 2
    parents = await every(database, Account.name, Account.parent_id)
    assert sum(parent is not None for _, parent in parents) == 1


def test_families_come_parents_first() -> None:
    assert family({"子": "父", "父": "祖", "祖": None}) == (["祖", "父", "子"], [])
    order, cut = family({"甲": "乙", "乙": "丙", "丙": "甲", "丁": "甲"})
    assert cut == ["丙"]
    assert order.index("丁") > order.index("甲") > order.index("乙") > order.index("丙")


def test_addresses_are_numbered_where_taken() -> None:
    assert address("张磊", "example.com", set()) == "张磊@example.com"
    assert address("José  García-Müller", "example.com", set()) == "jose.garcia-muller@example.com"
    assert (
        address("Lei Zhang", "example.com", {"lei.zhang@example.com", "lei.zhang2@example.com"})
        == "lei.zhang3@example.com"
    )
    assert address("？！", "example.com", set()) == "user@example.com"


async def test_colleagues_who_are_here_already_keep_their_place(database: Database, run: Run) -> None:
    lei = await add_colleague(database, "张磊（旧账号）", Role.CSM, email="lei.zhang@example.com")
    await add_colleague(database, "别的李娜", Role.FINANCE, email="李娜@example.com")
    for _ in range(2):
        summary = await run()
        emails = {user.name: user.email for user in summary.users}
        assert emails["李娜"] == "李娜2@example.com"
        assert warnings(summary)["已有同邮箱的用户，直接沿用"] == 1
    async with database.read() as connection:
        mine = select(func.count()).select_from(Opportunity).where(Opportunity.owner_id == lei.user_id)
        assert (await connection.execute(mine)).scalar_one() == 2
    assert (await sign_in(database, "lei.zhang@example.com")).roles == {Role.CSM}


async def test_every_row_names_its_batch_and_the_ledger_its_digest(database: Database, run: Run) -> None:
    await run()
    async with database.open_uow(SYSTEM) as uow:
        for model in (Account, Opportunity, StageTransition, Order, OrderLine, Product, User, RoleGrant):
            nameless = select(func.count()).select_from(model).where(model.import_batch_id.is_(None))
            assert (await uow.session.execute(nameless)).scalar_one() == 0
        told = (
            (await uow.session.execute(select(AuditEvent).where(AuditEvent.action == "import.batch_recorded")))
            .scalars()
            .all()
        )
        event = next(event for event in told if "AccountTeamMember" in event.detail["detail"]["tables"])
        batch = await uow.session.get_one(ImportBatch, event.subject_id)
        members = (
            await uow.session.execute(
                select(AccountTeamMember)
                .where(AccountTeamMember.import_batch_id == batch.id)
                .order_by(AccountTeamMember.id)
            )
        ).scalars()
        rows = [
            {
                "id": row.id,
                "account_id": row.account_id,
                "user_id": row.user_id,
                "role": row.role,
                "import_batch_id": batch.id,
            }
            for row in members
        ]
        noted = event.detail["detail"]["tables"]["AccountTeamMember"]
        assert noted == {"rows": len(rows), "digest": rows_digest(batch.salt, rows)}
        assert rows_digest(batch.salt, rows[:-1]) != noted["digest"]


async def test_progress_is_told_up_to_the_end(run: Run) -> None:
    told: list[tuple[str, int, int]] = []
    await run(progress=lambda *step: told.append(step))
    assert told[-1] == ("商机.csv", 6, 6)


async def test_files_may_come_one_after_another(database: Database, folder: Path, run: Run) -> None:
    mapping = MAPPING
    only = "\n".join(line for line in mapping.split("opportunities:")[0].splitlines())
    (folder / "先.yaml").write_text(only, encoding="utf-8")
    first = await import_crm(database, folder, mapping=folder / "先.yaml")
    assert "opportunities" not in first.tallies
    assert counts(await run(), "opportunities") == (6, 6, 0, 0, 0)
