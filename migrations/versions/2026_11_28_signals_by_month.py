"""signals by month."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "7c1e5a90d2b4"
down_revision = "da840201b1b3"
branch_labels = None
depends_on = None

MONTHS = "signal_months"
AHEAD = 3
INDEXES = {
    "ix_signals_account": "account_id, occurred_at, id",
    "ix_signals_opportunity": "opportunity_id, occurred_at, id",
    "ix_signals_subject": "subject_id, occurred_at, id",
}
KEYS = {"account_id": "accounts", "consent_receipt_id": "consent_receipts", "contact_id": "contacts"}


def upgrade() -> None:
    op.add_column("leads", sa.Column("interest_shown_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "signal_month_removals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signal_month_removals")),
    )
    op.create_table(
        "signal_keys",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("signal_id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "dedupe_key", name=op.f("pk_signal_keys")),
    )
    op.execute(
        "INSERT INTO signal_keys (source, dedupe_key, signal_id, occurred_at) "
        "SELECT source, dedupe_key, id, occurred_at FROM signals"
    )
    op.create_index("ix_signal_keys_occurred_at", "signal_keys", ["occurred_at"])
    if op.get_bind().dialect.name == "postgresql":
        _divide()
    else:
        with op.batch_alter_table("signals") as batch_op:
            batch_op.drop_constraint("uq_signals_source_dedupe_key", type_="unique")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _move("")
        op.execute("ALTER TABLE signals ADD CONSTRAINT pk_signals PRIMARY KEY (id)")
        op.execute(f"DROP SCHEMA {MONTHS}")
        op.execute("ALTER TABLE signals ADD CONSTRAINT uq_signals_source_dedupe_key UNIQUE (source, dedupe_key)")
    else:
        with op.batch_alter_table("signals") as batch_op:
            batch_op.create_unique_constraint("uq_signals_source_dedupe_key", ["source", "dedupe_key"])
    op.drop_table("signal_keys")
    op.drop_table("signal_month_removals")
    with op.batch_alter_table("leads") as batch_op:
        batch_op.drop_column("interest_shown_at")


def _divide() -> None:
    """Have one partition a month: those of the rows, this one, the next ones, and one for all others."""
    op.execute(f"CREATE SCHEMA {MONTHS}")
    bind = op.get_bind()
    found = bind.execute(sa.text("SELECT DISTINCT date_trunc('month', occurred_at, 'UTC') FROM signals")).scalars()
    months = {(at.astimezone(UTC).year, at.astimezone(UTC).month) for at in found}
    now: datetime = bind.execute(sa.text("SELECT now()")).scalar_one().astimezone(UTC)
    months |= {_later(now.year, now.month, ahead) for ahead in range(AHEAD + 1)}
    _move(" PARTITION BY RANGE (occurred_at)", sorted(months))
    op.execute("ALTER TABLE signals ADD CONSTRAINT pk_signals PRIMARY KEY (id, occurred_at)")


def _later(year: int, month: int, months: int) -> tuple[int, int]:
    years, index = divmod(month - 1 + months, 12)
    return year + years, index + 1


def _move(divided: str, months: list[tuple[int, int]] | None = None) -> None:
    """Put every row into a table that is divided so; its indexes are built when they are in it."""
    op.execute("ALTER TABLE signals RENAME TO signals_before")
    op.execute(f"CREATE TABLE signals (LIKE signals_before INCLUDING DEFAULTS){divided}")
    for year, month in months or ():
        start, end = f"{year:04}-{month:02}-01 00:00:00+00", "{:04}-{:02}-01 00:00:00+00".format(*_later(year, month, 1))
        op.execute(
            f"CREATE TABLE {MONTHS}.m_{year:04}_{month:02} PARTITION OF signals FOR VALUES FROM ('{start}') TO ('{end}')"
        )
    if divided:
        op.execute(f"CREATE TABLE {MONTHS}.others PARTITION OF signals DEFAULT")
    op.execute("INSERT INTO signals SELECT * FROM signals_before")
    op.execute("DROP TABLE signals_before")
    for name, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON signals ({columns})")
    for column, table in KEYS.items():
        op.execute(
            f"ALTER TABLE signals ADD CONSTRAINT fk_signals_{column} FOREIGN KEY ({column}) REFERENCES {table} (id)"
        )
