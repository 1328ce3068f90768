"""Answers to reads: the plan of an operation is found or made, its one statement is asked, and its text is the answer."""

import logging
import sqlite3
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from graphql import GraphQLError, GraphQLSchema, OperationType
from graphql.execution.values import get_variable_values
from sqlalchemy import ColumnElement, Select, Text, Uuid, func, literal_column, select

from api.bodies import Asked
from api.context import Context
from api.documents import Document, Documents
from api.errors import report, unfit_text
from api.limits import Kept, Limits, first_excess
from api.reads import sql
from api.reads.arguments import Outlines, plain_variables
from api.reads.changing import Step, answer, execute, wanted, written
from api.reads.compiling import Asking, Change, Compiler, Finish, NotCompiled
from api.reads.filters import NOBODY
from api.reads.readers import ReaderShape, find_slot, reader_shape, stand_in
from api.reads.sources import Beside
from api.standing import Standing, StandingChanged
from domain import people
from domain.kernel import Actor, Database, ErrorCode, SalesError, Scope, WhoReads, who_reads
from domain.kernel.read_pool import Together

log = logging.getLogger("sortie.reads")

KEPT_PLANS = 64
"""Plans of one document at most."""
KEPT_READERS = 4_096
REFUSED = (asyncpg.DataError,)
"""What the database says of a value that may not be null and is, and of values that do not fit."""
DRIVER_ERRORS = (asyncpg.PostgresError, sqlite3.Error)


@dataclass(slots=True, eq=False)
class Plan:
    """A compiled operation: its statement, what fills the statement's parameters, and what is left to do in Python."""

    sql: str
    reads: tuple[Callable[[Asking], Any], ...]
    role: str
    """The readers' role of PostgreSQL that asks it."""
    finish: Finish | None
    beside: tuple[tuple[str, Callable[[str], Any]], ...]
    refused: tuple[tuple[str, Any, Exception], ...]
    limits: Limits
    tail: bytes
    """What follows the data: the operation's cost."""
    together: Together | None = None
    """The statement for several requests of one reader."""


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """That an operation is left to the resolvers, and the field for which it is."""

    field: str


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """What is known of one actor: their shape, and as whom row security knows them."""

    shape: ReaderShape
    who: WhoReads


@dataclass(frozen=True, slots=True)
class Steps:
    """A compiled mutation: its roots in their order."""

    steps: tuple[Step, ...]
    limits: Limits
    tail: bytes


