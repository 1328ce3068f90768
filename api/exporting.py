"""Records as files, exactly as one person sees them: read page by page through the schema, counted and noted in the ledger."""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.reads import SHAPES
from api.schema import schema
from domain import custom_fields, people
from domain.kernel import SYSTEM, Database, Forbidden, Invalid, Language, Ref, Text, Unavailable

PAGE = 100
BOM = "\ufeff"
RISKY = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run as a formula."""
Progress = Callable[[int, int], None]


class Format(StrEnum):
    """How records are written."""

    CSV = "csv"
    JSONL = "jsonl"


OWNER = {"owner": ("owner", "name"), "owner_id": ("owner", "id")}
ACCOUNT = {"account": ("account", "name"), "account_id": ("account", "id")}
STAMPS = {"created_at": ("createdAt",), "updated_at": ("updatedAt",), "version": ("version",)}
COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "accounts": {
        "id": ("id",), "name": ("name",), "industry": ("industry",), "region": ("region",), "employees": ("employees",),
        "annual_revenue": ("annualRevenue", "amount"), "currency": ("annualRevenue", "currency"), "domain": ("domain",),
        "lifecycle_stage": ("lifecycleStage",), "parent": ("parent", "name"), "parent_id": ("parent", "id"), **OWNER, **STAMPS,
    },
    "contacts": {"id": ("id",), "name": ("name",), "title": ("title",), "buying_role": ("buyingRole",), **ACCOUNT, **STAMPS},
    "leads": {
        "id": ("id",), "name": ("name",), "company": ("company",), "source": ("source",), "status": ("status",), "industry": ("industry",),
        "region": ("region",), "interest": ("interest",), "grade": ("grade",), "captured_at": ("capturedAt",), **OWNER, **STAMPS,
    },
    "opportunities": {
        "id": ("id",), "name": ("name",), "stage": ("stage", "label"), "amount": ("amount", "amount"), "currency": ("amount", "currency"),
        "close_date": ("closeDate",), "forecast_category": ("forecastCategory",), "next_step": ("nextStep",), "opened_at": ("openedAt",),
        "closed_at": ("closedAt",), **ACCOUNT, **OWNER, **STAMPS,
    },
    "activities": {
        "id": ("id",), "kind": ("kind",), "subject": ("subject",), "body": ("body",), "occurred_at": ("occurredAt",),
        "related_to": ("relatedTo", "id"),
    },
    "quotes": {
        "id": ("id",), "number": ("number",), "revision": ("revision",), "status": ("status",), "total": ("total", "amount"),
        "currency": ("total", "currency"), "valid_until": ("validUntil",), "opportunity": ("opportunity", "name"), **ACCOUNT, **STAMPS,
    },
    "orders": {
        "id": ("id",), "number": ("number",), "ordered_at": ("orderedAt",), "total": ("total", "amount"), "currency": ("total", "currency"),
        "opportunity": ("opportunity", "name"), **ACCOUNT, **STAMPS,
    },
}  # fmt: skip
"""What is exported of each kind of record: the column, and the path to its value in the schema."""
ENTITIES = {
    "accounts": "Account", "contacts": "Contact", "leads": "Lead", "opportunities": "Opportunity", "activities": "Activity",
    "quotes": "Quote", "orders": "Order",
}  # fmt: skip
CUSTOM = "custom."
"""How the column of a custom field begins, so that no key meets a column of our own."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One export that was written: how many records, and the SHA-256 of the file."""

    count: int
    digest: str


def safe(cell: Any) -> str:
    """A cell as text that no spreadsheet runs: what begins like a formula gets an apostrophe, plain numbers stay."""
    if isinstance(cell, bool | list | dict):
        cell = orjson.dumps(cell).decode()
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(RISKY) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return text[:1] == "-" and text[1:].replace(".", "", 1).isascii() and text[1:].replace(".", "", 1).isdigit()


