"""The sets of questions: every judgement names an entry that is there, and a figure below its threshold is told."""

from collections import Counter

import pytest

from bench.retrieval_sets import LANGUAGES, judged, missed
from knowledge.evaluation import Scores
from knowledge.text import Script, script_of

ASKED = {"zh": Script.ZH, "en": Script.EN, "zh_en": Script.ZH, "en_zh": Script.EN}


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_set_asks_each_question_once_in_its_language(name: str) -> None:
    found = judged(name)
    assert set(Counter(one.text for one in found.questions).values()) == {1}
    assert set(Counter(one.id for one in found.questions).values()) == {1}
    for one in found.questions:
        assert script_of(one.text) in {ASKED[name], Script.NEITHER}, one.text
        assert 0 < len(one.relevant) <= 5
        assert set(one.relevant.values()) <= {1, 2, 3}
        assert max(one.relevant.values()) > 1, f"nothing answers {one.text}"


def test_there_are_as_many_questions_as_the_thresholds_need() -> None:
    counts = {name: len(judged(name).questions) for name in LANGUAGES}
    assert counts["zh"] >= 150
    assert counts["en"] >= 80
    assert counts["zh_en"] + counts["en_zh"] >= 60


def test_what_falls_short_of_a_threshold_is_named() -> None:
    found = {"zh": Scores({"lexical": 0.6, "dense": 0.8, "hybrid": 0.79}, {}, {}, {})}
    least = {"ndcg@10": 0.7, "over the best single method": 1.015}
    assert missed(found, {"zh": least}) == ["zh: over the best single method is 0.988, at least 1.015 is wanted"]
    assert missed(found, {"zh": {"ndcg@10": 0.8, "over the best single method": 0.98}}) == [
        "zh: ndcg@10 is 0.790, at least 0.8 is wanted"
    ]
    assert missed(found, {"zh": {"ndcg@10": 0.79, "over the best single method": 0.98}}) == []
