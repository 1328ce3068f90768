"""Row security on PostgreSQL: the access declarations once more, as policies that the database itself keeps.

The role of readers owns nothing, may read only what is declared, and sees the rows that the policies let through: none,
where nobody has said who asks.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects import postgresql

from domain.kernel.access import Access, Rule, declared
from domain.kernel.actors import Actor, ActorKind, Reach, Role
from domain.kernel.errors import Text, Unavailable
from domain.kernel.orm import Base
from domain.kernel.reader import READER, SCHEMA, SETTING, bound, columns_beyond

USER, TERRITORY, BRAND, ACCOUNT = (UUID(int=(0xA11CE << 64) + number) for number in range(4))
"""What stands for the actor's user, territories, brands and accounts while a rule is compiled."""

LONGEST_POLICY = 12
"""How many lookups in other tables a policy may say itself."""

_FUNCTIONS = f"""
CREATE FUNCTION {SCHEMA}.actor() RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT nullif(current_setting('{SETTING}', true), '')::jsonb $$;
CREATE FUNCTION {SCHEMA}.user_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT ({SCHEMA}.actor() ->> 'user')::uuid $$;
CREATE FUNCTION {SCHEMA}.ids(listed jsonb) RETURNS uuid[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT coalesce(array_agg(id::uuid), '{{}}') FROM jsonb_array_elements_text(listed) AS id $$;
CREATE FUNCTION {SCHEMA}.reaches()
RETURNS TABLE (role text, bounded text, territory_ids uuid[], brand_ids uuid[], account_ids uuid[]) LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT reach ->> 'role', reach ->> 'bounded', {SCHEMA}.ids(reach -> 'territory_ids'), {SCHEMA}.ids(reach -> 'brand_ids'),
   {SCHEMA}.ids(reach -> 'account_ids') FROM jsonb_array_elements({SCHEMA}.actor() -> 'reaches') AS reach $$;
CREATE FUNCTION {SCHEMA}.holds(roles text[]) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT EXISTS (SELECT 1 FROM {SCHEMA}.reaches() AS reach WHERE reach.role = ANY (roles) AND reach.bounded = '') $$;
CREATE FUNCTION {SCHEMA}.is_bounded() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT EXISTS (SELECT 1 FROM {SCHEMA}.reaches() AS reach WHERE reach.bounded <> '') $$;
CREATE FUNCTION {SCHEMA}.territory_ids(roles text[]) RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(array_agg(id), '{{}}') FROM {SCHEMA}.reaches() AS reach, unnest(reach.territory_ids) AS id
   WHERE reach.role = ANY (roles) AND reach.bounded = '' $$;
"""
NO_ROLE = Text(
    f"数据库缺少角色 {READER}，而当前用户无权创建：请让数据库管理员执行 CREATE ROLE {READER} NOLOGIN; GRANT {READER} TO <当前用户>",
    f"the database lacks the role {READER} and this user may not make it: "
    f"have its administrator run CREATE ROLE {READER} NOLOGIN; GRANT {READER} TO <this user>",
)


# ---- what they may see -----------------------------------------------------------------------------------------------


def protected() -> list[type[Base]]:
    """The mapped classes that declare who sees their rows, by the names of their tables."""
    models = [mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__access__ is not None]
    return sorted(models, key=lambda model: model.__tablename__)


@dataclass(frozen=True)
class Wall:
    """What guards one table: the condition of its policy, and the function that the condition calls."""

    table: str
    policy: str
    function: str

    @classmethod
    def of(cls, model: type[Base]) -> "Wall":
        """The wall that a class's declaration asks for.

        A statement is planned with all that its policies say, so they say what most readers need. What is needed where a
        grant is bound to brands or accounts, and what is long, stands in a function that is planned when it is used.
        """
        table, clauses = model.__tablename__, _clauses(model)
        plain = " OR\n".join(_inline(clause, roles) for (clause, bounded), roles in clauses.items() if not bounded)
        called = f"{SCHEMA}.seen_{table}({table})"
        if plain.count("EXISTS") > LONGEST_POLICY:
            policy, rest = called, clauses
        else:
            rest = {(clause, bounded): roles for (clause, bounded), roles in clauses.items() if bounded}
            policy = f"{plain or 'false'} OR\n((SELECT {SCHEMA}.is_bounded()) AND {called})"
        if "merged_into_id" in model.__table__.c:
            policy = f"merged_into_id IS NULL AND ({policy})"
        branches = " ".join(_branch(clause, bounded, roles) for (clause, bounded), roles in rest.items())
        function = (
            f"CREATE FUNCTION {SCHEMA}.seen_{table}(the_row {table}) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ DECLARE reach record; "
            f"BEGIN FOR reach IN SELECT * FROM {SCHEMA}.reaches() LOOP {branches} END LOOP; RETURN false; END $$"
        )
        return cls(table, policy.replace("the_row.", f"{table}."), function)


