"""The safe HTML of a Markdown or HTML body: markdown-it renders, nh3 keeps what is allowed, placeholders name the rest."""

import html
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt

from domain.kernel import Text
from knowledge.hygiene.unseen import UNSEEN

DISPLAY_LIMIT = 200_000
"""Characters of a body that are rendered; what is longer ends in a placeholder that says how much is not shown."""
TAG_LIMIT = 2_000
STYLED_LIMIT = 200_000
"""Formatting tags with attributes times all tags: parsers reopen the former in each block that they are left open in."""


class Removal(StrEnum):
    """What was taken out of a body."""

    SCRIPT = "SCRIPT"
    STYLE = "STYLE"
    EVENT_HANDLER = "EVENT_HANDLER"
    FRAME = "FRAME"
    FORM = "FORM"
    IMAGE = "IMAGE"
    MEDIA = "MEDIA"
    LINK = "LINK"
    COMMENT = "COMMENT"
    UNSEEN = "UNSEEN"
    MARKUP = "MARKUP"
    REST = "REST"


WORDS = {
    Removal.SCRIPT: Text("脚本", "script"),
    Removal.STYLE: Text("样式", "style"),
    Removal.EVENT_HANDLER: Text("事件处理", "event handler"),
    Removal.FRAME: Text("嵌入页面", "embedded page"),
    Removal.FORM: Text("表单", "form"),
    Removal.IMAGE: Text("图片", "image"),
    Removal.MEDIA: Text("音视频", "audio or video"),
    Removal.LINK: Text("链接地址", "link address"),
    Removal.COMMENT: Text("隐藏注释", "hidden comment"),
    Removal.UNSEEN: Text("不可见字符", "invisible characters"),
    Removal.MARKUP: Text("排版（过于复杂，按纯文本显示）", "layout (too intricate, shown as plain text)"),
    Removal.REST: Text("其余内容", "the rest"),
}
_ELEMENTS = {
    "script": Removal.SCRIPT, "noscript": Removal.SCRIPT, "template": Removal.SCRIPT, "style": Removal.STYLE, "link": Removal.STYLE,
    "meta": Removal.SCRIPT, "base": Removal.LINK, "iframe": Removal.FRAME, "frame": Removal.FRAME, "frameset": Removal.FRAME,
    "object": Removal.FRAME, "embed": Removal.FRAME, "applet": Removal.FRAME, "form": Removal.FORM, "input": Removal.FORM, "button": Removal.FORM,
    "select": Removal.FORM, "textarea": Removal.FORM, "img": Removal.IMAGE, "picture": Removal.IMAGE, "svg": Removal.IMAGE, "math": Removal.IMAGE,
    "video": Removal.MEDIA, "audio": Removal.MEDIA, "portal": Removal.FRAME,
}  # fmt: skip
_WITH_CONTENT = frozenset(_ELEMENTS) - {"form", "button", "link", "meta", "base", "input", "embed", "img", "frame"}
"""What goes together with what it holds; of the others the text stays."""

ALLOWED = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
        "var",
    ]
)
_ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_SCHEMES = {"http", "https", "mailto"}
_TOLD = {"javascript", "vbscript", "data", "file", "ftp", "blob", "tel", "sms", "weixin"}
"""Schemes whose removal is told; others go without a word."""
_REL = "nofollow noopener noreferrer"

# Of text that nh3 has written: quotes in attribute values are escaped, and whatever is opened is closed.
_VALUES = r"((?:\s[^<>\"]*(?:\"[^\"]*\"[^<>\"]*)*)?)>"
_START = re.compile(
    rf"<(?:(?P<raw>script|style|iframe|noscript){_VALUES}.*?</(?P=raw)>|(?P<element>{'|'.join(_ELEMENTS)}){_VALUES}"
    r"|(?P<comment>!--).*?-->)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\s(src|alt)=\"([^\"]*)\"")
_TAG = re.compile(r"<[a-zA-Z!?/]")
_STYLED = re.compile(r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s/]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Removed:
    """One kind of thing that a body holds and a screen does not get, and how many of it there are."""

    kind: Removal
    words: Text
    count: int


