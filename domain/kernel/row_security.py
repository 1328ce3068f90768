"""Row security on PostgreSQL: the access declarations once more, as policies that the database itself keeps.

The roles of readers own nothing, may read only what is declared, and see the rows that the policies let through. There is
one for each role of the product, whose policies are the rules of that role, and one for whoever holds several roles or one
within brands or accounts: it sees nothing where nobody has said who asks.
"""

import hashlib
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, and_, literal_column, select, text
from sqlalchemy.dialects import postgresql

from domain.kernel import conditions
from domain.kernel.access import (
    Access,
    AnyOf,
    Everyone,
    HasChild,
    InTerritory,
    Matching,
    Member,
    Owned,
    Rule,
    Through,
    ThroughSubject,
    declared,
    entity,
)
from domain.kernel.actors import Actor, ActorKind, Reach, Role
from domain.kernel.errors import Text, Unavailable
from domain.kernel.orm import Base
from domain.kernel.reader import (
    BOUNDED,
    OWN_TERRITORIES,
    READER,
    READERS,
    ROLES,
    SCHEMA,
    SETTINGS,
    TERRITORIES,
    USER,
    WHOLE,
    bound,
    columns_beyond,
)

LONGEST_POLICY = 12
"""How many lookups in other tables a policy may say itself."""

_FUNCTIONS = f"""
CREATE FUNCTION {SCHEMA}.ids(listed jsonb) RETURNS uuid[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT coalesce(array_agg(id::uuid), '{{}}') FROM jsonb_array_elements_text(listed) AS id $$;
CREATE FUNCTION {SCHEMA}.reaches()
RETURNS TABLE (role text, bounded text, territory_ids uuid[], brand_ids uuid[], account_ids uuid[]) LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT reach ->> 'role', reach ->> 'bounded', {SCHEMA}.ids(reach -> 'territory_ids'), {SCHEMA}.ids(reach -> 'brand_ids'),
   {SCHEMA}.ids(reach -> 'account_ids') FROM jsonb_array_elements(nullif(current_setting('{BOUNDED}', true), '')::jsonb) AS reach $$;
"""
_ALL_READERS = (READER, *READERS.values())
_EVERYBODY = ", ".join(_ALL_READERS)
NO_ROLES = Text(
    "数据库缺少读者角色，而当前用户无权创建：请让数据库管理员执行 {commands}",
    "the database lacks roles of readers and this user may not make them: have its administrator run {commands}",
)


# ---- who asks --------------------------------------------------------------------------------------------------------

_MARK = 0xA11CE
_USER, _TERRITORY, _BRAND, _ACCOUNT = range(4)
_EVERY = list(Role)


def _stand_in(part: int, roles: Iterable[Role] = ()) -> UUID:
    """What stands for the user, territories, brands or accounts of whoever asks, as the holder of these roles."""
    return UUID(int=_MARK << 64 | part << 32 | sum(1 << _EVERY.index(role) for role in set(roles)))


_STAND_IN = r"'(00000000-000a-11ce-[0-9a-f-]{17})'"


def _roles_of(stand_in: UUID) -> list[Role]:
    return [role for at, role in enumerate(_EVERY) if stand_in.int & 1 << at]


def _said(setting: str) -> str:
    return f"current_setting('{setting}', true)"


def _holds(roles: Iterable[Role]) -> str:
    """Whether who asks holds one of the roles without bounds."""
    return "(" + " OR ".join(f"strpos({_said(ROLES)}, ',{role.value},') > 0" for role in sorted(roles)) + ")"


def _user(roles: Collection[Role]) -> str:
    """Who asks, null where they hold none of the roles without bounds; whoever it is where no roles are named."""
    user = f"nullif({_said(USER)}, '')::uuid"
    return f"(SELECT CASE WHEN {_holds(roles)} THEN {user} END)" if roles else user


def _territories(roles: Iterable[Role]) -> str:
    """The territories in which who asks holds one of the roles."""
    listed = [
        f"nullif(split_part(split_part({_said(TERRITORIES)}, ';{role.value}=', 2), ';', 1), '')::uuid[]"
        for role in roles
    ]
    return f"(SELECT {' || '.join(listed)})::uuid[]"


# ---- what they may see -----------------------------------------------------------------------------------------------


def protected() -> list[type[Base]]:
    """The mapped classes that declare who sees their rows, by the names of their tables."""
    models = [mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__access__ is not None]
    return sorted(models, key=lambda model: model.__tablename__)


