"""The ledger's mathematics against other implementations, and the file of published heads."""

import hashlib
import json
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from domain import ledger
from domain.kernel import Invalid, Money, Ref, Role
from domain.ledger import Head, HeadFile, Signer
from domain.ledger.policy import CompactRange, Content, canonical, inclusion_path, root_by_path
from tests.factories import SIGNER, START, Clock

# ---- canonical form --------------------------------------------------------------------------------------------------

CONTENT = Content(
    id=UUID("01945f3e-5c00-7000-8000-000000000001"), at=datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=8))),
    actor_kind="USER", actor_id=UUID(int=7), actor_name="张磊", on_behalf_of_id=None, action="quote.sent", subject_kind="Quote", subject_id=UUID(int=9),
    detail={"sealed": [], "detail": {"备注": '引号" 反斜\\ 换行\n 铃\u0007'}, "changes": [{"amount_minor": 125000000, "share": "0.85"}]},
)  # fmt: skip
CANONICAL = (
    '{"action":"quote.sent","actor":{"id":"00000000000000000000000000000007","kind":"USER","name":"张磊","on_behalf_of":null},'
    '"at":"2026-03-02T01:30:00.000000Z",'
    '"detail":{"changes":[{"amount_minor":125000000,"share":"0.85"}],"detail":{"备注":"引号\\" 反斜\\\\ 换行\\n 铃\\u0007"},"sealed":[]},'
    '"id":"01945f3e5c0070008000000000000001","subject":{"id":"00000000000000000000000000000009","kind":"Quote"},"v":1}'
)


def test_the_canonical_form_is_what_the_documentation_says() -> None:
    assert CONTENT.canonical().decode() == CANONICAL
    assert CONTENT.digest() == hashlib.sha256(CANONICAL.encode()).hexdigest()


def test_an_unknown_version_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="version 2"):
        replace(CONTENT, digest_version=2).digest()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=[]))
    | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_value_becomes_json_that_every_writer_writes_alike(value: Any) -> None:
    plain = ledger.plain(value)
    written = canonical(plain)
    # Python's own writer, told to sort keys and leave no space, is the second implementation of the documented form.
    assert written.decode() == json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert orjson.loads(written) == plain
    assert ledger.plain(plain) == plain


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Decimal("0.850"), "0.850"),
        (Decimal("1E+3"), "1000"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (True, True),
        (Role.REP, "REP"),
        (datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=8))), "2026-03-02T01:30:00.000000Z"),
        (date(2026, 3, 2), "2026-03-02"),
        (UUID(int=255), "000000000000000000000000000000ff"),
        (Ref("Account", UUID(int=1)), "Account:00000000000000000000000000000001"),
        (Money(125, "CNY"), {"amount_minor": 125, "currency": "CNY"}),
        ({"价", "量"}, ["价", "量"]),
        ((1, None), [1, None]),
        ("\0张\ud800", "\ufffd张?"),
        (b"\x01\xff", "01ff"),
        ({Role.REP: {UUID(int=1): 1}}, {"REP": {"00000000000000000000000000000001": 1}}),
    ],
)
def test_values_become_plain_json(value: Any, plain: Any) -> None:
    assert ledger.plain(value) == plain
    assert type(ledger.plain(value)) is type(plain)


def test_what_has_no_plain_form_is_a_bug() -> None:
    with pytest.raises(TypeError, match="Clock cannot enter the ledger"):
        ledger.plain({"clock": Clock()})


# ---- Merkle tree -----------------------------------------------------------------------------------------------------

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The reference tree of Certificate Transparency's own tests (google/certificate-transparency, merkle tree tests)."""


def test_the_tree_is_that_of_certificate_transparency() -> None:
    tree = CompactRange()
    roots = [tree.root()]
    for leaf in LEAVES:
        tree.append(leaf)
        roots.append(tree.root())
    assert roots == ROOTS


def digests_of(size: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(size)]


