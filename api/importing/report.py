"""What an import did, in words: totals, warnings with examples, rejected rows, the users that it made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from domain.kernel import Language, Role, Text

Progress = Callable[[str, int, int], None]
"""Told the file, how many of its rows are done, and how many there are."""

EXAMPLES = 3


def no_progress(_file: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Warned:
    """One kind of oddity: how often it came, and the first places."""

    text: Text
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def words(self, language: Language) -> str:
        """The oddity in one line."""
        shown = ("、" if language is Language.ZH else ", ").join(self.examples)
        more = "…" if self.count > len(self.examples) else ""
        return Text(
            f"{self.text.zh}：{self.count} 处（{shown}{more}）", f"{self.text.en}: {self.count} ({shown}{more})"
        ).words(language)


class Findings:
    """The warnings of one import, counted by their words."""

    def __init__(self) -> None:
        self._warned: dict[Text, Warned] = {}

    def add(self, text: Text, example: str) -> None:
        """Count an oddity once more."""
        warned = self._warned.setdefault(text, Warned(text))
        warned.count += 1
        if len(warned.examples) < EXAMPLES:
            warned.examples.append(example)

    def all(self) -> list[Warned]:
        """Every kind, in the order in which they were met first."""
        return list(self._warned.values())


@dataclass(slots=True)
class Tally:
    """The count of one file's rows: every row read is new, unchanged, different from the record that is there, or rejected."""

    label: Text
    file: str
    read: int = 0
    new: int = 0
    unchanged: int = 0
    different: int = 0
    rejected: int = 0

    def words(self, language: Language) -> str:
        """The counts in one line."""
        zh = f"{self.label.zh}：读取 {self.read}，新增 {self.new}，未变 {self.unchanged}，与现有记录不同 {self.different}，拒收 {self.rejected}（{self.file}）"
        en = f"{self.label.en}: {self.read} read, {self.new} new, {self.unchanged} unchanged, {self.different} different, {self.rejected} rejected ({self.file})"
        return Text(zh, en).words(language)

    def count(self, findings: Findings, *, known: bool, same: bool, example: str) -> None:
        """Count a row that was taken; one that differs from the record that is there changes nothing, and is told of."""
        if not known:
            self.new += 1
        elif same:
            self.unchanged += 1
        else:
            self.different += 1
            zh, en = self.label.zh, self.label.en
            findings.add(
                Text(
                    f"{zh}与现有记录不同，保留现有记录",
                    f"{en} that differ from the records here, which stay as they are",
                ),
                example,
            )


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A person of the export who can sign in."""

    name: str
    email: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What one import did, or would do in a dry run."""

    source: str
    dry_run: bool
    tallies: dict[str, Tally]
    by_kind: dict[Text, int]
    warnings: list[Warned]
    rejections: list[Warned]
    users: list[ImportedUser] = field(default_factory=list)
    reject_files: list[Path] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """How many rows were not taken."""
        return sum(tally.rejected for tally in self.tallies.values())

    def lines(self, language: Language) -> Iterable[str]:
        """The report, line by line."""
        if self.dry_run:
            yield Text("试运行：没有写入任何内容", "dry run: nothing was written").words(language)
        for tally in self.tallies.values():
            yield tally.words(language)
        for label, count in self.by_kind.items():
            yield f"  {label.words(language)}: {count}"
        yield from self._listed(Text("警告", "warnings"), self.warnings, language)
        yield from self._listed(Text("拒收原因", "rejected because"), self.rejections, language)
        for path in self.reject_files:
            yield Text(f"拒收的行保存在 {path}", f"the rejected rows are in {path}").words(language)
        if self.users:
            yield Text("可登录的用户：", "users who can sign in:").words(language)
        for user in self.users:
            yield f"  {user.email}  {user.name}  {', '.join(user.roles)}"

    @staticmethod
    def _listed(title: Text, found: list[Warned], language: Language) -> Iterable[str]:
        if found:
            yield Text(f"{title.zh}：", f"{title.en}:").words(language)
        for warned in found:
            yield f"  - {warned.words(language)}"
