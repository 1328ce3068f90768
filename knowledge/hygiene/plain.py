"""The Markdown of a body for other systems: what a renderer would run, load or send is text in it."""

import re

from knowledge.hygiene.neutral import defused

_PICTURE = re.compile(r"!(?=\[)")
_TARGET = re.compile(r"(\]\(\s*+)(?!(?:https?://|mailto:|#))", re.IGNORECASE)
_DEFINED = re.compile(r"^([ \t>*+\d.)-]*\[[^\]\n]*\]:\s*+)(?!(?:https?://|mailto:|#))", re.IGNORECASE | re.MULTILINE)


def plain_markdown(body: str) -> str:
    """The body without raw HTML and invisible characters; pictures are links, and links lead to http, https and mailto only."""
    seen = _PICTURE.sub("", defused(body))
    return _DEFINED.sub(r"\1#", _TARGET.sub(r"\1#", seen))