def _clauses(model: type[Base], *, totals: bool = False) -> dict[tuple[str, str], set[Role]]:
    """Every role's rule (or that for totals) in every kind of context; roles whose rules read the same stand together."""
    clauses: dict[tuple[str, str], set[Role]] = {}
    for role in Role:
        rule = (declared(model).totals_rule if totals else declared(model).rule)(role)
        if rule is not None:
            for accounts, brands in product((False, True), repeat=2):
                bounded = bound(accounts, brands)
                clauses.setdefault((_compiled(model, rule, role, bounded), bounded), set()).add(role)
    return clauses


def _compiled(model: type[Base], rule: Rule, role: Role, bounded: str) -> str:
    """A rule as SQL over `the_row`; other tables are read through the views of the rules' schema."""
    none: frozenset[UUID] = frozenset()
    brands, accounts = frozenset({BRAND}) if "b" in bounded else none, frozenset({ACCOUNT}) if "a" in bounded else none
    reach = Reach(role, frozenset({TERRITORY}), brands, accounts)
    row = model.__table__.alias("the_row")
    asked = select(1).select_from(row).where(rule.clause(row, reach, Actor(ActorKind.USER, USER, reaches=(reach,))))
    compiled = asked.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
        schema_translate_map={None: SCHEMA}, render_schema_translate=True, compile_kwargs={"literal_binds": True},
    )  # fmt: skip
    head, _, clause = str(compiled).partition(" AS the_row \nWHERE ")
    tables_with = head.rpartition("SELECT 1")[0].strip()
    return f"(({tables_with} SELECT {clause}))" if tables_with else clause or "true"


def _listed(roles: set[Role]) -> str:
    return "ARRAY[" + ", ".join(f"'{role.value}'" for role in sorted(roles)) + "]"


def _inline(clause: str, roles: set[Role]) -> str:
    """A rule with all that those roles reach without bounds; subqueries that depend on no row are answered once a statement."""
    territories = f"(SELECT {SCHEMA}.territory_ids({_listed(roles)}))::uuid[]"
    return f"((SELECT {SCHEMA}.holds({_listed(roles)})) AND ({_filled(clause, {TERRITORY: territories})}))"


def _branch(clause: str, bounded: str, roles: set[Role]) -> str:
    """A rule for one reach of those roles in that kind of bound."""
    named = {TERRITORY: "reach.territory_ids", BRAND: "reach.brand_ids", ACCOUNT: "reach.account_ids"}
    within = f"reach.bounded = '{bounded}' AND reach.role = ANY ({_listed(roles)})"
    return f"IF {within} THEN IF {_filled(clause, named)} THEN RETURN true; END IF; END IF;"


def _filled(clause: str, named: dict[UUID, str]) -> str:
    """A rule's SQL with what whoever asks holds in the place of the stand-ins.

    Raises LookupError for a stand-in that is used in a way which nobody foresaw.
    """
    for stand_in, ids in named.items():
        clause = clause.replace(f"= ANY (ARRAY['{stand_in}'])", f"= ANY ({ids})")
    clause = clause.replace(f"= '{USER}'", f"= (SELECT {SCHEMA}.user_id())")
    if left := [stand_in for stand_in in (USER, TERRITORY, BRAND, ACCOUNT) if str(stand_in) in clause]:
        raise LookupError(f"row security cannot express {left[0]} in {clause}")
    return clause


# ---- installation ----------------------------------------------------------------------------------------------------


def script() -> list[str]:
    """The statements that put up the wall, in their order."""
    walls = [Wall.of(model) for model in protected()]
    said = [part for wall in walls for part in (wall.policy, wall.function)]
    said += [clause for model in protected() if model.__beyond__ for clause, _ in _clauses(model, totals=True)]
    return [
        f"CREATE SCHEMA {SCHEMA}",
        *(statement for statement in _FUNCTIONS.split(";\n") if statement.strip()),
        *_views("\n".join(said)),
        f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {READER}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {READER}",
        *(wall.function for wall in walls),
        *(statement for wall in walls for statement in _put_up(wall)),
    ]


