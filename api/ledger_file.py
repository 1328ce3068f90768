"""The ledger as a file that an auditor takes along: written from the database, verified without it."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from domain import ledger
from domain.kernel import Invalid, Text
from domain.ledger import Audit, Content, Entry, Head, LedgerProblem, Verification, VerifiedHead

FORMAT, VERSION = "sortie-ledger", 1
Progress = Callable[[int, int], None]


async def write_ledger(
    connection: AsyncConnection, public_key: bytes, file: Path, progress: Progress, total: int
) -> int:
    """Write the whole ledger: a first line about the file, a line a head, then a line an event; the number of events.

    Personal values stay the ciphertexts that they are. The file appears when it is whole.

    Raises LedgerProblem for events or heads that cannot be read.
    """
    partial = file.with_name(f".{file.name}.partial")
    count = 0
    try:
        with partial.open("wb") as out:
            about = {"format": FORMAT, "version": VERSION, "public_key": public_key.hex()}
            out.write(orjson.dumps(about) + b"\n")
            for head in await ledger.stored_heads(connection):
                out.write(orjson.dumps({"head": orjson.loads(head.line())}) + b"\n")
            async for entry in ledger.entries(connection):
                out.write(orjson.dumps(_line(entry)) + b"\n")
                count += 1
                if count % 1_000 == 0:
                    progress(count, max(count, total))
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    progress(count, max(count, 1))
    return count


def _line(entry: Entry) -> dict[str, Any]:
    sealed_at = None if entry.sealed_at is None else entry.sealed_at.isoformat()
    event = orjson.loads(entry.content.canonical())
    return {"seq": entry.seq, "leaf": entry.leaf_index, "sealed_at": sealed_at, "digest": entry.digest, "event": event}


def verify_file(
    file: Path, *, public_key: bytes | None = None, remembered: Head | None = None, progress: Progress | None = None
) -> Verification:
    """Verify a ledger file by what is in it alone, or by the public key and the head that somebody remembers.

    Raises Invalid for what is no such file.
    """
    size, read = file.stat().st_size, 0
    heads: list[Head] = []
    audit: Audit | None = None
    events = sealed = 0
    verified: VerifiedHead | None = None
    problem: Text | None = None
    lines = _lines(file)
    about = _about(lines, file)
    key = public_key or bytes.fromhex(about["public_key"])
    witnesses = [] if remembered is None else [(Text("您记住的", "remembered"), remembered)]
    try:
        for number, line, length in lines:
            read += length
            if "head" in line:
                heads.append(_head(line, number))
                continue
            if audit is None:
                audit = _begun(heads, witnesses, key)
            entry = _entry(line, number)
            events, sealed = events + 1, sealed + (entry.leaf_index is not None)
            (audit.waiting if entry.leaf_index is None else audit.sealed)(entry)
            if progress is not None and events % 1_000 == 0:
                progress(read, size)
        verified = (audit or _begun(heads, witnesses, key)).finish(0)
    except LedgerProblem as found:
        problem = found.text
    return Verification(problem is None, events, sealed, heads[-1] if heads else None, problem, verified)


def _begun(heads: list[Head], witnesses: list[tuple[Text, Head]], key: bytes) -> Audit:
    audit = Audit(heads, witnesses, key, VerifiedHead())
    audit.check_heads()
    return audit


def _lines(file: Path) -> Iterator[tuple[int, Any, int]]:
    with file.open("rb") as source:
        for number, line in enumerate(source, 1):
            try:
                yield number, orjson.loads(line), len(line)
            except orjson.JSONDecodeError as error:
                raise _broken(number, str(error)) from error


def _about(lines: Iterator[tuple[int, Any, int]], file: Path) -> dict[str, Any]:
    _, about, _ = next(lines, (1, None, 0))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise Invalid(Text(f"{file} 不是账本导出文件", f"{file} is no ledger export"))
    if about.get("version") != VERSION:
        raise Invalid(
            Text(
                f"账本导出文件的版本 {about.get('version')} 未知",
                f"ledger export version {about.get('version')} is unknown",
            )
        )
    return about


def _head(line: Any, number: int) -> Head:
    try:
        return Head.from_line(orjson.dumps(line["head"]))
    except ValueError as error:
        raise _broken(number, str(error)) from error


def _entry(line: Any, number: int) -> Entry:
    try:
        event = line["event"]
        actor, subject, sealed_at = event["actor"], event["subject"], line["sealed_at"]
        content = Content(
            id=UUID(event["id"]), at=datetime.fromisoformat(event["at"]), actor_kind=actor["kind"], actor_id=_uuid(actor["id"]), actor_name=actor["name"],
            on_behalf_of_id=_uuid(actor["on_behalf_of"]), action=event["action"], subject_kind=subject["kind"], subject_id=UUID(subject["id"]),
            detail=event["detail"], digest_version=event["v"],
        )  # fmt: skip
        at = None if sealed_at is None else datetime.fromisoformat(sealed_at)
        return Entry(line["seq"], content, line["digest"], line["leaf"], at)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(number, f"{type(error).__name__}: {error}") from error


def _uuid(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


def _broken(number: int, reason: str) -> Invalid:
    return Invalid(
        Text(f"第 {number} 行不是账本事件：{reason}", f"line {number} is no ledger event: {reason}"), (str(number),)
    )
