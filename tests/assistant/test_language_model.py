import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from assistant.language_model import (
    Completion,
    FailureReason,
    LanguageModel,
    ModelFailure,
    ModelNonsense,
    ModelTimeout,
    ModelUnavailable,
    OpenAIModel,
    Prompt,
    ResponseFormat,
    ScriptedModel,
)
from tests.assistant.openai_server import OpenAIServer, fails, hangs, says, sends, streams, takes_only

SCHEMA = {
    "type": "object",
    "properties": {"reply": {"type": "string"}, "sources": {"type": "array", "items": {"type": "integer"}}},
    "required": ["reply", "sources"],
    "additionalProperties": False,
}
PROMPT = Prompt("你是销售助手。", "客户⟦PERSON_1⟧说价格太高了，怎么回答？", SCHEMA, max_output_tokens=300)
CONTENT = {"reply": "先认同⟦PERSON_1⟧的顾虑，再看三年总成本。", "sources": [1, 2]}
GOOD = json.dumps(CONTENT, ensure_ascii=False)
BROKEN = fails(500, message="response_format is not supported")


@pytest.fixture(scope="module")
def running_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(running_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    monkeypatch.setenv("OPENAI_API_KEY", "loopback-key")
    monkeypatch.setenv("OPENAI_BASE_URL", running_server.base_url)
    running_server.plays(says(GOOD))
    return running_server


@pytest.fixture
async def model(server: OpenAIServer) -> AsyncIterator[OpenAIModel]:
    model = OpenAIModel("qwen")
    yield model
    await model.close()


@pytest.fixture
async def streaming_model(server: OpenAIServer) -> AsyncIterator[OpenAIModel]:
    model = OpenAIModel("qwen", stream=True)
    yield model
    await model.close()


async def failure_of(model: LanguageModel, timeout_seconds: float = 5) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await model.complete(PROMPT, timeout_seconds)
    return caught.value


class TestSuccess:
    async def test_reply_fits_the_schema(self, server: OpenAIServer, model: OpenAIModel) -> None:
        completion = await model.complete(PROMPT, 5)
        assert completion == Completion(
            CONTENT, "loopback-1", 21, 13, completion.latency_ms, ResponseFormat.JSON_SCHEMA
        )
        assert 0 <= completion.latency_ms < 5000

    async def test_request_is_what_the_prompt_says(self, server: OpenAIServer, model: OpenAIModel) -> None:
        await model.complete(PROMPT, 5)
        assert server.keys == ["Bearer loopback-key"]
        assert server.bodies == [
            {
                "model": "qwen",
                "messages": [{"role": "system", "content": PROMPT.system}, {"role": "user", "content": PROMPT.user}],
                "max_tokens": 300,
                "temperature": 0,
                "stream": False,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA},
                },
            }
        ]

    @pytest.mark.parametrize(
        "text",
        [
            f"```json\n{GOOD}\n```",
            f"好的，以下是答复：\n{GOOD}\n希望对您有帮助。",
            f'<think>先给个例子 {{"reply": "草稿", "sources": []}}</think>\n{GOOD}',
            f"集合 {{a, b}} 之后：{GOOD}",
            f'{{"note": "不合格式"}} {GOOD}',
            "\ufeff" + GOOD,
        ],
    )
    async def test_json_is_found_in_its_wrapping(self, server: OpenAIServer, model: OpenAIModel, text: str) -> None:
        server.plays(says(text))
        assert (await model.complete(PROMPT, 5)).content == CONTENT

    async def test_usage_and_finish_reason_may_be_missing(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(says(GOOD, usage=False, finish_reason=None))
        completion = await model.complete(PROMPT, 5)
        assert (completion.content, completion.prompt_tokens, completion.completion_tokens) == (CONTENT, None, None)

    async def test_whole_reply_at_the_token_limit_is_good(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(says(GOOD, finish_reason="length"))
        assert (await model.complete(PROMPT, 5)).content == CONTENT


class TestStream:
    async def test_chunks_are_assembled(self, server: OpenAIServer, streaming_model: OpenAIModel) -> None:
        server.plays(streams(GOOD))
        completion = await streaming_model.complete(PROMPT, 5)
        assert completion.content == CONTENT
        assert (completion.model, completion.prompt_tokens) == ("loopback-1", None)
        assert server.bodies[0]["stream"] is True

    @pytest.mark.parametrize("finish_reason", ["length", None])
    async def test_cut_off(self, server: OpenAIServer, streaming_model: OpenAIModel, finish_reason: str | None) -> None:
        server.plays(streams(GOOD[:-9], finish_reason=finish_reason))
        assert (await failure_of(streaming_model)).reason == FailureReason.CUT_OFF
        assert len(server.bodies) == 1

    async def test_loop_is_stopped_early(self, server: OpenAIServer, streaming_model: OpenAIModel) -> None:
        server.plays(streams('{"reply": "' + "非常感谢您的耐心等待，" * 300_000))
        started = time.perf_counter()
        assert (await failure_of(streaming_model, 20)).reason == FailureReason.REPETITION
        assert time.perf_counter() - started < 5

    async def test_error_in_the_stream_is_tried_again(self, server: OpenAIServer, streaming_model: OpenAIModel) -> None:
        server.plays(streams(GOOD[:9], error="overloaded", finish_reason=None), streams(GOOD))
        assert (await streaming_model.complete(PROMPT, 5)).content == CONTENT

    async def test_deadline_cuts_a_slow_stream(self, server: OpenAIServer, streaming_model: OpenAIModel) -> None:
        server.plays(streams(GOOD, piece=1, pause_seconds=0.1))
        started = time.perf_counter()
        assert isinstance(await failure_of(streaming_model, 0.3), ModelTimeout)
        assert time.perf_counter() - started < 1.5


class TestLadder:
    async def test_schema_refused_with_500_object_works(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(takes_only({"json_object"}, says(GOOD), BROKEN))
        first = await model.complete(PROMPT, 5)
        second = await model.complete(PROMPT, 5)
        assert first.response_format == second.response_format == ResponseFormat.JSON_OBJECT
        assert server.formats == ["json_schema", "json_object", "json_object"]
        assert server.bodies[1]["response_format"] == {"type": "json_object", "schema": SCHEMA}
        assert json.dumps(SCHEMA) in server.bodies[1]["messages"][0]["content"]

    @pytest.mark.parametrize("status", [400, 422, 500, 501])
    async def test_both_refused_text_works(self, server: OpenAIServer, model: OpenAIModel, status: int) -> None:
        server.plays(takes_only({"text"}, says(f"答复如下：{GOOD}"), fails(status)))
        assert (await model.complete(PROMPT, 5)).response_format == ResponseFormat.TEXT
        await model.complete(PROMPT, 5)
        assert server.formats == ["json_schema", "json_object", "text", "text"]

    async def test_format_that_is_ignored_is_not_trusted(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(takes_only({"json_object"}, says(GOOD), says("好的！")))
        assert (await model.complete(PROMPT, 5)).response_format == ResponseFormat.JSON_OBJECT

    async def test_outage_teaches_nothing(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(503, retry_after="0.01"), says(GOOD))
        assert (await model.complete(PROMPT, 5)).response_format == ResponseFormat.JSON_SCHEMA
        assert server.formats == ["json_schema", "json_schema"]

    async def test_500_in_a_proven_format_is_an_outage(self, server: OpenAIServer, model: OpenAIModel) -> None:
        await model.complete(PROMPT, 5)
        server.plays(fails(500, retry_after="0.01"), says(GOOD))
        await model.complete(PROMPT, 5)
        assert server.formats == ["json_schema", "json_schema"]

    async def test_proven_format_that_is_refused_later_is_unlearnt(
        self, server: OpenAIServer, model: OpenAIModel
    ) -> None:
        await model.complete(PROMPT, 5)
        server.plays(takes_only({"text"}, says(GOOD), fails(400)))
        assert (await failure_of(model)).reason == FailureReason.REJECTED
        assert (await model.complete(PROMPT, 5)).response_format == ResponseFormat.TEXT

    async def test_refused_parameters_are_dropped_for_good(self, server: OpenAIServer, model: OpenAIModel) -> None:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        server.plays(
            fails(400, param="max_tokens", message=message),
            fails(400, param="temperature", message="Only the default (1) value is supported."),
            says(GOOD),
        )
        await model.complete(PROMPT, 5)
        await model.complete(PROMPT, 5)
        assert server.formats == ["json_schema"] * 4
        assert all(body["max_completion_tokens"] == 300 for body in server.bodies[1:])
        assert not any("temperature" in body or "max_tokens" in body for body in server.bodies[2:])


class TestUnavailable:
    async def test_429_then_success_waits_as_told(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(429, retry_after="0.3"), says(GOOD))
        assert (await model.complete(PROMPT, 5)).content == CONTENT
        assert 0.3 <= server.asked_at[1] - server.asked_at[0] < 2

    async def test_retry_after_may_be_a_date(self, server: OpenAIServer, model: OpenAIModel) -> None:
        day = "Mon, 23 Nov 2026 08:00:"
        server.plays(fails(429, retry_after=f"{day}01 GMT", date=f"{day}00 GMT"), says(GOOD))
        await model.complete(PROMPT, 5)
        assert 1 <= server.asked_at[1] - server.asked_at[0] < 2

    async def test_429_forever_ends_after_bounded_retries(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(429, retry_after="0.01"))
        failure = await failure_of(model)
        assert (type(failure), failure.reason) == (ModelUnavailable, FailureReason.RATE_LIMITED)
        assert len(server.bodies) == 3

    async def test_wait_beyond_the_deadline_is_not_begun(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(429, retry_after="60"))
        started = time.perf_counter()
        assert (await failure_of(model, 3)).reason == FailureReason.RATE_LIMITED
        assert (time.perf_counter() - started < 2, len(server.bodies)) == (True, 1)

    async def test_spent_quota_is_not_retried(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(429, code="insufficient_quota"))
        assert (await failure_of(model)).reason == FailureReason.RATE_LIMITED
        assert len(server.bodies) == 1

    async def test_500_forever(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(500, retry_after="0.01"))
        failure = await failure_of(model)
        assert (type(failure), failure.reason) == (ModelUnavailable, FailureReason.SERVER_ERROR)
        assert server.formats == ["json_schema", "json_object", "text", "text", "text"]

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_wrong_key_or_model_is_final(self, server: OpenAIServer, model: OpenAIModel, status: int) -> None:
        server.plays(fails(status))
        failure = await failure_of(model)
        assert (failure.reason, str(failure)) == (FailureReason.REJECTED, f"qwen answered HTTP {status}")
        assert len(server.bodies) == 1

    async def test_context_that_is_too_long_is_final(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(fails(400, code="context_length_exceeded"))
        assert (await failure_of(model)).reason == FailureReason.REJECTED
        assert len(server.bodies) == 1

    async def test_nobody_listens(self, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        model = OpenAIModel("qwen", max_retries=0)
        failure = await failure_of(model)
        assert (type(failure), failure.reason) == (ModelUnavailable, FailureReason.CONNECTION)
        await model.close()

    async def test_missing_key_is_named(self, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        failure = await failure_of(OpenAIModel("qwen"))
        assert failure.reason == FailureReason.NOT_CONFIGURED
        assert "OPENAI_API_KEY" in str(failure)

    async def test_works_again_after_close(self, server: OpenAIServer, model: OpenAIModel) -> None:
        await model.complete(PROMPT, 5)
        await model.close()
        assert (await model.complete(PROMPT, 5)).content == CONTENT


class TestTimeout:
    async def test_slow_reply(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(hangs(2, says(GOOD)))
        started = time.perf_counter()
        failure = await failure_of(model, 0.3)
        assert (type(failure), failure.reason) == (ModelTimeout, FailureReason.DEADLINE)
        assert time.perf_counter() - started < 1.5

    async def test_the_next_request_is_not_harmed(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(hangs(1, says(GOOD)), says(GOOD))
        await failure_of(model, 0.2)
        assert (await model.complete(PROMPT, 5)).content == CONTENT

    async def test_cancelling_the_caller_is_no_timeout(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(hangs(1, says(GOOD)))
        task = asyncio.create_task(model.complete(PROMPT, 5))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestNonsense:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (None, FailureReason.EMPTY),
            ("", FailureReason.EMPTY),
            ("\n \t", FailureReason.EMPTY),
            ("价格太高了价格太高了", FailureReason.NOT_JSON),
            ("[1, 2]", FailureReason.NOT_JSON),
            ("{" * 30_000, FailureReason.REPETITION),
            ('{"a":' * 5000, FailureReason.REPETITION),
            (GOOD.replace("1, 2", "NaN"), FailureReason.NOT_JSON),
            (GOOD.replace("1, 2", "1e999"), FailureReason.NOT_JSON),
            (GOOD.replace("1, 2", '"一"'), FailureReason.SCHEMA_MISMATCH),
            ('{"reply": "好"}', FailureReason.SCHEMA_MISMATCH),
            (GOOD.replace("先认同", "\\u0000"), FailureReason.NOT_JSON),
            (GOOD.replace("先认同", "\\ud800"), FailureReason.NOT_JSON),
            (GOOD.replace("先认同", "我们非常理解您的顾虑。" * 9), FailureReason.REPETITION),
            ("{" + "\n" * 500, FailureReason.REPETITION),
            ("谢谢谢谢谢谢谢谢" * 20, FailureReason.REPETITION),
        ],
    )
    async def test_reason(self, server: OpenAIServer, model: OpenAIModel, text: str | None, reason: str) -> None:
        server.plays(says(text))
        failure = await failure_of(model)
        assert (type(failure), failure.reason) == (ModelNonsense, reason)

    async def test_cut_off_json(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(says(GOOD[:-9], finish_reason="length"))
        assert (await failure_of(model)).reason == FailureReason.CUT_OFF
        assert len(server.bodies) == 1

    @pytest.mark.parametrize(
        "step", [says(None, refusal="我不能回答"), says("", finish_reason="content_filter")], ids=["refusal", "filter"]
    )
    async def test_refusal(self, server: OpenAIServer, model: OpenAIModel, step: Any) -> None:
        server.plays(step)
        assert (await failure_of(model)).reason == FailureReason.REFUSED
        assert len(server.bodies) == 1

    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "",
            "null",
            "[]",
            "{}",
            '{"choices": 7}',
            '{"choices": [7]}',
            '{"choices": [{"message": {"content": 7}, "finish_reason": [1]}]}',
            '{"choices": [{"message": {"content": "x"}, "finish_reason": [1]}]}',
            '{"choices": []}',
            '"x"',
        ],
    )
    async def test_answer_that_is_no_chat_completion(
        self, server: OpenAIServer, model: OpenAIModel, content: str
    ) -> None:
        server.plays(sends(content))
        assert (await failure_of(model)).reason in {FailureReason.NOT_JSON, FailureReason.EMPTY}

    async def test_page_of_a_proxy(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(sends("<html>请登录</html>", "text/html"))
        assert isinstance(await failure_of(model), ModelNonsense)

    async def test_failure_quotes_neither_prompt_nor_reply(self, server: OpenAIServer, model: OpenAIModel) -> None:
        server.plays(says('{"reply": 7, "sources": ["机密"]}'))
        shown = f"{await failure_of(model)!r} {PROMPT!r} {model!r}"
        assert not any(text in shown for text in ("机密", "PERSON_1", "销售助手"))


class TestScriptedModel:
    async def test_replies_in_order_and_keeps_prompts(self) -> None:
        other = Prompt("system", "too expensive", SCHEMA)
        model = ScriptedModel([CONTENT, ModelTimeout("慢")])
        assert (await model.complete(PROMPT, 1)).content == CONTENT
        assert (await failure_of(model)).reason == FailureReason.DEADLINE
        assert model.prompts == [PROMPT, PROMPT]
        with pytest.raises(LookupError, match="no reply left"):
            await model.complete(other, 1)
        assert model.prompts[-1] is other

    async def test_replies_as_a_function_of_the_prompt(self) -> None:
        model = ScriptedModel(lambda prompt: {"reply": prompt.user[:2], "sources": []})
        assert (await model.complete(PROMPT, 1)).content == {"reply": "客户", "sources": []}

    async def test_slow_script_meets_the_deadline(self) -> None:
        async def slow(prompt: Prompt) -> dict[str, Any]:
            await asyncio.sleep(5)
            return CONTENT

        assert isinstance(await failure_of(ScriptedModel(slow), 0.05), ModelTimeout)

    async def test_reply_is_held_to_the_schema(self) -> None:
        assert (await failure_of(ScriptedModel([{"reply": "好"}]))).reason == FailureReason.SCHEMA_MISMATCH


def test_import_pays_for_no_sdk() -> None:
    script = "import sys, assistant.language_model; print([m for m in ('openai', 'httpx2', 'jsonschema') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
