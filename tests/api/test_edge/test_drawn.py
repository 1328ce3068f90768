"""Documents drawn from the schema, put to a real server: every error has a code, and none is a bug."""

from collections.abc import Iterator

import pytest

from tests.fuzz import Fuzzer, documents, operations
from tests.installation import Home, running


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    home = Home(tmp_path_factory.mktemp("drawn") / "var")
    assert home.run("demo").returncode == 0
    with running(home, SORTIE_REQUESTS_PER_MINUTE="1000000", SORTIE_ANSWERS_PER_HOUR="1000000") as address:
        fuzzer = Fuzzer(f"http://{address}/graphql", home.run("token", "lei.zhang@example.com").stdout.strip(), 7)
        yield fuzzer
        fuzzer.close()


@pytest.mark.xdist_group("drawn")
def test_what_the_schema_allows_never_breaks_the_server(fuzzer: Fuzzer) -> None:
    every = operations()
    assert len(every) > 50
    for operation in every:
        for document in documents(operation, 3, derandomize=True):
            fuzzer.ask(document)
    assert fuzzer.found.problems == []
    assert fuzzer.found.asked > len(every)
    assert {"NOT_FOUND", "INVALID", "FORBIDDEN"} <= set(fuzzer.found.codes)
