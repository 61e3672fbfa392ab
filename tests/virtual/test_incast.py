"""Many senders, one receiver: what PFC saves, what is lost without it, and how much headroom is exactly enough."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from testbed.run.judgement import conclude
from testbed.sizes import LINE_OVERHEAD_BYTES
from tests.virtual.harness import (
    FULL_WIRE_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_trial,
    star,
)

SPAN_PORT = "border-b:eth2"


def drops_by_cause(report: Json) -> dict[tuple[str, str], int]:
    """Return the frames lost by port and cause, where there are any."""
    drops: dict[tuple[str, str], int] = {}
    for port, counters in report["ports"].items():
        for entry in counters["priorities"].values():
            for cause, count in entry["drops"].items():
                if count:
                    drops[port, cause] = drops.get((port, cause), 0) + count
    return drops


@pytest.mark.parametrize("payload", ["true", "false"])
def test_pfc_saves_every_frame(payload: str) -> None:
    trial = make_trial("incast", "incast", "workload.size=2M", f"workload.payload={payload}")
    outcome = run_trial(trial)
    result = conclude(trial, outcome, "virtual", 1, "testbed run")
    assert (result.exit_code, result.verdict.lossless) == (0, True)
    assert outcome.rows[0]["wrong"] == (0 if payload == "true" else None)
    assert drops_by_cause(outcome.report) == {}
    check_conservation(outcome.report)
    for sender in range(1, 9):
        assert priority(outcome.report, f"s{sender}:eth1")["paused_ns"] > 0
    # Each sender is served alike, and together they fill the receiver's link.
    goodputs = [flow["goodput_bps"] for flow in outcome.flows]
    assert len(goodputs) == 8 and min(goodputs) > 0.99 * max(goodputs)
    assert sum(goodputs) == pytest.approx(10**11 * 4096 / FULL_WIRE_BYTES, rel=0.01)


def test_without_pfc_frames_drop_at_the_tail() -> None:
    trial = make_trial("incast", "incast", "workload.size=2M", "lossless.pfc=false")
    outcome = run_trial(trial)
    result = conclude(trial, outcome, "virtual", 1, "testbed run")
    assert outcome.complete and outcome.rows[0]["wrong"] == 0  # go-back-N repairs what the network lost
    assert result.exit_code == 1 and not result.verdict.lossless and result.verdict.correct
    assert any("dropped for lack of buffer" in reason for reason in result.verdict.reasons)
    report = outcome.report
    check_conservation(report)
    lost = drops_by_cause(report)
    # Counted where they came in. A sender whose frames always come first at equal times may lose none.
    assert lost.keys() <= {(f"leaf:eth{port}", "buffer") for port in range(2, 10)} and len(lost) >= 6
    assert sum(lost.values()) == report["drops"]["lossless"] > 0
    assert result.drops.lossless == report["drops"]["lossless"]
    # What came in and was not dropped went out; and no queue outgrew its limit, nor stayed far below it.
    leaf = [
        entry for name, port in report["ports"].items() if name[:5] == "leaf:" for entry in port["priorities"].values()
    ]
    assert sum(entry["frames_rx"] for entry in leaf) - sum(lost.values()) == sum(entry["frames_tx"] for entry in leaf)
    assert all(entry["pause_tx"] == entry["pause_rx"] == 0 for entry in leaf)
    limit = trial.plan["nodes"][-1]["lossy_queue_bytes"]
    assert limit - FULL_WIRE_BYTES < priority(report, "leaf:eth1")["queue_bytes_max"] <= limit


def test_the_command_fails_without_pfc(run_testbed: Callable[..., CompletedProcess[str]], tmp_path: object) -> None:
    options = ["-t", "incast", "--clock", "virtual", "--format", "json", "--out", str(tmp_path)]
    completed = run_testbed("run", "incast", *options, "--set", "lossless.pfc=false")
    document = json.loads(completed.stdout)
    assert completed.returncode == 1
    assert document["drops"]["lossless"] > 0 and not document["verdict"]["lossless"]
    completed = run_testbed("run", "incast", *options, "--force")
    assert completed.returncode == 0 and json.loads(completed.stdout)["drops"]["lossless"] == 0


def incast_over_the_span(*overrides: str) -> tuple[Json, Json]:
    """Let both hosts of one site, and a neighbour, write to a host of the other; return plan and report."""
    ranks = "workload.ranks=[a1,a2,b2,b1]"
    trial = make_trial("two-dc", "incast", ranks, "workload.payload=false", "transport.window=64MiB", *overrides)
    return trial.plan, finish(loaded_fabric(trial, flows_to_last(3, 2**26)))


def test_a_span_needs_its_headroom() -> None:
    """A rack's headroom is enough everywhere but behind 80 km, and it is that port that drops."""
    _, report = incast_over_the_span("lossless.headroom=200KB")
    assert report["complete"] and report["drops"]["lossless"] > 0
    assert drops_by_cause(report) == {(SPAN_PORT, "headroom"): report["drops"]["lossless"]}
    check_conservation(report)


def test_derived_headroom_is_enough_for_a_span() -> None:
    plan, report = incast_over_the_span()
    assert report["complete"] and drops_by_cause(report) == {}
    check_conservation(report)
    border = next(node for node in plan["nodes"] if node["name"] == "border-b")
    assert border["ports"][1]["name"] == "eth2"
    # At least the round trip at line rate: 2 · 391.76 us · 12.5 GB/s.
    assert next(group for group in border["priority_groups"] if group["port"] == 1)["headroom_bytes"] > 9_794_000
    assert priority(report, SPAN_PORT)["pause_tx"] > 0


def eight_senders(delay: str, response: str, headroom: int | str) -> tuple[Json, Json]:
    delays = {f"s{number}": delay for number in range(1, 9)} | {"r1": "1us"}
    thresholds = [f"lossless.headroom={headroom}", "lossless.xoff=60KB", "lossless.xon=30KB"]
    settings = [f"lossless.response={response}", "transport.window=64MiB", "workload.payload=false"]
    trial = make_trial(star(delays), "incast", *thresholds, *settings)
    return trial.plan, finish(loaded_fabric(trial, flows_to_last(8, 20_000_000)))


@pytest.mark.parametrize("delay", ["1us", "100us"])
@pytest.mark.parametrize("response", ["auto", "0"])
def test_derived_headroom_is_tight(delay: str, response: str) -> None:
    """The smallest lossless headroom is what the run used, to the byte; the derived one is little above it.

    Runs are the same until a frame meets a full headroom, so what was used is enough and a byte less is not. Derived
    headroom counts the round trip in line time, while a buffer does not store preamble and gap, 20 bytes of each
    frame; and it allows for the longest frames beginning at the worst moments at both ends, of which two may not.
    """
    plan, report = eight_senders(delay, response, "auto")
    assert report["drops"]["lossless"] == 0
    derived = plan["nodes"][-1]["priority_groups"][0]["headroom_bytes"]
    used = max(priority(report, f"sw:eth{port}")["headroom_bytes_max"] for port in range(1, 9))
    longest = 4200 + 18
    assert 0 <= derived - used <= derived * LINE_OVERHEAD_BYTES / FULL_WIRE_BYTES + 2 * longest
    assert eight_senders(delay, response, used)[1]["drops"]["lossless"] == 0
    scant = eight_senders(delay, response, used - 1)[1]
    assert scant["drops"]["lossless"] > 0
    assert {cause for _, cause in drops_by_cause(scant)} == {"headroom"}
