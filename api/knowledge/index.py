"""The index of the knowledge in the schema: how it stands in the process that answers."""

from datetime import datetime

import strawberry

from api.context import Info
from api.reads import computed, roots
from domain.kernel import Forbidden, Role, Text, Unavailable
from knowledge import WATCHING, Building, IndexStatus

LOOKING_AFTER = (*WATCHING, Role.SALES_OPS)


@strawberry.type(description="Passages that get their vectors now.")
class KnowledgeIndexBuilding:
    """A round of encoding."""

    done: int = strawberry.field(description="How many have theirs.")
    total: int = strawberry.field(description="Of how many.")
    since: datetime = strawberry.field(description="When the round began.")

    @classmethod
    def of(cls, building: Building | None) -> "KnowledgeIndexBuilding | None":
        """The round, if there is one."""
        return None if building is None else cls(done=building.done, total=building.total, since=building.since)


@strawberry.type(description="How the index stands in the process that answers; every process has its own view of it.")
class KnowledgeIndex:
    """The index."""

    publication: int = strawberry.field(
        description="The count of publications and withdrawals that it knows of; every search compares it with the database."
    )
    passages: int = strawberry.field(description="How many passages are published.")
    passages_without_vector: int = strawberry.field(description="How many of them are found by words alone.")
    engine: str | None = strawberry.field(
        description="What searches vectors: `faiss` in the process, `pgvector` in the database."
    )
    model: str | None = strawberry.field(description="The embedding model; null while none is loaded.")
    model_fingerprint: str | None = strawberry.field(
        description="The digest of its files: vectors of another are never searched."
    )
    methods: list[str] = strawberry.field(description="The methods that serve now.")
    degraded: str | None = strawberry.field(description="Why not every method serves; null when all do.")
    building: KnowledgeIndexBuilding | None = strawberry.field(description="What is being encoded now.")
    rejected: str | None = strawberry.field(
        description="What was found wrong with the stored index, which is then built anew; null when nothing was."
    )  # fmt: skip
    rejected_at: datetime | None = strawberry.field(description="When that was found.")


def _shown(status: IndexStatus, info: Info) -> KnowledgeIndex:
    model = status.model
    return KnowledgeIndex(
        publication=max(status.publication, 0),
        passages=status.passages,
        passages_without_vector=status.lacking,
        engine=status.engine,
        model=None if model is None else model.model_id,
        model_fingerprint=None if model is None else model.fingerprint,
        methods=list(status.methods),
        degraded=None if status.degraded is None else status.degraded.words(info.context.language),
        building=KnowledgeIndexBuilding.of(status.building),
        rejected=None if status.rejected is None else status.rejected.reason,
        rejected_at=None if status.rejected is None else status.rejected.at,
    )


@roots
class IndexQueries:
    """How retrieval stands."""

    @computed("How the index stands, for those who keep the knowledge or look after the installation.")
    async def knowledge_index(self, info: Info) -> KnowledgeIndex | None:
        """Ask the library of this process."""
        context = info.context
        if not context.reader.has(*LOOKING_AFTER):
            raise Forbidden(Text("只有知识运营、法务、审计、销售运营或管理员可以查看", "not for this role"))
        if context.library is None:
            raise Unavailable(Text("知识检索此刻不可用", "knowledge search does not serve now"))
        return _shown(await context.library.status(), info)
