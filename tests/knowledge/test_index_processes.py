"""The index in real processes: killed amid building, and level with each other while knowledge is published and withdrawn."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from knowledge.generations import GenerationStore
from tests.installation import READY_SECONDS, Home, own_database, running
from tests.tiny_model import write_embedder

DEMO = Path(__file__).parents[2] / "demo" / "knowledge"
INDEX = "{ knowledgeIndex { passages passagesWithoutVector methods degraded engine rejected building { done total } } }"
SEARCH = "query($query: String!) { searchKnowledge(query: $query, first: 20) { methods degraded hits { versionNumber item { id } } } }"
LEVEL_SECONDS = 2.0
"""Within which a publication is found in every process."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model with random weights."""
    texts = "".join(file.read_text(encoding="utf-8") for file in DEMO.rglob("*.md"))
    return write_embedder(tmp_path_factory.mktemp("模型"), texts)


@contextmanager
def installation(backend: str, request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[Home, dict[str, str]]]:
    """The demo company in a database of its own."""
    with ExitStack() as stack:
        more = {}
        if backend == "postgresql":
            url = request.getfixturevalue("postgres_url")
            more = {"SORTIE_DATABASE_URL": stack.enter_context(own_database(url))}
        home = Home(path / "家")
        for command in ("migrate", "demo"):
            done = home.run(command, **more)
            assert done.returncode == 0, done.stderr
        yield home, more


def ask(address: str, token: str, document: str, **variables: Any) -> Any:
    answer = httpx2.post(
        f"http://{address}/graphql", json={"query": document, "variables": variables}, headers={"authorization": f"Bearer {token}"}, timeout=20,
    ).json()  # fmt: skip
    assert "errors" not in answer, answer
    return answer["data"]


def until(look: Callable[[], Any], good: Callable[[Any], bool], seconds: float) -> Any:
    """What a look finds as soon as it is as wanted."""
    end = time.monotonic() + seconds
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def rounds(said: list[str]) -> list[tuple[int, int]]:
    """What a server told of encoding: how many of how many."""
    return [
        (int(found[1]), int(found[2]))
        for line in said
        if (found := re.search(r"vectors: (\d+) of (\d+) passages", line))
    ]


def kill_amid_building(home: Home, more: dict[str, str]) -> tuple[int, int]:
    """Begin a server, kill it as soon as it tells that some vectors are there, and return what it told."""
    server = running(home, **more)
    server.__enter__()
    told = until(lambda: rounds(server.said), bool, READY_SECONDS)
    server.process.kill()
    server.process.wait(READY_SECONDS)
    server._listener.join(READY_SECONDS)
    for stream in (server.process.stdout, server.process.stderr):
        assert stream is not None
        stream.close()
    return rounds(server.said)[-1] if told else (0, 0)


def test_a_build_that_was_killed_is_finished_by_the_next_process(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, model: Path
) -> None:
    with installation(backend, request, tmp_path) as (home, own):
        more = own | {"SORTIE_EMBEDDING_MODEL": "", "SORTIE_EMBEDDING_DIRECTORY": str(model)}
        token = home.run("token", "yu.zhao@example.com", **more).stdout.strip()
        done, total = kill_amid_building(home, more)
        assert 0 < done < total
        server = running(home, **more)
        with server as address:
            first = ask(address, token, SEARCH, query="客户说价格太高")["searchKnowledge"]
            assert first["hits"]
            assert (first["methods"] == ["bm25"]) == (first["degraded"] is not None)
            index = until(
                lambda: ask(address, token, INDEX)["knowledgeIndex"], lambda found: found["passagesWithoutVector"] == 0 and found["building"] is None, READY_SECONDS
            )  # fmt: skip
            assert index["passages"] == total
            assert (index["methods"], index["degraded"]) == (["bm25", "dense"], None)
            assert index["engine"] == ("faiss" if backend == "sqlite" else "pgvector")
            assert ask(address, token, SEARCH, query="客户说价格太高")["searchKnowledge"]["methods"] == [
                "bm25",
                "dense",
            ]
        assert sum(number for number, _ in rounds(server.said)[-1:]) <= total - done
        if backend == "sqlite":
            store = GenerationStore(home.path / "index")
            assert store.manifest().vector_count == total
            assert not list((home.path / "index").glob(".building-*"))


def step(address: str, token: str, name: str, takes: str = "KnowledgeItemActionInput", **input: Any) -> Any:
    document = (
        f"mutation($input: {takes}!) {{ {name}(input: $input) {{ item {{ id version }} errors {{ message }} }} }}"
    )
    found = ask(address, token, document, input=input)[name]
    assert found["errors"] == [], found
    return found["item"]


def test_every_process_finds_what_is_published_and_nothing_that_is_withdrawn(
    request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path, model: Path
) -> None:
    with installation("postgresql", request, tmp_path) as (home, own), ExitStack() as stack:
        more = own | {"SORTIE_EMBEDDING_MODEL": "", "SORTIE_EMBEDDING_DIRECTORY": str(model)}
        yu, lan = (home.run("token", f"{who}@example.com", **more).stdout.strip() for who in ("yu.zhao", "lan.xu"))
        lei = home.run("token", "lei.zhang@example.com", **more).stdout.strip()
        servers = [stack.enter_context(running(home, **more)) for _ in range(2)]
        here, there = servers

        def found(address: str) -> list[int]:
            hits = ask(address, lei, SEARCH, query="量子纠缠的报价口径")["searchKnowledge"]["hits"]
            return [hit["versionNumber"] for hit in hits if hit["item"]["id"] == item["id"]]

        words = {"title": "量子纠缠怎么报价", "body": "量子纠缠的报价口径第一版。", "language": "ZH", "kind": "FAQ"}
        item = step(here, yu, "draftKnowledgeItem", "DraftKnowledgeItemInput", **words)

        def on(**given: Any) -> dict[str, Any]:
            return {"id": item["id"], "expectedVersion": item["version"]} | given

        assert [found(each) for each in servers] == [[], []]
        item = step(here, yu, "submitKnowledgeItem", **on())
        item = step(here, lan, "publishKnowledgeItem", **on())
        for each in servers:
            until(lambda each=each: found(each), lambda versions: versions == [1], LEVEL_SECONDS)  # type: ignore[misc]
        item = step(
            there, yu, "reviseKnowledgeItem", "ReviseKnowledgeItemInput", **on(body="量子纠缠的报价口径第二版。")
        )
        item = step(there, yu, "submitKnowledgeItem", **on())
        assert [found(each) for each in servers] == [[1], [1]]
        item = step(there, lan, "publishKnowledgeItem", **on())
        assert [found(each) for each in servers] == [[2], [2]]
        item = step(here, lan, "suspendKnowledgeItem", "KnowledgeItemWordsInput", **on(comment="复核"))
        assert [found(each) for each in servers] == [[], []]
        item = step(there, lan, "resumeKnowledgeItem", **on())
        assert [found(each) for each in servers] == [[2], [2]]
        item = step(here, lan, "retireKnowledgeItem", **on())
        assert [found(each) for each in servers] == [[], []]
        for each in servers:
            until(
                lambda each=each: ask(each, yu, INDEX)["knowledgeIndex"],  # type: ignore[misc]
                lambda index: index["passagesWithoutVector"] == 0, READY_SECONDS,
            )  # fmt: skip
