"""The export in a folder, and its import."""

from pathlib import Path
from typing import Any

import pytest

from api.importing import ImportSummary, import_crm
from domain.kernel import Database
from tests.api.test_importing.export import FILES, MAPPING, Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "映射.yaml").write_text(MAPPING, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(database: Database, folder: Path) -> Run:
    async def run(**options: Any) -> ImportSummary:
        return await import_crm(database, folder, mapping=folder / "映射.yaml", **options)

    return run