class Answering:
    """Answers operations by their plans; the plans of a document are forgotten with it."""

    def __init__(self, schema: GraphQLSchema, database: Database, documents: Documents) -> None:
        self._schema = schema
        self._database = database
        self._documents = documents
        self._readers: Kept[tuple[Actor, _Reader]] = Kept(KEPT_READERS)
        self._equal: Kept[_Reader] = Kept(KEPT_READERS)
        self._proof = sql.write(select(_EPOCH), find_slot, embedded=database.embedded)

    async def answer(
        self, asked: Asked, context: Context, standing: Standing | None = None, *, queries_only: bool = False
    ) -> bytes | None:
        """The whole JSON of the answer; None for an operation that the resolvers answer.

        Of a mutation of which anything was done the resolvers find in the context what they need not do again.

        Raises StandingChanged when the reader is not any more who the edge takes them for, and what the pools raise.
        """
        document = self._document(asked, context, queries_only=queries_only)
        known = None if document is None else remembered(document, self._schema)
        taken = None if known is None else known.coerced(asked.variables)
        if document is None or known is None or taken is None:
            return None
        variables, given = taken
        key = self._key(known, variables, context)
        plan = known.plans.get(key) or known.keep(key, self._made(document, asked.variables, context))
        if isinstance(plan, Plan):
            reader = self._reader(context.reader)
            asking = Asking(variables, context, reader.who)
            return await self._asked(plan, asking, reader, standing, lambda why: known.keep(key, Uncompiled(why)))
        if isinstance(plan, Steps):
            asking = Asking(variables, context, self._reader(context.reader).who)
            operation: Any = document.operation
            if given is None:
                given = get_variable_values(self._schema, operation.variable_definitions or (), dict(asked.variables))
            return await self._changed(plan, document, asking, given, standing)
        return None

    def _document(self, asked: Asked, context: Context, *, queries_only: bool) -> Document | None:
        """The document of an operation that is answered here."""
        actor = context.actor
        if actor is None or actor.unrestricted:
            return None
        document = self._documents.find(asked.query, asked.operation_name, context.limits)
        if document.operation is None or not document.is_sound(context.limits):
            return None
        kind = document.operation.operation
        if kind is OperationType.QUERY:
            return document if actor.may(Scope.READ) else None
        return document if kind is OperationType.MUTATION and not queries_only else None

    def _key(self, known: "Remembered", variables: Mapping[str, Any], context: Context) -> Hashable:
        limits = context.limits
        may_ask = (limits.cost, limits.page, limits.depth, limits.fields, limits.aliases)
        return self._reader(context.reader).shape, context.language, may_ask, known.outlines.of(variables)

    def why_not(self, asked: Asked, context: Context) -> str | None:
        """The field for which the resolvers answer an operation that was asked before; None for one that has a plan."""
        document = self._documents.find(asked.query, asked.operation_name, context.limits)
        if document.operation is None:
            return "document"
        known = remembered(document, self._schema)
        taken = known.coerced(asked.variables)
        plan = known.plans.get(self._key(known, taken[0] if taken else {}, context))
        return plan.field if isinstance(plan, Uncompiled) else None

    def _reader(self, actor: Actor) -> "_Reader":
        # The same actor comes with every request of a token, and hashing all their reaches costs more than the rest.
        known = self._readers.find(id(actor))
        if known is None or known[0] is not actor:
            # Whoever is looked up again, or comes by another token, is still the same reader, with whom reads are shared.
            who = (actor.kind, actor.user_id, actor.reaches)
            reader = self._equal.get(who, lambda: _Reader(reader_shape(actor), who_reads(actor)))
            known = self._readers.keep(id(actor), (actor, reader))
        return known[1]

    # ---- making a plan -------------------------------------------------------------------------------------------

    def _made(self, document: Document, raw: Mapping[str, Any], context: Context) -> Plan | Steps | Uncompiled:
        measure = document.measure(raw)
        if first_excess(measure, context.limits, context.language, signed_in=True) is not None:
            return Uncompiled("limits")
        operation: Any = document.operation
        variables = get_variable_values(self._schema, operation.variable_definitions or (), dict(raw))
        if isinstance(variables, list) or "\\u" in document.text:
            return Uncompiled("variables")
        try:
            actor = stand_in(self._reader(context.reader).shape)
            compiler = Compiler(self._schema, document.ast, operation, variables, context, actor)
            if operation.operation is OperationType.MUTATION:
                steps = [
                    Step(change, self._reading(change, context.limits, who_reads(actor)))
                    for change in compiler.mutation()
                ]
                return Steps(tuple(steps), context.limits, _tail(measure.cost, context.limits))
            draft = compiler.query()
        except NotCompiled as reason:
            return Uncompiled(reason.field)
        except SalesError as error:
            return Uncompiled(str(error))
        texts: list[ColumnElement[Any]] = [draft.text, _EPOCH.label("epoch")]
        tail = _tail(measure.cost, context.limits)
        return self._plan(texts, draft.beside, who_reads(actor), draft.finish, draft.refused, context.limits, tail)

    def _reading(self, change: Change, limits: Limits, who: WhoReads) -> Plan | None:
        return self._plan(change.texts, change.beside, who, None, (), limits, b"") if change.texts else None

    def _plan(
        self, texts: Sequence[ColumnElement[Any]], beside_of: Mapping[str, Beside], who: WhoReads, finish: Finish | None, refused: Any,
        limits: Limits, tail: bytes,
    ) -> Plan:  # fmt: skip
        beside = {key: (one.statement(), one.read) for key, one in beside_of.items()}
        packed = [sql.packed(rows) for rows, _ in beside.values()]
        statement = select(*(text.label(f"text_{at}") for at, text in enumerate(texts)), *packed)
        if not self._database.embedded:
            made = [
                func.set_config(
                    name, sql.slot(("setting", name), _setting(at), Text(), of_reader=True), literal_column("true")
                )
                for at, name in enumerate(who.names)
            ]
            said = select(*(one.label(f"setting_{at}") for at, one in enumerate(made))).offset(0).subquery("who")
            statement = statement.select_from(said).where(*(one.is_not(None) for one in said.c))
        written = sql.write(statement, find_slot, embedded=self._database.embedded)
        readers = [(key, _unpacker(*one)) for key, one in beside.items()]
        return Plan(
            written.sql, written.reads, who.role, finish, tuple(readers), tuple(refused), limits, tail, written.together
        )

    # ---- asking --------------------------------------------------------------------------------------------------

    async def _asked(
        self, plan: Plan, asking: Asking, reader: _Reader, standing: Standing | None, forget: Callable[[str], Any]
    ) -> bytes | None:
        asking.session_id = None if standing is None else standing.session_id
        # What one reader asks at the same time may be answered together, and never what two do.
        share = (plan, reader, asking.session_id)
        try:
            values = tuple([read(asking) for read in plan.reads])
            row = await self._database.queries.fetch(plan.sql, values, share, plan.role, plan.together)
            if standing is not None and row[1] != standing.epoch and self._database.replica is not None:
                # The edge knows more than the replica, maybe.
                row = await self._database.reads.fetch(plan.sql, values, share, plan.role, plan.together)
        except SalesError as error:
            if error.code is ErrorCode.INVALID:
                return None
            raise
        except REFUSED:
            return None
        except DRIVER_ERRORS as error:
            # A statement that the database does not take is a bug or one of its limits; the resolvers know another way.
            log.warning("a compiled read is left to the resolvers: %s", error)
            forget(str(error))
            return None
        if standing is not None and row[1] != standing.epoch:
            raise StandingChanged
        text: str | bytes | None = row[0]
        if text is None:
            # Nobody foresaw it, so it is a bug; the resolvers know another way.
            log.warning("a compiled read found no text and is left to the resolvers")
            forget("no text")
            return None
        if plan.finish is not None or plan.refused:
            return self._finished(plan, asking, row)
        return b'{"data":' + (text if isinstance(text, bytes) else text.encode()) + plan.tail

    # ---- changing ------------------------------------------------------------------------------------------------

    async def _changed(
        self, steps: Steps, document: Document, asking: Asking, variables: Any, standing: Standing | None
    ) -> bytes | None:
        """Execute each root in its turn, and read what its payload selects before the next."""
        context = asking.context
        if standing is not None:
            asking.session_id = standing.session_id
            proof = self._proof
            if (
                await self._database.reads.fetch(
                    proof.sql, tuple([read(asking) for read in proof.reads]), role=asking.who.role
                )
            )[0] != standing.epoch:
                raise StandingChanged
        context.changes = True
        parts: dict[str, bytes] = {}
        errors: list[GraphQLError] = []
        for step in steps.steps:
            done = await execute(self._schema, document, step, variables, context)
            context.done[step.change.key] = done
            if done.error is not None:
                errors.append(done.error)
                parts[step.change.key] = b"null"
                continue
            words = b"null" if done.payload is None else await self._payload(step, done.payload, asking)
            if words is None:
                return None
            parts[step.change.key] = words
        return answer(parts, errors, steps.tail)

    async def _payload(self, step: Step, payload: Any, asking: Asking) -> bytes | None:
        """One payload as JSON; None where the resolvers have to read it."""
        texts: tuple[Any, ...] = ()
        asking.changed = wanted(step, payload)
        if any(id != NOBODY for id in asking.changed):
            plan: Plan = step.statement
            try:
                texts = await self._database.reads.fetch(
                    plan.sql, tuple([read(asking) for read in plan.reads]), role=plan.role
                )
            except (*REFUSED, *DRIVER_ERRORS) as error:
                log.warning("a compiled read is left to the resolvers: %s", error)
                return None
            count = len(step.change.texts)
            asking.beside = {
                key: unpack(words) for (key, unpack), words in zip(plan.beside, texts[count:], strict=True)
            }
        try:
            return written(step, payload, texts or (None,) * len(asking.changed), asking)
        except NotCompiled:
            return None

    @staticmethod
    def _finished(plan: Plan, asking: Asking, row: tuple[Any, ...]) -> bytes | None:
        data = orjson.loads(row[0])
        asking.beside = {key: unpack(words) for (key, unpack), words in zip(plan.beside, row[2:], strict=True)}
        if plan.finish is not None:
            try:
                data = plan.finish(data, asking)
            except NotCompiled:
                return None
        if not plan.refused:
            return b'{"data":' + orjson.dumps(data) + plan.tail
        errors = []
        for key, nodes, cause in plan.refused:
            error = GraphQLError(str(cause), nodes, path=[key], original_error=cause)
            report(error, asking.context)
            errors.append(error.formatted)
        return b'{"data":' + orjson.dumps(data) + b',"errors":' + orjson.dumps(errors) + plan.tail


