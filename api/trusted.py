"""Trusted documents: a manifest of the documents that clients were built with, asked for by their ids.

Read are Relay's, GraphQL Code Generator's and Apollo's manifests. An id is any text; one that looks like a SHA-256 hash must
be the hash of its document.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    Source,
    Visitor,
    parse,
    print_ast,
    specified_rules,
    validate,
    visit,
)

from domain.kernel import Invalid, Text

APOLLO = "apollo-persisted-query-manifest"
TOLD = 20
"""How many things that are wrong are told at once."""
_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True)
class Trusted:
    """The documents that an installation trusts; with `only` it takes no others."""

    texts: Mapping[str, str]
    """The documents by their ids."""
    only: bool = False

    def text_of(self, id: str) -> str | None:
        """The document of an id."""
        return self.texts.get(id)

    def takes(self, text: str) -> bool:
        """Whether a document may be sent as a text: any, or with `only` those of the manifest."""
        return not self.only or text in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.texts.values())


NONE = Trusted({})
"""What an installation without a manifest trusts: every document, and none by an id."""


def read_manifest(file: Path, schema: GraphQLSchema) -> dict[str, str]:
    """The documents of a manifest by their ids, each parsed and valid.

    Raises Invalid for a file that cannot be read or is none, and for documents that the schema does not take: which, what, where.
    """
    texts = listed(file)
    wrong = [f"{id}: {told}" for id, text in texts.items() for told in problems(id, text, schema)]
    if wrong:
        raise _invalid(file, wrong)
    return texts


def problems(id: str, text: str, schema: GraphQLSchema) -> list[str]:
    """What is wrong with one document of a manifest, with line and column; nothing for a good one."""
    hashed = _HASH.fullmatch(id)
    if hashed and hashed[1].lower() != hash_of(text):
        return ["the id is not the SHA-256 of the document"]
    try:
        return list(map(_worded, validate(schema, parse(text), specified_rules)))
    except GraphQLError as error:
        return [_worded(error)]


def hash_of(text: str) -> str:
    """The id that Apollo, Relay and Code Generator give a document: SHA-256 of its UTF-8, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def collect(paths: Iterable[Path], schema: GraphQLSchema) -> dict[str, str]:
    """Each operation in some files of GraphQL, and in those of folders, with the fragments that it needs, by its hash.

    Raises Invalid for files that cannot be read, for what the schema does not take, for operations without a name and for names
    that come twice: which file, which line.
    """
    files = sorted({file for path in paths for file in _files(path)})
    if not files:
        raise Invalid(Text("没有找到 .graphql 文件", "there are no .graphql files"), ("documents",))
    sources = _Sources()
    for file in files:
        sources.take(file)
    found = {}
    for operation in sources.operations:
        document = DocumentNode(definitions=(operation, *sources.needed(operation)))
        told = [f"{_place(operation)}: {error.message}" for error in validate(schema, document, specified_rules)]
        sources.wrong += told
        if not told:
            text = print_ast(document)
            found[hash_of(text)] = text
    if sources.wrong:
        raise _invalid(None, sources.wrong)
    return found


def write_manifest(texts: Mapping[str, str]) -> bytes:
    """A manifest in the form of Relay and Code Generator, in the order of the ids."""
    return orjson.dumps(dict(sorted(texts.items())), option=orjson.OPT_INDENT_2) + b"\n"


