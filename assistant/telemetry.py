"""What the assistant tells of its work to OpenTelemetry: steps, model calls, tokens, durations; never words or people."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import metrics, trace
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from assistant.replies import ModelFailure

_tracer = trace.get_tracer("sortie.assistant")
_meter = metrics.get_meter("sortie.assistant")
_answers = _meter.create_histogram("sortie.answer.duration", "s", "How long answers took.")
_calls = _meter.create_histogram("gen_ai.client.operation.duration", "s", "How long model calls took.")
_tokens = _meter.create_counter("sortie.model.tokens", "{token}", "Tokens that went to models and came back.")
CHAT = gen_ai.GenAiOperationNameValues.CHAT.value


def step(name: str) -> AbstractContextManager[Span]:
    """A span around one step of an answer; an exception's words stay out of it."""
    return _tracer.start_as_current_span(name, record_exception=False)


def answered(kind: str, mode: str, seconds: float) -> None:
    """Count one finished answer."""
    _answers.record(seconds, {"kind": kind, "mode": mode})


class ModelCall:
    """One call of a language model under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, model: str, finish_reason: str | None, tokens_in: int | None, tokens_out: int | None) -> None:
        """Take in what came back."""
        said = {
            gen_ai.GEN_AI_RESPONSE_MODEL: model,
            gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: [finish_reason or "unknown"],
        }
        self._span.set_attributes(said)
        for direction, count in (("input", tokens_in), ("output", tokens_out)):
            if count is not None:
                self._span.set_attribute(f"gen_ai.usage.{direction}_tokens", count)
                _tokens.add(count, {gen_ai.GEN_AI_TOKEN_TYPE: direction})


@contextmanager
def model_call(model: str, max_tokens: int) -> Iterator[ModelCall]:
    """A span around a model call by the conventions for generative AI, and its duration; a failure is told by its reason."""
    said = {
        gen_ai.GEN_AI_OPERATION_NAME: CHAT,
        gen_ai.GEN_AI_PROVIDER_NAME: "openai",
        gen_ai.GEN_AI_REQUEST_MODEL: model,
    }
    started, failure = time.perf_counter(), None
    asked = said | {gen_ai.GEN_AI_REQUEST_MAX_TOKENS: max_tokens}
    with _tracer.start_as_current_span(
        f"{CHAT} {model}", kind=SpanKind.CLIENT, attributes=asked, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield ModelCall(span)
        except Exception as error:
            failure = error.reason.value if isinstance(error, ModelFailure) else type(error).__name__
            span.set_attribute(ERROR_TYPE, failure)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            _calls.record(time.perf_counter() - started, said | ({ERROR_TYPE: failure} if failure else {}))
