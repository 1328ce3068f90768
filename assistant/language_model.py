"""The one place that calls a language model, over any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from assistant import telemetry
from assistant.replies import (
    LOOP_WINDOW,
    FailureReason,
    Json,
    ModelFailure,
    ModelNonsense,
    ModelTimeout,
    ModelUnavailable,
    Reply,
    is_looping,
    read,
)

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

__all__ = [
    "Completion",
    "FailureReason",
    "LanguageModel",
    "ModelFailure",
    "ModelNonsense",
    "ModelTimeout",
    "ModelUnavailable",
    "OpenAIModel",
    "Prompt",
    "ResponseFormat",
    "ScriptedModel",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: masked text, and the JSON schema that the reply must fit.

    `schema` describes an object in the form that strict endpoints want: every object closed by
    `additionalProperties: false`, every property required.
    """

    system: str = field(repr=False)
    user: str = field(repr=False)
    schema: Mapping[str, Any] = field(repr=False)
    max_output_tokens: int = 2000


class ResponseFormat(StrEnum):
    """How an endpoint is asked for JSON, from the strictest to plain text."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


@dataclass(frozen=True)
class Completion:
    """A model's reply that fits the prompt's schema; token counts are None where the endpoint tells none."""

    content: Json = field(repr=False)
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int
    response_format: ResponseFormat


class LanguageModel(Protocol):
    """Anything that answers a prompt with JSON of the prompt's schema."""

    async def complete(self, prompt: Prompt, timeout_seconds: float) -> Completion:
        """Return a reply that fits the schema.

        Raises ModelUnavailable, ModelTimeout or ModelNonsense.
        """
        ...


