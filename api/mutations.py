"""The one form of every mutation: an input, a unit of work, a payload, and refusals told in it."""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any, TypeVar, cast
from uuid import UUID

import strawberry
from strawberry.extensions.field_extension import FieldExtension
from strawberry.types.base import StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from api.context import Context, Info
from api.scalars import enum
from domain.kernel import (
    ErrorCode,
    Forbidden,
    Invalid,
    OvertakenError,
    Record,
    Role,
    SalesError,
    Text,
    Unauthenticated,
    once,
)

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound=Record)
FORBIDDEN = Text("您的角色不允许这样做", "your role does not allow this")

enum(
    ErrorCode,
    "What clients switch on; one that they do not know counts as other.",
    UNAUTHENTICATED="Nobody known is asking: sign in.",
    FORBIDDEN="The reader's role does not allow this.",
    NOT_FOUND="The record is absent or not the reader's to see, which look alike.",
    INVALID="The input cannot be taken.",
    STALE_VERSION="The record has changed since the version that the input holds.",
    KEY_REUSED="The client key came before with other input.",
    CONFLICT="The record's state does not allow this now.",
    RATE_LIMITED="Too many requests: wait.",
    TOO_COSTLY="The operation asks for too much.",
    UNAVAILABLE="A part that is needed does not answer now: try again.",
    INTERNAL="A bug, told to the administrator under a number.",
)


@strawberry.type(description="Why an input was not taken.")
class UserError:
    """One refusal, in the reader's language."""

    path: list[str] = strawberry.field(
        description="The input field, from the outside in; empty where it is the whole input."
    )
    code: ErrorCode = strawberry.field(description="What clients switch on.")
    message: str = strawberry.field(description="What is wrong, in the reader's language.")


class Refusals(FieldExtension):
    """Turns a refusal into the payload's errors, after the unit of work has rolled back."""

    def __init__(self, roles: tuple[Role, ...]) -> None:
        self.roles = roles
        self.payload: Callable[..., Any] = dict

    def apply(self, field: StrawberryField) -> None:
        """Remember the payload's class."""
        kind = field.type
        self.payload = kind.of_type if isinstance(kind, StrawberryOptional) else kind  # type: ignore[assignment]

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: Info, **arguments: Any
    ) -> Any:
        """Check the role and the lengths, and let the mutation run."""
        context = info.context
        try:
            if not context.reader.has(*self.roles):
                raise Forbidden(FORBIDDEN)
            check_lengths(arguments["input"])
            return await self._run(partial(next_, source, info, **arguments), context)
        except Unauthenticated:
            raise
        except SalesError as error:
            message = error.text.words(context.language)
            refusal = UserError(path=list(error.path), code=error.code, message=message)
            return self.payload(errors=[refusal])

    @staticmethod
    async def _run(work: Callable[[], Awaitable[Any]], context: Context) -> Any:
        """Let it run in the hope that its client key is fresh, and where it may not be once more without."""
        context.hopeful = True
        try:
            return await work()
        except OvertakenError:
            context.hopeful = False
            return await work()
        finally:
            context.hopeful = False


def mutation(description: str, *roles: Role) -> Callable[[F], F]:
    """Declare a mutation of one `input` and the roles that may call it."""
    return cast("Callable[[F], F]", strawberry.mutation(description=description, extensions=[Refusals(roles)]))


def refusals() -> Any:
    """The field of a payload that says why its input was not taken."""
    return strawberry.field(default_factory=list, description="Why the input was not taken; empty when it was.")


def text(description: str, limit: int = 500, *, required: bool = False) -> Any:
    """An input field of text with the number of characters that it takes at most."""
    metadata = {"limit": limit}
    if required:
        return strawberry.field(description=description, metadata=metadata)
    return strawberry.field(default=strawberry.UNSET, description=description, metadata=metadata)


def check_lengths(input: Any) -> None:
    """Check the texts of an input against their limits.

    Raises Invalid for the first that is too long.
    """
    kind: Any = type(input)
    for attribute, limit, name in _limits(kind):
        value = getattr(input, attribute)
        for words in value if isinstance(value, list) else [value]:
            if isinstance(words, str) and len(words) > limit:
                raise Invalid(
                    Text(
                        f"{name} 不能超过 {limit} 个字符，收到 {len(words)} 个",
                        f"{name} takes at most {limit} characters, not {len(words)}",
                    ),
                    (name,),
                )


@cache
def _limits(kind: type) -> tuple[tuple[str, int, str], ...]:
    """The fields of an input type that have a limit: attribute, characters, and the name that clients know."""
    fields = get_object_definition(kind, strict=True).fields
    limited = ((field, field.metadata.get("limit")) for field in fields)
    return tuple(
        (field.python_name, limit, field.graphql_name or to_camel_case(field.python_name))
        for field, limit in limited
        if limit is not None
    )


def given(value: Any) -> Any:
    """An optional input's value; None where it was left out."""
    return None if value is strawberry.UNSET else value


def changes(input: Any, *names: str, **renamed: str) -> dict[str, Any]:
    """What an update's input gives: the fields that are not left out, null among them, by their names in the domain.

    `renamed` maps a field of the input to another name in the domain.
    """
    wanted = {name: name for name in names} | renamed
    values = {domain: getattr(input, name) for name, domain in wanted.items()}
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}


async def create_once(
    info: Info, input: Any, model: type[R], operation: Callable[..., Awaitable[R]], words: dict[str, Any]
) -> UUID:
    """The id of the record that an operation makes of words, or made before of the same input under its client key.

    Raises KeyReused when the key came with other words, and what the operation does.
    """
    name = info.field_name
    async with info.context.open_uow() as uow:
        row = await once(uow, input.client_key, name, words, model, partial(operation, uow, **words))
    return row.id
