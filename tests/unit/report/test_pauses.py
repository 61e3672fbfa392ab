"""The sentences that a report has for pauses: for roots with victims and out of the ordinary, and for all where a run failed."""

from typing import Any

import pytest

from testbed.report.pauses import ROOTS_SHOWN, roots_table, telling_roots
from testbed.run.execution import Outcome
from testbed.run.result import RunResult, assemble
from testbed.run.verdict import RunFacts
from tests.unit.report.test_report import measured, outcome, row, shown

Json = dict[str, Any]


def root(reason: str, at: str, victims: int = 0) -> Json:
    return {
        "reason": reason, "at": at, "priority": 3, "from_ps": 0, "to_ps": 9, "intervals": 1, "ports": ["x:eth1"],
        "paused_ps": 9, "victims": {"flows": victims, "listed": []}, "sentence": f"{at} was {reason}",
    }  # fmt: skip


def result(*roots: Json, wrong: int = 0) -> RunResult:
    graph = {"intervals": [], "omitted": 0, "unrecorded": 0, "unrecorded_ps": 0, "roots": list(roots)}
    facts = RunFacts("incast", 7, "virtual", 1, "testbed run", "incast", "direct", 3, root=0, pauses=graph)
    finished: Outcome = outcome([row(4096, "none", measured(1, 1, 1, wrong=wrong))], fidelity=None)
    return assemble(facts, finished)


@pytest.mark.parametrize(
    ("roots", "wrong", "told"),
    [
        ([root("incast", "sw:eth3")], 0, []),
        ([root("incast", "sw:eth3", victims=1)], 0, ["sw:eth3"]),
        ([root("slow receiver", "b1:eth1"), root("slow link", "sw:eth3")], 0, ["b1:eth1"]),
        ([root("slow link", "sw:eth3")], 5, ["sw:eth3"]),
    ],
)
def test_an_incast_that_harms_nobody_is_no_news(roots: list[Json], wrong: int, told: list[str]) -> None:
    of_run = result(*roots, wrong=wrong)
    assert [each.at for each in telling_roots(of_run)] == told
    assert ("pauses:" in shown(of_run)) is bool(told)


def test_sentences_come_below_the_verdict_and_only_so_many() -> None:
    roots = [root("storm", f"h{number}:eth1") for number in range(ROOTS_SHOWN + 2)]
    lines = shown(result(*roots)).splitlines()
    verdict = next(number for number, line in enumerate(lines) if line.startswith("PASSED"))
    assert [line.strip() for line in lines[verdict + 1 :]] == [
        *(f"- pauses: h{number}:eth1 was storm" for number in range(ROOTS_SHOWN)),
        "- pauses: 2 more roots in run.json",
    ]


def test_a_result_without_records_of_pauses_has_no_sentence() -> None:
    older = result().model_copy(update={"pauses": None})
    assert roots_table(older) is None and telling_roots(older) == []
