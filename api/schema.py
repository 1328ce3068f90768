"""The schema: every room's part put together, guarded at the roots."""

from collections.abc import Callable
from typing import Annotated, Any, cast

import strawberry
from graphql import GraphQLError, GraphQLField, GraphQLResolveInfo
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from api.accounts import AccountQueries
from api.activities import ActivityMutations, ActivityQueries
from api.assistant import AssistantMutations, AssistantQueries, Subscription
from api.audit import AuditQueries
from api.consent import ConsentMutations
from api.context import Context, Info
from api.deals import DealQueries
from api.errors import FitText, report
from api.knowledge import KnowledgeMutations, KnowledgeQueries
from api.leads import LeadMutations, LeadQueries
from api.operations.graphql import Observed
from api.people import PeopleQueries
from api.reads import SHAPES, Node, computed, load_ref, read_id
from api.scalars import SCALARS

PUBLIC = frozenset({"viewer"})
"""The roots that answer without a token."""


@strawberry.type(description="What can be read.")
class Query(
    PeopleQueries,
    AccountQueries,
    LeadQueries,
    DealQueries,
    ActivityQueries,
    KnowledgeQueries,
    AssistantQueries,
    AuditQueries,
):
    """Every room's roots."""

    @computed("The record that a global id names; null where there is none or it is not the reader's to see.")
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The global id.")]
    ) -> Node | None:
        """Load it, whatever its type."""
        ref = read_id(id)
        return None if ref is None else cast("Node | None", await load_ref(info.context, ref))


@strawberry.type(description="What can be done.")
class Mutation(LeadMutations, ActivityMutations, ConsentMutations, KnowledgeMutations, AssistantMutations):
    """Every room's mutations."""


class SortieSchema(strawberry.Schema):
    """The schema, with errors told to readers in one way."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Give every error its code and words, in place."""
        assert execution_context is not None  # noqa: S101 - Strawberry passes one on every path
        for error in errors:
            report(error, execution_context.context)


def _guarded(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(root: Any, info: GraphQLResolveInfo[Context], **arguments: Any) -> Any:
        context: Context = info.context
        _ = context.reader
        return resolve(root, info, **arguments)

    return guarded


def _guard(fields: dict[str, GraphQLField]) -> None:
    for name, declared in fields.items():
        if name not in PUBLIC:
            if declared.subscribe is not None:
                declared.subscribe = _guarded(declared.subscribe)
            elif declared.resolve is not None:
                declared.resolve = _guarded(declared.resolve)


def build_schema() -> SortieSchema:
    """The schema with every root guarded: without somebody known they answer UNAUTHENTICATED."""
    types = [shape.kind for shape in SHAPES.values() if shape.is_node]
    schema = SortieSchema(
        Query,
        Mutation,
        Subscription,
        types=types,
        extensions=[Observed, FitText],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True),
    )
    for kind in (schema._schema.query_type, schema._schema.mutation_type, schema._schema.subscription_type):  # noqa: SLF001 - Strawberry has no other way in
        if kind is not None:
            _guard(kind.fields)
    return schema


schema = build_schema()
