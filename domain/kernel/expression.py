"""The one door to CEL: its parser reads a formula, and what comes out is a small tree of numbers, names and calls."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from struct import unpack
from typing import Any

from cel_expr_python import cel

from domain.kernel.errors import Invalid, Text

LONGEST = 500
_ENVIRONMENT = cel.NewEnv()
_DIGITS = 15
# Numbers of fields in cel/expr/syntax.proto: of Expr, and of its Constant.
_ID, _CONSTANT, _IDENTIFIER, _CALL = 2, 3, 4, 6
_BOOLEAN, _WHOLE, _DOUBLE = 2, 3, 5
_TOO_FINE = re.compile(rf"[0-9]{{{_DIGITS + 1},}}|[0-9.]{{{_DIGITS + 2},}}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number written in the formula, exact as it is written."""

    value: Fraction
    at: int


@dataclass(frozen=True, slots=True)
class Truth:
    """true or false."""

    value: bool
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A value that the formula takes by name."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, as CEL names it (_+_, _?_:_), or a function (math.ceil) with its arguments."""

    function: str
    arguments: tuple["Node", ...]
    at: int


Node = Number | Truth | Name | Call


def parse(formula: str, path: tuple[str, ...] = ()) -> Node:
    """The tree of a CEL formula; `at` counts its characters from 1.

    Macros, lists, maps, fields and text are no part of it, so whoever walks the tree visits each node once and ends.
    Raises Invalid, with the place, for what is too long or too deep, no CEL, or beyond that part of it.
    """
    if len(formula) > LONGEST:
        raise Invalid(Text(f"公式不能超过 {LONGEST} 个字符", f"a formula has at most {LONGEST} characters"), path)
    if too_fine := _TOO_FINE.search(formula):
        raise placed(too_fine.start() + 1, f"数最多写 {_DIGITS} 位", f"a number has at most {_DIGITS} digits", path)
    try:
        packed = _ENVIRONMENT.compile(formula, disable_check=True).serialize()
    except (RuntimeError, UnicodeError) as refused:
        raise _not_cel(str(refused), path) from None
    parsed = _fields(_first(_fields(packed), 2))
    positions = {}
    for entry in _fields(_first(parsed, 3)).get(4, ()):
        pair = _fields(entry)
        positions[_first(pair, 1)] = _first(pair, 2) or 0
    return _Reading(positions, path).node(_first(parsed, 2))


def names(node: Node) -> frozenset[str]:
    """The names that a formula takes values by."""
    if isinstance(node, Name):
        return frozenset({node.name})
    if isinstance(node, Call):
        return frozenset().union(*(names(each) for each in node.arguments))
    return frozenset()


def placed(at: int, zh: str, en: str, path: tuple[str, ...]) -> Invalid:
    """The refusal of a formula for what stands at one of its characters."""
    return Invalid(Text(f"公式第 {at} 个字符处：{zh}", f"at character {at} of the formula: {en}"), path)


def _not_cel(said: str, path: tuple[str, ...]) -> Invalid:
    if "recursion" in said:
        return Invalid(Text("公式嵌套太深，请拆成几步", "the formula is nested too deeply: split it into steps"), path)
    where = re.search(r"<input>:\d+:(\d+): (?:Syntax error: )?(.*)", said)
    at, why = (int(where[1]), where[2].partition(" expecting {")[0]) if where else (1, said[:200])
    return placed(at, "不是合法的 CEL 公式", f"no CEL formula ({why})", path)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One parsed formula of CEL's serialised form (cel/expr/syntax.proto, ParsedExpr) being turned into nodes."""

    positions: dict[int, int]
    path: tuple[str, ...]

    def node(self, packed: bytes) -> Node:
        fields = _fields(packed)
        at = self.positions.get(_first(fields, _ID) or 0, 0) + 1
        if _CONSTANT in fields:
            return self._constant(_fields(_first(fields, _CONSTANT)), at)
        if _IDENTIFIER in fields:
            return Name(_first(_fields(_first(fields, _IDENTIFIER)), 1).decode(), at)
        if _CALL in fields:
            return self._call(_fields(_first(fields, _CALL)), at)
        raise placed(
            at, "只能用数、名称、运算符和函数", "only numbers, names, operators and functions may stand here", self.path
        )

    def _call(self, fields: "_Fields", at: int) -> Call:
        function = _first(fields, 2).decode()
        if 1 in fields:
            target = self.node(_first(fields, 1))
            if not isinstance(target, Name):
                raise placed(at, f"“{function}”不能这样调用", f"“{function}” cannot be called on that", self.path)
            function = f"{target.name}.{function}"
        return Call(function, tuple(self.node(each) for each in fields.get(3, ())), at)

    def _constant(self, fields: "_Fields", at: int) -> Number | Truth:
        if _BOOLEAN in fields:
            return Truth(bool(_first(fields, _BOOLEAN)), at)
        if _WHOLE in fields:
            whole = _first(fields, _WHOLE)
            return Number(Fraction(whole - (1 << 64) if whole >> 63 else whole), at)
        if _DOUBLE not in fields:
            raise placed(at, "公式里只能写数", "a formula holds numbers only", self.path)
        (double,) = unpack("<d", _first(fields, _DOUBLE))
        # The shortest digits that name a double are the written ones, as long as these are no more than 15.
        written = Decimal(repr(double)) if math.isfinite(double) else Decimal("inf")
        if not written.is_finite() or abs(written.adjusted()) > _DIGITS:
            raise placed(at, "数太大或太小", "the number is too large or too small", self.path)
        return Number(Fraction(written), at)


_Fields = dict[int, list[Any]]


def _first(fields: _Fields, number: int) -> Any:
    return fields[number][0] if number in fields else None


def _fields(packed: bytes) -> _Fields:
    """The fields of one protobuf message by number: whole numbers for varints, bytes for all else."""
    fields: _Fields = {}
    for number, value in _pairs(packed):
        fields.setdefault(number, []).append(value)
    return fields


def _pairs(packed: bytes) -> Iterator[tuple[int, int | bytes]]:
    place = 0
    while place < len(packed):
        tag, place = _varint(packed, place)
        if tag & 7 == 0:
            value, place = _varint(packed, place)
            yield tag >> 3, value
            continue
        length, place = (8, place) if tag & 7 == 1 else _varint(packed, place)
        yield tag >> 3, packed[place : place + length]
        place += length


def _varint(packed: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while packed[place] & 0x80:
        value |= (packed[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
    return value | packed[place] << shift, place + 1
