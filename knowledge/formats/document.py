"""One entry as a file holds it: its fields by name, read from whatever a format gives and written the same way by all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any

from domain.kernel import Invalid, Language, Role, Text
from knowledge.content import Content, Facets
from knowledge.model import KnowledgeKind

ID_LENGTH, WORDS_LENGTH = 300, 1_000
EARLIEST, LATEST = 1970, 2200
UNKEPT = re.compile("[\x00\ud800-\udfff]")
"""What no database stores: NUL and half characters."""
FACETS = tuple(Facets().lists())
DATES = ("effective_from", "expires_at", "review_at")
WORDS = ("origin", "source", "licence", "owner")
LISTS = frozenset({*FACETS, "audience"})
FIELDS = (
    "id",
    "origin",
    "kind",
    "language",
    "title",
    *FACETS,
    *DATES,
    "source",
    "licence",
    "owner",
    "audience",
    "shareable",
    "body",
)
"""The fields in the order in which they are written."""
TOLD = frozenset({"state", "version"})
"""What an export tells of an entry and an import does not take: every import begins with a review."""
ALIASES = {
    "编号": "id", "出处": "origin", "类型": "kind", "种类": "kind", "语言": "language", "标题": "title", "正文": "body", "内容": "body", "顾虑": "concerns", "异议": "concerns",
    "阶段": "stages", "角色": "roles", "行业": "industries", "竞品": "competitors", "竞争对手": "competitors", "区域": "regions", "生效日期": "effective_from",
    "失效日期": "expires_at", "到期日期": "expires_at", "复核日期": "review_at", "来源": "source", "许可": "licence", "负责人": "owner", "受众": "audience",
    "可对外": "shareable", "license": "licence",
}  # fmt: skip
KINDS = {kind.value.lower(): kind for kind in KnowledgeKind} | {
    "话术": KnowledgeKind.TALK_TRACK, "应答知识": KnowledgeKind.OBJECTION_RESPONSE, "案例": KnowledgeKind.CASE_STUDY, "case": KnowledgeKind.CASE_STUDY,
    "竞品卡": KnowledgeKind.BATTLECARD, "打法": KnowledgeKind.PLAYBOOK, "剧本": KnowledgeKind.PLAYBOOK, "常见问题": KnowledgeKind.FAQ, "政策": KnowledgeKind.POLICY,
    "产品资料": KnowledgeKind.PRODUCT_SHEET, "音像资料": KnowledgeKind.MEDIA, "投入产出模型": KnowledgeKind.ROI_MODEL,
}  # fmt: skip
LANGUAGES = {"zh": Language.ZH, "中文": Language.ZH, "en": Language.EN, "英文": Language.EN}
TRUTHS = {
    "true": True,
    "yes": True,
    "1": True,
    "是": True,
    "false": False,
    "no": False,
    "0": False,
    "否": False,
    "": False,
}
_HAN, _LATIN = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Audience:
    """One of those whom an entry is addressed to, by the keys of role, territory and brand."""

    role: Role | None = None
    territory: str | None = None
    brand: str | None = None

    def told(self) -> dict[str, str]:
        """The keys that are named."""
        found = {"role": self.role and self.role.value, "territory": self.territory, "brand": self.brand}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Document:
    """One entry as a file holds it; the body is Markdown."""

    id: str
    kind: KnowledgeKind
    language: Language
    content: Content
    origin: str | None = None
    source: str | None = None
    licence: str | None = None
    owner: str | None = None
    audience: tuple[Audience, ...] = ()
    shareable: bool = False

    def told(self) -> dict[str, Any]:
        """The fields as a file says them; what is empty is left out."""
        content = self.content
        dates = {name: value.astimezone(UTC).isoformat() if value else None for name, value in content.dates.items()}
        found: dict[str, Any] = {
            "id": self.id, "origin": self.origin, "kind": self.kind.value, "language": self.language.value, "title": content.title, "source": self.source,
            "licence": self.licence, "owner": self.owner, "audience": [one.told() for one in self.audience], "shareable": self.shareable or None,
            "body": content.body,
        } | content.facets.lists() | dates  # fmt: skip
        return {name: found[name] for name in FIELDS if found[name] not in (None, [], "")}


@dataclass(frozen=True, slots=True)
class Found:
    """What one place of a file said: a document, or why there is none; and fields that feed nothing."""

    place: str
    document: Document | None = None
    refused: Invalid | None = None
    unused: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    """What stood there, kept with a refusal."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a file does not say it."""

    kind: KnowledgeKind | None = None
    language: Language | None = None
    owner: str | None = None
    source: str | None = None
    licence: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def read_document(told: Mapping[str, Any], place: str, defaults: Defaults) -> Found:
    """The document that named values make; a language that nobody names is told by the letters.

    Where something is missing or cannot be, the refusal names the field.
    """
    values = {field_name(str(name)): value for name, value in told.items() if value is not None and value != ""}
    unused = tuple(sorted(values.keys() - set(FIELDS) - TOLD))
    try:
        return Found(place, _document(dict(defaults.values) | values, defaults), unused=unused)
    except Invalid as error:
        return Found(place, refused=error, unused=unused, told=values)
    except (ValueError, OverflowError, RecursionError) as error:
        words = Text(f"无法读取（{type(error).__name__}）", f"cannot be read ({type(error).__name__})")
        return Found(place, refused=Invalid(words), unused=unused)


