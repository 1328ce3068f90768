"""One running import: its unit of work, what was read, what is counted."""

from collections.abc import Mapping as Tables
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.importing.mapping import Mapping
from api.importing.report import Progress, Tally
from api.importing.rows import Export, Part
from api.importing.sheet import Sheet
from domain import ledger
from domain.kernel import Base, Text, UnitOfWork
from domain.people import Territory

P = TypeVar("P", bound=Part[Any])

LABELS = {
    "agents": Text("销售人员", "sales agents"),
    "accounts": Text("客户", "accounts"),
    "products": Text("产品", "products"),
    "opportunities": Text("商机", "opportunities"),
    "orders": Text("订单", "orders"),
}


@dataclass(slots=True)
class Load:
    """An import into one unit of work, so that all of it is kept or nothing."""

    uow: UnitOfWork
    mapping: Mapping
    export: Export
    progress: Progress
    tallies: dict[str, Tally] = field(default_factory=dict)
    territories: dict[str, Territory] = field(default_factory=dict)

    @staticmethod
    def part(part: P | None) -> P:
        """A file that the mapping names."""
        if part is None:
            raise LookupError("the mapping has no such file")
        return part

    def tally(self, name: str, file: str) -> Tally:
        """The count of a kind of record, from nothing at first."""
        return self.tallies.setdefault(name, Tally(LABELS[name], file))

    def count(self, name: str, *, known: bool, same: bool, example: str) -> None:
        """Count a row that was taken."""
        self.tallies[name].count(self.export.findings, known=known, same=same, example=example)

    async def keep(self, sheet: Sheet, tables: Tables[type[Base], list[dict[str, Any]]]) -> None:
        """Insert rows as one batch under one ledger event; nothing to insert makes no batch."""
        filled = {model: rows for model, rows in tables.items() if rows}
        if filled:
            await ledger.import_rows(self.uow, self.mapping.source, filled, {"file": sheet.file})
