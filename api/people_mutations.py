"""What ADMIN does with people: users, their roles, passwords and keys; and everybody with their own password."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from api.context import Info
from api.mutations import UserError, changes, create_once, given, mutation, refusals, text
from api.people import RoleGrant, ServiceKey, User
from api.reads import expect, selected
from domain import people
from domain.kernel import ActorKind, Forbidden, Invalid, Language, Role, Scope, Text, Unauthenticated, load

WRONG = Text("当前密码不正确", "the current password is wrong")
ITS_OWN = Text("服务账号没有密码", "a service account has no password")


def _field(description: str) -> Any:
    return strawberry.field(description=description)


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


USER_VERSION = "The user's version as the caller holds it."


@strawberry.input(description="A person who is to sign in, or a service account.")
class AddUserInput:
    """What adding takes."""

    client_key: strawberry.ID = text("The caller's key: the same one adds once.", 200, required=True)
    email: str = text("The address under which the person signs in.", 254, required=True)
    name: str = text("The person's name.", 200, required=True)
    language: Language | None = _optional("The language that the person reads; Chinese without it.")
    time_zone: str | None = text("The person's time zone, by its IANA name; Asia/Shanghai without it.", 64)
    service_account: bool | None = _optional("True: another system, which comes with keys.")


@strawberry.input(description="What changes about a user; fields left out stay as they are.")
class UpdateUserInput:
    """What a change takes."""

    id: strawberry.ID = _field("The user.")
    expected_version: int = _field(USER_VERSION)
    email: str | None = text("The address under which the person signs in.", 254)
    name: str | None = text("The person's name.", 200)
    language: Language | None = _optional("The language that the person reads.")
    time_zone: str | None = text("The person's time zone, by its IANA name.", 64)


@strawberry.input(description="A user, as the caller holds them.")
class UserActionInput:
    """What a step takes."""

    id: strawberry.ID = _field("The user.")
    expected_version: int = _field(USER_VERSION)


@strawberry.input(description="A role for a user, in a context and until an instant.")
class GrantRoleInput:
    """What granting takes."""

    client_key: strawberry.ID = text("The caller's key: the same one grants once.", 200, required=True)
    user_id: strawberry.ID = _field("Who gets the role.")
    role: Role = _field("The role.")
    territory: str | None = text("The territory's key, or its label in either language: REP and MANAGER.", 200)
    brand: str | None = text("The brand's key or label: REP, MANAGER, CSM, FINANCE, LEGAL, EXECUTIVE.", 200)
    account_id: strawberry.ID | None = _optional("The one account for which it holds: REP, MANAGER, CSM.")
    valid_from: datetime | None = _optional("When it begins; now without it.")
    until: datetime | None = _optional("When it ends; open without it.")


@strawberry.input(description="A grant to take back.")
class RevokeRoleInput:
    """What revoking takes."""

    id: strawberry.ID = _field("The grant.")
    expected_version: int = _field("The grant's version as the caller holds it.")


@strawberry.input(description="A password for a person.")
class SetPasswordInput:
    """What setting takes."""

    id: strawberry.ID = _field("The person.")
    expected_version: int = _field(USER_VERSION)
    password: str = text("The password: 12 to 200 characters, at least five different ones.", 200, required=True)


@strawberry.input(description="A password of one's own.")
class ChangePasswordInput:
    """What changing takes."""

    current_password: str = text("The password so far.", 200, required=True)
    new_password: str = text("The next one: 12 to 200 characters, at least five different ones.", 200, required=True)


@strawberry.input(description="A key for a service account.")
class AddServiceKeyInput:
    """What making a key takes."""

    client_key: strawberry.ID = text("The caller's key: the same one makes one key.", 200, required=True)
    user_id: strawberry.ID = _field("The service account.")
    label: str = text("What it is for.", 100, required=True)
    scopes: list[Scope] = _field("What it may be used for, within the account's grants.")
    expires_at: datetime | None = _optional("When it ends: within two years; in a year without it.")


@strawberry.input(description="A service key to take back.")
class RevokeServiceKeyInput:
    """What revoking takes."""

    id: strawberry.ID = _field("The key.")
    expected_version: int = _field("The key's version as the caller holds it.")


@strawberry.type(description="The user, or why nothing was done.")
class UserPayload:
    """The answer to what is done with a user."""

    user: User | None = strawberry.field(default=None, description="The user.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The grant, or why nothing was done.")
class RoleGrantPayload:
    """The answer to granting and revoking."""

    role_grant: RoleGrant | None = strawberry.field(default=None, description="The grant.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The key, or why nothing was done.")
class ServiceKeyPayload:
    """The answer to making and revoking keys."""

    service_key: ServiceKey | None = strawberry.field(default=None, description="The key.")
    secret: str | None = strawberry.field(
        default=None, description="What the system presents as its bearer token: told this once and kept nowhere."
    )
    errors: list[UserError] = refusals()


def _given(description: str) -> Any:
    return strawberry.argument(description=description)


async def _user(info: Info, id: Any) -> UserPayload:
    return UserPayload(user=selected(info, User, id))


@strawberry.type
class PeopleMutations:
    """The mutations of this room."""

    @mutation("Add a person who signs in, or a service account.", Role.ADMIN)
    async def add_user(self, info: Info, input: Annotated[AddUserInput, _given("The user.")]) -> UserPayload | None:
        """Add, and read back."""
        async with info.context.open_uow() as uow:
            user = await people.add_user(
                uow, name=input.name, email=input.email, language=given(input.language) or Language.ZH,
                time_zone=given(input.time_zone) or "Asia/Shanghai", client_key=input.client_key,
                kind=ActorKind.INTEGRATION if given(input.service_account) else ActorKind.USER,
            )  # fmt: skip
        return await _user(info, user.id)

    @mutation("Change a user's name, address, language or time zone.", Role.ADMIN)
    async def update_user(
        self, info: Info, input: Annotated[UpdateUserInput, _given("The changes.")]
    ) -> UserPayload | None:
        """Change, and read back."""
        id = expect("User", input.id, "id")
        wanted = changes(input, "email", "name", "language", "time_zone")
        async with info.context.open_uow() as uow:
            await people.update_user(uow, id, expected_version=input.expected_version, changes=wanted)
        return await _user(info, id)

    @mutation("Let a user in no more: tokens, sessions and keys are refused from the next request on.", Role.ADMIN)
    async def disable_user(
        self, info: Info, input: Annotated[UserActionInput, _given("The user.")]
    ) -> UserPayload | None:
        """Disable, and read back."""
        id = expect("User", input.id, "id")
        async with info.context.open_uow() as uow:
            await people.disable_user(uow, id, expected_version=input.expected_version)
        return await _user(info, id)

    @mutation("Let a disabled user in again.", Role.ADMIN)
    async def enable_user(
        self, info: Info, input: Annotated[UserActionInput, _given("The user.")]
    ) -> UserPayload | None:
        """Enable, and read back."""
        id = expect("User", input.id, "id")
        async with info.context.open_uow() as uow:
            await people.enable_user(uow, id, expected_version=input.expected_version)
        return await _user(info, id)

    @mutation("Give a user a role: in a territory and brand, on one account, or everywhere.", Role.ADMIN)
    async def grant_role(
        self, info: Info, input: Annotated[GrantRoleInput, _given("The role.")]
    ) -> RoleGrantPayload | None:
        """Grant, and read back."""
        user_id = expect("User", input.user_id, "userId")
        account_id = given(input.account_id)
        words = {
            "role": input.role, "territory": given(input.territory), "brand": given(input.brand), "valid_to": given(input.until),
            "valid_from": given(input.valid_from),
            "account_id": None if account_id is None else expect("Account", account_id, "accountId"),
        }  # fmt: skip

        async def operation(uow: Any, *, user_id: Any, **terms: Any) -> people.RoleGrant:
            user = await load(uow.session, uow.actor, people.User, user_id, path=("userId",), lock=True)
            return await people.give_role(uow, user, **terms)

        id = await create_once(info, input, people.RoleGrant, operation, words | {"user_id": user_id})
        return RoleGrantPayload(role_grant=selected(info, RoleGrant, id))

    @mutation("Take a role back from now on.", Role.ADMIN)
    async def revoke_role(
        self, info: Info, input: Annotated[RevokeRoleInput, _given("The grant.")]
    ) -> RoleGrantPayload | None:
        """Revoke, and read back."""
        id = expect("RoleGrant", input.id, "id")
        async with info.context.open_uow() as uow:
            await people.revoke_role(uow, id, expected_version=input.expected_version)
        return RoleGrantPayload(role_grant=selected(info, RoleGrant, id))

    @mutation("Give a person a password; whoever is signed in as them has to do so again.", Role.ADMIN)
    async def set_password(
        self, info: Info, input: Annotated[SetPasswordInput, _given("The password.")]
    ) -> UserPayload | None:
        """Set, and read back."""
        id = expect("User", input.id, "id")
        hash = await people.hashed(people.normal_password(input.password))
        async with info.context.open_uow() as uow:
            user = await load(
                uow.session, uow.actor, people.User, id, expected_version=input.expected_version, lock=True
            )
            people.normal_password(input.password, user.email)
            await people.set_password(uow, user, hash)
        return await _user(info, id)

    @mutation("Change one's own password.", *Role)
    async def change_password(
        self, info: Info, input: Annotated[ChangePasswordInput, _given("The passwords.")]
    ) -> UserPayload | None:
        """Check the one so far, as any sign-in does, then change."""
        context = info.context
        id = context.reader.user_id
        if context.reader.kind is not ActorKind.USER or id is None:
            raise Forbidden(ITS_OWN)
        async with context.open_uow() as uow:
            email = (await uow.session.get_one(people.User, id)).email
        people.normal_password(input.new_password, email, ("newPassword",))
        try:
            await people.check_password(context.database, email, input.current_password, "changePassword")
        except Unauthenticated as error:
            raise Invalid(WRONG, ("currentPassword",)) from error
        hash = await people.hashed(people.normal_password(input.new_password))
        async with context.open_uow() as uow:
            await people.set_password(uow, await uow.session.get_one(people.User, id, with_for_update=True), hash)
        return await _user(info, id)

    @mutation("Make a key for a service account; its secret is told this once.", Role.ADMIN)
    async def add_service_key(
        self, info: Info, input: Annotated[AddServiceKeyInput, _given("The key.")]
    ) -> ServiceKeyPayload | None:
        """Make it, and read back."""
        user_id = expect("User", input.user_id, "userId")
        async with info.context.open_uow() as uow:
            user = await load(uow.session, uow.actor, people.User, user_id, path=("userId",), lock=True)
            key, secret = await people.add_service_key(
                uow, user, label=input.label, scopes=input.scopes, expires_at=given(input.expires_at), client_key=input.client_key
            )  # fmt: skip
        return ServiceKeyPayload(service_key=selected(info, ServiceKey, key.id), secret=secret)

    @mutation("Take a service key back: nobody comes in with it from the next request on.", Role.ADMIN)
    async def revoke_service_key(
        self, info: Info, input: Annotated[RevokeServiceKeyInput, _given("The key.")]
    ) -> ServiceKeyPayload | None:
        """Revoke, and read back."""
        id = expect("ServiceKey", input.id, "id")
        async with info.context.open_uow() as uow:
            await people.revoke_service_key(uow, id, expected_version=input.expected_version)
        return ServiceKeyPayload(service_key=selected(info, ServiceKey, id))
