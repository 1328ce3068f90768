"""Writes the next step from what the models declare: `make revision MESSAGE="…"`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from migrations import migrate, revise


async def _write(message: str) -> Path | None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/sortie.db"
        await migrate(url)
        return await revise(url, message)


written = asyncio.run(_write(" ".join(sys.argv[1:]) or "change"))
sys.stdout.write(f"{written}\n" if written else "the models declare nothing new\n")