def _views(conditions: str) -> Iterator[str]:
    """What rules look up in other tables, their ids and owners, and what is declared to be read beyond the wall.

    All with the owner's rights: were the tables themselves read, each lookup would ask their own policies, which lead back here.
    """
    models = [mapper.class_ for mapper in Base.registry.mappers]
    columns: dict[str, set[str]] = {m.__tablename__: set(columns_beyond(m)) for m in models if m.__beyond__}
    aliased = re.findall(rf"{SCHEMA}\.(\w+) AS (\w+)", conditions)
    for table in Base.metadata.tables:
        names = {f"{SCHEMA}.{table}", *(alias for of, alias in aliased if of == table)}
        found = re.findall(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\.(\w+)", conditions)
        if found:
            columns.setdefault(table, set()).update({"id"}, found)
    for table, names in columns.items():
        yield f"CREATE VIEW {SCHEMA}.{table} AS SELECT {', '.join(sorted(names))} FROM {table}"


def _put_up(wall: Wall) -> Iterator[str]:
    table = wall.table
    yield f"GRANT SELECT ON {table} TO {READER}"
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"CREATE POLICY sortie_rows ON {table} FOR SELECT TO {READER} USING ({wall.policy})"
    # Runs as the reader wherever it is asked, so that a lookup in a unit of work stands before the wall as well.
    yield (
        f"CREATE FUNCTION {SCHEMA}.sees_{table}(record uuid, who text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER "
        f"SET {SETTING} = '' AS $$ BEGIN PERFORM set_config('{SETTING}', who, true); "
        f"RETURN EXISTS (SELECT 1 FROM {table} WHERE id = record); END $$"
    )
    yield f"ALTER FUNCTION {SCHEMA}.sees_{table} OWNER TO {READER}"


def digest() -> str:
    """The fingerprint of all that makes the wall: declarations, columns, and the code of the rules."""
    models = [(model.__tablename__, model.__table__.c.keys(), _said(declared(model))) for model in protected()]
    beyond = sorted(
        (mapper.class_.__tablename__, *sorted(mapper.class_.__beyond__)) for mapper in Base.registry.mappers
    )
    modules = sorted(
        {
            __name__,
            columns_beyond.__module__,
            *(name for _, _, rules in models for rule in rules for name in _modules(rule)),
        }
    )
    code = [Path(str(sys.modules[name].__file__)).read_bytes() for name in modules]
    return hashlib.sha256(repr((models, beyond)).encode() + b"".join(code)).hexdigest()


def _said(access: Access) -> dict[Rule, list[Role]]:
    said: dict[Rule, list[Role]] = {}
    for role in sorted(access):
        rule = access.rule(role)
        if rule is not None:
            said.setdefault(rule, []).append(role)
    return said


def _modules(rule: object) -> Iterator[str]:
    """The modules whose code says what a rule means."""
    yield type(rule).__module__
    for part in vars(rule).values():
        for inner in part if isinstance(part, tuple) else (part,):
            if hasattr(inner, "clause"):
                yield from _modules(inner)


def is_installed(connection: Connection) -> bool:
    """Whether the database has the wall that the declarations ask for."""
    found = text(f"SELECT obj_description(to_regnamespace('{SCHEMA}'), 'pg_namespace')")
    return connection.dialect.name != "postgresql" or connection.execute(found).scalar() == digest()


def install(connection: Connection) -> None:
    """Put up the wall, in the place of one that stands.

    Raises Unavailable where the reader's role is absent and cannot be made.
    """
    if connection.dialect.name != "postgresql":
        return
    remove(connection)
    ensure_role(connection)
    for statement in script():
        connection.exec_driver_sql(statement.replace("%", "%%"))
    connection.exec_driver_sql(f"REVOKE CREATE ON SCHEMA {SCHEMA} FROM {READER}")
    connection.exec_driver_sql(f"COMMENT ON SCHEMA {SCHEMA} IS '{digest()}'")


def remove(connection: Connection) -> None:
    """Take the wall down, before the tables that it stands on are changed."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def ensure_role(connection: Connection) -> None:
    """Have the readers' role, of which the database's user is a member.

    Raises Unavailable where it is absent and cannot be made.
    """
    me, may_make, there, member = connection.exec_driver_sql(
        "SELECT current_user, rolsuper OR rolcreaterole, EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'sortie_reader'), "
        "EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'sortie_reader' AND pg_has_role(current_user, oid, 'MEMBER')) "
        "FROM pg_roles WHERE rolname = current_user"
    ).one()
    if (not there and not may_make) or (there and not member and not may_make):
        raise Unavailable(NO_ROLE)
    if not there:
        connection.exec_driver_sql(f"CREATE ROLE {READER} NOLOGIN")
    if not member:
        connection.exec_driver_sql(f'GRANT {READER} TO "{me}"')
