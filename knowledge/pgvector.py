"""The table of vectors that pgvector searches on PostgreSQL: what makes it, and the statements that ask it."""

import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    join,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from domain.kernel import Text as Words
from knowledge.model import Passage

logger = logging.getLogger(__name__)

TABLES: Final = frozenset({"passage_vectors"})
"""Tables that no mapped class stands for: their column type is the extension's."""
NEEDED: Final = (0, 8)
"""The pgvector from which on a filtered search goes on until it has found enough."""

NO_EXTENSION = Words(
    "数据库没有可用的 pgvector 扩展（{reason}），每个进程将用 FAISS 自行检索向量。请让数据库管理员执行 {command}，然后再运行 sortie migrate",
    "the database has no pgvector that serves ({reason}): each process searches vectors by itself with FAISS. "
    "Have the administrator run {command}, then run sortie migrate again",
)
_INSTALL = "CREATE EXTENSION vector"
_UPDATE = "ALTER EXTENSION vector UPDATE"

_CREATE = (
    """CREATE TABLE passage_vectors (
    model_fingerprint text NOT NULL REFERENCES vector_generations (model_fingerprint) ON DELETE CASCADE,
    passage_number bigint NOT NULL REFERENCES passages (number) ON DELETE CASCADE,
    embedding vector NOT NULL,
    checksum bytea,
    CONSTRAINT pk_passage_vectors PRIMARY KEY (model_fingerprint, passage_number))""",
    "CREATE INDEX ix_passage_vectors_passage_number ON passage_vectors (passage_number)",
)
_CHECKSUM = "ALTER TABLE passage_vectors ADD COLUMN checksum bytea"
_COLUMN = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('passage_vectors') AND attname = 'checksum'"
_FOUND = f"""SELECT EXISTS ({_COLUMN}), to_regtype('vector') IS NOT NULL,
(SELECT extversion FROM pg_extension WHERE extname = 'vector'),
EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"""


class _Vector(UserDefinedType[Any]):
    """pgvector's type; values travel as arrays of real."""

    cache_ok = True

    def get_col_spec(self, **_rest: Any) -> str:
        """Its name, without a dimension: models of several may share the table."""
        return "vector"


VECTORS: Final = Table(
    "passage_vectors",
    MetaData(),
    Column("model_fingerprint", Text, primary_key=True),
    Column("passage_number", BigInteger, primary_key=True),
    Column("embedding", _Vector),
    Column("checksum", LargeBinary),
)


def _sum_of(embedding: Any) -> Any:
    """What binds a vector to the text that it stands for: SHA-256 of both."""
    return func.sha256(func.vector_send(embedding).op("||")(func.convert_to(Passage.content_hash, "UTF8")))


_CHECKED: Final = _sum_of(VECTORS.c.embedding)


# ---- making it -------------------------------------------------------------------------------------------------------


def serves(connection: Connection) -> bool:
    """Whether the database can hold and search vectors."""
    if connection.dialect.name != "postgresql":
        return False
    table, _, version, _ = connection.exec_driver_sql(_FOUND).one()
    return bool(table) and _suffices(version)


def lacks_table(connection: Connection) -> bool:
    """Whether the extension is there and the table is not yet."""
    if connection.dialect.name != "postgresql":
        return False
    table, type_found, version, _ = connection.exec_driver_sql(_FOUND).one()
    return bool(type_found) and _suffices(version) and not table


def install(connection: Connection, progress: Callable[[str], None] | None = None) -> bool:
    """Make the table where it is not there yet and the extension is, or may be made; whether that did anything.

    Without the extension nothing is made, and what the administrator must do is told.
    """
    if connection.dialect.name != "postgresql" or serves(connection):
        return False
    _, type_found, version, available = connection.exec_driver_sql(_FOUND).one()
    reason, command = "", _INSTALL
    if version is None:
        reason = _created(connection) if available else "not installed on the server"
    elif not type_found:
        reason, command = "not in the search path", "ALTER EXTENSION vector SET SCHEMA public"
    elif not _suffices(version):
        reason, command = f"version {version}", _UPDATE
    if reason:
        told = Words(*(words.format(reason=reason, command=command) for words in (NO_EXTENSION.zh, NO_EXTENSION.en)))
        logger.warning("%s", told.en)
        if progress is not None:
            progress(f"{told.zh} / {told.en}")
        return False
    older = connection.exec_driver_sql("SELECT to_regclass('passage_vectors') IS NOT NULL").scalar_one()
    for statement in (_CHECKSUM,) if older else _CREATE:
        connection.exec_driver_sql(statement)
    if older:
        sums = update(VECTORS).where(VECTORS.c.passage_number == Passage.number).values(checksum=_CHECKED)
        connection.execute(sums)
    return True


