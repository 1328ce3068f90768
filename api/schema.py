"""The schema: every room's part put together, guarded at the roots."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import strawberry
from graphql import GraphQLError, GraphQLField, GraphQLResolveInfo
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from api.accounts import AccountMutations, AccountQueries
from api.activities import ActivityMutations, ActivityQueries
from api.assistant import AssistantMutations, AssistantQueries, AssistantSubscriptions
from api.attachments import AttachmentMutations
from api.audit import AuditQueries
from api.commerce import CommerceMutations, CommerceQueries
from api.consent import ConsentMutations
from api.context import Context
from api.custom_fields import CustomFieldMutations, CustomFieldQueries
from api.deal_mutations import DealMutations
from api.deals import DealQueries
from api.deliveries import DeliveryMutations, DeliveryQueries
from api.documents import Documents, Limited
from api.errors import FitText, report
from api.jobs.graphql import JobMutations, JobQueries
from api.knowledge import KnowledgeMutations, KnowledgeQueries
from api.lead_mutations import LeadMutations
from api.leads import LeadQueries
from api.live import LiveSubscriptions
from api.measures import MeasureQueries
from api.operations.graphql import Observed
from api.people import PeopleQueries
from api.people_mutations import PeopleMutations
from api.pipelines import PipelineMutations
from api.reads import SHAPES, Node, any_record
from api.replays import ReplayMutations, ReplayQueries
from api.saved_views import SavedViewMutations, SavedViewQueries
from api.scalars import SCALARS
from api.search import SearchQueries
from api.work_items import WorkItemMutations, WorkItemQueries
from domain.kernel import Forbidden, Scope, Text

PUBLIC = frozenset({"viewer"})
"""The roots that answer without a token."""
OUT_OF_SCOPE = Text("此密钥不含所需的用途（scope）：{}", "this key lacks the scope {}")


@strawberry.type(description="What can be read.")
class Query(
    PeopleQueries,
    AccountQueries,
    CustomFieldQueries,
    LeadQueries,
    DealQueries,
    CommerceQueries,
    MeasureQueries,
    ActivityQueries,
    SavedViewQueries,
    SearchQueries,
    JobQueries,
    KnowledgeQueries,
    AssistantQueries,
    DeliveryQueries,
    ReplayQueries,
    WorkItemQueries,
    AuditQueries,
):
    """Every room's roots."""

    node: Node | None = any_record(
        "The record that a global id names; null where there is none or it is not the reader's to see."
    )


@strawberry.type(description="What can be done.")
class Mutation(
    PeopleMutations,
    AccountMutations,
    CustomFieldMutations,
    LeadMutations,
    DealMutations,
    PipelineMutations,
    CommerceMutations,
    ActivityMutations,
    AttachmentMutations,
    ConsentMutations,
    JobMutations,
    KnowledgeMutations,
    SavedViewMutations,
    AssistantMutations,
    DeliveryMutations,
    ReplayMutations,
    WorkItemMutations,
):
    """Every room's mutations."""


@strawberry.type(description="What can be followed while it happens.")
class Subscription(AssistantSubscriptions, LiveSubscriptions):
    """Every room's streams."""


class SortieSchema(strawberry.Schema):
    """The schema, with errors told to readers in one way, and with what is known of documents."""

    @cached_property
    def documents(self) -> Documents:
        """What is known of the documents that came."""
        return Documents(self._schema)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Give every error its code and words, in place."""
        assert execution_context is not None  # noqa: S101 - Strawberry passes one on every path
        for error in errors:
            report(error, execution_context.context)


def scope_of(kind: str, name: str) -> Scope:
    """What a service key needs for a root field: drafts are named draft…, imports have the word in their name."""
    if kind != "Mutation":
        return Scope.READ
    if name.startswith("draft"):
        return Scope.DRAFT
    return Scope.IMPORT if "import" in name.lower() else Scope.WRITE


def _guarded(resolve: Callable[..., Any], scope: Scope) -> Callable[..., Any]:
    def guarded(root: Any, info: GraphQLResolveInfo[Context], **arguments: Any) -> Any:
        context: Context = info.context
        if (done := context.done.get(str(info.path.key))) is not None:
            if done.error is not None:
                raise done.error
            return done.payload
        if not context.reader.may(scope):
            raise Forbidden(Text(OUT_OF_SCOPE.zh.format(scope.value), OUT_OF_SCOPE.en.format(scope.value)))
        return resolve(root, info, **arguments)

    return guarded


def _guard(kind: str, fields: dict[str, GraphQLField]) -> None:
    for name, declared in fields.items():
        if name not in PUBLIC:
            scope = scope_of(kind, name)
            if declared.subscribe is not None:
                declared.subscribe = _guarded(declared.subscribe, scope)
            elif declared.resolve is not None:
                declared.resolve = _guarded(declared.resolve, scope)


def build_schema() -> SortieSchema:
    """The schema with every root guarded: without somebody known they answer UNAUTHENTICATED."""
    types = [shape.kind for shape in SHAPES.values() if shape.is_node]
    schema = SortieSchema(
        Query,
        Mutation,
        Subscription,
        types=types,
        extensions=[Observed, FitText, Limited],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True),
    )
    for kind in (schema._schema.query_type, schema._schema.mutation_type, schema._schema.subscription_type):  # noqa: SLF001 - Strawberry has no other way in
        if kind is not None:
            _guard(kind.name, kind.fields)
    return schema


schema = build_schema()
graphql_schema = schema._schema  # noqa: SLF001 - Strawberry has no other way in
"""The same as graphql-core has it, for what reads documents without executing them."""
