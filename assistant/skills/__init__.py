"""The kinds of answers that the assistant can give: one file and one line each."""

from assistant.model import GenerationKind
from assistant.skills import objection_reply, reactivation_script, visit_brief
from assistant.skills.base import Skill

SKILLS: dict[GenerationKind, Skill] = {
    GenerationKind.VISIT_BRIEF: visit_brief.SKILL,
    GenerationKind.OBJECTION_REPLY: objection_reply.SKILL,
    GenerationKind.REACTIVATION_SCRIPT: reactivation_script.SKILL,
}

__all__ = ["SKILLS", "Skill"]
