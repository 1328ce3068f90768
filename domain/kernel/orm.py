"""The mapped base: portable column types, and what each class declares about access and the ledger."""

import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Date, DateTime, Dialect, Enum, MetaData, Text, TypeDecorator, Uuid, inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.orm.attributes import flag_modified

from domain.kernel.access import Access
from domain.kernel.actors import ActorKind
from domain.kernel.values import Ref

PERSONAL = {"personal": True}
"""Column info: the value identifies or describes a person and enters the ledger only as ciphertext."""
ERASED = "（个人信息已删除 / personal data erased）"


def found_by(*shown: str, **masked: str) -> Mapping[str, str | None]:
    """The columns by whose words rows are found: those that whoever sees the row sees, the title first; others with the field that masks them."""
    return MappingProxyType(dict.fromkeys(shown) | masked)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC with microseconds, the same on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any aware instant into UTC."""
        if value is not None and value.tzinfo is None:
            raise TypeError(f"naive datetime {value!r}: instants carry their zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back that SQLite forgets."""
        return None if value is None else (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Base(DeclarativeBase):
    """Every mapped class; a class without an access declaration or a ledger stance fails at start."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        UUID: Uuid(),
        datetime: UtcDateTime(),
        date: Date(),
        str: Text(),
        int: BigInteger(),
        dict[str, Any]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        list[Any]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        list[str]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        enum.Enum: Enum(enum.Enum, native_enum=False, length=32),
    }

    __access__: ClassVar[Access | None] = None
    """Who sees which rows and fields; None: no reader reaches the class but through code of its room."""
    __beyond__: ClassVar[frozenset[str]] = frozenset()
    """Columns that code which itself decides for whom reads beyond the wall of row security: see `reader.beyond`."""
    __unledgered__: ClassVar[str | None] = None
    """Why changes of this class need no ledger note; None: they need one."""
    __aggregate__: ClassVar[tuple[str, str] | None] = None
    """(class name, attribute with its id) of the aggregate root whose note covers this row; None: its own."""
    __person__: ClassVar[str | None] = None
    """The attribute with the id of the contact under whose key personal values enter the ledger."""
    __searched__: ClassVar[Mapping[str, str | None]] = found_by()
    """The columns by whose words a row is found."""
    __erases__: ClassVar[tuple[str, str] | None] = None
    """(class name, attribute with its id) of an aggregate that loses its personal values with the row's person."""
    __stays__: ClassVar[str | None] = None
    """Why rows go on naming a record that was merged into another; None: they come to name that one."""

    def __init__(self, **values: Any) -> None:
        """A new row that holds these values.

        Raises TypeError for a name that is no column's.
        """
        if unknown := values.keys() - _names(type(self)):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        # There is no history that attributes would have to keep before the row is stored.
        self.__dict__.update(values)

    @classmethod
    def entity(cls) -> str:
        """The name by which references and the schema know the class."""
        return cls.__name__

    def ref(self) -> Ref:
        """A reference to this row."""
        return Ref(self.entity(), self.id)  # type: ignore[attr-defined]

    def blank_personal(self) -> None:
        """Put nothing, or words that say so, in the place of every personal value."""
        for prop in inspect(type(self)).column_attrs:
            column = prop.columns[0]
            if column.info.get("personal") and getattr(self, prop.key) is not None:
                blank: Any = ERASED if isinstance(column.type, Text) else {}
                setattr(self, prop.key, None if column.nullable else blank)

    def root(self) -> Ref:
        """A reference to the aggregate root that answers for this row in the ledger."""
        if self.__aggregate__ is None:
            return self.ref()
        kind, attribute = self.__aggregate__
        return Ref(kind, getattr(self, attribute))


@lru_cache(maxsize=256)
def _names(model: type[Base]) -> frozenset[str]:
    return frozenset(inspect(model).column_attrs.keys())


class Record(Base):
    """A sales record with its actors, two timestamps and the version that guards edits."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-10)
    version: Mapped[int] = mapped_column(sort_order=-9)
    created_at: Mapped[datetime] = mapped_column(sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(sort_order=91)
    created_by_kind: Mapped[ActorKind] = mapped_column(sort_order=92)
    created_by_id: Mapped[UUID | None] = mapped_column(sort_order=93)
    updated_by_kind: Mapped[ActorKind] = mapped_column(sort_order=94)
    updated_by_id: Mapped[UUID | None] = mapped_column(sort_order=95)
    import_batch_id: Mapped[UUID | None] = mapped_column(sort_order=96)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - the names are SQLAlchemy's
        """Have the mapper compare and count the version on every update."""
        return {"version_id_col": cls.version}

    def change(self, values: Mapping[str, Any]) -> bool:
        """Set the columns whose value differs; whether there is any."""
        fresh = {name: value for name, value in values.items() if getattr(self, name) != value}
        for name, value in fresh.items():
            setattr(self, name, value)
        return bool(fresh)

    def touch(self) -> None:
        """Count a change of the record's parts as one of the record: its version grows."""
        flag_modified(self, "updated_at")