@given(st.integers(1, 300), st.data())
def test_roots_and_paths_are_those_of_another_implementation(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    digests, tree, other = digests_of(size), CompactRange(), InmemoryTree(algorithm="sha256")
    for digest in digests:
        tree.append(digest)
        other.append_entry(bytes.fromhex(digest))
    assert tree.root() == other.get_root().hex()
    path = inclusion_path(digests, index)
    assert list(path) == other.prove_inclusion(index + 1).serialize()["path"][1:]
    assert root_by_path(digests[index], index, size, path) == tree.root()


@given(st.integers(2, 60), st.data())
def test_a_path_proves_its_own_leaf_alone(size: int, data: st.DataObject) -> None:
    digests = digests_of(size)
    index = data.draw(st.integers(0, size - 1))
    tree = CompactRange()
    for digest in digests:
        tree.append(digest)
    head = SIGNER.sign(size, tree.root(), "", START)
    proof = ledger.InclusionProof(index, inclusion_path(digests, index), head)
    assert ledger.verify_inclusion(digests[index], proof, SIGNER.public_key)
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    step = data.draw(st.integers(0, len(proof.path) - 1))
    wrong = [
        (digests[other], proof),
        (digests[index], replace(proof, leaf_index=other)),
        (digests[index], replace(proof, leaf_index=size)),
        (digests[index], replace(proof, path=proof.path[:-1])),
        (digests[index], replace(proof, path=(*proof.path, digests[0]))),
        (digests[index], replace(proof, path=(*proof.path[:step], digests[other], *proof.path[step + 1 :]))),
        (digests[index], replace(proof, path=("nonsense",))),
        (digests[index], replace(proof, head=replace(head, size=size + 1))),
        (digests[index], replace(proof, head=replace(head, root_hash=digests[0]))),
    ]
    assert not any(ledger.verify_inclusion(digest, forged, SIGNER.public_key) for digest, forged in wrong)
    assert not ledger.verify_inclusion(digests[index], proof, Signer(bytes(32)).public_key)


# ---- heads and their file --------------------------------------------------------------------------------------------


def test_a_head_goes_through_its_line_and_keeps_its_signature() -> None:
    head = SIGNER.sign(3, ROOTS[3], "ab", START)
    read = Head.from_line(head.line())
    assert read == head
    assert read.signed_by(SIGNER.public_key)
    for forged in (
        replace(head, size=4),
        replace(head, root_hash=ROOTS[4]),
        replace(head, seq_digest="cd"),
        replace(head, at=START + timedelta(microseconds=1)),
    ):
        assert not forged.signed_by(SIGNER.public_key)
    assert not head.signed_by(Signer(Signer.new_seed()).public_key)


def test_the_head_file_grows_by_lines_and_says_nothing_twice(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "heads.jsonl")
    first, second = SIGNER.sign(1, ROOTS[1], "", START), SIGNER.sign(2, ROOTS[2], "", START)
    assert file.read() == []
    for head in (first, first, second, second):
        file(head)
    HeadFile(file.path)(second)
    assert file.read() == [first, second]
    assert file.path.read_bytes() == first.line() + b"\n" + second.line() + b"\n"


def test_a_head_file_recovers_from_half_a_line(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "heads.jsonl")
    first, second = SIGNER.sign(1, ROOTS[1], "", START), SIGNER.sign(2, ROOTS[2], "", START)
    file.path.write_bytes(first.line() + b"\n" + second.line()[:40])
    assert file.read() == [first]
    file(second)
    assert file.read() == [first, second]


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"null", "头".encode("gbk"), b'{"v":2}'])
def test_a_broken_head_file_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "heads.jsonl"
    path.write_bytes(SIGNER.sign(1, ROOTS[1], "", START).line() + b"\n" + line + b"\n")
    with pytest.raises(Invalid) as refused:
        HeadFile(path).read()
    assert "第 2 行" in refused.value.text.zh
    assert "line 2" in refused.value.text.en
