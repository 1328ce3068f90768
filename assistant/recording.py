"""The finished answer as rows: sections, citations, figures, checks and the prompt, under one disposition."""

import hashlib
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select

from assistant import checks, prompts
from assistant.checks import SUPPORT_FULL, Checked
from assistant.draft import Draft, Evidence, Section, Source
from assistant.model import (
    FINANCE_SECTIONS,
    Citation,
    CitationVerdict,
    Disposition,
    Generation,
    GenerationCheck,
    GenerationFigure,
    GenerationPerson,
    GenerationSection,
    PromptVersion,
)
from assistant.numbers import CITATION, LIST_MARK
from assistant.skills import Skill
from domain.kernel import UnitOfWork

QUOTE_LENGTH = 500
HEADING = re.compile(r"#{1,6}\s")


async def open_generation(uow: UnitOfWork, generation_id: UUID) -> Generation:
    """The generation, held until this unit of work ends."""
    return (
        await uow.session.execute(select(Generation).where(Generation.id == generation_id).with_for_update())
    ).scalar_one()


async def persons_of(uow: UnitOfWork, generation_id: UUID) -> list[UUID]:
    """The people whom an answer's facts name: the ledger seals what is noted of it under their keys."""
    named = select(GenerationPerson.contact_id).where(GenerationPerson.generation_id == generation_id)
    return list((await uow.session.execute(named)).scalars())


async def store_sections(uow: UnitOfWork, generation_id: UUID, checked: Checked) -> None:
    """Store the sections that are not there yet."""
    there = set(
        (
            await uow.session.execute(
                select(GenerationSection.position).where(GenerationSection.generation_id == generation_id)
            )
        ).scalars()
    )
    rows = [
        section_row(uow, generation_id, position, section)
        for position, section in enumerate(checked.sections)
        if position not in there
    ]
    uow.session.add_all(rows)


def section_row(uow: UnitOfWork, generation_id: UUID, position: int, section: Section) -> GenerationSection:
    """One section as it is stored."""
    return GenerationSection(
        id=uow.new_id(), generation_id=generation_id, position=position, key=section.key, heading=section.heading, body=section.body, missing=section.missing
    )  # fmt: skip


def settle(generation: Generation, skill: Skill, checked: Checked) -> None:
    """What becomes of the answer: nothing left to say abstains, what addresses a customer waits for its release."""
    there = {section.key for section in checked.sections if not section.missing}
    if not there:
        generation.disposition = Disposition.ABSTAINED
    else:
        generation.disposition = Disposition.NEEDS_APPROVAL if skill.addresses_customer else Disposition.AUTO_RELEASED
    generation.in_legal_queue = generation.in_finance_queue = skill.queued_by in there


async def store_parts(uow: UnitOfWork, generation: Generation, draft: Draft, checked: Checked) -> None:
    """Store everything but the sections: the sources that are still cited, figures and checks."""
    if (
        generation.prompt_version is not None
        and await uow.session.get(PromptVersion, generation.prompt_version) is None
    ):
        uow.session.add(
            PromptVersion(id=generation.prompt_version, body=prompts.prompt_body("system").body, stored_at=uow.now)
        )
    said = uses_of(checked)
    finance = {number for number, uses in said.items() if any(key in FINANCE_SECTIONS for key, _ in uses)}
    for number, uses in sorted(said.items()):
        sentences = [sentence for _, sentence in uses]
        uow.session.add(
            _citation(
                uow,
                generation.id,
                number,
                draft.sources[number],
                sentences,
                checked.support.get(number, 0.0),
                number in finance,
            )
        )
    uow.session.add_all(_rows(uow, generation.id, said.keys(), checked))


def uses_of(checked: Checked) -> dict[int, list[tuple[str, str]]]:
    """What is said with each citation number: the section's key and the sentence."""
    said: dict[int, list[tuple[str, str]]] = {}
    for section in checked.sections:
        for line in section.body.split("\n") if not section.missing else ():
            for sentence in checks.sentences(line):
                for number in CITATION.findall(sentence):
                    said.setdefault(int(number), []).append((section.key, sentence))
    return said


def _citation(
    uow: UnitOfWork, generation_id: UUID, number: int, source: Source, said: list[str], support: float, supports_finance: bool
) -> Citation:  # fmt: skip
    record = source.record if isinstance(source, Evidence) else None
    quote = source.text if isinstance(source, Evidence) else nearest_sentence(source.text, said)
    return Citation(
        id=uow.new_id(), generation_id=generation_id, number=number, quote=quote, quote_hash=hashlib.sha256(quote.encode()).hexdigest(),
        verdict=CitationVerdict.SUPPORTED if support >= SUPPORT_FULL else CitationVerdict.PARTIAL, supports_finance_sections=supports_finance,
        item_id=None if isinstance(source, Evidence) else source.item_id, item_version=None if isinstance(source, Evidence) else source.version,
        record_kind=record.kind if record else None, record_id=record.id if record else None, as_of=source.as_of if isinstance(source, Evidence) else None,
    )  # fmt: skip


def nearest_sentence(text: str, said: list[str]) -> str:
    """The sentence of a source that is nearest to anything that was said with its number, word for word."""
    lines = [line for line in text.split("\n") if not HEADING.match(line)]
    candidates = [
        LIST_MARK.sub("", sentence).strip()[:QUOTE_LENGTH] for line in lines for sentence in checks.sentences(line)
    ]
    words = [checks.words_of(sentence) for sentence in said]

    def nearness(candidate: str) -> tuple[float, int]:
        known = checks.words_of(candidate)
        return max((len(each & known) / len(each) for each in words if each), default=0.0), len(candidate)

    return max(candidates, key=nearness, default=text[:QUOTE_LENGTH])


def _rows(uow: UnitOfWork, generation_id: UUID, used: Any, checked: Checked) -> Iterator[Any]:
    for position, figure in enumerate(checked.figures):
        yield GenerationFigure(
            id=uow.new_id(), generation_id=generation_id, position=position, section_key=figure.section_key, key=figure.key, label=figure.label,
            value=_plain(figure.value), unit=figure.unit, citation=figure.citation if figure.citation in used else None,
        )  # fmt: skip
    for position, result in enumerate(checked.results):
        yield GenerationCheck(
            id=uow.new_id(),
            generation_id=generation_id,
            position=position,
            key=result.key,
            passed=result.passed,
            detail=result.detail,
        )


def _plain(value: Decimal) -> str:
    return f"{value:f}"
