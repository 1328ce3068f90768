"""The floor plan holds: arrows point down, doors are used, and every mapped class declares its stance."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from domain.kernel import Base
from migrations import import_models

ROOT = Path(__file__).parent.parent
PACKAGES = ("api", "assistant", "demo", "domain", "knowledge", "migrations")
DRAWER = re.compile(r"domain\.(\w+)\.(?:model|policy|service)")


def test_the_contracts_of_the_floor_plan_are_kept() -> None:
    # In a process of its own: the linter silences every logger that there is.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", "pyproject.toml", "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Rooms of the domain are ordered KEPT" in told.stdout


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_rooms_are_entered_by_the_door() -> None:
    """Only a room itself opens its drawers."""
    through_walls = []
    for path in sources(*PACKAGES):
        for module in imported(path):
            found = DRAWER.fullmatch(module)
            if found and ROOT / "domain" / found.group(1) not in path.parents:
                through_walls.append(f"{path.relative_to(ROOT)} imports {module}")
    assert through_walls == []


def test_every_mapped_class_declares_its_stance() -> None:
    """A record has a door for readers or none on purpose; what no note covers says why."""
    import_models()
    mapped = [mapper.class_ for mapper in Base.registry.mappers]
    assert len(mapped) > 20
    assert [cls.__name__ for cls in mapped if cls.__unledgered__ is not None and not cls.__unledgered__.strip()] == []
    names = {cls.__name__ for cls in mapped}
    aggregates = {cls.__name__: cls.__aggregate__[0] for cls in mapped if cls.__aggregate__ is not None}
    assert {child: root for child, root in aggregates.items() if root not in names} == {}
