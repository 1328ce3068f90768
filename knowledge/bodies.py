"""Bodies that hold more than words: the model of a ROI model, the reference of exemplar media; checked before they are kept."""

from functools import lru_cache

from domain.kernel.errors import Invalid, Text
from knowledge import media
from knowledge.model import KnowledgeKind
from knowledge.roi import read_model
from knowledge.roi_model import Model

_OPENING, _CLOSING = "```roi", "```"


def check_body(kind: KnowledgeKind, body: str) -> None:
    """See that a body holds what entries of its kind hold.

    Raises Invalid, with line or path under `body`, for a ROI model that is not sound or whose worked examples do not hold,
    and for media without a reference that can be followed.
    """
    try:
        if kind is KnowledgeKind.ROI_MODEL:
            model_of(body)
        elif kind is KnowledgeKind.MEDIA:
            media.read_media(body)
    except Invalid as refused:
        raise Invalid(refused.text, ("body", *refused.path)) from None


@lru_cache(maxsize=64)
def model_of(body: str) -> Model:
    """The model of a ROI model's body: the one block of it between ```roi and ```; lines are counted in the body.

    Raises Invalid where there is no such block, more than one, or one that is no sound model.
    """
    lines = body.splitlines()
    blocks = _blocks(lines)
    if len(blocks) != 1:
        many = Text(
            f"ROI 模型须有且只有一个以 {_OPENING} 开头、以 {_CLOSING} 结尾的模型块，现有 {len(blocks)} 个",
            f"a ROI model has one block between {_OPENING} and {_CLOSING}; this body has {len(blocks)}",
        )
        raise Invalid(many)
    begin, end = blocks[0]
    # Empty lines in place of what stands above keep the numbers of lines those of the body.
    return read_model("\n" * (begin + 1) + "\n".join(lines[begin + 1 : end]))


def searchable(body: str) -> str:
    """What of a body people search: without the block of a model and the reference of media, which are no prose."""
    lines = body.splitlines()
    for begin, end in reversed(_blocks(lines)):
        del lines[begin : end + 1]
    return "\n".join(lines[media.front_length(lines) :])


def _blocks(lines: list[str]) -> list[tuple[int, int]]:
    """First and last line of each block, counted from 0; one that is not closed ends with the body."""
    found: list[tuple[int, int]] = []
    begin: int | None = None
    for at, line in enumerate(lines):
        mark = line.rstrip()
        if begin is None and mark == _OPENING:
            begin = at
        elif begin is not None and mark == _CLOSING:
            found.append((begin, at))
            begin = None
    return found if begin is None else [*found, (begin, len(lines))]
