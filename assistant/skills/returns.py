"""What the deal's latest ROI calculation says; its figures come from there alone."""

from assistant.draft import Pen
from assistant.facts import AccountFacts
from domain.kernel import Text

MOST = 4
"""The results of a line."""


def returns(pen: Pen, facts: AccountFacts) -> list[str]:
    """The line of the calculation; none where nothing was calculated for the deal."""
    done = facts.calculation
    if done is None or not done.results:
        return []
    shown = done.evidence
    figures = [
        f"{pen.words(each.label)} {pen.figure(f'roi_{each.key}', each.label, each.value, each.unit, each.words, shown)}"
        for each in done.results[:MOST]
    ]
    at, listed = pen.date(done.at), pen.say("，", ", ").join(figures)
    version = pen.count("roi_version", Text("模型版本", "version of the model"), done.version, Text("", ""), shown)
    zh = f"按《{done.model}》第 {version} 版于 {at} 测算：{listed}。"
    en = f"By “{done.model}”, version {version}, on {at}: {listed}."
    return [pen.point(zh, en, shown)]
