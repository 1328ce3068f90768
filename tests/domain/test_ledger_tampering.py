"""Whatever somebody does to sealed events behind the product's back is found."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import migrations
from domain import ledger
from domain.kernel import ActorKind, Database, new_id
from domain.ledger import Head, LedgerRecorder
from domain.ledger.policy import Content
from tests.factories import START, Clock, checkpoint, fill_ledger, note, verify_ledger

SEALED = 20
COLUMNS = {
    "id": "TEXT", "at": "INSTANT", "actor_kind": "KIND", "actor_id": "TEXT", "actor_name": "TEXT", "on_behalf_of_id": "TEXT", "action": "TEXT", "subject_kind": "TEXT",
    "subject_id": "TEXT", "detail": "JSON", "digest_version": "INTEGER", "digest": "TEXT", "leaf_index": "INTEGER", "sealed_at": "INSTANT", "seq": "SEQ",
}  # fmt: skip


@dataclass(frozen=True)
class SealedFile:
    """A SQLite ledger of twenty sealed events in four batches and two that wait, with its published heads."""

    path: Path
    heads: tuple[Head, ...]


@pytest.fixture(scope="session")
async def sealed_file(tmp_path_factory: pytest.TempPathFactory) -> SealedFile:
    path, clock = tmp_path_factory.mktemp("sealed") / "ledger.db", Clock()
    database = Database(f"sqlite+aiosqlite:///{path}", LedgerRecorder(), clock=clock)
    await migrations.migrate(database.url)
    heads = (await fill_ledger(database, clock, 1, 6, 4, 9)).heads
    await note(database, personal={"name": "陈芳"}, persons=[new_id()])
    await note(database)
    await checkpoint(database)
    await database.close()
    return SealedFile(path, tuple(heads))


def recompute_digest(connection: sqlite3.Connection, seq: int) -> None:
    """What a careful forger does after an edit."""
    names = list(Content.__dataclass_fields__)
    row = dict(
        zip(
            names,
            connection.execute(f"SELECT {', '.join(names)} FROM audit_events WHERE seq = ?", (seq,)).fetchone(),
            strict=True,
        )
    )
    for name in ("id", "actor_id", "on_behalf_of_id", "subject_id"):
        row[name] = row[name] and UUID(row[name])
    row["at"] = datetime.fromisoformat(row["at"]).replace(tzinfo=UTC)
    row["detail"] = json.loads(row["detail"])
    connection.execute("UPDATE audit_events SET digest = ? WHERE seq = ?", (Content(**row).digest(), seq))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
instants = st.integers(0, 10**15).map(lambda microseconds: f"{START + timedelta(microseconds=microseconds):%F %T.%f}")
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
).map(json.dumps)


def new_value(data: st.DataObject, kind: str, old: Any) -> Any:
    kinds = {
        "TEXT": words | st.binary(max_size=4) | st.uuids().map(lambda uuid: uuid.hex),
        "INSTANT": instants | words,
        "KIND": st.sampled_from([kind.value for kind in ActorKind]) | words,
        "JSON": json_texts | words | st.sampled_from([str(old).replace("1", "2"), str(old).replace("null", "NaN")]),
        "INTEGER": st.integers(-3, 60) | st.floats(allow_nan=False) | words,
        "SEQ": st.integers(-3, 60),
    }
    return data.draw(kinds[kind] | st.none())


def edit(connection: sqlite3.Connection, data: st.DataObject) -> None:
    leaf = data.draw(st.integers(0, SEALED - 1))
    column = data.draw(st.sampled_from(sorted(COLUMNS)))
    find = f"SELECT {column} FROM audit_events WHERE rowid = ?"
    seq = connection.execute("SELECT seq FROM audit_events WHERE leaf_index = ?", (leaf,)).fetchone()[0]
    old = connection.execute(find, (seq,)).fetchone()[0]
    value = new_value(data, COLUMNS[column], old)
    connection.execute(f"UPDATE audit_events SET {column} = ? WHERE rowid = ?", (value, seq))
    now = connection.execute(find, (seq,)).fetchone()
    assume(now is None or now[0] != old)
    if column == "detail" and isinstance(value, str) and is_json(value):
        assume(json.loads(value) != json.loads(old))
    if column in Content.__dataclass_fields__ and data.draw(st.booleans()):
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            recompute_digest(connection, seq)


def is_json(words: str) -> bool:
    try:
        orjson.loads(words)
    except ValueError:
        return False
    return True


def delete(connection: sqlite3.Connection, data: st.DataObject) -> None:
    leaves = data.draw(st.sets(st.integers(0, SEALED - 1), min_size=1))
    connection.executemany("DELETE FROM audit_events WHERE leaf_index = ?", [(leaf,) for leaf in leaves])
    if data.draw(st.booleans()):
        close_gaps(connection)


def close_gaps(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT seq FROM audit_events WHERE leaf_index IS NOT NULL ORDER BY leaf_index"
    ).fetchall()
    for leaf, (seq,) in enumerate(rows):
        connection.execute("UPDATE audit_events SET leaf_index = ? WHERE seq = ?", (leaf, seq))


def swap(connection: sqlite3.Connection, data: st.DataObject) -> None:
    one, other = data.draw(st.lists(st.integers(0, SEALED - 1), min_size=2, max_size=2, unique=True))
    columns = data.draw(
        st.sampled_from(
            [
                ["leaf_index"],
                ["seq"],
                ["digest"],
                ["id"],
                ["leaf_index", "seq"],
                ["detail", "digest"],
                ["leaf_index", "sealed_at"],
            ]
        )
    )
    values = [
        connection.execute(f"SELECT {', '.join(columns)} FROM audit_events WHERE leaf_index = ?", (leaf,)).fetchone()
        for leaf in (one, other)
    ]
    keys = [
        connection.execute("SELECT rowid FROM audit_events WHERE leaf_index = ?", (leaf,)).fetchone()[0]
        for leaf in (one, other)
    ]
    assume(values[0] != values[1])
    away = {"leaf_index": 900, "seq": 900, "digest": "x", "id": "x", "detail": "x", "sealed_at": "x"}
    setting = ", ".join(f"{column} = ?" for column in columns)
    connection.execute(
        f"UPDATE audit_events SET {setting} WHERE rowid = ?", (*[away[column] for column in columns], keys[0])
    )
    connection.execute(f"UPDATE audit_events SET {setting} WHERE rowid = ?", (*values[0], keys[1]))
    first = 900 if "seq" in columns else keys[0]
    connection.execute(f"UPDATE audit_events SET {setting} WHERE rowid = ?", (*values[1], first))


def insert(connection: sqlite3.Connection, data: st.DataObject) -> None:
    leaf = data.draw(st.integers(0, SEALED - 1))
    columns = [column for column in COLUMNS if column != "seq"]
    row = dict(
        zip(
            columns,
            connection.execute(
                f"SELECT {', '.join(columns)} FROM audit_events WHERE leaf_index = ?", (leaf,)
            ).fetchone(),
            strict=True,
        )
    )
    row["id"], place = data.draw(st.uuids()).hex, data.draw(st.integers(-1, SEALED) | st.none())
    if place is not None and 0 <= place < SEALED:
        connection.execute("UPDATE audit_events SET leaf_index = -100 - leaf_index WHERE leaf_index >= ?", (place,))
        connection.execute("UPDATE audit_events SET leaf_index = -99 - leaf_index WHERE leaf_index <= -100")
        assert connection.execute("SELECT max(leaf_index) FROM audit_events").fetchone() == (SEALED,)
    row["leaf_index"] = place
    seq = data.draw(st.integers(-5, 0) | st.integers(100, 200))
    connection.execute(
        f"INSERT INTO audit_events (seq, {', '.join(columns)}) VALUES (?{', ?' * len(columns)})", (seq, *row.values())
    )
    recompute_digest(connection, seq)


def cut(connection: sqlite3.Connection, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([0, 1, 7, 11]))
    connection.execute("DELETE FROM audit_events WHERE leaf_index >= ?", (size,))
    connection.execute("DELETE FROM ledger_heads WHERE size > ?", (size,))


def forge_head(connection: sqlite3.Connection, data: st.DataObject) -> None:
    column = data.draw(st.sampled_from(["size", "root_hash", "seq_digest", "at", "signature"]))
    kind = {"size": "INTEGER", "at": "INSTANT"}.get(column, "TEXT")
    heads = connection.execute(f"SELECT rowid, {column} FROM ledger_heads ORDER BY rowid").fetchall()
    key, old = data.draw(st.sampled_from(heads))
    value = new_value(data, kind, old)
    connection.execute(f"UPDATE ledger_heads SET {column} = ? WHERE rowid = ?", (value, key))
    assume(connection.execute(f"SELECT {column} FROM ledger_heads WHERE rowid = ?", (key,)).fetchone()[0] != old)


Cheat = Callable[[sqlite3.Connection, st.DataObject], None]
CHEATS: list[Cheat] = [edit, delete, swap, insert, cut, forge_head]


@pytest.mark.parametrize("cheat", CHEATS, ids=[cheat.__name__ for cheat in CHEATS])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
async def test_any_tampering_with_sealed_events_is_found(
    sealed_file: SealedFile, tmp_path: Path, cheat: Cheat, data: st.DataObject
) -> None:
    path = tmp_path / "cheated.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(sealed_file.path, path)
    connection = sqlite3.connect(path)
    try:
        cheat(connection, data)
        connection.commit()
    except sqlite3.IntegrityError:
        assume(False)
    finally:
        connection.close()
    found = await verify_file(path, sealed_file.heads)
    assert not found.sound, cheat.__name__
    assert found.problem is not None
    assert found.problem.zh
    assert found.problem.en


async def verify_file(path: Path, heads: tuple[Head, ...]) -> ledger.Verification:
    database = Database(f"sqlite+aiosqlite:///{path}", LedgerRecorder())
    try:
        return await verify_ledger(database, heads=heads)
    finally:
        await database.close()


async def test_the_file_that_is_tampered_with_is_sound_before(sealed_file: SealedFile) -> None:
    found = await verify_file(sealed_file.path, sealed_file.heads)
    assert (found.problem, found.events, found.sealed) == (None, 22, SEALED)