def listed(file: Path) -> dict[str, str]:
    """The documents that a manifest lists, by their ids, whatever they are worth. Raises Invalid for a file that is none."""
    try:
        found: Any = orjson.loads(file.read_bytes())
    except OSError as error:
        raise Invalid(Text(f"无法读取 {file}：{error}", f"{file} cannot be read: {error}"), ("documents",)) from error
    except orjson.JSONDecodeError as error:
        raise Invalid(Text(f"{file} 不是 JSON：{error}", f"{file} is no JSON: {error}"), ("documents",)) from error
    pairs: list[tuple[Any, Any]]
    if isinstance(found, dict) and found.get("format") == APOLLO:
        rows = found.get("operations") or ()
        pairs = [(one.get("id"), one.get("body")) if isinstance(one, dict) else (None, None) for one in rows]
    elif isinstance(found, dict):
        pairs = list(found.items())
    else:
        pairs = [(None, None)]
    wrong = [f"{id!r}" for id, text in pairs if not isinstance(id, str) or not isinstance(text, str) or not id]
    ids = [id for id, _ in pairs]
    wrong += (
        [f"{id!r} comes twice" for id in {id for id in ids if ids.count(id) > 1}] if len(set(ids)) < len(ids) else []
    )
    if wrong:
        raise Invalid(
            Text(
                f"{file} 不是清单（应为 id 到文档的 JSON 对象，或 Apollo 的格式）：{'；'.join(wrong[:TOLD])}",
                f"{file} is no manifest (a JSON object from ids to documents, or Apollo's): {'; '.join(wrong[:TOLD])}",
            ),
            ("documents",),
        )
    return dict(pairs)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for kind in ("*.graphql", "*.gql") for file in path.rglob(kind))
    else:
        yield path


class _Spreads(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.names.add(node.name.value)


class _Sources:
    """The operations and fragments of some files, and what is wrong with these."""

    def __init__(self) -> None:
        self.operations: list[OperationDefinitionNode] = []
        self.wrong: list[str] = []
        self._fragments: dict[str, FragmentDefinitionNode] = {}
        self._places: dict[tuple[type, str], str] = {}

    def take(self, file: Path) -> None:
        """Take in one file."""
        try:
            document = parse(Source(file.read_text(encoding="utf-8"), str(file)))
        except GraphQLError as error:
            self.wrong.append(f"{file}: {_worded(error)}")
        except (OSError, UnicodeDecodeError) as error:
            self.wrong.append(f"{file}: {error}")
        else:
            for one in document.definitions:
                self._take(one)

    def _take(self, one: object) -> None:
        if not isinstance(one, OperationDefinitionNode | FragmentDefinitionNode):
            self.wrong.append(f"{_place(one)}: no operation and no fragment")
            return
        name = one.name.value if one.name else ""
        known = self._places.setdefault((type(one), name), _place(one))
        if not name:
            self.wrong.append(f"{_place(one)}: an operation without a name")
        elif known != _place(one):
            self.wrong.append(f"{_place(one)}: {name} is at {known} already")
        elif isinstance(one, FragmentDefinitionNode):
            self._fragments[name] = one
        else:
            self.operations.append(one)

    def needed(self, operation: OperationDefinitionNode) -> list[FragmentDefinitionNode]:
        """The fragments that an operation spreads, and those that these spread; unknown ones are left to the validation."""
        needed: set[str] = set()
        left: list[OperationDefinitionNode | FragmentDefinitionNode] = [operation]
        while left:
            spreads = _Spreads()
            visit(left.pop(), spreads)
            fresh = (spreads.names & self._fragments.keys()) - needed
            needed |= fresh
            left += [self._fragments[name] for name in fresh]
        return [self._fragments[name] for name in sorted(needed)]


def _place(node: Any) -> str:
    return f"{node.loc.source.name}:{node.loc.start_token.line}"


def _worded(error: GraphQLError) -> str:
    where = ", ".join(f"{place.line}:{place.column}" for place in error.locations or ())
    return f"{error.message} ({where})" if where else error.message


def _invalid(file: Path | None, wrong: list[str]) -> Invalid:
    more = len(wrong) - TOLD
    told = "\n  ".join([*wrong[:TOLD], *([f"… +{more}"] if more > 0 else [])])
    place_zh, place_en = (f"{file} 中", f" in {file}") if file else ("", "")
    return Invalid(
        Text(f"{place_zh}有不可用的文档：\n  {told}", f"documents that cannot be used{place_en}:\n  {told}"),
        ("documents",),
    )
