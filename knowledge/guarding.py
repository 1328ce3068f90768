"""What stands between a hostile body and an answer: damage is refused, what looks like orders waits for a second person."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import Invalid, Text
from knowledge.hygiene import Finding, Suspicion, damage, suspicions
from knowledge.hygiene.unseen import UNSEEN
from knowledge.model import KnowledgeItem, KnowledgeState, KnowledgeVersion
from knowledge.retrieval import Found
from knowledge.text import normalise

REMEMBERED = 4_096
NAMED, QUOTED = 5, 60
"""How many findings a message names, and how many characters of each."""
REFUSED = frozenset({Suspicion.EMPTY, Suspicion.MOJIBAKE, Suspicion.CONTROL})
SAME_SHOWN = 5
OMITTED = "［⋯］"
AROUND = " \t\r\n\u3000。！？；.!?;"


@dataclass(frozen=True, slots=True)
class Suspected:
    """One finding in a version's title or body, with its words."""

    field: str
    finding: Finding
    words: str


@dataclass(frozen=True, slots=True)
class Same:
    """A published entry that says the same."""

    id: UUID
    title: str


class _Memory:
    """The findings of the texts that were looked at last, by the hash of the text: looking takes milliseconds."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[Finding, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, text: str) -> tuple[Finding, ...]:
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            found = self._found.get(key)
        if found is None:
            found = tuple(suspicions(text))
            with self._lock:
                self._found[key] = found
                while len(self._found) > REMEMBERED:
                    self._found.popitem(last=False)
        return found


_memory = _Memory()


def suspected(title: str, body: str) -> list[Suspected]:
    """What a reviewer should look at in a version, the title first; a title without words of its own is none."""
    found = [("title", title, finding) for finding in _memory.of(title) if finding.steering]
    found += [("body", body, finding) for finding in _memory.of(body)]
    return [Suspected(field, finding, text[finding.start : finding.end]) for field, text, finding in found]


def steering(title: str, body: str) -> list[Suspected]:
    """Of these what may be meant to steer an answer: the version is for review, and waits for words to be published."""
    return [each for each in suspected(title, body) if each.finding.steering]


def named(found: Sequence[Suspected]) -> Text:
    """The findings in words, each with the beginning of what it is about."""

    def listed(zh: bool) -> str:
        parts = [
            f"{each.finding.words.zh if zh else each.finding.words.en}（{_quoted(each.words)}）"
            for each in found[:NAMED]
        ]
        rest = len(found) - NAMED
        more = [f"另有 {rest} 处" if zh else f"and {rest} more"] if rest > 0 else []
        return ("；" if zh else "; ").join(parts + more)

    return Text(listed(zh=True), listed(zh=False).replace("（", " (").replace("）", ")"))


def _quoted(words: str) -> str:
    seen = " ".join(UNSEEN.sub("", words).split())
    return f"“{seen[:QUOTED]}…”" if len(seen) > QUOTED else f"“{seen}”"


def needs_words(found: Sequence[Suspected]) -> Invalid:
    """The refusal to publish what is marked without saying why it is let through."""
    names = named(found)
    return Invalid(
        Text(f"此版本被标记：{names.zh}。请核对，发布时写明放行理由", f"this version is marked: {names.en}. Check it, and say why it is let through"),
        ("comment",),
    )  # fmt: skip


def refuse_damage(title: str, body: str) -> None:
    """Let pass what people can read.

    Raises Invalid, with the line, for a title or body without anything to read, in a mixed or wrong encoding, or binary.
    """
    for field, text in (("title", title), ("body", body)):
        for finding in damage(text):
            if finding.kind in REFUSED:
                line = text.count("\n", 0, finding.start) + 1
                zh, en = f"{field} 第 {line} 行{finding.words.zh}", f"line {line} of {field} {finding.words.en}"
                if finding.kind is Suspicion.EMPTY:
                    zh, en = f"{field} {finding.words.zh}", f"{field} {finding.words.en}"
                raise Invalid(Text(zh, en), (field,))


def may_be_quoted(found: Found) -> bool:
    """Whether the assistant may use an entry: nothing in it looks like orders, or a reviewer has let it through.

    A title that does is never used: an answer names it without its body.
    """
    marks = steering(found.title, found.body)
    return not marks or (found.let_through and all(each.field == "body" for each in marks))


def gives_orders(sentence: str) -> bool:
    """Whether something in a sentence may be meant to steer whoever reads it."""
    return any(finding.steering for finding in _memory.of(sentence))


def without_orders(text: str) -> str:
    """The text with OMITTED in the place of each line that holds what may be meant to steer an answer."""
    marks = [_said(text, finding) for finding in _memory.of(text) if finding.steering]
    if not marks:
        return text
    kept, start = [], 0
    for line in text.split("\n"):
        end = start + len(line)
        held = any(begun < end and start < ended for begun, ended in marks)
        kept.append(OMITTED if held else line)
        start = end + 1
    return "\n".join(kept)


def _said(text: str, finding: Finding) -> tuple[int, int]:
    """Where the words of a finding stand, without the end of the sentence before them and the space around them."""
    words = text[finding.start : finding.end]
    if not words.strip(AROUND):
        return finding.start, finding.end
    return finding.start + len(words) - len(words.lstrip(AROUND)), finding.end - len(words) + len(words.rstrip())


def body_hash(body: str) -> str:
    """What two bodies have in common that differ in width, case, spaces and what nobody sees alone: a SHA-256 in hex."""
    return hashlib.sha256(" ".join(normalise(UNSEEN.sub("", body)).split()).encode()).hexdigest()


async def same_published(connection: AsyncConnection, item_id: UUID, body: str) -> list[Same]:
    """Other entries in use whose body is the same, by title."""
    of_item = (KnowledgeVersion.item_id == KnowledgeItem.id) & (
        KnowledgeVersion.number == KnowledgeItem.published_number
    )
    found = (
        select(KnowledgeItem.id, KnowledgeVersion.title).join(KnowledgeVersion, of_item)
        .where(KnowledgeVersion.body_hash == body_hash(body), KnowledgeItem.id != item_id, KnowledgeItem.state == KnowledgeState.PUBLISHED)
        .order_by(KnowledgeVersion.title, KnowledgeItem.id).limit(SAME_SHOWN)
    )  # fmt: skip
    return [Same(*row) for row in await connection.execute(found)]