class _Busy(Exception):
    """A failure that another attempt may cure, after the wait that the server asks for."""

    def __init__(self, failure: ModelUnavailable, wait_seconds: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_seconds = wait_seconds


class _FormatRefused(Exception):
    """A failure that a less strict response format may cure."""

    def __init__(self, failure: ModelUnavailable) -> None:
        super().__init__(str(failure))
        self.failure = failure


_FORMAT_MAY_HELP = {FailureReason.EMPTY, FailureReason.NOT_JSON, FailureReason.SCHEMA_MISMATCH}
_PASSING_STATUS = {408, 409, 502, 503, 504, 529}
_FINAL_STATUS = {401, 402, 403, 404}
_SERVER_ERROR = 500
_RATE_LIMITED = 429
_FIRST_WAIT_SECONDS = 0.5
_LOOP_CHECK_CHUNKS = 64


class OpenAIModel:
    """One model behind one OpenAI-compatible endpoint, with what has been learnt about the requests it accepts.

    Key and base URL come from the SDK's own variables, OPENAI_API_KEY and OPENAI_BASE_URL. With `stream` the reply is
    assembled from chunks, so that a model that loops is stopped before its token limit.
    """

    def __init__(self, model: str, *, stream: bool = False, max_retries: int = 2) -> None:
        self._model = model
        self._stream = stream
        self._max_retries = max_retries
        self._client: AsyncOpenAI | None = None
        self._proven: ResponseFormat | None = None
        self._limit_parameter = "max_tokens"
        self._sampling: Json = {"temperature": 0}

    def __repr__(self) -> str:
        return f"OpenAIModel({self._model!r}, proven={self._proven and self._proven.value!r})"

    async def complete(self, prompt: Prompt, timeout_seconds: float) -> Completion:
        """Return a reply that fits the schema, in the strictest response format that the endpoint accepts.

        A format is proven once a reply in it was good; until then a refusal or an unreadable reply leads to the next
        one. Rate limits and outages are retried inside the deadline, with the server's Retry-After.
        Raises ModelUnavailable, ModelTimeout or ModelNonsense.
        """
        started = time.perf_counter()
        with telemetry.model_call(self._model, prompt.max_output_tokens) as call:
            try:
                async with asyncio.timeout(timeout_seconds):
                    reply, content, response_format = await self._descend(prompt, started + timeout_seconds)
            except TimeoutError as error:
                raise ModelTimeout(f"{self._model} gave no whole reply within {timeout_seconds:g} s") from error
            call.answered(reply.model or self._model, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens)
        return Completion(
            content=content,
            model=reply.model or self._model,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            latency_ms=_elapsed_ms(started),
            response_format=response_format,
        )

    async def close(self) -> None:
        """Close the connections; a later `complete` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _descend(self, prompt: Prompt, deadline: float) -> tuple[Reply, Json, ResponseFormat]:
        """Try the proven format, or each in turn; the last one's failure is the verdict."""
        ladder = [self._proven] if self._proven else list(ResponseFormat)
        for response_format in ladder:
            last = response_format == ladder[-1]
            try:
                reply = await self._ask_patiently(prompt, response_format, deadline)
                content = read(reply, prompt.schema)
            except _FormatRefused as refused:
                self._proven = None
                if last:
                    raise refused.failure from refused
            except ModelNonsense as nonsense:
                if last or nonsense.reason not in _FORMAT_MAY_HELP:
                    raise
            else:
                self._proven = response_format
                return reply, content, response_format
        raise AssertionError("the last rung returns or raises")

    async def _ask_patiently(self, prompt: Prompt, response_format: ResponseFormat, deadline: float) -> Reply:
        attempt = 0
        while True:
            try:
                return await self._ask(prompt, response_format)
            except _Busy as busy:
                wait_seconds = busy.wait_seconds or _FIRST_WAIT_SECONDS * 2**attempt
                # A wait beyond the deadline is no use to anybody: the caller does better without the model now.
                if attempt >= self._max_retries or time.perf_counter() + wait_seconds >= deadline:
                    raise busy.failure from busy
                await asyncio.sleep(wait_seconds)
                attempt += 1

    async def _ask(self, prompt: Prompt, response_format: ResponseFormat) -> Reply:
        import httpx2
        import openai

        try:
            return await self._send(prompt, response_format)
        except openai.BadRequestError as error:
            if not self._learns_from(error):
                raise self._verdict(error, response_format) from error
        except openai.APIStatusError as error:
            raise self._verdict(error, response_format) from error
        except openai.APITimeoutError as error:
            raise ModelTimeout(f"{self._model} did not answer in time") from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise _Busy(self._unavailable(FailureReason.CONNECTION, "cannot be reached")) from error
        except openai.APIResponseValidationError as error:
            raise ModelNonsense(FailureReason.NOT_JSON, f"{self._model} sent no chat completion") from error
        except openai.APIError as error:
            raise _Busy(self._unavailable(FailureReason.SERVER_ERROR, "broke off with an error")) from error
        except openai.OpenAIError as error:
            raise self._unavailable(FailureReason.NOT_CONFIGURED, f"is not configured: {error}") from error
        except ValueError as error:
            raise ModelNonsense(FailureReason.NOT_JSON, f"{self._model} sent no chat completion") from error
        return await self._ask(prompt, response_format)

    async def _send(self, prompt: Prompt, response_format: ResponseFormat) -> Reply:
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(max_retries=0, timeout=None)
        arguments: Json = {self._limit_parameter: prompt.max_output_tokens, **self._sampling}
        if response_format != ResponseFormat.TEXT:
            arguments["response_format"] = _response_format(response_format, prompt.schema)
        messages = _messages(prompt, response_format)
        chat = self._client.chat.completions
        if self._stream:
            stream = await chat.create(model=self._model, messages=messages, stream=True, **arguments)
            return _reply(await _chunks(stream), "delta")
        return _reply([await chat.create(model=self._model, messages=messages, stream=False, **arguments)], "message")

    def _learns_from(self, error: APIStatusError) -> bool:
        """Drop or rename a parameter that the endpoint refuses by name; whether that changed anything."""
        complaint = f"{error.param} {error.message}"
        if self._limit_parameter == "max_tokens" and "max_completion_tokens" in complaint:
            self._limit_parameter = "max_completion_tokens"
            return True
        if self._sampling and "temperature" in complaint:
            self._sampling = {}
            return True
        return False

    def _verdict(self, error: APIStatusError, response_format: ResponseFormat) -> Exception:
        status = error.status_code
        if status == _RATE_LIMITED:
            failure = self._unavailable(FailureReason.RATE_LIMITED, "turned the request away with HTTP 429")
            return failure if error.code == "insufficient_quota" else _Busy(failure, _retry_after_seconds(error))
        reason = FailureReason.SERVER_ERROR if status >= _SERVER_ERROR else FailureReason.REJECTED
        failure = self._unavailable(reason, f"answered HTTP {status}")
        # Some servers answer 500 to a format they do not know, so 500 is an outage only where a format can't be blamed.
        blameless = response_format in {self._proven, ResponseFormat.TEXT}
        if status in _PASSING_STATUS or (status >= _SERVER_ERROR and blameless):
            return _Busy(failure, _retry_after_seconds(error))
        if status in _FINAL_STATUS or error.code == "context_length_exceeded":
            return failure
        return _FormatRefused(failure)

    def _unavailable(self, reason: FailureReason, what: str) -> ModelUnavailable:
        return ModelUnavailable(reason, f"{self._model} {what}")


Line = Mapping[str, Any] | BaseException


class ScriptedModel:
    """A language model that says what it is told to, in order or as a function of the prompt, and keeps the prompts.

    Replies are held to the prompt's schema as a real model's are; an exception among them is raised.
    """

    def __init__(self, script: Iterable[Line] | Callable[[Prompt], Line | Awaitable[Line]]) -> None:
        self.prompts: list[Prompt] = []
        self._say = script if callable(script) else _recital(script)

    async def complete(self, prompt: Prompt, timeout_seconds: float) -> Completion:
        """Return the script's next reply.

        Raises what the script holds, ModelNonsense for a reply that breaks the schema, ModelTimeout for one that is
        late, LookupError when the script is over.
        """
        started = time.perf_counter()
        self.prompts.append(prompt)
        line = self._say(prompt)
        if inspect.isawaitable(line):
            try:
                line = await asyncio.wait_for(line, timeout_seconds)
            except TimeoutError as error:
                raise ModelTimeout(f"the script said nothing within {timeout_seconds:g} s") from error
        if isinstance(line, BaseException):
            raise line
        content = read(Reply(json.dumps(line, ensure_ascii=False), "stop"), prompt.schema)
        return Completion(content, "scripted", None, None, _elapsed_ms(started), ResponseFormat.JSON_SCHEMA)


def _recital(lines: Iterable[Line]) -> Callable[[Prompt], Line]:
    remaining = iter(list(lines))

    def say(prompt: Prompt) -> Line:
        for line in remaining:
            return line
        raise LookupError("the script has no reply left")

    return say


def _elapsed_ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _response_format(response_format: ResponseFormat, schema: Mapping[str, Any]) -> Json:
    if response_format == ResponseFormat.JSON_SCHEMA:
        described = {"name": "reply", "strict": True, "schema": dict(schema)}
        return {"type": "json_schema", "json_schema": described}
    # llama.cpp's server binds the reply to the schema that stands here; others ignore it.
    return {"type": "json_object", "schema": dict(schema)}


def _messages(prompt: Prompt, response_format: ResponseFormat) -> list[ChatCompletionMessageParam]:
    system = prompt.system
    if response_format != ResponseFormat.JSON_SCHEMA:
        schema = json.dumps(prompt.schema, ensure_ascii=False)
        system += f"\n\nReply with one JSON object that fits this JSON schema, and with nothing else:\n{schema}"
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt.user}]


