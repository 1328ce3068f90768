"""Who works here: users and systems, roles granted in a context and for a time, territories, brands, passwords, keys."""

from domain.people.grants import (
    BY_ACCOUNT,
    BY_BRAND,
    BY_TERRITORY,
    accounts_named,
    give_role,
    grant_role,
    held_grants,
    revoke_role,
    role_codes,
)
from domain.people.model import Brand, KeySecret, Password, RoleGrant, ServiceKey, SignInSession, Territory, User
from domain.people.places import add_brand, add_territory, find_brand, find_territory, with_descendants
from domain.people.sign_in import NOBODY, reaches_of, sign_in, standing
from domain.people.users import add_user, disable_user, enable_user, normal_email, update_user, user_of

__all__ = [
    "BY_ACCOUNT", "BY_BRAND", "BY_TERRITORY", "NOBODY", "Brand", "KeySecret", "Password", "RoleGrant", "ServiceKey", "SignInSession", "Territory", "User",
    "accounts_named", "add_brand", "add_territory", "add_user", "disable_user", "enable_user", "find_brand", "find_territory", "give_role", "grant_role", "held_grants",
    "normal_email", "reaches_of", "revoke_role", "role_codes", "sign_in", "standing", "update_user", "user_of", "with_descendants",
]  # fmt: skip