def field_name(name: str) -> str:
    """The field that a column or key means."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return ALIASES.get(plain, plain)


def _document(values: Mapping[str, Any], defaults: Defaults) -> Document:
    title, body = _words(values, "title", whole=True), _words(values, "body", whole=True)
    if title is None:
        raise _wrong("title", "缺少标题", "absent")
    if body is None:
        raise _wrong("body", "缺少正文", "absent")
    id = _words(values, "id")
    if id is None:
        raise _wrong("id", "缺少编号", "absent")
    facets = Facets(**{name: _list(values, name) for name in FACETS})
    dates = {name: _date(values, name) for name in DATES}
    content = Content(title, body, facets, **dates).checked()
    words = {name: _words(values, name) for name in WORDS}
    document = Document(
        id, _kind(values, defaults), _language(values, defaults, f"{title}\n{body}"), content, audience=_audience(values.get("audience")),
        shareable=_truth(values.get("shareable", "")), **words,
    )  # fmt: skip
    return replace(
        document,
        owner=document.owner or defaults.owner,
        source=document.source or defaults.source,
        licence=document.licence or defaults.licence,
    )


def _wrong(name: str, zh: str, en: str) -> Invalid:
    return Invalid(Text(f"{name}：{zh}", f"{name}: {en}"), (name,))


def _words(values: Mapping[str, Any], name: str, *, whole: bool = False) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        raise _wrong(name, "应为文本", "should be a text")
    text = _kept(name, str(value))
    if not whole and len(text) > (ID_LENGTH if name == "id" else WORDS_LENGTH):
        raise _wrong(name, "过长", "too long")
    return text if text.strip() else None


def _kept(name: str, text: str) -> str:
    if UNKEPT.search(text):
        raise _wrong(name, "含有无法保存的字符", "holds characters that no text has")
    return text


def _list(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = values.get(name, ())
    if isinstance(value, str):
        return tuple(dict.fromkeys(part.strip() for part in re.split(r"[;；|、]", value) if part.strip()))
    if not isinstance(value, (list, tuple)) or any(isinstance(one, (dict, list)) for one in value):
        raise _wrong(name, "应为列表", "should be a list")
    return tuple(_kept(name, str(one)) for one in value if str(one).strip())


def _date(values: Mapping[str, Any], name: str) -> datetime | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise _wrong(name, f"“{value}”不是日期（如 2026-03-02）", f"“{value}” is no date such as 2026-03-02") from error
    if not EARLIEST <= found.year < LATEST:
        raise _wrong(
            name, f"“{value}”不在 {EARLIEST}–{LATEST} 年之间", f"“{value}” is not between {EARLIEST} and {LATEST}"
        )
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _kind(values: Mapping[str, Any], defaults: Defaults) -> KnowledgeKind:
    value = values.get("kind")
    if value is None:
        if defaults.kind is None:
            raise _wrong("kind", "文件没有写明种类，请用 --kind 指定", "the file names none: say --kind")
        return defaults.kind
    found = KINDS.get(str(value).strip().lower())
    if found is None:
        known = "、".join(kind.value for kind in KnowledgeKind)
        raise _wrong("kind", f"未知种类“{value}”；可用：{known}", f"unknown “{value}”; there are: {known}")
    return found


def _language(values: Mapping[str, Any], defaults: Defaults, text: str) -> Language:
    value = values.get("language")
    if value is not None:
        found = LANGUAGES.get(str(value).strip().lower()[:2])
        if found is None:
            raise _wrong("language", f"“{value}”不是 zh 或 en", f"“{value}” is neither zh nor en")
        return found
    if defaults.language is not None:
        return defaults.language
    return Language.ZH if len(_HAN.findall(text)) * 2 > len(_LATIN.findall(text)) else Language.EN


def _audience(value: Any) -> tuple[Audience, ...]:
    """Each of them as an object of keys, or as `role=REP,territory=east_china`; several are parted by semicolons."""
    if value is None or value == "":
        return ()
    parts = re.split(r"[;；]", value) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise _wrong("audience", "应为列表", "should be a list")
    found = []
    for part in parts:
        named = part if isinstance(part, Mapping) else _pairs(str(part))
        if (
            not named
            or any(not isinstance(one, str | None) for one in named.values())
            or named.keys() - {"role", "territory", "brand"}
        ):
            raise _wrong(
                "audience", f"“{part}”应写作 role=REP,territory=…", f"“{part}” should read role=REP,territory=…"
            )
        try:
            role = Role(str(named["role"]).strip()) if named.get("role") else None
        except ValueError as error:
            raise _wrong("audience", f"没有角色“{named['role']}”", f"there is no role “{named['role']}”") from error
        found.append(Audience(role, named.get("territory") or None, named.get("brand") or None))
    return tuple(found)


def _pairs(words: str) -> dict[str, str]:
    pairs = [one.partition("=") for one in words.split(",") if one.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise _wrong("shareable", f"“{value}”应为 是 或 否", f"“{value}” should be true or false")
    return found
