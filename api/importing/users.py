"""The people of an export: territories, users with addresses, their roles."""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from api.importing.load import Load
from api.importing.report import ImportedUser
from domain import people
from domain.kernel import Role, Text
from domain.people import RoleGrant, Territory, User

Grants = dict[str | None, set[tuple[Role, UUID | None]]]


@dataclass(frozen=True, slots=True)
class Agent:
    """A user who owns deals, and the territory where they sell."""

    id: UUID
    territory_id: UUID | None


def address(name: str, domain: str, taken: set[str]) -> str:
    """A new address first.last@domain for a name, numbered from 2 where it is taken; letters of any script stay letters."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    kept = "".join(char if char.isalnum() or char == "-" else " " for char in unicodedata.normalize("NFC", plain))
    local = ".".join(kept.lower().split()) or "user"
    number, found = 1, f"{local}@{domain}"
    while found in taken:
        number += 1
        found = f"{local}{number}@{domain}"
    return people.normal_email(found)


async def load_users(load: Load) -> tuple[dict[str, Agent], list[ImportedUser]]:
    """Add the users that are not there; return the agents by the name under which the export knows them, and all users.

    A user who has an agent's own address already stands for that agent, and keeps their roles.
    """
    own = await _add_users(load) if load.export.agents is not None else {}
    ids = {agent.id for agent in own.values()}
    user = select(User.external_id, User.id, User.name, User.email, RoleGrant.role, RoleGrant.territory_id)
    user = user.join(RoleGrant, RoleGrant.user_id == User.id)
    mine = (User.source == load.mapping.source) | User.id.in_(ids)
    rows = (await load.uow.session.execute(user.where(mine).order_by(User.email, RoleGrant.role))).all()
    sold = {
        row.external_id: Agent(row.id, row.territory_id) for row in rows if row.role is Role.REP and row.id not in ids
    }
    roles: dict[tuple[str, str], set[Role]] = defaultdict(set)
    for row in rows:
        roles[row.name, row.email].add(row.role)
    return sold | own, [ImportedUser(*who, tuple(sorted(held))) for who, held in roles.items()]


async def other_names(load: Load, agents: dict[str, Agent]) -> dict[str, Agent]:
    """By what else an export may call people: the id and address in its own file; the name or address of sellers here.

    A name that two people here have stands for neither.
    """
    found: dict[str, Agent] = {}
    for _, one in load.export.agents.rows if load.export.agents else ():
        if one.key in agents:
            found |= {word: agents[one.key] for word in (one.id, one.email) if word}
    seller = select(User.id, User.name, User.email, RoleGrant.territory_id).join(
        RoleGrant, RoleGrant.user_id == User.id
    )
    rows = (await load.uow.session.execute(seller.where(RoleGrant.role == Role.REP))).all()
    ids: dict[str, set[UUID]] = defaultdict(set)
    for row in rows:
        ids[row.name].add(row.id)
    for row in rows:
        agent = Agent(row.id, row.territory_id)
        for word in (row.email, row.name) if len(ids[row.name]) == 1 else (row.email,):
            found.setdefault(word, agent)
    return found


async def _add_users(load: Load) -> dict[str, Agent]:
    part, session, source = load.part(load.export.agents), load.uow.session, load.mapping.source
    everybody = (await session.execute(select(User.email, User.id, User.source, User.external_id))).all()
    by_email = {user.email: user.id for user in everybody}
    known = {user.external_id: user.id for user in everybody if user.source == source}
    wanted, emails, own = await _wanted(load, {email: id for email, id in by_email.items() if id not in known.values()})
    held: Grants = defaultdict(set)
    grants = select(User.external_id, RoleGrant.role, RoleGrant.territory_id).join(User, User.id == RoleGrant.user_id)
    for name, role, territory_id in await session.execute(grants.where(User.source == source)):
        held[name].add((role, territory_id))
    taken, users, granted = set(by_email), [], []
    for name in sorted(filter(None, wanted.keys() - known.keys())):
        email = emails.get(name) or address(name, load.mapping.users.domain, taken)
        taken.add(email)
        users.append(_user(load, name, email))
        granted += [_grant(load, users[-1]["id"], role, place) for role, place in sorted(wanted[name])]
    await load.keep(part.sheet, {User: users, RoleGrant: granted})
    for _, row in part.rows:
        same = row.key in own or wanted.get(row.key, set()) <= held[row.key]
        load.count("agents", known=row.key in known or row.key in own, same=same, example=row.key)
    return own


async def _wanted(load: Load, strangers: dict[str, UUID]) -> tuple[Grants, dict[str, str], dict[str, Agent]]:
    """Who should hold which role where, the addresses that the export gives, and the users who are there with one of them."""
    wanted: Grants = defaultdict(set)
    emails: dict[str, str] = {}
    own: dict[str, Agent] = {}
    part = load.part(load.export.agents)
    for _, row in part.rows:
        email = row.email or ""
        territory = await _territory(load, row.territory)
        if row.manager is not None:
            wanted[row.manager].add((Role.MANAGER, territory.id))
        if email in strangers:
            own[row.key] = Agent(strangers[email], territory.id)
            load.export.findings.add(
                Text("已有同邮箱的用户，直接沿用", "users who are here with that address, taken as they are"), email
            )
            continue
        wanted[row.key].add((Role.REP, territory.id))
        if email:
            emails[row.key] = email
    return wanted, emails, own


def _user(load: Load, name: str, email: str) -> dict[str, Any]:
    chosen = load.mapping.users
    return {
        "id": load.uow.new_id(), "name": name, "email": email, "language": chosen.language, "time_zone": chosen.time_zone,
        "source": load.mapping.source, "external_id": name,
    }  # fmt: skip


def _grant(load: Load, user_id: UUID, role: Role, territory_id: UUID | None) -> dict[str, Any]:
    return {
        "id": load.uow.new_id(),
        "user_id": user_id,
        "role": role,
        "territory_id": territory_id,
        "valid_from": load.uow.now,
    }


async def _territory(load: Load, name: str) -> Territory:
    """The territory that the mapping or our own names say is meant; a new one, with a warning, for an unknown name."""
    if name in load.territories:
        return load.territories[name]
    label = load.mapping.territories.get(name)
    found = None if label else await people.find_territory(load.uow.session, name)
    if found is None:
        if label is None:
            load.export.findings.add(Text("新建的大区", "territories made anew"), name)
        key = label.key if label else "_".join(name.lower().split())
        found = await people.add_territory(load.uow, key=key, label=label.text if label else Text(name, name))
        await load.uow.session.flush()
    load.territories[name] = found
    return found
