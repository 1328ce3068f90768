"""The prompts: rules from a file, the drafted sections, and the numbered sources as passages: data that nothing in it can leave."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from assistant.draft import Draft
from assistant.language_model import Prompt
from domain.kernel import Language
from knowledge.hygiene import defused, neutral

PROMPT_FILES = Path(__file__).parent / "prompt_files"
MAX_OUTPUT_TOKENS = 4_000


@dataclass(frozen=True, slots=True)
class PromptBody:
    """One prompt as it stands in its file; its version is the key and the hash of the body."""

    key: str
    body: str

    @property
    def version(self) -> str:
        """key@first twelve digits of the body's SHA-256."""
        return f"{self.key}@{hashlib.sha256(self.body.encode()).hexdigest()[:12]}"


@cache
def prompt_body(key: str) -> PromptBody:
    """The prompt of a key."""
    return PromptBody(key, (PROMPT_FILES / f"{key}.md").read_text(encoding="utf-8"))


def render(draft: Draft, ask_words: str | None, body: PromptBody) -> tuple[str, str]:
    """The system and user text for rewording a draft: what was asked, the draft by section, and the sources as data."""
    language = "Chinese (simplified)" if draft.language is Language.ZH else "English"
    system = body.body.replace("{language}", language)
    written = [
        {"key": section.key, "heading": section.heading, "draft": defused(section.body)}
        for section in draft.sections
        if not section.missing
    ]
    sources = [{"number": number, "text": neutral(source.text)} for number, source in draft.sources.items()]
    figures = [
        {
            "section": figure.section_key,
            "label": defused(figure.label),
            "value": str(figure.value),
            "unit": figure.unit,
            "source": figure.citation,
        }
        for figure in draft.figures
    ]
    user = "\n".join((
        "<asked>", defused(ask_words or ""), "</asked>",
        "<draft>", _json(written), "</draft>",
        "<figures>", _json(figures), "</figures>",
        "<sources>", _json(sources), "</sources>",
    ))  # fmt: skip
    return system, user


def schema_for(draft: Draft) -> dict[str, Any]:
    """The JSON schema of the answer: the sections that the draft has, each with its text."""
    keys = [section.key for section in draft.sections if not section.missing]
    section = {
        "type": "object",
        "properties": {"key": {"type": "string", "enum": keys}, "body": {"type": "string"}},
        "required": ["key", "body"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"sections": {"type": "array", "items": section, "minItems": 1, "maxItems": len(keys)}},
        "required": ["sections"],
        "additionalProperties": False,
    }


def prompt_for(system: str, user: str, schema: dict[str, Any]) -> Prompt:
    """The prompt as the language model takes it."""
    return Prompt(system=system, user=user, schema=schema, max_output_tokens=MAX_OUTPUT_TOKENS)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
