"""The quick rows of the validation: what is measured is what a closed form, a paper or a standard says."""

import pytest

from validation.case import Case, Topic
from validation.topics import TOPICS

QUICK = [(topic, case) for topic in TOPICS for case in topic.cases if case.quick and case.held and topic.is_here]


@pytest.mark.parametrize(
    ("topic", "case"), QUICK, ids=[f"{topic.name}: {', '.join(case.labels)}" for topic, case in QUICK]
)
def test_row(topic: Topic, case: Case) -> None:
    row = topic.row(case)
    assert row.quantities() and not row.faults()
    # What is left to chance must not decide.
    for quantity in row.quantities():
        if quantity.tolerance is not None:
            assert row.measured.chance.get(quantity.key, 0) <= quantity.tolerance / 2 + 1e-12


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_has_a_quick_row(topic: Topic) -> None:
    assert any(case.quick and case.held for case in topic.cases)
