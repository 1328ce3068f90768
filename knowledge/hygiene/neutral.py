"""A passage as it may enter a prompt: data in a block that it cannot close."""

import re

from knowledge.hygiene.unseen import UNSEEN

OPEN, CLOSE = "<passage>", "</passage>"

# Full-width and small less-than signs are told from the plain one by people, not by models.
_TAG = re.compile(r"[<＜﹤](?=[\s]{0,8}[A-Za-z/|!?＜﹤<\\])")
_FENCE = re.compile(r"\[(?=/?(?:INST|SYS)\])", re.IGNORECASE)


def neutral(text: str) -> str:
    """The text between `<passage>` and `</passage>`, in which nothing can be taken for a tag or for the end of the block.

    Characters that nobody sees are left out, and every `<` that could open a tag becomes `‹`; all else is as it was, so
    that figures and wording can be compared with the body.
    """
    return f"{OPEN}\n{defused(text)}\n{CLOSE}"


def defused(text: str) -> str:
    """The text, in which nothing can be taken for a tag, for what stands in a block that somebody else opens and closes."""
    return _FENCE.sub("⁅", _TAG.sub("‹", UNSEEN.sub("", text)))
