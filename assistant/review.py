"""What people make of answers: feedback, veto, and the measures of both."""

from dataclasses import dataclass
from datetime import datetime
from math import ceil
from uuid import UUID

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from assistant.model import SHOWN, Disposition, FeedbackVerdict, Generation, GenerationFeedback
from assistant.recording import persons_of
from assistant.skills.base import NO_TEXT
from domain.kernel import Actor, Conflict, Forbidden, Invalid, Role, Text, UnitOfWork, load, rows_visible

TEXT_LENGTH = 50_000
MEASURING = (Role.MANAGER, Role.EXECUTIVE, Role.AUDITOR)


async def give_feedback(
    uow: UnitOfWork,
    generation_id: UUID | None,
    verdict: FeedbackVerdict,
    *,
    reason: str | None = None,
    corrected_text: str | None = None,
) -> Generation:
    """Add what a person made of an answer that they were shown; the latest of a person counts.

    Raises Forbidden for roles that do not draft, NotFound for a foreign answer, Conflict for one that nobody may use,
    Invalid for an edit without its text or a text that cannot be kept.
    """
    if not uow.actor.has(Role.REP, Role.MANAGER):
        raise Forbidden(Text("只有销售代表和销售经理可以反馈", "only reps and managers give feedback"))
    generation = await load(uow.session, uow.actor, Generation, generation_id, path=("generationId",), lock=True)
    if generation.disposition not in SHOWN:
        raise Conflict(
            Text(
                f"该回答处于 {generation.disposition.value}，不能反馈",
                f"the answer is {generation.disposition.value} and takes no feedback",
            ),
            ("generationId",),
        )
    if verdict is FeedbackVerdict.EDITED and not (corrected_text or "").strip():
        raise Invalid(
            Text("选择“已修改”时请附上修改后的文本", "an edit comes with its corrected text"), ("correctedText",)
        )
    _check_text("reason", reason)
    _check_text("correctedText", corrected_text)
    uow.session.add(GenerationFeedback(
        id=uow.new_id(), generation_id=generation.id, by_id=uow.actor.user_id, at=uow.now, verdict=verdict, reason=reason, corrected_text=corrected_text,
    ))  # fmt: skip
    persons = await persons_of(uow, generation.id)
    uow.note("generation.feedback_given", generation, {"verdict": verdict.value}, persons=persons)
    return generation


def _check_text(name: str, value: str | None) -> None:
    if value is not None and len(value) > TEXT_LENGTH:
        raise Invalid(
            Text(f"{name} 最多 {TEXT_LENGTH} 个字符", f"{name} is longer than {TEXT_LENGTH} characters"), (name,)
        )
    if value is not None and NO_TEXT.search(value):
        raise Invalid(Text(f"{name} 含有无法保存的字符", f"{name} holds characters that no text has"), (name,))


async def veto(uow: UnitOfWork, generation_id: UUID | None, reason: str) -> Generation:
    """Overrule an answer: from this commit on its requester no longer reads it.

    Raises Forbidden for roles other than MANAGER and LEGAL, NotFound for a foreign answer, Invalid for an empty reason,
    Conflict for an answer that nobody can read anyway.
    """
    if not uow.actor.has(Role.MANAGER, Role.LEGAL):
        raise Forbidden(Text("只有销售经理和法务可以否决", "only managers and legal veto"))
    if not reason.strip():
        raise Invalid(Text("请写明否决理由", "say why it is vetoed"), ("reason",))
    _check_text("reason", reason)
    generation = await load(uow.session, uow.actor, Generation, generation_id, path=("generationId",), lock=True)
    if generation.disposition not in SHOWN:
        raise Conflict(
            Text(
                f"该回答处于 {generation.disposition.value}，不能否决",
                f"the answer is {generation.disposition.value} and cannot be vetoed",
            ),
            ("generationId",),
        )
    generation.disposition, generation.reason = Disposition.VETOED, reason.strip()
    uow.note("generation.vetoed", generation, persons=await persons_of(uow, generation.id))
    return generation


@dataclass(frozen=True, slots=True)
class Metrics:
    """How answers of a window fared. Rates are None when nothing was shown."""

    shown: int
    used: int
    edited: int
    rejected: int
    vetoed: int
    p95_latency_ms: int | None

    @property
    def adoption_rate(self) -> float | None:
        """(used + edited) / shown."""
        return (self.used + self.edited) / self.shown if self.shown else None

    @property
    def veto_rate(self) -> float | None:
        """Vetoed / shown."""
        return self.vetoed / self.shown if self.shown else None


async def metrics(connection: AsyncConnection, actor: Actor, since: datetime, until: datetime | None) -> Metrics:
    """The measures over answers requested from `since` to before `until`, or to now without it, that count for the actor.

    An answer counts once, by the latest feedback given on it.

    Raises Forbidden for roles that do not see measures, Invalid for a window that ends before it starts.
    """
    if not actor.has(*MEASURING):
        raise Forbidden(Text("您的角色不能查看助手指标", "your role does not see the assistant's measures"))
    if until is not None and until <= since:
        raise Invalid(Text("until 必须晚于 since", "until must come after since"), ("until",))
    everything = actor.has(Role.EXECUTIVE, Role.AUDITOR)
    before = true() if until is None else Generation.requested_at < until
    window = (Generation.requested_at >= since) & before & Generation.disposition.in_((*SHOWN, Disposition.VETOED))
    window = window if everything else window & rows_visible(Generation, actor)
    shown = (await connection.execute(select(Generation.disposition, Generation.latency_ms).where(window))).all()
    newest = func.row_number().over(
        partition_by=GenerationFeedback.generation_id,
        order_by=(GenerationFeedback.at.desc(), GenerationFeedback.id.desc()),
    )
    ranked = (
        select(GenerationFeedback.verdict, newest.label("rank"))
        .join(Generation, Generation.id == GenerationFeedback.generation_id)
        .where(window)
        .subquery()
    )
    counts = (
        await connection.execute(
            select(ranked.c.verdict, func.count()).where(ranked.c.rank == 1).group_by(ranked.c.verdict)
        )
    ).all()
    by_verdict = {FeedbackVerdict(verdict): count for verdict, count in counts}
    latencies = sorted(row.latency_ms for row in shown if row.latency_ms is not None)
    return Metrics(
        shown=len(shown),
        used=by_verdict.get(FeedbackVerdict.USED, 0),
        edited=by_verdict.get(FeedbackVerdict.EDITED, 0),
        rejected=by_verdict.get(FeedbackVerdict.REJECTED, 0),
        vetoed=sum(row.disposition is Disposition.VETOED for row in shown),
        p95_latency_ms=latencies[ceil(0.95 * len(latencies)) - 1] if latencies else None,
    )
