"""Messages of any size: cut at what a connection carries, and as fast and as right as if they were whole."""

import pytest

from testbed.plan import ops
from testbed.traffic import ALGORITHMS
from tests.virtual.harness import check_conservation, make_trial, run_trial

LENGTHS = "workload.payload=false"


def test_a_message_of_four_gibibytes_takes_its_time_on_the_line() -> None:
    trial = make_trial("incast:senders=1,rate=400G", "incast", LENGTHS, "workload.size=4G")
    outcome = run_trial(trial)
    assert outcome.complete
    assert outcome.rows[0]["busbw_gbytes_per_s"] == pytest.approx(49.02, abs=0.005)
    assert [flow["bytes"] for flow in outcome.flows] == [2**32]
    assert outcome.report["ports"]["s1:eth1"]["priorities"]["3"]["frames_tx"] == 2**32 // 4096
    check_conservation(outcome.report)


CASES = [(collective, name) for collective, algorithms in ALGORITHMS.items() for name in algorithms]


@pytest.mark.parametrize(("collective", "algorithm"), CASES)
def test_results_are_right_whatever_messages_are_cut_at(
    collective: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that are no multiple of elements, packets or parts; a rank may wait for all of a message, never for a part."""
    monkeypatch.setattr(ops, "LONGEST_MESSAGE_BYTES", 5001)
    algorithms = [f"workload.algorithm={algorithm}", "workload.size=64K", "workload.slice=24K"]
    outcome = run_trial(make_trial("pair" if collective == "incast" else "two-dc:length=1km", collective, *algorithms))
    assert outcome.complete
    for row in outcome.rows:
        assert not row["wrong"] and not (row["in_place"] or {}).get("wrong")
    check_conservation(outcome.report)


def test_each_piece_of_a_message_finds_a_receive_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "LONGEST_MESSAGE_BYTES", 10_000)
    posted = ("transport.verb=send", "transport.receive-queue=posted", "transport.recovery=selective-repeat")
    trial = make_trial("two-dc:length=1km", "all_reduce", "workload.size=1M", "workload.late={b1: 20us}", *posted)
    outcome = run_trial(trial)
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
