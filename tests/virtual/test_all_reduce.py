"""The all-reduce under the virtual clock: right, lossless, repeatable, and as fast as its frames and its ring allow."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from testbed.run.judgement import conclude
from testbed.run.trial import Trial
from testbed.traffic import COLLECTIVES, Shape
from tests.virtual.harness import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    RETH_BYTES,
    Json,
    check_conservation,
    finish,
    loaded_fabric,
    make_trial,
    report_of,
    run_trial,
)

RANGE = ["workload.minbytes=64K", "workload.maxbytes=4M", "workload.stepfactor=8", "workload.in-place=true"]
LOSSY_SPAN = ["workload.size=4M", "transport.timeout=10"]


def two_dc(*overrides: str, loss: str = "0") -> Trial:
    """Return an all-reduce between two data centres, with loss in both directions of the span."""
    trial = make_trial("two-dc", "all_reduce", *overrides)
    span = trial.lab.links[-1].model_copy(update={"loss": (float(loss), float(loss))})
    return Trial(trial.experiment, trial.lab.model_copy(update={"links": (*trial.lab.links[:-1], span)}))


@pytest.mark.parametrize("lab", ["pair", "two-dc", "two-dc:hosts=4,length=300km", "clos", "clos:tiers=3"])
@pytest.mark.parametrize("datatype", ["float", "int32"])
def test_the_sum_is_right_and_no_frame_is_lost(lab: str, datatype: str) -> None:
    trial = make_trial(lab, "all_reduce", *RANGE, f"workload.datatype={datatype}")
    outcome = run_trial(trial)
    result = conclude(trial, outcome, "virtual", 1, "testbed run")
    assert (result.exit_code, result.verdict.reasons) == (0, [])
    assert result.verdict.lossless and result.verdict.correct and result.verdict.trusted
    assert [row.size_bytes for row in result.collective.rows] == [2**16, 2**19, 2**22]
    for row in result.collective.rows:
        assert row.in_place is not None and (row.wrong, row.in_place.wrong) == (0, 0)
    assert not any(outcome.report["drops"].values())
    check_conservation(outcome.report)
    assert all(qp["error"] is None and qp["retransmitted"] == 0 for qp in outcome.report["qps"])


def test_sizes_that_divide_into_nothing_even() -> None:
    """One element for eight ranks, and counts that leave every chunk and packet ragged."""
    for size in (4, 4 * 7, 4 * 8191):
        outcome = run_trial(make_trial("clos", "all_reduce", f"workload.size={size}", "workload.in-place=true"))
        assert outcome.complete and outcome.rows[0]["wrong"] == outcome.rows[0]["in_place"]["wrong"] == 0


@pytest.mark.parametrize("verb", ["write", "send"])
def test_the_sum_survives_loss(verb: str) -> None:
    trial = two_dc(*LOSSY_SPAN, f"transport.verb={verb}", "workload.in-place=true", loss="2e-3")
    outcome = run_trial(trial)
    result = conclude(trial, outcome, "virtual", 1, "testbed run")
    assert outcome.rows[0]["wrong"] == outcome.rows[0]["in_place"]["wrong"] == 0
    assert result.exit_code == 0 and result.verdict.lossless  # a link that corrupts frames is not a lack of buffer
    drops = outcome.report["drops"]
    assert drops["link"] > 0 and drops["lossless"] == drops["lossy"] == 0
    assert sum(qp["retransmitted"] for qp in outcome.report["qps"]) > 0
    check_conservation(outcome.report)


def test_the_same_seed_gives_the_same_run() -> None:
    """With loss and without, the whole document is the same; another seed loses other frames."""

    def document(seed: int, loss: str) -> Json:
        outcome = run_trial(two_dc(*LOSSY_SPAN, f"seed={seed}", loss=loss))
        assert outcome.complete and outcome.report["event_log_hash"] is not None
        return {"rows": outcome.rows, "flows": outcome.flows, "report": outcome.report}

    assert document(1, "0") == document(1, "0")
    lossy = document(1, "1e-3")
    assert lossy == document(1, "1e-3")
    other = document(2, "1e-3")
    assert other["report"]["event_log_hash"] != lossy["report"]["event_log_hash"]
    assert other["report"]["drops"]["link"] > 0


def test_the_command_repeats_itself(run_testbed: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    """From 1 to 64 MiB through the command line: nothing wrong, nothing lost, and the same log twice."""
    sizes = ["--minbytes", "1M", "--maxbytes", "64M", "--stepfactor", "4"]
    documents = []
    for out in ("first", "second"):
        options = ["-t", "two-dc", "--clock", "virtual", *sizes, "--format", "json", "--out", str(tmp_path / out)]
        completed = run_testbed("run", "all_reduce", *options)
        assert completed.returncode == 0, completed.stderr
        documents.append(json.loads(completed.stdout))
    rows = documents[0]["collective"]["rows"]
    assert [(row["size_bytes"], row["wrong"]) for row in rows] == [(2**n, 0) for n in (20, 22, 24, 26)]
    assert documents[0]["drops"]["lossless"] == 0 and documents[0]["verdict"]["passed"]
    assert documents[0]["event_log_hash"] == documents[1]["event_log_hash"] is not None


def test_the_budget_of_a_slice_changes_nothing() -> None:
    """However a run is sliced, and however often it is looked at, the same happens."""
    trial = two_dc("transport.timeout=10", loss="1e-3")
    schedule = COLLECTIVES["all_reduce"].schedule(Shape(4, 2**18))
    reports = [finish(loaded_fabric(trial, schedule), budget) for budget in (10**9, 4096, 997)]
    watched = loaded_fabric(trial, schedule)
    while not watched.advance(333):
        assert report_of(watched)["violations"] == []
    reports.append(report_of(watched))
    assert len({json.dumps(report, sort_keys=True) for report in reports}) == 1


def ring_time_ps(paths: Sequence[Sequence[int]], chunk_bytes: int) -> int:
    """Return how long a ring all-reduce takes if nothing but its data moves, at 100G on every link.

    `paths[r]` has the delays in ps of the links from rank r to the next. A chunk occupies the sender's line for `busy`,
    and is complete at the next rank after it crossed the delays and was stored and forwarded by every switch, which
    costs the longest packet once more for each (the first: it has the RETH). A rank starts to send a chunk when it has
    it and its line is free. It is finished when its last chunk has been acknowledged.
    """
    first = FULL_WIRE_BYTES + RETH_BYTES
    busy = (chunk_bytes // MTU * FULL_WIRE_BYTES + RETH_BYTES) * PS_PER_BYTE
    tail = [sum(path) + (len(path) - 1) * first * PS_PER_BYTE for path in paths]
    answer = [sum(path) + len(path) * ACK_WIRE_BYTES * PS_PER_BYTE for path in paths]
    ranks = range(len(paths))
    line_free, ready = [0 for _ in ranks], [0 for _ in ranks]
    for _ in range(2 * (len(paths) - 1)):
        line_free = [max(line_free[rank], ready[rank]) + busy for rank in ranks]
        ready = [line_free[rank - 1] + tail[rank - 1] for rank in ranks]
    return max(line_free[rank] + tail[rank] + answer[rank] for rank in ranks)


def ring_paths(trial: Trial, routes: Sequence[Sequence[str]]) -> list[list[int]]:
    delays = {frozenset((link.a.node, link.b.node)): link.delay_ps for link in trial.lab.links}
    return [[delays[frozenset(hop)] for hop in itertools.pairwise(route)] for route in routes]


PAIR = ["a1 leaf b1", "b1 leaf a1"]
TWO_DC = [
    "a1 leaf-a a2",
    "a2 leaf-a border-a border-b leaf-b b1",
    "b1 leaf-b b2",
    "b2 leaf-b border-b border-a leaf-a a1",
]


@pytest.mark.parametrize(
    ("lab", "routes"),
    [("pair", PAIR), ("pair:length=80km", PAIR), ("two-dc", TWO_DC), ("two-dc:length=1km", TWO_DC)],
)
@pytest.mark.parametrize("size_mib", [1, 16])
def test_the_time_is_that_of_its_frames(lab: str, routes: list[str], size_mib: int) -> None:
    """Nothing is faster than the frames allow, and only acknowledgements, one in 16 packets, come between them.

    Each step of the ring can meet those of one chunk on its way: at most 0.13 % of the time.
    """
    trial = make_trial(lab, "all_reduce", f"workload.size={size_mib}MiB", "transport.ack-every=16")
    outcome = run_trial(trial)
    paths = ring_paths(trial, [route.split() for route in routes])
    chunk = size_mib * 2**20 // len(paths)
    ideal = ring_time_ps(paths, chunk)
    acks = 2 * (len(paths) - 1) * (chunk // MTU // 16 + 1) * ACK_WIRE_BYTES * PS_PER_BYTE
    assert ideal <= round(outcome.rows[0]["time_us"] * 10**6) <= ideal + acks


def test_busbw_is_the_payload_rate_less_latency() -> None:
    """On two hosts a ring takes 2 steps of S/2, so busbw = S/t; at 64 MiB only headers and ACKs are missing."""
    outcome = run_trial(make_trial("pair", "all_reduce", "workload.size=64MiB"))
    payload_rate = 12.5 * MTU / FULL_WIRE_BYTES
    assert payload_rate * 0.998 < outcome.rows[0]["busbw_gbytes_per_s"] < payload_rate