async def export(
    database: Database, email: str, kind: str, file: Path, *, form: Format = Format.CSV, filter: Mapping[str, Any] | None = None,
    language: Language = Language.ZH, progress: Progress = lambda _done, _total: None,
) -> Exported:  # fmt: skip
    """Write the records of a kind that a person sees and a filter (as GraphQL takes it) leaves; one ledger event tells of it.

    The file appears whole or not at all. Raises Unauthenticated for an unknown person, Invalid for an unknown kind or
    filter, Forbidden where the schema refuses, Unavailable where the file cannot be written.
    """
    if kind not in COLUMNS:
        known = ", ".join(COLUMNS)
        raise Invalid(Text(f"不能导出“{kind}”；可选：{known}", f"“{kind}” cannot be exported; there are: {known}"))
    async with database.read(SYSTEM) as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
        added = await _custom_fields(connection, kind)
    owner = actor.user_id
    if owner is None:
        raise Forbidden(Text("只有人可以导出", "only people export"))
    context = Context(database, actor, language, database.clock())
    part = file.with_name(f".{file.name}.part")
    digest, count, total, after = hashlib.sha256(), 0, 0, None
    try:
        with part.open("wb") as out:
            _put(out, digest, _head(kind, form, added))
            while True:
                page = await _page(context, kind, filter, after, total=after is None)
                total = page.get("totalCount", total)
                rows = [edge["node"] for edge in page["edges"]]
                _put(out, digest, b"".join(_lines(kind, form, added, rows)))
                count += len(rows)
                progress(count, max(count, total))
                after = page["pageInfo"]["endCursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
                context = Context(database, actor, language, database.clock())
            out.flush()
            os.fsync(out.fileno())
        done = Exported(count, digest.hexdigest())
        # What leaves without a trace must not leave: the event is there before the file has its name.
        async with database.open_uow(actor) as uow:
            detail = {
                "kind": kind,
                "format": form.value,
                "filter": dict(filter or {}),
                "count": count,
                "sha256": done.digest,
            }
            uow.note("records.exported", Ref("User", owner), detail)
        part.replace(file)
    except OSError as error:
        words = Text(f"无法写入 {file}：{error.strerror}", f"cannot write {file}: {error.strerror}")
        raise Unavailable(words) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return done


def _put(out: IO[bytes], digest: Any, data: bytes) -> None:
    out.write(data)
    digest.update(data)


async def _custom_fields(connection: AsyncConnection, kind: str) -> list[str]:
    """The keys of the fields that the company added to a kind of record."""
    shape = SHAPES[ENTITIES[kind]]
    if all(source.name != "custom_fields" for source in shape.sources):
        return []
    return list(await custom_fields.fields_of(connection, shape.entity))


def _head(kind: str, form: Format, added: list[str]) -> bytes:
    names = [*COLUMNS[kind], *(CUSTOM + key for key in added)]
    return (BOM + _csv([names])).encode() if form is Format.CSV else b""


def _lines(kind: str, form: Format, added: list[str], rows: list[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        record = {name: _at(row, path) for name, path in COLUMNS[kind].items()}
        held = {one["key"]: one["value"] for one in row.get("customFields") or ()}
        record |= {CUSTOM + key: held.get(key) for key in added}
        yield (
            orjson.dumps(record) + b"\n" if form is Format.JSONL else _csv([list(map(safe, record.values()))]).encode()
        )


def _csv(rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        row = row and row.get(step)
    return row


def _document(kind: str) -> str:
    wanted: dict[str, list[str]] = {}
    for path in COLUMNS[kind].values():
        wanted.setdefault(path[0], []).extend(path[1:])
    if any(source.name == "custom_fields" for source in SHAPES[ENTITIES[kind]].sources):
        wanted["customFields"] = ["key", "value"]
    fields = " ".join(f"{name} {{ {' '.join(below)} }}" if below else name for name, below in wanted.items())
    return (
        f"query Export($after: String, $filter: {ENTITIES[kind]}Filter, $total: Boolean!) "
        f"{{ {kind}(first: {PAGE}, after: $after, filter: $filter) "
        f"{{ totalCount @include(if: $total) pageInfo {{ hasNextPage endCursor }} edges {{ node {{ {fields} }} }} }} }}"
    )


async def _page(
    context: Context, kind: str, filter: Mapping[str, Any] | None, after: str | None, *, total: bool
) -> dict[str, Any]:
    variables = {"after": after, "filter": dict(filter) if filter else None, "total": total}
    result = await schema.execute(_document(kind), variable_values=variables, context_value=context)
    if result.errors or result.data is None:
        told = "; ".join(str(error.message) for error in result.errors or ())
        code = (result.errors[0].extensions or {}).get("code") if result.errors else None
        raise (Forbidden if code == "FORBIDDEN" else Invalid)(Text(f"无法导出：{told}", f"cannot export: {told}"))
    page: dict[str, Any] = result.data[kind]
    return page