def _tail(cost: int, limits: Limits) -> bytes:
    return b',"extensions":' + orjson.dumps({"cost": {"requested": cost, "limit": limits.cost}}) + b"}"


def _setting(at: int) -> Callable[[Asking], str]:
    return lambda asking: asking.who.values[at]


def _unpacker(rows: Select[Any], read: Callable[[list[tuple[Any, ...]]], Any]) -> Callable[[str], Any]:
    kinds = [column.type for column in rows.selected_columns]
    return lambda words: read(sql.unpacked(words, kinds))


_EPOCH = people.epoch_of(
    sql.slot("user", lambda asking: asking.context.reader.user_id, Uuid(), of_reader=True),
    sql.slot("session", lambda asking: asking.session_id, Uuid(), of_reader=True),
)
"""The epoch of the reader who may be here now, and null for one who may not: the statement proves what the edge remembers."""


# ---- what a document remembers ---------------------------------------------------------------------------------------


class Remembered:
    """What the compiled path keeps with a document: how its variables are read, and its plans."""

    def __init__(self, schema: GraphQLSchema, document: Document) -> None:
        operation: Any = document.operation
        self.outlines = Outlines(schema, document.ast, operation)
        self.plans: dict[Hashable, Plan | Steps | Uncompiled] = {}
        self._schema = schema
        self._definitions: Any = operation.variable_definitions or ()
        self._plain = plain_variables(schema, self._definitions)

    def keep(self, key: Hashable, plan: Plan | Steps | Uncompiled) -> Plan | Steps | Uncompiled:
        """Remember a plan; the oldest goes where there are too many."""
        self.plans[key] = plan
        if len(self.plans) > KEPT_PLANS:
            del self.plans[next(iter(self.plans))]
        return plan

    def coerced(self, raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any] | None:
        """The variables' values, and as GraphQL keeps them where it was asked; None where they cannot be taken: the resolvers tell."""
        plain = self._plain(raw)
        if plain is not None:
            return plain, None
        found = get_variable_values(self._schema, self._definitions, dict(raw))
        if isinstance(found, list) or next(unfit_text(raw), None) is not None:
            return None
        return found.coerced, found


def remembered(document: Document, schema: GraphQLSchema) -> Remembered:
    """What is kept with a document, made when it is asked for first."""
    known: Remembered | None = document.plans.get("reads")
    if known is None:
        known = document.plans["reads"] = Remembered(schema, document)
    return known
