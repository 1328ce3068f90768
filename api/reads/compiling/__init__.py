"""From an operation of GraphQL to one statement of SQL."""

from api.reads.compiling.operations import Compiler
from api.reads.compiling.pieces import Asking, Change, Draft, Finish, NotCompiled, Piece

__all__ = ["Asking", "Change", "Compiler", "Draft", "Finish", "NotCompiled", "Piece"]
