"""The organisations we sell to, their teams, their people, and how to reach them."""

from domain.accounts.contacts import (
    KEEPERS,
    WRITERS,
    add_contact_point,
    add_point,
    create_contact,
    erase_contact,
    find_contact,
    remove_point,
    update_contact,
    update_point,
)
from domain.accounts.model import (
    Account,
    AccountTeamMember,
    BuyingRole,
    Channel,
    Contact,
    ContactPoint,
    LifecycleStage,
)
from domain.accounts.policy import (
    ADDRESS_LENGTH,
    NAME_LENGTH,
    TITLE_LENGTH,
    WORD_LENGTH,
    closes_circle,
    company_key,
    masked,
    match_key,
    normal_domain,
)
from domain.accounts.service import (
    LEADERS,
    add_team_member,
    answers_for,
    create_account,
    is_seen,
    join_team,
    leave_team,
    parents_above,
    possible_duplicates,
    update_account,
)

__all__ = [
    "ADDRESS_LENGTH", "KEEPERS", "LEADERS", "NAME_LENGTH", "TITLE_LENGTH", "WORD_LENGTH", "WRITERS", "Account", "AccountTeamMember", "BuyingRole", "Channel", "Contact",
    "ContactPoint", "LifecycleStage", "add_contact_point", "add_point", "add_team_member", "answers_for", "closes_circle", "company_key", "create_account", "create_contact",
    "erase_contact", "find_contact", "is_seen", "join_team", "leave_team", "masked", "match_key", "normal_domain", "parents_above", "possible_duplicates", "remove_point",
    "update_account", "update_contact", "update_point",
]  # fmt: skip
