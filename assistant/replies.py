"""Reading what a language model said: the failures it may amount to, and the JSON object in it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class FailureReason(StrEnum):
    """Why no usable reply came."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    CONNECTION = "CONNECTION"
    RATE_LIMITED = "RATE_LIMITED"
    SERVER_ERROR = "SERVER_ERROR"
    REJECTED = "REJECTED"
    DEADLINE = "DEADLINE"
    EMPTY = "EMPTY"
    CUT_OFF = "CUT_OFF"
    REPETITION = "REPETITION"
    REFUSED = "REFUSED"
    NOT_JSON = "NOT_JSON"
    SCHEMA_MISMATCH = "SCHEMA_MISMATCH"


class ModelFailure(Exception):
    """No usable reply; the message names the cause and never quotes prompt or reply."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelUnavailable(ModelFailure):
    """The endpoint is absent, overloaded, broken or does not take the request."""


class ModelTimeout(ModelFailure):
    """The deadline passed before a whole reply was there."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.DEADLINE, message)


class ModelNonsense(ModelFailure):
    """The endpoint replied, and the reply is of no use."""


@dataclass(frozen=True)
class Reply:
    """What an endpoint said, before anybody believes it."""

    text: str
    finish_reason: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


# What a looping model writes: eight times the same six to eighty characters, shorter periods included.
_LOOP = re.compile(r"(.{6,80}?)\1{7,}", re.DOTALL)
LOOP_WINDOW = 4000
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
# No database stores these, and JSON can smuggle both in as escapes.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_OBJECTS = 50


def is_looping(text: str) -> bool:
    """Whether a text holds one stretch of six to eighty characters eight times running, near its end."""
    return _LOOP.search(text[-LOOP_WINDOW:]) is not None


def read(reply: Reply, schema: Mapping[str, Any]) -> Json:
    """Return the first JSON object in a reply that fits the schema.

    Raises ModelNonsense with the likeliest reason.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if reply.finish_reason == "content_filter":
        raise ModelNonsense(FailureReason.REFUSED, "the model refused to reply")
    if not reply.text.strip():
        raise ModelNonsense(FailureReason.EMPTY, "the reply is empty")
    validator = Draft202012Validator(schema)
    misfit: str | None = None
    for content in _objects(reply.text):
        flaw = best_match(validator.iter_errors(content))
        if flaw is None:
            return _sane(content)
        misfit = misfit or f"{flaw.json_path} breaks the schema's {flaw.validator}"
    if is_looping(reply.text):
        raise ModelNonsense(FailureReason.REPETITION, "the reply repeats itself without end")
    if reply.finish_reason in {"length", None}:
        raise ModelNonsense(FailureReason.CUT_OFF, "the reply breaks off before its end")
    if misfit:
        raise ModelNonsense(FailureReason.SCHEMA_MISMATCH, misfit)
    raise ModelNonsense(FailureReason.NOT_JSON, "the reply holds no JSON object")


def _sane(content: Json) -> Json:
    texts = list(_strings(content))
    if any(is_looping(text) for text in texts):
        raise ModelNonsense(FailureReason.REPETITION, "the reply repeats itself")
    if any(_UNSTORABLE.search(text) for text in texts):
        raise ModelNonsense(FailureReason.NOT_JSON, "the reply holds characters that are no text")
    return content


def _objects(text: str) -> Iterator[Json]:
    """Yield the outermost JSON objects in a text, whatever stands round them: fences, thoughts, pleasantries."""
    text = _THOUGHTS.sub("", text)
    decoder = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)
    position = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if position < 0:
            return
        try:
            content, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield content
        position = text.find("{", end)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond all bounds")
    return number


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key, *_strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
