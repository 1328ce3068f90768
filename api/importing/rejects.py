"""The files that keep what an import could not take: written before the commit, in place after it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from domain.kernel import Text, Unavailable


class RejectFiles:
    """The files of one import in a folder, named after those that the rows came from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: dict[Path, Path | None] = {}

    def prepare(self, contents: Iterable[tuple[str, str | None]]) -> None:
        """Write each file's rejected rows beside its place; None: there are none, and an older file is to go.

        Raises Unavailable when the folder cannot be written.
        """
        for file, text in contents:
            place = self.folder / f"{Path(file).stem}.rejected.csv"
            if text is None:
                self._waiting[place] = None
                continue
            draft = place.with_suffix(".csv.part")
            self._waiting[place] = draft
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                # Spreadsheets take a file without the mark for one in the local encoding.
                draft.write_text(text, encoding="utf-8-sig", newline="")
            except OSError as error:
                zh = f"无法写入拒收文件 {place}（{error.strerror}），没有导入任何内容"
                en = f"the rejected rows cannot be kept in {place} ({error.strerror}): nothing was imported"
                raise Unavailable(Text(zh, en)) from error

    def publish(self) -> list[Path]:
        """Put the files in place, remove those of an earlier run that have no row any more, and return the paths."""
        for place, draft in self._waiting.items():
            if draft is not None:
                draft.replace(place)
            else:
                # The rows are committed by now: an old file that cannot go must not look like a failure.
                with suppress(OSError):
                    place.unlink()
        return [place for place, draft in self._waiting.items() if draft is not None]

    def discard(self) -> None:
        """Leave no trace of an import that failed."""
        for draft in filter(None, self._waiting.values()):
            with suppress(OSError):
                draft.unlink()