def _member(value: object, *names: str) -> Any:
    """Return a nested attribute or None: the SDK does not check what an endpoint sends."""
    for name in names:
        value = getattr(value, name, None)
    return value


def _first_choice(answer: object) -> object:
    choices = _member(answer, "choices")
    return choices[0] if isinstance(choices, list) and choices else None


async def _chunks(stream: AsyncStream[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """Return a stream's chunks; the stream is closed early when its text loops."""
    chunks: list[ChatCompletionChunk] = []
    recent = ""
    async with stream:
        async for chunk in stream:
            chunks.append(chunk)
            recent = (recent + _piece(chunk, "delta"))[-LOOP_WINDOW:]
            if len(chunks) % _LOOP_CHECK_CHUNKS == 0 and is_looping(recent):
                break
    return chunks


def _piece(answer: object, part: str) -> str:
    piece = _member(_first_choice(answer), part, "content")
    return piece if isinstance(piece, str) else ""


def _reply(answers: Sequence[object], part: str) -> Reply:
    """Return the reply that one answer, or the chunks of a stream, make up; `part` names where the text lies."""

    def told(kind: type[T], *names: str) -> T | None:
        values = (_member(answer, *names) for answer in reversed(answers))
        return next((value for value in values if isinstance(value, kind)), None)

    # A whole answer without the field is a plain server's; a stream without it broke off.
    finish_reason = "stop" if part == "message" else None
    choices = [_first_choice(answer) for answer in answers]
    for choice in choices:
        said = _member(choice, "finish_reason")
        finish_reason = said if isinstance(said, str) else finish_reason
    refused = any(_member(choice, part, "refusal") for choice in choices)
    return Reply(
        text="".join(_piece(answer, part) for answer in answers),
        finish_reason="content_filter" if refused else finish_reason,
        model=told(str, "model"),
        prompt_tokens=told(int, "usage", "prompt_tokens"),
        completion_tokens=told(int, "usage", "completion_tokens"),
    )


def _retry_after_seconds(error: APIStatusError) -> float | None:
    """Return the wait that the server asks for, in seconds; a date is read against the server's own clock."""
    headers = error.response.headers
    asked = headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(asked) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None
