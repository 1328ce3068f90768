"""Files of other systems, made from their headers, come in by the mapping that is proposed for them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from openpyxl import Workbook
from sqlalchemy import func, select

from api.importing import import_crm
from api.importing.guess import currency_of, dates_of
from api.importing.propose import propose
from domain.accounts import Account, Contact, ContactPoint
from domain.activities import Activity
from domain.custom_fields import CustomFieldEntity, CustomFieldKind, define
from domain.deals import Opportunity, Stage
from domain.kernel import Database, Invalid, Language, Role, Text
from domain.leads import Lead, LeadStatus
from tests.api.test_importing.export import counts, every, sizes
from tests.factories import add_colleague

COUNT = 12
NAMES = ("申桥汽车零部件", "岚溪医院", "Acme Valves")
PEOPLE = (("建国", "周"), ("思远", "欧阳"), ("Ann", "O'Neil"))


def put(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def salesforce(folder: Path) -> None:
    header = [
        "Id", "Name", "AccountId", "Amount", "CampaignId", "CloseDate", "IsClosed", "IsWon", "ContactId", "CreatedById", "CreatedDate", "Description",
        "ExpectedRevenue", "LeadSource", "OwnerId", "Probability", "StageName", "Type",
    ]  # fmt: skip
    stages = ("Prospecting", "Needs Analysis", "Proposal/Price Quote", "Closed Won", "Closed Lost")
    rows = []
    for at in range(COUNT):
        stage = stages[at % 5]
        rows.append([
            f"006Dn00000A{at:04d}AAA", f"{NAMES[at % 3]} 产线改造 {at}", f"001Dn00000B{at % 3:04d}"[:15] + "IAU", f"{12000 + at}.5", "", "2026-02-10",
            stage.startswith("Closed"), stage == "Closed Won", "", "005", "2026-01-05T08:00:00.000+0000", "多行\n说明", "", "Web", "王敏", 20, stage, "",
        ])  # fmt: skip
    put(folder / "Opportunity.csv", header, rows)
    put(
        folder / "Account.csv",
        ["Id", "Name", "Industry", "Website", "NumberOfEmployees"],
        [
            [f"001Dn00000B{at:04d}", name, "制造", f"https://www.a{at}.example.com/", 100 + at]
            for at, name in enumerate(NAMES)
        ],
    )


def hubspot(folder: Path) -> None:
    put(
        folder / "companies.csv",
        [
            "Record ID",
            "Company Name",
            "Domain",
            "Company owner",
            "Industry",
            "Country/Region",
            "Create Date",
            "Last Activity Date",
        ],
        [
            [100 + at, name, f"h{at}.example.com", "王敏", "医疗", "China", "2026-01-05 09:30", ""]
            for at, name in enumerate(NAMES)
        ],
    )
    contacts = "Record ID,First Name,Last Name,Email,Phone Number,Lead Status,Lifecycle Stage,Contact owner,Create Date,Last Activity Date,Country/Region,Associated Company"
    put(
        folder / "contacts.csv",
        contacts.split(","),
        [
            [200 + at, *PEOPLE[at % 3], f"p{at}@example.com", f"1380000{at:04d}", "Open", "lead", "王敏", "2026-01-05 09:30", "", "China", NAMES[at % 3]]
            for at in range(COUNT)
        ],
    )  # fmt: skip
    deals = "Record ID,Deal Name,Deal Stage,Close Date,Deal owner,Amount,Create Date,Last Activity Date,Original Source,Associated Company"
    stages = ("qualifiedtobuy", "Closed Won", "contractsent")
    put(
        folder / "deals.csv",
        deals.split(","),
        [
            [300 + at, f"{NAMES[at % 3]} 设备 {at}", stages[at % 3], "2026-02-10 17:00", "王敏", "250k" if at == 0 else f"{at}000", "2026-01-05 09:30", "", "Direct", NAMES[at % 3]]
            for at in range(COUNT)
        ],
    )  # fmt: skip


def zoho(folder: Path) -> None:
    put(
        folder / "Users.csv", ["USER_ID", "First Name", "Last Name", "Email"], [[9, "敏", "王", "min.wang@example.com"]]
    )
    put(
        folder / "Accounts.csv",
        [
            "ACCOUNTID",
            "Account Name",
            "Account Owner Id",
            "Account Owner",
            "Account Type",
            "Industry",
            "Website",
            "Tasks Involved",
        ],
        [[500 + at, name, 9, "王敏", "客户", "制造", f"z{at}.example.com", 1] for at, name in enumerate(NAMES)],
    )
    put(
        folder / "Contacts.csv",
        ["CONTACTID", "Last Name", "Contact Owner Id", "Contact Owner", "Account Id", "Email", "Lead Source", "Mobile", "Created Time"],
        [[600 + at, f"周建国{at}", 9, "王敏", at % 2 and 500, f"z{at}@example.com", "", f"1390000{at:04d}", "2026-01-15 23:03:00"] for at in range(COUNT)],
    )  # fmt: skip
    leads = "LEADID,Last Name,Company,Lead Owner,Email,Mobile,Website,Industry,Lead Source,Lead Status,Created Time,CONVERTED,month_Created Time1"
    statuses = ("Not Contacted", "Contacted", "Junk Lead")
    put(
        folder / "Leads.csv",
        leads.split(","),
        [
            [700 + at, f"欧阳思远{at}", "岚溪医院", "王敏", f"l{at}@example.com", "", "", "医疗", "", statuses[at % 3], "15 Jan, 2026 00:02:00", 0, 1]
            for at in range(COUNT)
        ],
    )  # fmt: skip
    put(
        folder / "Potentials.csv",
        ["Potential Name", "Potential Owner", "Created Time", "Closing Date", "Amount", "Expected Revenue", "Stage", "Probability", "LEADID", "Campaign Id", "", ""],
        [
            [f"压装线 {at}", "王敏", "2026-01-15 23:03:00", f"{13 + at}-02-2026 01:09", "$342.09K" if at else "$22,700.00", "", "Negotiation/Review", 80, 0, 0, "", ""]
            for at in range(COUNT)
        ],
    )  # fmt: skip
    calls = "TASKID,Call Start Time,Call Duration (in seconds),Call Owner,Call Owner Id,Subject,Call Type,CONTACTID,ACCOUNTID,POTENTIALID,LEADID,SEMODULE"
    put(
        folder / "Calls.csv",
        calls.split(","),
        [[800 + at, "2026-01-16 10:00:00", 60, "王敏", 9, f"回访 {at}", "Outbound", 0, 500, 0, 700 + at, "Leads"] for at in range(COUNT)],
    )  # fmt: skip


MADE = {"salesforce": salesforce, "hubspot": hubspot, "zoho": zoho}


def corrected(text: str, corrections: dict[str, str]) -> str:
    """A proposed mapping after somebody has edited it."""
    for old, new in corrections.items():
        assert old in text
        text = text.replace(old, new, 1)
    return text


CORRECTIONS: dict[str, dict[str, str]] = {"salesforce": {}, "hubspot": {"currency: USD": "currency: CNY"}, "zoho": {}}


@pytest.mark.parametrize("system", MADE)
async def test_a_proposed_mapping_brings_every_row_in(database: Database, tmp_path: Path, system: str) -> None:
    await add_colleague(database, "王敏", Role.REP, email="min@example.com")
    MADE[system](tmp_path)
    proposal = propose(tmp_path)
    assert proposal.system == system
    assert len(CORRECTIONS[system]) <= 5
    (tmp_path / "映射.yaml").write_text(corrected(proposal.text, CORRECTIONS[system]), encoding="utf-8")
    summary = await import_crm(database, tmp_path, mapping=tmp_path / "映射.yaml")
    assert {warned.text.zh for warned in summary.rejections} == set()
    assert counts(summary, "opportunities")[:2] == (COUNT, COUNT)
    assert counts(summary, "accounts")[:2] == (3, 3)
    assert {row[0] for row in await every(database, Account.name)} == set(NAMES)
    before = await sizes(database)
    again = await import_crm(database, tmp_path, mapping=tmp_path / "映射.yaml")
    assert await sizes(database) == before
    assert all(tally.new == 0 for tally in again.tallies.values())


async def test_what_zoho_writes_in_its_own_ways_is_understood(database: Database, tmp_path: Path) -> None:
    zoho(tmp_path)
    (tmp_path / "映射.yaml").write_text(propose(tmp_path).text, encoding="utf-8")
    await import_crm(database, tmp_path, mapping=tmp_path / "映射.yaml")
    amounts = await every(database, Opportunity.amount_minor, Opportunity.currency)
    assert set(amounts) == {(2_270_000, "USD"), (34_209_000, "USD")}
    days = await every(database, Opportunity.close_date)
    assert str(days[0][0]) == "2026-02-13"
    assert [row[0] for row in await every(database, ContactPoint.match_key)].count("+8613900000001") == 1
    linked = select(func.count()).where(Contact.account_id.is_not(None))
    async with database.read() as connection:
        assert (await connection.execute(linked)).scalar_one() == COUNT // 2
        owned = select(func.count()).where(Opportunity.owner_id.is_not(None))
        assert (await connection.execute(owned)).scalar_one() == COUNT
    assert set(await every(database, Activity.related_kind)) == {("Lead",)}
    told = {status for (status,) in await every(database, Lead.status)}
    assert told == {LeadStatus.ASSIGNED, LeadStatus.WORKING, LeadStatus.DISQUALIFIED}
    assert {str(at)[:16] for (at,) in await every(database, Lead.captured_at)} == {"2026-01-14 16:02"}


async def test_salesforce_ids_of_15_and_18_characters_meet(database: Database, tmp_path: Path) -> None:
    salesforce(tmp_path)
    (tmp_path / "映射.yaml").write_text(propose(tmp_path).text, encoding="utf-8")
    await import_crm(database, tmp_path, mapping=tmp_path / "映射.yaml")
    async with database.read() as connection:
        pair = select(Opportunity.name, Account.name).join(Account, Account.id == Opportunity.account_id)
        pairs = (await connection.execute(pair)).all()
        kinds = select(Stage.key, func.count()).join(Opportunity, Opportunity.stage_id == Stage.id).group_by(Stage.key)
        stages = {row[0]: row[1] for row in await connection.execute(kinds)}
    assert len(pairs) == COUNT
    assert all(deal.startswith(account) for deal, account in pairs)
    assert (stages["won"], stages["lost"]) == (2, 2)


def test_chinese_columns_and_words_are_known(tmp_path: Path) -> None:
    put(
        tmp_path / "商机.csv",
        ["商机名称", "客户名称", "联系人", "手机", "金额", "预计成交日期", "阶段", "负责人", "竞争对手"],
        [["伺服压装 5 台", "申桥汽车", "周建国", "13800000001", "125万", "2026年3月2日", "赢单", "王敏", "无"]] * 2
        + [["监护仪", "岚溪医院", "欧阳", "13800000002", "¥80,000", "2026年4月1日", "样机测试", "王敏", ""]],
    )
    put(tmp_path / "客户.csv", ["客户名称", "行业"], [["申桥汽车", "制造"], ["岚溪医院", "医疗"]])
    proposal = propose(tmp_path)
    mapping = yaml.safe_load(proposal.text)
    assert mapping["currency"] == "CNY"
    assert mapping["dates"] == ["%Y年%m月%d日"]
    assert mapping["opportunities"]["fields"]["amount"] == "金额"
    assert mapping["opportunities"]["fields"]["close_date"] == "预计成交日期"
    assert [stage["values"] for stage in mapping["pipeline"]["stages"]] == [["样机测试"], ["赢单"]]
    assert any("样机测试" in note.zh for note in proposal.open)
    assert any("竞争对手" in note.zh for note in proposal.notes)


@pytest.mark.parametrize(
    ("values", "styles", "unclear"),
    [
        (["13-02-26", "01-02-26"], ("%d-%m-%y",), ()),
        (["02-13-26", "01-02-26"], ("%m-%d-%y",), ()),
        (["03-07-2021 01:09"], ("%d-%m-%Y %H:%M",), ("%d-%m-%Y %H:%M",)),
        (["2021-04-15 23:03:00", "15 Apr, 2021 00:02:00"], ("%Y-%m-%d %H:%M:%S", "%d %b, %Y %H:%M:%S"), ()),
    ],
)
def test_day_and_month_are_told_where_one_reading_is_impossible(
    values: list[str], styles: tuple[str, ...], unclear: tuple[str, ...]
) -> None:
    found = dates_of(values)
    assert (found.styles, found.unclear, found.unread) == (styles, unclear, ())


def test_currencies_are_known_by_their_signs() -> None:
    assert currency_of(["1", "125万"]) == "CNY"
    assert currency_of(["$342.09K"]) == "USD"
    assert currency_of(["12"]) is None


async def test_a_maven_export_with_other_dates_and_two_more_columns_comes_in_by_mapping_alone(
    database: Database, tmp_path: Path
) -> None:
    put(tmp_path / "sales_teams.csv", ["sales_agent", "manager", "regional_office"], [["王敏", "李娜", "Central"]])
    put(
        tmp_path / "sales_pipeline.csv",
        ["opportunity_id", "sales_agent", "deal_stage", "engage_date", "close_date", "close_value", "竞争对手", "备用"],
        [
            ["A1", "王敏", "Won", "05-01-26", "13-02-26", "1054", "远景医疗", "x"],
            ["A2", "王敏", "Engaging", "31-12-25", "", "", "", ""],
        ],
    )
    text = propose(tmp_path).text
    assert "%d-%m-%y" in text
    mapping = yaml.safe_load(text)
    mapping["opportunities"]["ignore"] = ["备用"]
    mapping["opportunities"]["custom"] = {"rival": "竞争对手"}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    with pytest.raises(Invalid) as undeclared:
        await import_crm(database, tmp_path, mapping=tmp_path / "m.yaml")
    assert "rival" in undeclared.value.text.zh
    admin = await add_colleague(database, "运维", Role.ADMIN)
    async with database.open_uow(admin) as uow:
        await define(
            uow,
            entity=CustomFieldEntity.OPPORTUNITY,
            key="rival",
            label=Text("竞争对手", "Rival"),
            kind=CustomFieldKind.TEXT,
        )
    summary = await import_crm(database, tmp_path, mapping=tmp_path / "m.yaml")
    assert counts(summary, "opportunities") == (2, 2, 0, 0, 0)
    assert not [warned for warned in summary.warnings if "没有导入的列" in warned.text.zh]
    async with database.read() as connection:
        rows = {
            row.external_id: row
            for row in await connection.execute(
                select(Opportunity.external_id, Opportunity.close_date, Opportunity.custom)
            )
        }
    assert str(rows["A1"].close_date) == "2026-02-13"
    assert rows["A1"].custom == {"rival": "远景医疗"}
    assert rows["A2"].custom is None


def test_sheets_of_a_workbook_are_proposed_like_files(tmp_path: Path) -> None:
    book = Workbook()
    book.remove(book.active)
    for name, rows in {"客户": [["客户名称", "行业"], ["岚溪医院", "医疗"]], "说明": [["无关"], ["x"]]}.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(tmp_path / "导出.xlsx")
    proposal = propose(tmp_path)
    assert yaml.safe_load(proposal.text)["accounts"]["file"] == "导出.xlsx#客户"
    assert any("说明" in note.zh for note in proposal.notes)


def test_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", ["x", "y"], [["1", "2"]])
    with pytest.raises(Invalid):
        propose(tmp_path)
    with pytest.raises(Invalid) as unknown:
        propose(tmp_path, "odoo")
    assert "odoo" in unknown.value.text.words(Language.ZH)


def test_what_two_files_spell_otherwise_is_brought_together_and_said(tmp_path: Path) -> None:
    put(tmp_path / "products.csv", ["product", "series", "sales_price"], [["监护仪 8", "监护", 38000]])
    put(
        tmp_path / "sales_pipeline.csv",
        ["opportunity_id", "product", "deal_stage"],
        [["A", "监护仪8", "Won"], ["B", "别的", "Won"]],
    )
    proposal = propose(tmp_path)
    fields = yaml.safe_load(proposal.text)["opportunities"]["fields"]
    assert fields["product"] == {"column": "product", "values": {"监护仪8": "监护仪 8"}}
    assert any("监护仪8" in note.zh for note in proposal.open)