def remove(connection: Connection) -> None:
    """Take the table away; the extension stays."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP TABLE IF EXISTS passage_vectors")


def _created(connection: Connection) -> str:
    """Make the extension; what speaks against it, if anything does."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(_INSTALL)
    except DBAPIError as error:
        return str(getattr(error.orig, "sqlstate", None) or type(error.orig).__name__)
    _, type_found, version, _ = connection.exec_driver_sql(_FOUND).one()
    return "" if type_found and _suffices(version) else f"version {version}"


def _suffices(version: str | None) -> bool:
    parts = (version or "0").split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit()) >= NEEDED


# ---- asking it -------------------------------------------------------------------------------------------------------


def _literal(fingerprint: str) -> str:
    """A fingerprint as SQL says it. Raises ValueError for what is no digest."""
    if not (fingerprint.isascii() and fingerprint.isalnum()):
        raise ValueError(f"a fingerprint has digits and letters alone: {fingerprint!r}")
    return f"'{fingerprint}'"


def index_name(fingerprint: str) -> str:
    """The name of a model's own index."""
    return f"ix_passage_vectors_{fingerprint[:16]}"


def indexed(dimension: int) -> str:
    """What the index holds; a statement that orders by it, written alike, is answered from the index."""
    return f"(embedding::vector({dimension:d}))"


def create_index(fingerprint: str, dimension: int) -> str:
    """The statement that makes a model's own index, while others read and write."""
    return (
        f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{index_name(fingerprint)}" ON passage_vectors '
        f"USING hnsw ({indexed(dimension)} vector_ip_ops) WHERE model_fingerprint = {_literal(fingerprint)}"
    )


# As a subquery the vector is worked out once, and the planner takes the index for prepared statements too.
_QUERY = "(SELECT CAST(:query AS real[])::vector)"

EXACT: Final = f"""SELECT passage_number, embedding <#> {_QUERY} AS distance
FROM unnest(CAST(:allowed AS bigint[])) AS allowed (number) JOIN passage_vectors ON passage_number = allowed.number
WHERE model_fingerprint = :fingerprint ORDER BY distance, passage_number LIMIT :wanted"""
ALL: Final = f"""SELECT passage_number, embedding <#> {_QUERY} AS distance FROM passage_vectors
WHERE model_fingerprint = :fingerprint ORDER BY distance, passage_number LIMIT :wanted"""


def nearest(fingerprint: str, dimension: int) -> str:
    """The statement that asks a model's index for the nearest among allowed passages, which come as bits from a first number on.

    A partial index is only taken for a statement that names the model itself, not by a parameter.
    """
    distance = f"{indexed(dimension)} <#> {_QUERY}"
    return f"""SELECT passage_number, {distance} AS distance FROM passage_vectors
WHERE model_fingerprint = {_literal(fingerprint)} AND CASE WHEN passage_number BETWEEN :first AND :last
THEN get_bit(:bits, passage_number - :first) = 1 ELSE false END ORDER BY {distance} LIMIT :wanted"""


_number = bindparam("number", type_=BigInteger)
_given = select(cast(cast(bindparam("vector", type_=ARRAY(REAL)), ARRAY(REAL)), _Vector).label("embedding")).subquery()
_passage = (
    select(bindparam("fingerprint", type_=Text), Passage.number, _given.c.embedding, _sum_of(_given.c.embedding))
    .select_from(join(Passage, _given, true()))
    .where(Passage.number == _number)
    .with_for_update(key_share=True, read=True, of=Passage)
)
_added = insert(VECTORS).from_select(["model_fingerprint", "passage_number", "embedding", "checksum"], _passage)
ADD: Final = _added.on_conflict_do_update(
    index_elements=["model_fingerprint", "passage_number"],
    set_={"embedding": _added.excluded.embedding, "checksum": _added.excluded.checksum},
)
"""Gives one passage its vector; a passage that was withdrawn meanwhile gets none."""

_dimension = bindparam("dimension", type_=BigInteger)
REMOVE_UNSOUND: Final = (
    delete(VECTORS)
    .where(VECTORS.c.model_fingerprint == bindparam("fingerprint", type_=Text))
    .where(VECTORS.c.passage_number == Passage.number)
    .where(
        or_(
            VECTORS.c.checksum.is_distinct_from(_CHECKED),
            func.vector_dims(VECTORS.c.embedding) != _dimension,
        )
    )
    .returning(VECTORS.c.passage_number)
)
"""Takes away a model's vectors that are not what was computed for their passages, and tells of which."""
