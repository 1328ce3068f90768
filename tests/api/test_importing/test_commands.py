"""The commands as people type them: propose, import and keep, import again by the source's name, export."""

import csv
from pathlib import Path

from tests.installation import Home


def test_a_mapping_is_proposed_kept_and_used_again(tmp_path: Path) -> None:
    home, folder = Home(tmp_path / "家"), tmp_path / "导出"
    folder.mkdir()
    (folder / "客户.csv").write_text("客户名称,行业,负责人\n岚溪医院,医疗,王敏\n", encoding="utf-8")
    (folder / "销售.csv").write_text("姓名,大区,经理,邮箱\n王敏,华东,李娜,min@example.com\n", encoding="utf-8")
    proposed = home.run("import", "propose", str(folder))
    assert proposed.returncode == 0
    assert "待定" in proposed.stderr
    mapping = tmp_path / "映射.yaml"
    mapping.write_text(proposed.stdout, encoding="utf-8")
    first = home.run("import", "crm", str(folder), "--mapping", str(mapping), "--save")
    assert "客户：读取 1，新增 1" in first.stdout
    assert home.run("import", "mappings").stdout.startswith("old_crm\t")
    again = home.run("import", "crm", str(folder), "--source", "old_crm")
    assert "客户：读取 1，新增 0，未变 1" in again.stdout
    unknown = home.run("import", "crm", str(folder), "--source", "没有")
    assert unknown.returncode == 1
    assert "没有保存过" in unknown.stderr
    out = home.run("export", "accounts", "--as", "min@example.com", "-o", "客户.csv")
    assert out.returncode == 0, out.stderr
    with (home.path / "客户.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [(row["name"], row["owner"]) for row in csv.DictReader(file)] == [("岚溪医院", "王敏")]
    wrong = home.run("export", "accounts", "--as", "min@example.com", "-o", "x.csv", "--filter", "[1]")
    assert wrong.returncode == 1
    assert not (home.path / "x.csv").exists()
    assert "可信" in home.run("audit", "verify").stderr
