"""The quick rows of the validation: what is measured is what a closed form, a paper or a standard says."""

import pytest

from validation.case import Case, Topic
from validation.sdr import PUBLISHED, Setting
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


@pytest.mark.parametrize(
    ("timeout", "loss", "slowdown"),
    [("14", 1e-6, 1.077), ("14", 1e-5, 1.665), ("14", 1e-2, 10.16), *(("3rtt", *row) for row in PUBLISHED.items())],
)
def test_the_model_of_sdr_rdma_comes_to_the_figures_of_others(timeout: str, loss: float, slowdown: float) -> None:
    """128 MiB at 400G over 25 ms in chunks of 64 KiB: the figures with exponent 14, and those of the paper with 3 RTT."""
    assert Setting(loss, timeout, 1).scheme.slowdown == pytest.approx(slowdown, rel=3e-3)


def test_a_shorter_timer_costs_less_and_none_at_all_least() -> None:
    costs = [Setting(1e-2, timeout, 1).scheme.slowdown for timeout in ("3rtt", "14", "")]
    assert costs == sorted(costs, reverse=True) and costs[-1] == pytest.approx(2.77, abs=0.005)
