"""The words of an answer that its customer is to read, and how they are told from every other text."""

import hashlib
import re
from collections.abc import Sequence

from assistant.model import Generation, GenerationSection
from assistant.numbers import CITATION
from assistant.skills import SKILLS
from domain.kernel import Text

SUBJECT_LENGTH = 200
LABELLED = Text("（本消息由 AI 辅助起草，经人工审核后发送）", "(Drafted with the help of AI and released by a person.)")
"""What tells the reader how the words came about: China's labelling rules of September 2025 ask for it."""
_SUBJECT = re.compile(r"^(?:主题|Subject)\s*[:：]\s*(?P<subject>.+?)\n+", re.IGNORECASE)


def content_digest(sections: Sequence[GenerationSection]) -> str:
    """The SHA-256 of an answer's words as the ledger notes it: another word is another digest."""
    return hashlib.sha256("\n".join(section.body for section in sections).encode()).hexdigest()


def customer_words(generation: Generation, sections: Sequence[GenerationSection]) -> str:
    """The words that the customer is to read: the sections meant for them, without the numbers of sources, and how they came about.

    Empty where no such section was written.
    """
    plans = {plan.key for plan in SKILLS[generation.kind].sections if plan.addressed}
    bodies = [section.body for section in sections if section.key in plans and not section.missing]
    if not bodies:
        return ""
    words = re.sub(rf"\s*{CITATION.pattern}", "", "\n\n".join(bodies))
    return f"{words.strip()}\n\n{LABELLED.words(generation.language)}"


def split_subject(words: str) -> tuple[str, str]:
    """The subject line with which an e-mail's words begin, and the rest; an empty subject where there is none."""
    found = _SUBJECT.match(words)
    return ("", words) if found is None else (found["subject"].strip()[:SUBJECT_LENGTH], words[found.end() :])
