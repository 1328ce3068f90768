"""One running import: its unit of work, what was read, what is counted."""

from collections.abc import Collection
from collections.abc import Mapping as Tables
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.importing.mapping import Mapping, UnknownOwner
from api.importing.report import Progress, Tally
from api.importing.rows import Export, Part
from api.importing.sheet import Cells, Sheet
from domain import custom_fields, ledger
from domain.custom_fields import CustomFieldKind, FieldFact
from domain.kernel import Base, Invalid, SalesError, Text, UnitOfWork
from domain.people import Territory

P = TypeVar("P", bound=Part[Any])

LABELS = {
    "agents": Text("销售人员", "sales agents"),
    "accounts": Text("客户", "accounts"),
    "products": Text("产品", "products"),
    "opportunities": Text("商机", "opportunities"),
    "orders": Text("订单", "orders"),
    "contacts": Text("联系人", "contacts"),
    "leads": Text("线索", "leads"),
    "activities": Text("活动", "activities"),
}


ENTITIES = {"accounts": "Account", "contacts": "Contact", "leads": "Lead", "opportunities": "Opportunity"}
"""The kinds of records whose custom fields an import can fill."""


def _value(cells: Cells, name: str, kind: CustomFieldKind) -> Any:
    """A cell as its custom field takes it."""
    if kind is CustomFieldKind.NUMBER:
        number = cells.number(name)
        return None if number is None else float(number)
    if kind is CustomFieldKind.DATE:
        day = cells.day(name)
        return day and day.isoformat()
    if kind is CustomFieldKind.BOOLEAN:
        return cells.flag(name)
    if kind is CustomFieldKind.MONEY:
        amount = cells.amount(name)
        return amount and {"amount": format(amount.amount, "f"), "currency": amount.currency}
    return cells.text(name)


@dataclass(slots=True)
class Load:
    """An import into one unit of work, so that all of it is kept or nothing."""

    uow: UnitOfWork
    mapping: Mapping
    export: Export
    progress: Progress
    tallies: dict[str, Tally] = field(default_factory=dict)
    territories: dict[str, Territory] = field(default_factory=dict)
    custom: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """The values of custom fields, by the kind of record and its external id."""

    @staticmethod
    def part(part: P | None) -> P:
        """A file that the mapping names."""
        if part is None:
            raise LookupError("the mapping has no such file")
        return part

    def tally(self, name: str, file: str) -> Tally:
        """The count of a kind of record, from nothing at first."""
        return self.tallies.setdefault(name, Tally(LABELS[name.split(maxsplit=1)[0]], file))

    def count(self, name: str, *, known: bool, same: bool, example: str) -> None:
        """Count a row that was taken."""
        self.tallies[name].count(self.export.findings, known=known, same=same, example=example)

    def owner_is_known(self, cells: Cells, owner: str | None, agents: Collection[str]) -> bool:
        """Whether a row can be taken as to its owner; where the mapping rejects those of unknown people, it is rejected."""
        if owner is None or owner in agents:
            return True
        if self.mapping.users.unknown is UnknownOwner.UNOWNED:
            self.export.findings.add(Text("负责人未知，不设负责人", "owners unknown, taken without one"), owner)
            return True
        cells.sheet.reject(cells.line, Text(f"未知销售人员“{owner}”", f"unknown sales agent “{owner}”"))
        return False

    async def read_custom(self) -> None:
        """Take the values of custom fields in; a row with a wrong one is rejected.

        Raises Invalid for a key that is not declared.
        """
        for name, part in self.export.parts().items():
            keys = [column.removeprefix("custom.") for column in part.sheet.columns if column.startswith("custom.")]
            if not keys:
                continue
            fields = await custom_fields.fields_of(self.uow.session, ENTITIES.get(name, ""))
            part.rows = [(cells, row) for cells, row in part.rows if self._custom(name, cells, row.key, keys, fields)]

    def _custom(self, name: str, cells: Cells, key: str, keys: list[str], fields: Tables[str, FieldFact]) -> bool:
        for wanted in keys:
            if wanted not in fields:
                words = f"{name}.custom.{wanted}"
                raise Invalid(Text(f"没有声明自定义字段 {words}", f"the custom field {words} is not declared"))
        try:
            given = {wanted: _value(cells, f"custom.{wanted}", fields[wanted].kind) for wanted in keys}
            values = custom_fields.changed_values(
                fields, None, {wanted: value for wanted, value in given.items() if value is not None}, complete=False
            )
        except SalesError as error:
            cells.sheet.reject(cells.line, error.text)
            return False
        if values:
            self.custom[name, key] = dict(values)
        return True

    async def keep(self, sheet: Sheet, tables: Tables[type[Base], list[dict[str, Any]]]) -> None:
        """Insert rows as one batch under one ledger event; nothing to insert makes no batch."""
        filled = {model: rows for model, rows in tables.items() if rows}
        if filled:
            await ledger.import_rows(self.uow, self.mapping.source, filled, {"file": sheet.file})
