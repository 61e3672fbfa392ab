"""A link between switches that fails while a collective runs: routes converge, and the collective completes."""

import json
from typing import Any

import pytest

from testbed import topologies
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude
from testbed.run.trial import Trial
from tests.virtual.harness import check_conservation, make_trial, priority, run_trial

CLOS = "clos:spines=2,leaves=2,hosts=2"
DOWN = {"at": "100us", "link": "leaf1:eth3", "impair": {"down": True}}


def trial(*entries: dict[str, Any], size: str = "4MiB", lab: Any = CLOS) -> Trial:
    settings = (f"workload.size={size}", "workload.in-place=false", f"timeline={json.dumps(entries)}")
    return make_trial(lab, "all_to_all", *settings)


def converging(time: str) -> dict[str, Any]:
    data: dict[str, Any] = topologies.generate("clos", {"spines": "2", "leaves": "2", "hosts": "2"})
    data["topology"]["routing"] = {"convergence": time}
    return data


def lost(outcome: Outcome) -> dict[str, int]:
    return {cause: count for cause, count in outcome.report["drops"].items() if count}


def sent(outcome: Outcome, port: str) -> int:
    frames: int = priority(outcome.report, port)["frames_tx"]
    return frames


@pytest.mark.parametrize(
    "entry",
    [DOWN, {"at": "100us", "node": "spine1", "impair": {"down": True}}],
    ids=["link", "switch"],
)
def test_a_spine_that_is_lost_for_good_costs_outage_drops_alone(entry: dict[str, Any]) -> None:
    subject = trial(entry)
    outcome = run_trial(subject)
    assert outcome.complete and lost(outcome).keys() == {"outage"}
    check_conservation(outcome.report)
    assert conclude(subject, outcome, "virtual", 1, "testbed run").verdict.passed
    whole = run_trial(trial())
    assert sent(outcome, "spine1:eth1") + sent(outcome, "spine1:eth2") < sent(whole, "spine1:eth1")
    assert sent(outcome, "spine2:eth1") > sent(whole, "spine2:eth1")
    rerouted = [row for row in outcome.impairments if "rerouted" in row["set"]]
    assert [(row["at_ns"], row["label"]) for row in rerouted] == [(1.1e6, "routes after timeline[0]")]


def test_it_does_not_complete_where_tables_never_change() -> None:
    """The same failure without convergence: flows of the lost spine give up, so it is the tables that save them."""
    assert not run_trial(trial(DOWN, size="2MiB", lab=converging("never"))).complete


def test_flows_on_the_other_spine_stay_where_they_are() -> None:
    """Frames of flows that took spine 2 before the failure lose nothing and are sent once."""
    outcome, whole = run_trial(trial(DOWN)), run_trial(trial())
    assert outcome.complete
    hit = {(row["a"], row["b"]) for row in outcome.report["qps"] if row["retransmitted"]}
    spared = {(row["a"], row["b"]) for row in outcome.report["qps"] if not row["retransmitted"]}
    assert hit and {("h1", "h2"), ("h2", "h1"), ("h3", "h4"), ("h4", "h3")} < spared
    across = {pair for pair in spared if (pair[0] in ("h1", "h2")) != (pair[1] in ("h1", "h2"))}
    assert across, "some flows across took spine 2"
    assert not any(row["retransmitted"] for row in whole.report["qps"])


def test_the_spine_is_used_again_once_its_link_is_back() -> None:
    outcome = run_trial(trial({**DOWN, "for": "500us"}, lab=converging("100us")))
    assert outcome.complete and lost(outcome).keys() == {"outage"}
    rows = [row["at_ns"] for row in outcome.impairments if "rerouted" in row["set"]]
    assert rows == [2e5, 7e5]
    assert sent(outcome, "spine1:eth1") > sent(run_trial(trial(DOWN, lab=converging("100us"))), "spine1:eth1")


def test_a_run_with_a_failure_is_as_repeatable_as_any() -> None:
    first, second = run_trial(trial(DOWN)), run_trial(trial(DOWN))
    assert first.report["event_log_hash"] == second.report["event_log_hash"]
