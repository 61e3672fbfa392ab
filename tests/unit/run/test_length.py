"""How long a run takes at least, against closed forms and against runs."""

import pytest

from testbed.contract.plan import Plan
from testbed.lab.ranks import Rank
from testbed.run import perform
from testbed.run.length import of_schedule
from testbed.traffic import Calc, RankSchedule, Recv, Schedule, Send
from tests.virtual.harness import make_trial, star

PS = 80
"""Of a byte at 100G."""


def plan(*rates_bps: int) -> Plan:
    nodes = [
        {"kind": "host", "name": name, "ports": [{"rate_bps": rate} for rate in rates_bps]} for name in ("a", "b", "c")
    ]
    return {"nodes": nodes}  # type: ignore[typeddict-item, return-value]


def test_the_host_counts_that_moves_most_of_all_ports_together() -> None:
    send = RankSchedule(0, (Send(2, 0, 1000, 0),))
    receive = RankSchedule(0, (Recv(0, 0, 1000), Recv(1, 0, 1000)))
    ranks = [Rank("a", 0), Rank("b", 0), Rank("c", 0)]
    assert of_schedule(Schedule((send, send, receive)), ranks, plan(10**11)) == 2000 * PS
    assert of_schedule(Schedule((send, send, receive)), ranks, plan(10**11, 10**11)) == 1000 * PS


def test_what_stays_on_a_host_is_not_sent_and_a_calculation_counts() -> None:
    send = RankSchedule(0, (Send(1, 0, 10**6, 0), Calc(700), Calc(50)))
    receive = RankSchedule(0, (Recv(0, 0, 10**6),))
    assert of_schedule(Schedule((send, receive)), [Rank("a", 0), Rank("a", 1)], plan(10**11)) == 750


@pytest.mark.parametrize(
    ("what", "settings", "least_ps"),
    [
        ("sendrecv", ("workload.size=1MB",), 10**6 * PS),
        ("sendrecv", ("workload.size=1MB", "workload.iterations=3"), 3 * 10**6 * PS),
        ("all_reduce", ("workload.size=1MB", "workload.iterations=2"), 4 * 10**6 * PS),
    ],
)
def test_no_run_takes_less(what: str, settings: tuple[str, ...], least_ps: int) -> None:
    trial = make_trial(star({"a": "1us", "b": "1us"}), what, *settings, "workload.payload=false")
    assert trial.least_ps() == least_ps
    outcome = perform.run_virtual(trial, None, lambda progress: None)
    assert outcome.report["now_ps"] >= least_ps