@dataclass(frozen=True, slots=True)
class Displayed:
    """What a screen may show of a body."""

    html: str
    removed: tuple[Removed, ...]


def displayed(body: str) -> Displayed:
    """The body as HTML that runs nothing, sends nothing and loads nothing; links lead to http, https and mailto only.

    Placeholders `<ins>［已移除：… / removed: …］</ins>` stand where elements were; what has no place of its own (event
    handlers, styles, addresses, invisible characters) is only listed. The last step is nh3 with a list of what is
    allowed, so that whatever the steps before miss is absent all the same. Time grows with the body's length.
    """
    removed: Counter[Removal] = Counter()
    seen, unseen = UNSEEN.subn("", body)
    removed[Removal.UNSEEN] += unseen
    shown, rest = seen[:DISPLAY_LIMIT], len(seen) - DISPLAY_LIMIT
    rendered = _markdown().render(shown)
    if _too_intricate(shown, rendered):
        removed[Removal.MARKUP] += 1
        rendered = f"{_placeholder(Removal.MARKUP)}<pre>{html.escape(shown)}</pre>"
    result = _allowed(_named(_observed(rendered, removed), removed))
    if rest > 0:
        removed[Removal.REST] += 1
        result += _allowed(_placeholder(Removal.REST, f"{rest:,}"))
    return Displayed(result, tuple(Removed(kind, WORDS[kind], removed[kind]) for kind in Removal if removed[kind]))


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _too_intricate(shown: str, rendered: str) -> bool:
    """Whether raw tags are so many, or so left open, that an HTML parser would take the square of the length."""
    if sum(1 for _ in _TAG.finditer(shown)) > TAG_LIMIT:
        return True
    styled = sum(1 for _ in _STYLED.finditer(shown))
    return styled * sum(1 for _ in _TAG.finditer(rendered)) > STYLED_LIMIT


def _observed(rendered: str, removed: Counter[Removal]) -> str:
    """The same elements in well-formed HTML, those that are to be removed still in place; counts what attributes do."""

    def look(tag: str, name: str, value: str) -> str | None:
        if name.startswith("on"):
            removed[Removal.EVENT_HANDLER] += 1
            return None
        if name == "style":
            removed[Removal.STYLE] += 1
            return None
        if tag == "a" and name == "href" and not _leads_out(value):
            removed[Removal.LINK] += 1
            return None
        return value

    return nh3.clean(
        rendered,
        tags=set(ALLOWED | _ELEMENTS.keys()),
        clean_content_tags=set(),
        attributes={**_ATTRIBUTES, "img": {"src", "alt"}, "iframe": {"src"}, "*": {"style"}},
        generic_attribute_prefixes={"on"},
        attribute_filter=look,
        url_schemes=_SCHEMES | _TOLD,
        strip_comments=False,
        link_rel=None,
    )


def _leads_out(address: str) -> bool:
    return address.strip().lower().startswith(tuple(f"{scheme}:" for scheme in _SCHEMES))


def _named(observed: str, removed: Counter[Removal]) -> str:
    """A placeholder before each element that is to be removed, and in the place of each comment."""

    def name(match: re.Match[str]) -> str:
        kind = Removal.COMMENT if match["comment"] else _ELEMENTS[match["raw"] or match["element"]]
        removed[kind] += 1
        if match["comment"]:
            return _placeholder(kind)
        known = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(match[2] or match[4] or "")}
        return _placeholder(kind, known.get("alt", ""), _host(known.get("src", ""))) + match[0]

    return _START.sub(name, observed)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _placeholder(kind: Removal, *details: str) -> str:
    words = WORDS[kind]
    said = "，".join(detail for detail in details if detail)
    return f"<ins>［已移除：{words.zh} / removed: {words.en}{html.escape(f'；{said}' if said else '')}］</ins>"


def _allowed(named: str) -> str:
    return nh3.clean(
        named,
        tags=set(ALLOWED),
        clean_content_tags=set(_WITH_CONTENT),
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel=_REL,
        strip_comments=True,
    )
