"""What a request's header says about the reader's language, and how values are written."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.context import Context, preferred_language
from api.reads import PREFIXES, global_id, read_id
from api.scalars import instant_words, read_instant
from domain.kernel import Database, Language, Ref


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, Language.ZH), ("", Language.ZH), ("fr", Language.ZH), ("zh-CN,zh;q=0.9,en;q=0.8", Language.ZH), ("en-US,en;q=0.9", Language.EN),
        ("zh;q=0.1, en;q=0.2", Language.EN), ("en;q=0, zh", Language.ZH), ("EN", Language.EN), ("de, en;q=0.5", Language.EN), ("*", Language.ZH),
        ("en;q=abc", Language.ZH), ("zh-Hant-TW;q=0.5,en;q=0.5", Language.ZH), ("en;q=1.2.3,zh", Language.ZH),
    ],
)  # fmt: skip
def test_the_language_is_the_first_that_people_read_here(header: str | None, language: Language) -> None:
    assert preferred_language(header) is language


@given(st.text())
def test_any_header_gives_a_language(header: str) -> None:
    assert preferred_language(header) in Language


def test_instants_are_written_in_utc_with_six_digits() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert instant_words(datetime(2026, 3, 2, 9, 30, tzinfo=shanghai)) == "2026-03-02T01:30:00.000000Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_come_back(at: datetime) -> None:
    assert read_instant(instant_words(at)) == at


@given(st.sampled_from(sorted(PREFIXES)), st.uuids())
def test_global_ids_come_back(entity: str, id: object) -> None:
    assert read_id(global_id(entity, id)) == Ref(entity, id)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_no_text_makes_reading_an_id_fail(words: str) -> None:
    ref = read_id(words)
    assert ref is None or global_id(ref.kind, ref.id) == words


async def test_a_branch_that_is_stopped_does_not_stop_another_that_waits_for_the_same_record() -> None:
    """Without the shield an error in one field cancels the shared future, and the whole request ends with a bare 500."""
    context = Context(cast("Database", None), None, Language.ZH, datetime(2026, 3, 2, tzinfo=UTC))
    going = asyncio.Event()

    async def fetch(ids: list[int]) -> Mapping[int, str]:
        await going.wait()
        return {id: f"客户{id}" for id in ids}

    stopped, waiting = (asyncio.create_task(context.load("account", 1, fetch)) for _ in range(2))
    await asyncio.sleep(0)
    stopped.cancel()
    with suppress(asyncio.CancelledError):
        await stopped
    going.set()
    assert await waiting == "客户1"