@dataclass(frozen=True)
class Held:
    """Rows that a rule admits for whoever holds one of the roles without bounds."""

    roles: frozenset[Role]
    rule: Rule

    def clause(self, table: FromClause, _reach: Reach, _actor: Actor) -> ColumnElement[bool]:
        """Ask the rule for the stand-in of these roles; where it names neither user nor territory, ask for the role as well."""
        reach = Reach(min(self.roles), frozenset({_stand_in(_TERRITORY, self.roles)}))
        found = self.rule.clause(table, reach, Actor(ActorKind.USER, _stand_in(_USER, self.roles), reaches=(reach,)))
        if isinstance(self.rule, Owned | InTerritory | Member):
            return found
        return and_(literal_column(f"(SELECT {_holds(self.roles)})"), found)


def merged(rules: Iterable[tuple[Role, Rule]]) -> Rule | None:
    """One rule for all roles, which looks into each other table once; None where it admits nothing."""
    own: dict[Rule, set[Role]] = {}
    below: dict[Rule, list[tuple[Role, Rule]]] = {}
    for role, rule in rules:
        for one in _alternatives(rule):
            led = _leads_to(one, role)
            if led is None:
                own.setdefault(one, set()).add(role)
            else:
                below.setdefault(replace(one, rule=None), []).extend((role, rule) for rule in led)  # type: ignore[type-var]
    found: list[Rule] = [Held(frozenset(roles), one) for one, roles in own.items()]
    for one, inner in below.items():
        admitted = merged(inner)
        if admitted is not None:
            found.append(replace(one, rule=admitted))  # type: ignore[type-var]
    return AnyOf(tuple(found)) if found else None


def _alternatives(rule: Rule) -> Iterator[Rule]:
    if isinstance(rule, AnyOf):
        for one in rule.rules:
            yield from _alternatives(one)
    elif isinstance(rule, ThroughSubject):
        yield from (Matching(rule.kind_column, (kind,), Through(rule.id_column, kind)) for kind in rule.kinds)
    else:
        yield rule


def _leads_to(rule: Rule, role: Role) -> list[Rule] | None:
    """The rule that another row, or the row itself, has to meet as well, if there is any; None where that is no matter."""
    if isinstance(rule, Matching) and not isinstance(rule.rule, Everyone):
        return [rule.rule]
    if isinstance(rule, Through | HasChild):
        other = declared(entity(rule.parent if isinstance(rule, Through) else rule.child))
        found = rule.rule or other.rule(role)
        return [] if found is None else [found]
    return None


@dataclass(frozen=True)
class Wall:
    """What guards one table: the condition of its policy, and the function that the condition calls, if it does."""

    table: str
    policy: str
    function: str | None

    @classmethod
    def of(cls, model: type[Base]) -> "Wall":
        """The wall that a class's declaration asks for.

        First it asks whether the whole table is theirs, which answers most; then what each role's rules say, in one
        condition. What is needed where a grant is bound to brands or accounts stands in a function that is planned when
        it is used, and so does what is long.
        """
        table, access = model.__tablename__, declared(model)
        held = [(role, access.rule(role)) for role in Role]
        rule = merged(
            (role, one) for role, rule in held if rule for one in _alternatives(rule) if not isinstance(one, Everyone)
        )
        plain = None if rule is None else _filled(_compiled(model, rule, Reach(Role.REP)), {})
        branches = "".join(_branch(clause, *reach) for clause, reach in _bounded(model))
        parts = [f"(SELECT strpos({_said(WHOLE)}, ',{table},') > 0)"]
        if model.entity() == "User":
            parts.append(f"the_row.id = {_user(())}")
        body, called = f"{_LOOP.format(branches)} RETURN false;", f"{SCHEMA}.seen_{table}({table})"
        if plain is not None and plain.count("EXISTS") > LONGEST_POLICY:
            parts.append(called)
            body = f"IF {plain} THEN RETURN true; END IF; {body}"
        else:
            parts += [plain] if plain else []
            parts += [f"({_said(BOUNDED)} <> '' AND {called})"] if branches else []
        policy = " OR\n".join(parts).replace("the_row.", f"{table}.")
        if "merged_into_id" in model.__table__.c:
            policy = f"merged_into_id IS NULL AND ({policy})"
        function = (
            f"CREATE FUNCTION {SCHEMA}.seen_{table}(the_row {table}) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$ "
            f"DECLARE reach record; BEGIN {body} END $$"
        )
        return cls(table, policy, function if called in policy else None)


_LOOP = f"FOR reach IN SELECT * FROM {SCHEMA}.reaches() LOOP {{}} END LOOP;"


