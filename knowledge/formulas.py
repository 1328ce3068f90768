"""Formulas with units: what a parsed CEL expression measures, and its exact value."""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from fractions import Fraction

from domain.kernel.expression import Call, Name, Node, Number, Truth, names, placed
from knowledge.units import Dimension, dimension_words, product


class Special(Enum):
    """What an expression may measure besides a quantity: true or false, or a zero that fits any unit."""

    TRUTH = "truth"
    ZERO = "zero"


Measured = Dimension | Special
Value = Fraction | bool

_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "_<_": lambda one, other: one < other,
    "_<=_": lambda one, other: one <= other,
    "_>_": lambda one, other: one > other,
    "_>=_": lambda one, other: one >= other,
    "_==_": lambda one, other: one == other,
    "_!=_": lambda one, other: one != other,
}
_ROUNDINGS: dict[str, Callable[[Fraction], Fraction]] = {
    "math.ceil": lambda value: Fraction(math.ceil(value)),
    "math.floor": lambda value: Fraction(math.floor(value)),
    "math.abs": abs,
    "-_": lambda value: -value,
}
_CHOICES: dict[str, Callable[..., Fraction]] = {"math.least": min, "math.greatest": max}
_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "_+_": lambda one, other: one + other,
    "_-_": lambda one, other: one - other,
    "_*_": lambda one, other: one * other,
}
_LOGIC = frozenset({"_&&_", "_||_", "!_"})


class ZeroDivisor(ArithmeticError):
    """A division whose divisor came out as zero; it knows the names in the divisor."""

    def __init__(self, divisor: Node) -> None:
        super().__init__("division by zero")
        self.names = names(divisor)


def measured(node: Node, known: Mapping[str, Dimension], path: tuple[str, ...] = ()) -> Measured:
    """What a formula measures, all its branches checked.

    Raises Invalid, with the place, for an unknown name or function, quantities that do not go together (hours with money),
    a condition that is none, and a division by a written zero.
    """
    match node:
        case Number():
            return Special.ZERO if node.value == 0 else ()
        case Truth():
            return Special.TRUTH
        case Name():
            if node.name not in known:
                raise placed(
                    node.at,
                    f"没有名为“{node.name}”的输入或前面的步骤",
                    f"no input or earlier step is called “{node.name}”",
                    path,
                )
            return known[node.name]
    arguments = [measured(each, known, path) for each in node.arguments]
    return _measured_call(node, arguments, path)


def _measured_call(node: Call, arguments: list[Measured], path: tuple[str, ...]) -> Measured:
    function = node.function
    if function in _LOGIC:
        _truths(node, arguments, path)
        return Special.TRUTH
    if function == "_?_:_":
        _truths(node, arguments[:1], path)
        return _same(node, arguments[1:], path)
    if function in _COMPARISONS:
        _same(node, arguments, path)
        return Special.TRUTH
    if function in {"_*_", "_/_"}:
        return _product(node, arguments, path)
    takes_one = function in _ROUNDINGS and len(arguments) == 1
    takes_some = (function in _CHOICES and len(arguments) > 1) or function in {"_+_", "_-_"}
    if not takes_one and not takes_some:
        raise placed(node.at, f"没有这样的函数或运算“{function}”", f"no such function or operator: “{function}”", path)
    return _same(node, arguments, path)


def _product(node: Call, arguments: list[Measured], path: tuple[str, ...]) -> Dimension:
    if node.function == "_/_" and arguments[1] is Special.ZERO:
        raise placed(node.at, "除数是零", "the divisor is zero", path)
    _same(node, arguments[:1], path)
    _same(node, arguments[1:], path)
    one, other = (() if isinstance(each, Special) else each for each in arguments)
    return product(one, other, 1 if node.function == "_*_" else -1)


def _truths(node: Call, arguments: list[Measured], path: tuple[str, ...]) -> None:
    if any(each is not Special.TRUTH for each in arguments):
        raise placed(node.at, "这里要的是条件（比较的结果）", "a condition (a comparison) is needed here", path)


def _same(node: Call, arguments: list[Measured], path: tuple[str, ...]) -> Measured:
    """What all arguments measure alike; zero goes with anything."""
    if Special.TRUTH in arguments:
        raise placed(node.at, "条件不能当数来算", "a condition is no number", path)
    quantities = [each for each in arguments if not isinstance(each, Special)]
    for each in quantities[1:]:
        if each != quantities[0]:
            one, other = dimension_words(quantities[0]), dimension_words(each)
            raise placed(
                node.at,
                f"单位不合：{one} 与 {other} 不能放在一起",
                f"units differ: {one} and {other} do not go together",
                path,
            )
    return quantities[0] if quantities else Special.ZERO


def value(node: Node, given: Mapping[str, Fraction]) -> Value:
    """The exact value of a measured formula; of a choice only the chosen branch is computed.

    Each node is visited at most once. Raises ZeroDivisor where a divisor comes out as zero.
    """
    match node:
        case Number() | Truth():
            return node.value
        case Name():
            return given[node.name]
    arguments = node.arguments
    if node.function == "_?_:_":
        return value(arguments[1] if value(arguments[0], given) else arguments[2], given)
    if node.function in _LOGIC:
        return _logic(node, given)
    return _arithmetic(node, [value(each, given) for each in arguments])


def _logic(node: Call, given: Mapping[str, Fraction]) -> bool:
    first = bool(value(node.arguments[0], given))
    if node.function == "!_":
        return not first
    return first if first == (node.function == "_||_") else bool(value(node.arguments[1], given))


def _arithmetic(node: Call, values: list[Value]) -> Value:
    if node.function in _COMPARISONS:
        return _COMPARISONS[node.function](values[0], values[1])
    if node.function in _ROUNDINGS:
        return _ROUNDINGS[node.function](Fraction(values[0]))
    if node.function in _CHOICES:
        return _CHOICES[node.function](*values)
    one, other = Fraction(values[0]), Fraction(values[1])
    if node.function == "_/_":
        if other == 0:
            raise ZeroDivisor(node.arguments[1])
        return one / other
    return _OPERATIONS[node.function](one, other)
