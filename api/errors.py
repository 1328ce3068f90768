"""How refusals and bugs reach the reader: a code on every error, their language, and nothing internal."""

import logging
import re
from collections.abc import Iterator
from typing import Any

from graphql import ArgumentNode, GraphQLError, ObjectFieldNode, StringValueNode, Visitor, visit
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext

from api.context import Context
from domain.kernel import ErrorCode, Invalid, SalesError, Text

log = logging.getLogger("sortie.api")

BUG = Text("服务器内部错误，请把编号 {} 告诉管理员", "an internal error: tell your administrator the number {}")

NOT_HERE = Text(
    "这种操作不能以此方式请求，或没有这个名称的操作",
    "this kind of operation is not asked for in this way, or there is none of that name",
)


def report(error: GraphQLError, context: Context) -> None:
    """Give an error its code and its words; a bug is logged in full and shown as a number alone."""
    cause = _cause(error)
    if isinstance(cause, SalesError):
        error.message = error.message.replace(cause.text.en, cause.text.words(context.language))
        error.extensions = {"code": cause.code.value} | ({"path": list(cause.path)} if cause.path else {})
    elif isinstance(cause, GraphQLError):
        error.message = _HINT.sub("", error.message)
        error.extensions = {"code": ErrorCode.INVALID.value} | (cause.extensions or {})
    elif isinstance(cause, InvalidOperationTypeError | CannotGetOperationTypeError):
        error.message = NOT_HERE.words(context.language)
        error.extensions = {"code": ErrorCode.INVALID.value}
    else:
        log.error("bug %s", context.correlation_id, exc_info=cause)
        error.message = BUG.words(context.language).format(context.correlation_id)
        error.extensions = {"code": ErrorCode.INTERNAL.value, "correlationId": context.correlation_id}
    context.codes.append(str(error.extensions["code"]))


def _cause(error: GraphQLError) -> Exception:
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


_HINT = re.compile(r" Did you mean .*\?$")
_UNFIT = re.compile("[\0\ud800-\udfff]")


def unfit_text(value: Any) -> Iterator[tuple[str, ...]]:
    """The paths of the texts, keys included, that hold a NUL character or half a surrogate pair."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, str) and _UNFIT.search(found):
            yield path
        elif isinstance(found, dict):
            waiting += [(path, key) for key in found]
            waiting += [((*path, str(key)), inner) for key, inner in found.items()]
        elif isinstance(found, list):
            waiting += [((*path, str(at)), inner) for at, inner in enumerate(found)]


class _UnfitLiterals(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.paths: list[tuple[str, ...]] = []

    def enter_string_value(
        self, node: StringValueNode, _key: Any, parent: Any, _path: Any, ancestors: list[Any]
    ) -> None:
        if _UNFIT.search(node.value):
            named = [step for step in [*ancestors, parent] if isinstance(step, ArgumentNode | ObjectFieldNode)]
            self.paths.append(tuple(step.name.value for step in named))


class FitText(SchemaExtension):
    """Refuses an operation whose variables or literals hold text that no database keeps."""

    def on_validate(self) -> Iterator[None]:
        """Look before anything runs; literals only where the document has escapes at all."""
        context: ExecutionContext = self.execution_context
        paths = list(unfit_text(context.variables or {}))
        if context.graphql_document is not None and "\\u" in (context.query or "\\u"):
            literals = _UnfitLiterals()
            visit(context.graphql_document, literals)
            paths += literals.paths
        if paths:
            where = ".".join(paths[0]).encode("ascii", "backslashreplace").decode()
            words = Text(
                f"{where} 含有无法保存的字符（NUL 或不成对的代理字符）",
                f"{where} holds a character that cannot be stored (NUL or half a surrogate pair)",
            )
            error = Invalid(words, tuple(where.split(".")))
            context.pre_execution_errors = [GraphQLError(str(error), original_error=error)]
        yield