def _bounded(model: type[Base]) -> Iterator[tuple[str, tuple[str, set[Role]]]]:
    """Every role's rule in every kind of bounded context but those that admit all; roles whose rules read the same stand together."""
    clauses: dict[tuple[str, str], set[Role]] = {}
    for role in declared(model):
        rule = declared(model).rule(role)
        for accounts, brands in ((False, True), (True, False), (True, True)):
            if rule is not None:
                reach = _reach(role, accounts=accounts, brands=brands)
                clauses.setdefault((_compiled(model, rule, reach), bound(reach)), set()).add(role)
    return ((clause, (kind, roles)) for (clause, kind), roles in clauses.items() if clause != "true")


def _reach(role: Role, *, accounts: bool, brands: bool) -> Reach:
    none = frozenset[UUID]()
    named = frozenset({_stand_in(_BRAND)}) if brands else none, frozenset({_stand_in(_ACCOUNT)}) if accounts else none
    return Reach(role, frozenset({_stand_in(_TERRITORY)}), *named)


@cache
def _compiled(model: type[Base], rule: Rule, reach: Reach) -> str:
    """A rule as SQL over `the_row`; other tables are read through the views of the rules' schema."""
    row = model.__table__.alias("the_row")
    asked = (
        select(1)
        .select_from(row)
        .where(rule.clause(row, reach, Actor(ActorKind.USER, _stand_in(_USER), reaches=(reach,))))
    )
    compiled = asked.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
        schema_translate_map={None: SCHEMA}, render_schema_translate=True, compile_kwargs={"literal_binds": True},
    )  # fmt: skip
    head, _, clause = str(compiled).partition(" AS the_row \nWHERE ")
    tables_with = head.rpartition("SELECT 1")[0].strip()
    return f"(({tables_with} SELECT {clause}))" if tables_with else clause or "true"


def _branch(clause: str, bounded: str, roles: set[Role]) -> str:
    """A rule for one reach of those roles in that kind of bound."""
    named = {_TERRITORY: "reach.territory_ids", _BRAND: "reach.brand_ids", _ACCOUNT: "reach.account_ids"}
    listed = ", ".join(f"'{role.value}'" for role in sorted(roles))
    within = f"reach.bounded = '{bounded}' AND reach.role IN ({listed})"
    return f"IF {within} THEN IF {_filled(clause, named)} THEN RETURN true; END IF; END IF; "


def _filled(clause: str, named: Mapping[int, str]) -> str:
    """A rule's SQL with what whoever asks holds in the place of the stand-ins.

    Raises LookupError for a stand-in that is used in a way which nobody foresaw.
    """

    def many(found: re.Match[str]) -> str:
        stand_in = UUID(found[1])
        roles = _roles_of(stand_in)
        return f"= ANY ({_territories(roles) if roles else named[stand_in.int >> 32 & 0xFF]})"

    clause = re.sub(rf"= ANY \(ARRAY\[{_STAND_IN}\]\)", many, clause)

    def one(found: re.Match[str]) -> str:
        user = _user(_roles_of(UUID(found[2])))
        # Of the row itself this may be asked a million times, of others in a lookup a few.
        return f"{found[1]}= (SELECT {user})" if found[1] else f"= {user}"

    clause = re.sub(rf"(the_row\.\w+ )?= {_STAND_IN}", one, clause)
    if left := re.search(_STAND_IN, clause):
        raise LookupError(f"row security cannot express {left[1]} in {clause}")
    return clause


_OWN = {_TERRITORY: f"(SELECT nullif({_said(OWN_TERRITORIES)}, '')::uuid[])::uuid[]"}


def policies_of_roles(model: type[Base]) -> Iterator[tuple[Role, str]]:
    """What the class's declaration lets each role see that nothing bounds to brands or accounts, as the condition of a policy."""
    for role in Role:
        rule = declared(model).rule(role)
        if rule is None:
            continue
        clause = _filled(_compiled(model, rule, _reach(role, accounts=False, brands=False)), _OWN)
        if model.entity() == "User" and clause != "true":
            clause = f"the_row.id = (SELECT {_user(())}) OR {clause}"
        if "merged_into_id" in model.__table__.c:
            clause = "the_row.merged_into_id IS NULL" + ("" if clause == "true" else f" AND ({clause})")
        yield role, clause.replace("the_row.", f"{model.__tablename__}.")


# ---- installation ----------------------------------------------------------------------------------------------------


def script() -> list[str]:
    """The statements that put up the wall, in their order."""
    walls = [Wall.of(model) for model in protected()]
    said = [part for wall in walls for part in (wall.policy, wall.function or "")]
    said += [clause for model in protected() for clause in _of_predicates(model)]
    return [
        f"CREATE SCHEMA {SCHEMA}",
        *(statement for statement in _FUNCTIONS.split(";\n") if statement.strip()),
        *_views("\n".join(said)),
        f"GRANT CREATE ON SCHEMA {SCHEMA} TO {READER}",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {_EVERYBODY}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {_EVERYBODY}",
        *(wall.function for wall in walls if wall.function),
        *(statement for wall in walls for statement in _put_up(wall)),
        *(
            f"CREATE POLICY {READERS[role]}_rows ON {model.__tablename__} FOR SELECT TO {READERS[role]} USING ({policy})"
            for model in protected()
            for role, policy in policies_of_roles(model)
        ),
    ]


