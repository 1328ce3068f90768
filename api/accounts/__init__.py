"""Accounts, their teams, their people, and how to reach them, in the schema."""

import strawberry

from api.accounts.merging import MergeMutations
from api.accounts.organisations import AccountPayload, OrganisationMutations
from api.accounts.people import ContactMutations, ContactPayload
from api.accounts.types import Account, AccountQueries, AccountTeamMember, Contact, ContactPoint


@strawberry.type
class AccountMutations(OrganisationMutations, ContactMutations, MergeMutations):
    """The mutations of this room."""


__all__ = [
    "Account",
    "AccountMutations",
    "AccountPayload",
    "AccountQueries",
    "AccountTeamMember",
    "Contact",
    "ContactPayload",
    "ContactPoint",
]
