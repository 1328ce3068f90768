"""Exemplar media: the reference to a recording, video or document, the skill that it shows, and its transcript by the second."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from domain.kernel.errors import Invalid, Text

_BORDER = "---"
_FIELDS = ("type", "url", "attachment", "duration", "skill")
_FIELD = re.compile(r"([a-z]+)[ \t]*:(?:[ \t]+(.*?))?[ \t]*")
_TIME = re.compile(r"(\d{1,2}):([0-5]\d):([0-5]\d)")
_STAMP = re.compile(rf"\[{_TIME.pattern}\][ \t]*(.*)")
_LIKE_A_STAMP = re.compile(r"\[\d{1,2}\s*[:：]")
_SKILL = re.compile(r"[a-z][a-z0-9_]{0,59}")
_ATTACHMENT = re.compile(r"att_[0-9a-f]{32}")
_URL_LENGTH = 2000
_SAMPLES = {
    "skill": Text("须是小写字母开头的 key，例如 objection_handling", "must be a key such as objection_handling"),
    "duration": Text("须写成 00:18:40", "must be written as 00:18:40"),
    "attachment": Text("须是附件的 id，以 att_ 开头", "must be the id of an attachment, which begins with att_"),
    "url": Text("须是不带账号的 https 地址", "must be an https address without an account in it"),
}


class MediaType(StrEnum):
    """What is referred to."""

    RECORDING = "RECORDING"
    VIDEO = "VIDEO"
    DOCUMENT = "DOCUMENT"


@dataclass(frozen=True, slots=True)
class Moment:
    """What is said from one second on."""

    start_seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """One reference: an address or the id of an attachment, how long it runs, which skill it shows, what is said when."""

    type: MediaType
    url: str | None
    attachment: str | None
    duration_seconds: int | None
    skill: str
    moments: tuple[Moment, ...]


def read_media(body: str) -> Media:
    """The media of a body: fields between two lines of ---, then prose, in which lines such as [00:12:30] are the transcript.

    Raises Invalid, with the line or the field, for a field that is missing, unknown, doubled or malformed, both or neither of
    address and attachment, and moments out of order or after the end.
    """
    lines = body.splitlines()
    told = _front(lines)
    duration = _seconds(told["duration"]) if "duration" in told else None
    kind = _type(told)
    if duration is None and kind is not MediaType.DOCUMENT:
        raise _missing("duration")
    return Media(
        kind,
        told.get("url"),
        told.get("attachment"),
        duration,
        told["skill"],
        tuple(_checked(list(_moments(lines)), duration)),
    )


def front_length(lines: Sequence[str]) -> int:
    """How many lines of a body are the fields of media with their borders; 0 where it begins with something else."""
    if not lines or lines[0].rstrip() != _BORDER:
        return 0
    for at, line in enumerate(lines[1:], 1):
        if line.rstrip() == _BORDER:
            return at + 1
        found = _FIELD.fullmatch(line)
        if found is None or found[1] not in _FIELDS:
            return 0
    return 0


def started_at(body: str, passage: str) -> int | None:
    """The second at which a passage of a body begins: that of its first line, or of the last moment before it."""
    lines, opening = body.splitlines(), passage.lstrip()
    at = "\n".join(lines).find(opening)
    if at < 0 or (own := _STAMP.match(opening)):
        return _seconds_of(own) if at >= 0 and own else None
    before = [found for line in "\n".join(lines)[:at].split("\n") if (found := _STAMP.match(line))]
    if before:
        return _seconds_of(before[-1])
    first = next((found for line in opening.split("\n") if (found := _STAMP.match(line))), None)
    return _seconds_of(first) if first else None


# ---- fields ----------------------------------------------------------------------------------------------------------


def _front(lines: Sequence[str]) -> dict[str, str]:
    borders = [at for at, line in enumerate(lines) if line.rstrip() == _BORDER][:2]
    if borders[:1] != [0] or len(borders) == 1:
        zh, en = (
            "音像资料的正文须以两行 --- 之间的字段开头",
            "the body of media begins with fields between two lines of ---",
        )
        raise Invalid(Text(zh, en))
    told: dict[str, str] = {}
    for at in range(1, borders[1]):
        name, value = _field(lines[at], at + 1)
        if name in told:
            raise Invalid(Text(f"第 {at + 1} 行：“{name}”写了两次", f"line {at + 1}: “{name}” comes twice"), (name,))
        told[name] = value
    for name in ("type", "skill"):
        if name not in told:
            raise _missing(name)
    if ("url" in told) == ("attachment" in told):
        raise Invalid(Text("url 与 attachment 须填且只填一个", "give either url or attachment"), ("url",))
    return told


def _field(line: str, number: int) -> tuple[str, str]:
    found = _FIELD.fullmatch(line)
    if found is None or found[1] not in _FIELDS or not found[2]:
        known = ", ".join(_FIELDS)
        raise Invalid(
            Text(
                f"第 {number} 行不是“字段: 值”；字段有 {known}", f"line {number} is no “field: value”; fields: {known}"
            )
        )
    name, value = found[1], found[2]
    fits: dict[str, Callable[[str], object]] = {
        "skill": _SKILL.fullmatch,
        "duration": _TIME.fullmatch,
        "attachment": _ATTACHMENT.fullmatch,
        "url": _is_url,
    }
    if name in fits and not fits[name](value):
        sample = _SAMPLES[name]
        raise Invalid(Text(f"第 {number} 行：{name} {sample.zh}", f"line {number}: {name} {sample.en}"), (name,))
    return name, value


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return False
    plain = value.isprintable() and " " not in value and len(value) <= _URL_LENGTH
    return plain and parts.scheme == "https" and bool(host) and "@" not in parts.netloc


def _type(told: dict[str, str]) -> MediaType:
    try:
        return MediaType(told["type"].upper())
    except ValueError:
        known = ", ".join(kind.value.lower() for kind in MediaType)
        raise Invalid(Text(f"type 只能是 {known}", f"type is one of {known}"), ("type",)) from None


def _missing(name: str) -> Invalid:
    return Invalid(Text(f"缺少字段 {name}", f"the field {name} is missing"), (name,))


# ---- transcript ------------------------------------------------------------------------------------------------------


def _moments(lines: Sequence[str]) -> Iterator[tuple[int, Moment]]:
    """Each moment with the number of its line; a line without a stamp goes on with the one before, up to an empty line or heading."""
    number, start, said = 0, 0, list[str]()
    for at, line in enumerate([*lines, ""], 1):
        found = _STAMP.fullmatch(line.strip())
        if found is None and _LIKE_A_STAMP.match(line.strip()):
            raise Invalid(
                Text(f"第 {at} 行：时间须写成 [00:12:30]", f"line {at}: write the time as [00:12:30]"),
                ("transcript", str(at)),
            )
        if found or not line.strip() or line.startswith("#"):
            if number:
                yield number, Moment(start, " ".join(said).strip())
            number, start, said = (at, _seconds_of(found), [found[4]]) if found else (0, 0, [])
        elif number:
            said.append(line.strip())


def _checked(moments: list[tuple[int, Moment]], duration: int | None) -> Iterator[Moment]:
    last = -1
    for number, moment in moments:
        path = ("transcript", str(number))
        if not moment.text:
            raise Invalid(Text(f"第 {number} 行：时间后没有文字", f"line {number}: no words after the time"), path)
        if moment.start_seconds <= last:
            raise Invalid(Text(f"第 {number} 行：时间没有往后走", f"line {number}: the time does not go on"), path)
        if duration is not None and moment.start_seconds > duration:
            raise Invalid(Text(f"第 {number} 行：时间超过总时长", f"line {number}: the time is after the end"), path)
        last = moment.start_seconds
        yield moment


def _seconds(written: str) -> int:
    hours, minutes, seconds = (int(part) for part in written.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _seconds_of(stamp: re.Match[str]) -> int:
    return int(stamp[1]) * 3600 + int(stamp[2]) * 60 + int(stamp[3])