def _of_predicates(model: type[Base]) -> Iterator[str]:
    """What the application's own predicates say of the class, whose lookups read the same views."""
    access = declared(model)
    for role in Role:
        for rule in (access.rule(role), access.totals_rule(role)):
            if rule is None:
                continue
            for accounts, brands in product((False, True), repeat=2):
                yield _compiled(model, rule, _reach(role, accounts=accounts, brands=brands))


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
    yield f"GRANT SELECT ON {table} TO {_EVERYBODY}"
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"CREATE POLICY {READER}_rows ON {table} FOR SELECT TO {READER} USING ({wall.policy})"
    # Runs as the reader wherever it is asked, so that a lookup in a unit of work stands before the wall as well.
    # The settings are put back by hand: a SET of the function itself is for superusers, and the owner need be none.
    before = ", ".join(_said(name) for name in SETTINGS)
    made = ", ".join(f"set_config('{name}', who[{at}], true)" for at, name in enumerate(SETTINGS, 1))
    undone = ", ".join(f"set_config('{name}', coalesce(before[{at}], ''), true)" for at, name in enumerate(SETTINGS, 1))
    yield (
        f"CREATE FUNCTION {SCHEMA}.sees_{table}(record uuid, who text[]) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER "
        f"AS $$ DECLARE before text[] := ARRAY[{before}]; seen boolean; "
        f"BEGIN PERFORM {made}; seen := EXISTS (SELECT 1 FROM {table} WHERE id = record); PERFORM {undone}; RETURN seen; END $$"
    )
    yield f"ALTER FUNCTION {SCHEMA}.sees_{table} OWNER TO {READER}"


def digest() -> str:
    """The fingerprint of all that makes the wall: declarations, columns, and the code of the rules."""
    models = [(model.__tablename__, model.__table__.c.keys(), _rules_of(declared(model))) for model in protected()]
    beyond = sorted(
        (mapper.class_.__tablename__, *sorted(mapper.class_.__beyond__)) for mapper in Base.registry.mappers
    )
    modules = sorted(
        {
            __name__,
            columns_beyond.__module__,
            conditions.__name__,
            *(name for _, _, rules in models for rule in rules for name in _modules(rule)),
        }
    )
    code = [Path(str(sys.modules[name].__file__)).read_bytes() for name in modules]
    return hashlib.sha256(repr((models, beyond)).encode() + b"".join(code)).hexdigest()


def _rules_of(access: Access) -> dict[Rule, list[Role]]:
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

    Raises Unavailable where a reader's role is absent and cannot be made.
    """
    if connection.dialect.name != "postgresql":
        return
    remove(connection)
    ensure_roles(connection)
    for statement in script():
        connection.exec_driver_sql(statement.replace("%", "%%"))
    connection.exec_driver_sql(f"REVOKE CREATE ON SCHEMA {SCHEMA} FROM {READER}")
    connection.exec_driver_sql(f"COMMENT ON SCHEMA {SCHEMA} IS '{digest()}'")


def remove(connection: Connection) -> None:
    """Take the wall down, before the tables that it stands on are changed."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_DROP_POLICIES)
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


_DROP_POLICIES = """DO $$ DECLARE found text; BEGIN
FOR found IN SELECT format('%I ON %I.%I', policyname, schemaname, tablename) FROM pg_policies WHERE policyname LIKE 'sortie\\_%'
LOOP EXECUTE 'DROP POLICY ' || found; END LOOP; END $$"""


def ensure_roles(connection: Connection) -> None:
    """Have the readers' roles, of which the database's user is a member.

    Raises Unavailable where one is absent and cannot be made.
    """
    me, may_make = connection.exec_driver_sql(
        "SELECT current_user, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    ).one()
    found = connection.exec_driver_sql(
        "SELECT rolname, pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname LIKE 'sortie\\_reader%%'"
    )
    member = {name: bool(held) for name, held in found}
    lacking = [role for role in _ALL_READERS if not member.get(role)]
    if lacking and not may_make:
        commands = "; ".join(f'CREATE ROLE {role} NOLOGIN; GRANT {role} TO "{me}"' for role in lacking)
        raise Unavailable(Text(NO_ROLES.zh.format(commands=commands), NO_ROLES.en.format(commands=commands)))
    for role in lacking:
        if role not in member:
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
        connection.exec_driver_sql(f'GRANT {role} TO "{me}"')
