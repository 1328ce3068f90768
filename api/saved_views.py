"""Lists that people keep, in the schema: their filters, orders and columns are checked against it when they are kept."""

from typing import Annotated, Any

import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    validate_input_value,
)

from api.context import Info
from api.mutations import UserError, changes, create_once, mutation, refusals, text
from api.people import User
from api.reads import (
    Connection,
    column,
    equals,
    expect,
    listing,
    names,
    node,
    roots,
    selected,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import JSON, enum
from domain import saved_views
from domain.kernel import Invalid, Role, Text
from domain.saved_views import NAME_LENGTH, SharedWith

enum(
    SharedWith,
    "Who finds a list beside its owner.",
    NOBODY="Nobody else.",
    TERRITORY="Who works in a territory or a part of it, or leads it.",
    EVERYONE="Everybody.",
)
COLUMNS, COLUMN_LENGTH, DEPTH = 100, 200, 8
ALL_ROLES = tuple(Role)


@node(saved_views.SavedView, hidden=RECORD_HIDDEN | {"territory_id"})
class SavedView(Record):
    """A list that somebody keeps: pass filter and orderBy on to the root field that lists its entity."""

    name: str = column("What it is called.")
    entity: str = column("The type whose records it lists, such as `Opportunity`.", "entity_name")
    filter: JSON | None = column("The filter, as the list of the entity takes it.")
    order_by: str | None = column("The order, one of the values that the list of the entity takes.")
    columns: list[str] = column("The fields to show, as paths such as `account.name`.")
    shared_with: SharedWith = column("Who finds it beside its owner.")
    region: str | None = column("The key of the region with which it is shared.")
    owner: User | None = to_one("owner_id", "Who keeps it.")


# ---- what a list may ask ---------------------------------------------------------------------------------------------


def _list_of(schema: GraphQLSchema, entity: str) -> GraphQLField:
    """The root field that lists an entity in pages and takes a filter.

    Raises Invalid where there is none.
    """
    lists: dict[str, GraphQLField] = {}
    for field in schema.query_type.fields.values() if schema.query_type else ():
        name = get_named_type(field.type).name
        if name.endswith("Connection") and "filter" in field.args:
            lists[name.removesuffix("Connection")] = field
    if entity not in lists:
        known = "、".join(sorted(lists)), ", ".join(sorted(lists))
        words = Text(f"没有“{entity}”的列表；可选：{known[0]}", f"there is no list of “{entity}”; there is: {known[1]}")
        raise Invalid(words, ("entity",))
    return lists[entity]


def _check_filter(value: Any, kind: GraphQLInputType) -> None:
    """See that a filter is one, down to every value.

    Raises Invalid with the path of the first that is none.
    """
    if not isinstance(value, dict):
        raise Invalid(Text("filter 须是 JSON 对象", "filter must be a JSON object"), ("filter",))
    if _is_deep(value):
        raise Invalid(Text("filter 嵌套过深", "filter is nested too deeply"), ("filter",))
    unknown = _unknown(value, kind)
    if unknown is not None:
        where = "/".join(unknown)
        words = Text(f"筛选中没有字段“{where}”", f"the filter has no field “{where}”")
        raise Invalid(words, ("filter", *unknown))
    found: list[tuple[list[str], str]] = []
    validate_input_value(
        value,
        kind,
        lambda error, path: found.append(([str(part) for part in path], error.message)),
        hide_suggestions=True,
    )
    if found:
        path, message = found[0]
        where = "/".join(["filter", *path])
        raise Invalid(Text(f"{where} 不能这样筛选：{message}", f"{where}: {message}"), ("filter", *path))


def _is_deep(value: Any) -> bool:
    """Whether a JSON value goes deeper than any filter does; found without going down itself."""
    level = [value]
    for _ in range(DEPTH):
        level = [
            below
            for one in level
            if isinstance(one, dict | list)
            for below in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _unknown(value: Any, kind: Any) -> tuple[str, ...] | None:
    """The path of the first field that an input type does not have; None for one that has them all."""
    inner = get_named_type(kind)
    if isinstance(value, list):
        below = ((str(place), _unknown(one, inner)) for place, one in enumerate(value))
    elif isinstance(value, dict) and isinstance(inner, GraphQLInputObjectType):
        below = (
            (name, _unknown(one, inner.fields[name].type) if name in inner.fields else ())
            for name, one in value.items()
        )
    else:
        return None
    return next(((name, *rest) for name, rest in below if rest is not None), None)


def _check_order(value: str, field: GraphQLField) -> None:
    argument = field.args.get("orderBy")
    kind = get_named_type(argument.type) if argument else None
    if not isinstance(kind, GraphQLEnumType) or value not in kind.values:
        known = ", ".join(kind.values) if isinstance(kind, GraphQLEnumType) else "—"
        words = Text(f"没有排序“{value}”；可选：{known}", f"there is no order “{value}”; there is: {known}")
        raise Invalid(words, ("orderBy",))


def _check_column(path: str, place: int, kind: GraphQLObjectType) -> None:
    """See that a path of field names leads from an entity to a value; below a JSON value anything goes."""
    at: Any = kind
    for name in path.split("."):
        fields = getattr(at, "fields", None)
        if fields is None and at.name == "JSON":
            return
        if fields is None or name not in fields:
            words = Text(f"{kind.name} 没有字段“{path}”", f"{kind.name} has no field “{path}”")
            raise Invalid(words, ("columns", str(place)))
        at = get_named_type(fields[name].type)


def check_view(schema: GraphQLSchema, entity: str, words: dict[str, Any]) -> None:
    """See that a list asks what the schema answers.

    Raises Invalid for an entity without a list, a filter, order or column that it does not have, or too many columns.
    """
    field = _list_of(schema, entity)
    if words.get("filter") is not None:
        _check_filter(words["filter"], field.args["filter"].type)
    if words.get("order_by") is not None:
        _check_order(words["order_by"], field)
    columns = words.get("columns") or []
    if len(columns) > COLUMNS:
        raise Invalid(Text(f"最多 {COLUMNS} 列", f"{COLUMNS} columns at most"), ("columns",))
    kind = schema.type_map[entity]
    for place, path in enumerate(columns):
        if isinstance(kind, GraphQLObjectType):
            _check_column(path, place, kind)


# ---- keeping ---------------------------------------------------------------------------------------------------------


@strawberry.input(description="Which lists; all conditions hold together.")
class SavedViewFilter:
    """Conditions on lists."""

    entity: str | None = equals("entity_name", "The type whose records they list.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "Who keeps them.")


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="A list to keep.")
class CreateSavedViewInput:
    """What keeping takes."""

    client_key: strawberry.ID = text("The caller's key: the same one keeps the list once.", 200, required=True)
    name: str = text("What it is called.", NAME_LENGTH, required=True)
    entity: str = text("The type whose records it lists, such as `Opportunity`.", 100, required=True)
    filter: JSON | None = _optional("The filter: an object as the list of the entity takes it.")
    order_by: str | None = text("The order, one of the values that the list of the entity takes.", 100)
    columns: list[str] | None = text("The fields to show, as paths such as `account.name`.", COLUMN_LENGTH)
    shared_with: SharedWith | None = _optional("Who finds it beside its owner; nobody without it.")
    region: str | None = text("The region's key or label, where it is shared with a territory.", 200)


@strawberry.input(description="What to change in a list; what is left out stays.")
class UpdateSavedViewInput:
    """What changing takes."""

    id: strawberry.ID = strawberry.field(description="The list.")
    expected_version: int = strawberry.field(description="The `version` on which the change is made.")
    name: str | None = text("What it is called.", NAME_LENGTH)
    filter: JSON | None = _optional("The filter: an object as the list of the entity takes it.")
    order_by: str | None = text("The order, one of the values that the list of the entity takes.", 100)
    columns: list[str] | None = text("The fields to show, as paths such as `account.name`.", COLUMN_LENGTH)
    shared_with: SharedWith | None = _optional("Who finds it beside its owner.")
    region: str | None = text("The region's key or label, where it is shared with a territory.", 200)


@strawberry.input(description="A list to keep no longer.")
class DeleteSavedViewInput:
    """What deleting takes."""

    id: strawberry.ID = strawberry.field(description="The list.")
    expected_version: int = strawberry.field(description="The `version` that is deleted.")


@strawberry.type(description="The list as it is now, or why it is not.")
class SavedViewPayload:
    """The answer to keeping and changing."""

    saved_view: SavedView | None = strawberry.field(default=None, description="The list.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The list that is gone, or why it is not.")
class DeleteSavedViewPayload:
    """The answer to deleting."""

    saved_view_id: strawberry.ID | None = strawberry.field(default=None, description="The id that is gone.")
    errors: list[UserError] = refusals()


SAID = ("name", "filter", "order_by", "columns", "shared_with", "region")


@roots
class SavedViewQueries:
    """The roots of this room."""

    saved_views: Connection[SavedView] = listing(
        "The reader's lists and those that are shared with them, newest first.", filter=SavedViewFilter
    )


@strawberry.type
class SavedViewMutations:
    """The mutations of this room."""

    @mutation("Keep a list under a name.", *ALL_ROLES)
    async def create_saved_view(
        self, info: Info, input: Annotated[CreateSavedViewInput, strawberry.argument(description="The list.")]
    ) -> SavedViewPayload | None:
        """Check it against the schema and keep it once."""
        words = {name: value for name, value in changes(input, *SAID).items() if value is not None}
        check_view(info.schema._schema, input.entity, words)  # noqa: SLF001 - Strawberry has no other way to the types
        words["entity_name"] = input.entity
        id = await create_once(info, input, saved_views.SavedView, saved_views.create_saved_view, words)
        return SavedViewPayload(saved_view=selected(info, SavedView, id))

    @mutation("Change one's own list.", *ALL_ROLES)
    async def update_saved_view(
        self, info: Info, input: Annotated[UpdateSavedViewInput, strawberry.argument(description="The change.")]
    ) -> SavedViewPayload | None:
        """Check the change against the schema and make it."""
        id, words = expect("SavedView", input.id, "id"), changes(input, *SAID)
        async with info.context.open_uow() as uow:
            view = await saved_views.load_own(uow, id, expected_version=input.expected_version)
            check_view(info.schema._schema, view.entity_name, words)  # noqa: SLF001 - as above
            await saved_views.update_saved_view(uow, id, expected_version=input.expected_version, changes=words)
        return SavedViewPayload(saved_view=selected(info, SavedView, id))

    @mutation("Keep one's own list no longer.", *ALL_ROLES)
    async def delete_saved_view(
        self, info: Info, input: Annotated[DeleteSavedViewInput, strawberry.argument(description="The list.")]
    ) -> DeleteSavedViewPayload | None:
        """Delete it."""
        id = expect("SavedView", input.id, "id")
        async with info.context.open_uow() as uow:
            await saved_views.delete_saved_view(uow, id, expected_version=input.expected_version)
        return DeleteSavedViewPayload(saved_view_id=input.id)
