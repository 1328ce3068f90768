"""Who works here: users and systems, roles granted in a context and for a time, territories, brands, passwords, keys."""

from domain.people.directory import Entry, Held, KeyEntry, directory, keys_of
from domain.people.grants import (
    BY_ACCOUNT,
    BY_BRAND,
    BY_TERRITORY,
    accounts_named,
    give_role,
    grant_role,
    grants_in,
    revoke_role,
    role_codes,
)
from domain.people.keys import (
    PREFIX,
    USUAL_DAYS,
    add_service_key,
    days_of_use,
    key_presented,
    key_used,
    revoke_service_key,
)
from domain.people.model import Brand, KeySecret, Password, RoleGrant, ServiceKey, SignInSession, Territory, User
from domain.people.passwords import check_password, hashed, normal_password, set_password
from domain.people.places import add_brand, add_territory, find_brand, find_territory, with_descendants
from domain.people.sellers import check_seller, with_ancestors
from domain.people.sessions import begin_session, end_session, session_of
from domain.people.sign_in import NOBODY, epoch_of, reaches_of, sign_in, standing, user_id_of
from domain.people.users import add_user, disable_user, enable_user, normal_email, update_user, user_of

__all__ = [
    "BY_ACCOUNT",
    "BY_BRAND",
    "BY_TERRITORY",
    "NOBODY",
    "PREFIX",
    "USUAL_DAYS",
    "Brand",
    "Entry",
    "Held",
    "KeyEntry",
    "KeySecret",
    "Password",
    "RoleGrant",
    "ServiceKey",
    "SignInSession",
    "Territory",
    "User",
    "accounts_named",
    "add_brand",
    "add_service_key",
    "add_territory",
    "add_user",
    "begin_session",
    "check_password",
    "check_seller",
    "days_of_use",
    "directory",
    "disable_user",
    "enable_user",
    "end_session",
    "epoch_of",
    "find_brand",
    "find_territory",
    "give_role",
    "grant_role",
    "grants_in",
    "hashed",
    "key_presented",
    "key_used",
    "keys_of",
    "normal_email",
    "normal_password",
    "reaches_of",
    "revoke_role",
    "revoke_service_key",
    "role_codes",
    "session_of",
    "set_password",
    "sign_in",
    "standing",
    "update_user",
    "user_id_of",
    "user_of",
    "with_ancestors",
    "with_descendants",
]  # fmt: skip
