"""Propose a mapping for files that nobody has described yet: by their columns' names, by their values, and say what is open."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from api.importing.guess import EMAIL, PHONE, currency_of, dates_of, looks_like
from api.importing.sheet import read_number
from api.importing.tables import Table, read_table
from api.importing.workbooks import is_workbook, sheet_names
from domain.kernel import Invalid, Text

PRESETS = Path(__file__).with_name("presets")
SYSTEMS = ("salesforce", "hubspot", "zoho", "frappe", "maven")
ANY, WORDS = "any", "words"
KINDS = {"calls": "CALL", "meetings": "MEETING"}
DAYS = frozenset({"opened_on", "close_date", "captured_on", "occurred_at"})
AMOUNTS = frozenset({"amount", "annual_revenue", "list_price", "floor_price"})
PEOPLE = ("contacts", "leads")
MOST_WORDS, MOST_SHOWN = 40, 3
Entry = dict[str, Any]


@dataclass(slots=True)
class Proposal:
    """A mapping as YAML, the system that it takes the files for, and what a person should look at."""

    system: str
    text: str
    notes: list[Text] = field(default_factory=list)
    open: list[Text] = field(default_factory=list)


@dataclass(slots=True)
class _File:
    """One file with the columns that feed fields."""

    name: str
    kind: str
    table: Table
    fields: dict[str, Any]
    system: str

    def values(self, column: str) -> list[str]:
        at = self.table.header.index(column)
        return [line.cells[at].strip() for line in self.table.lines if at < len(line.cells) and line.cells[at].strip()]

    def columns(self, name: str) -> list[str]:
        fed = self.fields.get(name)
        if isinstance(fed, str):
            return [fed]
        return [] if fed is None else list(fed.get("columns", ())) or ([fed["column"]] if "column" in fed else [])


def _plain(word: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", word).lower())


def _preset(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def propose(path: Path, system: str | None = None) -> Proposal:
    """The mapping of a file or of all files in a directory, as far as their columns and values tell.

    Raises Invalid for an unknown system, a path that cannot be read, and files none of which holds anything we know.
    """
    if system is not None and system not in (*SYSTEMS, ANY):
        known = ", ".join((*SYSTEMS, ANY))
        raise Invalid(Text(f"未知系统“{system}”；有：{known}", f"unknown system “{system}”; there are: {known}"))
    tables, notes = _tables(path)
    chosen = system or _recognised(tables)
    files, left = _files(tables, chosen)
    if not files:
        raise Invalid(Text(f"{path} 里没有可识别的文件", f"nothing in {path} is known by its columns"))
    notes += [Text(f"{name}：没有识别，不导入", f"{name}: not recognised, left out") for name in left]
    return _Draft(chosen, files, notes).proposal()


def _tables(path: Path) -> tuple[list[Table], list[Text]]:
    paths = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    names = [one for one in paths if one.suffix.lower() == ".csv" or is_workbook(one.name)]
    sheets = [path_ for one in names for path_ in ([one] if not is_workbook(one.name) else sheet_names(one))]
    tables: list[Table] = []
    notes: list[Text] = []
    for one in sheets:
        try:
            tables.append(read_table(one))
        except Invalid as error:
            notes.append(error.text)
    return tables, notes


def _recognised(tables: list[Table]) -> str:
    scores = Counter({name: sum(_best(table, name)[0] for table in tables) for name in SYSTEMS})
    best, score = scores.most_common(1)[0]
    return best if score else ANY


def _files(tables: list[Table], system: str) -> tuple[list[_File], list[str]]:
    """The files that can be told, one of a kind (the fullest), activities aside; and the names of the others."""
    found: list[tuple[int, _File]] = []
    left: list[str] = []
    for table in tables:
        told = next((best for name in dict.fromkeys((system, ANY)) if (best := _best(table, name))[0]), None)
        if told is None:
            left.append(table.file)
            continue
        score, kind, fields = told
        found.append((score, _File(table.file, kind, table, fields, system)))
    kept: dict[str, _File] = {}
    for _, file in sorted(found, key=lambda pair: -pair[0]):
        if kept.setdefault(file.kind, file) is not file:
            left.append(file.name)
    return list(kept.values()), left


def _best(table: Table, preset: str) -> tuple[int, str, dict[str, Any]]:
    """How well a preset knows a file, 0 for not at all, as what, and which columns feed which fields."""
    best: tuple[int, str, dict[str, Any]] = (0, "", {})
    header = {_plain(name): name for name in reversed(table.header) if name}
    for kind, entry in _preset(preset).items():
        marks = sum(_plain(mark) in header for mark in entry["marks"])
        fields = {name: fed for name, spec in entry["fields"].items() if (fed := _fed(spec, header)) is not None}
        if marks and all(name in fields for name in entry["needs"]) and marks * 3 + len(fields) > best[0]:
            best = marks * 3 + len(fields), kind, fields
    return best


def _fed(spec: Any, header: dict[str, str]) -> Any:
    """The column of a field: the first of its names that the file has, or those that together stand for it."""
    if isinstance(spec, list):
        return next((header[_plain(name)] for name in spec if _plain(name) in header), None)
    if "constant" in spec:
        return spec
    more = {key: value for key, value in spec.items() if key not in {"from", "columns"}}
    one = next((header[_plain(name)] for name in spec.get("from", ()) if _plain(name) in header), None)
    if one is not None:
        return {"column": one} | more if more else one
    columns = [header[_plain(name)] for name in spec.get("columns", ()) if _plain(name) in header]
    return {"columns": columns} | more if columns else None


class _Draft:
    """A mapping in the making."""

    def __init__(self, system: str, files: list[_File], notes: list[Text]) -> None:
        self.system, self.files, self.notes = system, files, notes
        self.open: list[Text] = []
        self.words = _preset(WORDS)
        self.kinds = {file.kind: file for file in files}

    def proposal(self) -> Proposal:
        """All of it."""
        document: Entry = {"source": self.system if self.system != ANY else "old_crm", "currency": self._currency()}
        document["dates"] = self._dates()
        document["users"] = {"unknown": "UNOWNED"}
        if "opportunities" in self.kinds:
            document["pipeline"] = self._pipeline(self.kinds["opportunities"])
        for file in self.files:
            part = self._part(file)
            if file.kind in KINDS:
                document.setdefault("activities", []).append({"kind": KINDS[file.kind]} | part)
            else:
                document[file.kind] = part
        body = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=150)
        return Proposal(self.system, self._comments() + body, self.notes, self.open)

    def _comments(self) -> str:
        lines = [f"# {self.system}"]
        lines += [f"# {note.zh} · {note.en}" for note in self.notes]
        lines += [f"# 待定 · open: {note.zh} · {note.en}" for note in self.open]
        return "\n".join(line.replace("\n", " ") for line in lines) + "\n"

    def _currency(self) -> str:
        values = [
            value
            for file in self.files
            for name in AMOUNTS
            for column in file.columns(name)
            for value in file.values(column)
        ]
        codes = {
            value
            for file in self.files
            for column in file.table.header
            if _plain(column) in {"currency", "币种"}
            for value in file.values(column)
        }
        found = codes.pop() if len(codes) == 1 else currency_of(values)
        if found is not None:
            return found
        chinese = self.system == ANY
        code = "CNY" if chinese else "USD"
        self.open.append(
            Text(f"金额没有币种符号，暂按 {code}", f"amounts carry no sign of a currency, taken as {code}")
        )
        return code

    def _dates(self) -> list[str]:
        styles: dict[str, None] = {}
        for file in self.files:
            for name in sorted(DAYS & file.fields.keys()):
                for column in file.columns(name):
                    found = dates_of(file.values(column))
                    styles |= dict.fromkeys(found.styles)
                    place = f"{file.name}:{column}"
                    for style in found.unclear:
                        self.open.append(Text(
                            f"{place} 日月先后不明，暂按 {style}",
                            f"{place}: day or month first cannot be told, taken as {style}",
                        ))  # fmt: skip
                    if found.unread:
                        some = ", ".join(found.unread[:MOST_SHOWN])
                        self.open.append(Text(f"{place} 不是日期：{some}", f"{place}: no dates: {some}"))
        return list(styles) or ["%Y-%m-%d"]

    def _part(self, file: _File) -> Entry:
        fields = dict(file.fields)
        self._by_value(file, fields)
        if "accounts" not in self.kinds and file.kind != "accounts" and "account" in fields:
            self.open.append(Text(f"{file.name}：没有客户文件，未关联“{fields.pop('account')}”", f"{file.name}: no file of accounts, so the link to them is left out"))  # fmt: skip
        if "products" not in self.kinds and "product" in fields:
            fields.pop("product")
        for name, kind in (("product", "products"), ("account", "accounts")):
            self._meet(file, fields, name, kind)
        part: Entry = {"file": file.name, "fields": fields}
        used = {
            column for name in fields for column in _File(file.name, file.kind, file.table, fields, "").columns(name)
        }
        rest = [name for name in dict.fromkeys(file.table.header) if name and name not in used]
        if rest:
            listed = "、".join(rest)
            self.notes.append(
                Text(
                    f"{file.name} 没有映射的列：{listed}", f"{file.name}, columns that feed nothing: {', '.join(rest)}"
                )
            )
        if file.kind == "products" and "floor_price" not in fields:
            part["floor_share"] = "1"
            self.open.append(Text("没有底价列，暂按目录价", "no column of floor prices: the list price is taken"))
        if file.kind == "leads" and "status" in fields:
            part["statuses"] = self._statuses(file)
        self.notes.append(
            Text(f"{file.name} → {file.kind}：{len(fields)} 个字段", f"{file.name} → {file.kind}: {len(fields)} fields")
        )
        for name in AMOUNTS & fields.keys():
            bad = [
                value for column in file.columns(name) for value in file.values(column) if read_number(value) is None
            ]
            if bad:
                some = ", ".join(bad[:MOST_SHOWN])
                self.open.append(
                    Text(f"{file.name} 的 {name} 不是数字：{some}", f"{file.name}, {name}: no numbers: {some}")
                )
        return part

    def _meet(self, file: _File, fields: Entry, name: str, kind: str) -> None:
        """Words that differ from what another file calls its records in spaces or case alone are replaced by those."""
        if kind not in self.kinds or not isinstance(fields.get(name), str) or file.kind == kind:
            return
        other = self.kinds[kind]
        called = {
            value
            for field in ("name", "id", "code")
            for column in other.columns(field)
            for value in other.values(column)
        }
        plain = {_plain(word): word for word in called}
        unknown = dict.fromkeys(word for word in file.values(fields[name]) if word not in called)
        if values := {word: plain[_plain(word)] for word in unknown if _plain(word) in plain}:
            fields[name] = {"column": fields[name], "values": values}
            pairs = ", ".join(f"{old} → {new}" for old, new in values.items())
            self.open.append(Text(f"{file.name}：写法不同，视为同一条：{pairs}", f"{file.name}: spelt otherwise, taken for the same: {pairs}"))  # fmt: skip

    @staticmethod
    def _by_value(file: _File, fields: Entry) -> None:
        """Addresses are known by their form where their column's name says nothing."""
        if file.kind not in PEOPLE:
            return
        used = {str(fed) for fed in fields.values()}
        for name, pattern in (("email", EMAIL), ("mobile", PHONE)):
            if name not in fields and not (name == "mobile" and "phone" in fields):
                alike = (one for one in file.table.header if one and one not in used and "id" not in one.lower())
                found = next((one for one in alike if looks_like(pattern, file.values(one))), None)
                if found is not None:
                    fields[name] = found

    def _said(self, file: _File, name: str) -> list[str]:
        """The words of a column, the commonest first."""
        counted = Counter(value for column in file.columns(name) for value in file.values(column))
        if len(counted) > MOST_WORDS:
            self.open.append(
                Text(
                    f"{file.name} 的 {name} 有 {len(counted)} 种写法",
                    f"{file.name}, {name}: {len(counted)} different words",
                )
            )
        return [word for word, _ in counted.most_common()]

    def _statuses(self, file: _File) -> Entry:
        known = {_plain(word): status for status, words in self.words["statuses"].items() for word in words}
        found = {}
        for word in self._said(file, "status"):
            found[word] = known.get(_plain(word), "WORKING")
            if _plain(word) not in known:
                self.open.append(Text(f"线索状态“{word}”暂按 WORKING", f"the lead status “{word}” is taken as WORKING"))
        return found

    def _pipeline(self, file: _File) -> Entry:
        stages: dict[str, Entry] = {}
        known = {_plain(word): stage for stage in self.words["stages"] for word in stage["words"]}
        order = {stage["key"]: at for at, stage in enumerate(self.words["stages"])}
        for word in self._said(file, "stage"):
            stage = known.get(_plain(word))
            if stage is None:
                key = f"stage_{len(stages) + 1}"
                stages[key] = {"key": key, "zh": word, "en": word, "values": [word]}
                self.open.append(
                    Text(f"阶段“{word}”不认识，暂作进行中", f"the stage “{word}” is unknown, taken as an open one")
                )
            else:
                kept = {name: value for name, value in stage.items() if name != "words"}
                stages.setdefault(stage["key"], kept | {"values": []})["values"].append(word)
        ranked = sorted(stages.values(), key=lambda one: order.get(one["key"], order["won"] - 0.5))
        name = self.system if self.system != ANY else "old_crm"
        return {"key": name, "zh": f"{name} 销售漏斗", "en": f"{name} pipeline", "stages": ranked}
