"""run.json: what it holds, the verdict, and the exit code."""

import copy
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.errors import HostError, InputError, UsageError
from testbed.experiment.expectations import Outcome as Checked
from testbed.run.execution import Outcome
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from testbed.run.result import SCHEMA, assemble, read, replay_command, write
from testbed.run.result import schema as result_schema
from testbed.run.verdict import RunFacts

FACTS = RunFacts(
    lab="two-dc", seed=7, clock="virtual", dilation=1, replay="testbed run all_reduce -t two-dc --seed 7",
    collective="all_reduce", algorithm="ring", ranks=4,
)  # fmt: skip
REAL = RunFacts(
    lab="two-dc", seed=7, clock="real", dilation=1000, replay="testbed run",
    collective="all_reduce", algorithm="ring", ranks=4,
)  # fmt: skip

MEASURED = {"time_us": 3105.2, "algbw_gbytes_per_s": 0.34, "busbw_gbytes_per_s": 0.51, "wrong": 0}
FIDELITY = {
    "lateness_ns": {"p50": 12, "p99": 900, "max": 4100},
    "socket_drops": 0,
    "held_share": 0.01,
    "cpu_share": 0.4,
    "overflow": 0,
}
COUNTERS = {
    "frames_tx": 1000, "frames_rx": 900, "bytes_tx": 4_200_000,
    "drops": {"headroom": 0, "buffer": 0, "link": 0, "outage": 0, "watchdog": 0, "receiver": 0, "malformed": 0},
    "pause_tx": 4, "pause_rx": 0, "paused_ns": 0, "credit_tx": 0, "credit_rx": 0, "credit_wait_ns": 0,
    "queue_bytes_max": 80_000, "headroom_bytes_max": 12_000, "ecn_marked": 0, "demoted": 0,
}  # fmt: skip
REPORT = {
    "now_ps": 10**10, "events": 40_000, "frame_hops": 30_000, "event_log_hash": "00ff00ff00ff00ff",
    "complete": True, "stalled": False, "start_ps": 0, "ranks": [{"finish_ps": 10**9}] * 4, "flows": [],
    "ports": {
        "leaf-a:eth9": {"rate_bps": 10**11, "priorities": {"3": COUNTERS}},
        "leaf-b:eth9": {"rate_bps": 10**11, "priorities": {"0": COUNTERS, "3": COUNTERS}},
    },
    "qps": [{"qpn": 17, "a": "a1", "b": "a2", "packets_tx": 5, "retransmitted": 0, "acks_rx": 5, "naks_rx": 0,
             "timeouts": 0, "error": None}],
    "conservation": {"sent": 3000, "delivered": 2990, "dropped": 4, "in_flight": 6},
    "drops": {"lossless": 0, "lossy": 4, "link": 0, "outage": 0, "malformed": 0}, "violations": [], "fidelity": None,
}  # fmt: skip


def outcome(**changes: Any) -> Outcome:
    row = {"size_bytes": 1048576, "count": 262144, "type": "float", "redop": "sum", **MEASURED, "in_place": MEASURED}
    flow = {
        "src": "a1",
        "dst": "a2",
        "bytes": 5,
        "start_ns": 1,
        "completion_ns": 2.5,
        "goodput_bps": 9,
        "size_bytes": 5,
    }
    return Outcome(rows=[copy.deepcopy(row)], flows=[flow], report=json.loads(json.dumps(REPORT)) | changes)


def test_a_good_run_passes() -> None:
    result = assemble(FACTS, outcome())
    verdict = result.verdict
    assert (verdict.lossless, verdict.trusted, verdict.correct, verdict.complete, verdict.passed) == (True,) * 5
    assert not verdict.deadlock and verdict.reasons == [] and result.exit_code == 0


def test_deadlocks_of_this_run_decide_and_those_of_earlier_ones_do_not() -> None:
    circle = {"ports": ["s1:eth2", "s2:eth2"], "priority": 3}
    before = {"at_ns": 1e6, "cured_ns": 2e6, **circle}
    standing = {"at_ns": 2.5e6, "cured_ns": None, "ports": ["s3:eth2", "s4:eth2"], "priority": 4}
    cured = [{"at_ns": start, "cured_ns": start + 1e6, **circle} for start in (4e6, 6e6, 8e6)]
    storms = [
        {"port": port, "priority": priority, "detected_ps": detected}
        for port, priority, detected in (
            ("s2:eth2", 3, 45 * 10**8), ("s1:eth2", 3, 5 * 10**9), ("s1:eth2", 4, 5 * 10**9), ("s1:eth2", 3, 55 * 10**8)
        )
    ]  # fmt: skip
    run = outcome(deadlocks=[before, standing, *cured], watchdog=storms)
    run.start_ps = 3 * 10**9
    result = assemble(FACTS, run)
    assert [(d.at_ns, d.cured_ns, d.cured_by) for d in result.deadlocks] == [
        (-5e5, None, []),
        (1e6, 2e6, ["s1:eth2", "s2:eth2"]),
        (3e6, 4e6, []),
        (5e6, 6e6, []),
    ]
    assert result.verdict.deadlock and not result.verdict.passed and result.exit_code == 1
    assert result.verdict.reasons == [
        "deadlock on priority 4: s3:eth2 → s4:eth2 → s3:eth2, from -0.500 ms for good",
        "deadlock on priority 3: s1:eth2 → s2:eth2 → s1:eth2, from 1.000 ms until 2.000 ms, when the watchdog broke it at "
        "s1:eth2, s2:eth2; 2 times more, the last until 6.000 ms",
    ]
    run.report["deadlocks"] = [before]
    assert assemble(FACTS, run).verdict.passed


def test_the_document_has_the_promised_keys() -> None:
    document = json.loads(assemble(FACTS, outcome()).to_json())
    assert list(document) == [
        "schema", "lab", "seed", "clock", "dilation", "versions", "replay", "verdict", "event_log_hash", "collective",
        "ranks", "jobs", "makespan_us", "bytes_by_reach", "flow_completion",
        "flows", "ports", "pools", "settled", "watchdog", "watchdog_settings", "qps", "drops", "deadlocks",
            "pauses", "impairments", "fidelity", "energy", "buffer_dependencies", "in_force", "links", "hints",
            "expectations", "settings", "addresses", "provenance", "time_series",
    ]  # fmt: skip
    assert document["schema"] == 1 and document["event_log_hash"] == "00ff00ff00ff00ff"
    assert set(document["verdict"]) >= {"lossless", "trusted", "correct", "deadlock", "passed", "reasons"}
    assert document["ports"] == REPORT["ports"]
    assert document["qps"] == REPORT["qps"] and document["drops"] == REPORT["drops"]
    assert document["flows"][0].items() >= outcome().flows[0].items()
    (row,) = document["collective"]["rows"]
    assert row == {
        "size_bytes": 1048576, "count": 262144, "type": "float", "redop": "sum", "root": -1,
        **MEASURED, "percent_of_ideal": None, "in_place": {**MEASURED, "percent_of_ideal": None},
    }  # fmt: skip
    assert document["versions"]["python"] == platform.python_version()
    assert platform.release() in document["versions"]["kernel"]


def test_a_lossless_frame_lost_for_lack_of_buffer_fails_the_run() -> None:
    bad = outcome(drops={"lossless": 1234, "lossy": 0, "link": 0})
    bad.report["ports"]["leaf-b:eth9"]["priorities"]["3"]["drops"]["headroom"] = 1200
    bad.report["ports"]["leaf-a:eth9"]["priorities"]["3"]["drops"]["buffer"] = 34
    bad.report["ports"]["leaf-b:eth9"]["priorities"]["0"]["drops"]["buffer"] = 5000  # lossy
    result = assemble(FACTS, bad)
    assert not result.verdict.lossless and not result.verdict.passed and result.exit_code == 1
    assert result.verdict.correct and result.verdict.trusted
    assert result.verdict.reasons == [
        "not lossless: 1,234 frames of lossless priorities dropped for lack of buffer, "
        "at leaf-b:eth9 priority 3 (headroom 1,200), leaf-a:eth9 priority 3 (buffer 34)"
    ]


def test_lossy_and_link_drops_are_no_fault_of_the_buffers() -> None:
    assert assemble(FACTS, outcome(drops={"lossless": 0, "lossy": 99, "link": 5})).exit_code == 0


def test_wrong_elements_fail_the_run() -> None:
    bad = outcome()
    bad.rows[0]["in_place"] = MEASURED | {"wrong": 3}
    result = assemble(FACTS, bad)
    assert not result.verdict.correct and result.exit_code == 1
    assert result.verdict.reasons == ["not correct: 3 wrong elements at 1048576 bytes, in place"]


@pytest.mark.parametrize("facts", [FACTS, REAL], ids=["virtual", "real"])
def test_a_run_that_broke_an_invariant_is_not_trusted(facts: RunFacts) -> None:
    fidelity = FIDELITY if facts is REAL else None
    broken = assemble(facts, outcome(violations=["frame started while paused at leaf-a:eth9"], fidelity=fidelity))
    assert not broken.verdict.trusted and not broken.verdict.passed and broken.exit_code == 4
    assert broken.verdict.reasons == ["invariant violated: frame started while paused at leaf-a:eth9"]
    counts = {"sent": 3000, "delivered": 2990, "dropped": 4, "in_flight": 5}
    lost = assemble(facts, outcome(conservation=counts, fidelity=fidelity))
    assert not lost.verdict.trusted and lost.exit_code == 4
    assert lost.verdict.reasons == ["invariant violated: 3,000 frames sent, 2,999 delivered, dropped or in flight"]


def test_a_document_that_trusts_a_broken_invariant_is_refused(tmp_path: Path) -> None:
    broken = assemble(FACTS, outcome(violations=["frame started while paused at leaf-a:eth9"]))
    document = broken.to_json().replace('"trusted": false', '"trusted": true')
    (tmp_path / "run.json").write_text(document)
    with pytest.raises(InputError, match="trusted, and yet invariant violated"):
        read(tmp_path)


def test_kernel_traffic_that_the_emulator_lost_is_no_loss_of_the_network() -> None:
    run = assemble(REAL, outcome(fidelity=FIDELITY | {"kernel_drops": {"a1:eth1": 1200}}))
    assert run.exit_code == 4 and run.verdict.lossless
    expected = "untrusted: frames of hosts' kernels lost by the emulator at a1:eth1 is 1,200, more than 0"
    assert run.verdict.reasons == [expected]


def test_frames_that_the_kernel_lost_are_named_by_the_port_that_sent_them() -> None:
    run = assemble(REAL, outcome(fidelity=FIDELITY | {"lost_in_kernel": {"leaf:eth2": 3}}))
    assert run.exit_code == 4
    expected = "untrusted: frames lost inside the kernel on their way from leaf:eth2 is 3, more than 0"
    assert run.verdict.reasons == [expected]


def test_a_run_that_did_not_complete_is_neither_correct_nor_passed() -> None:
    stopped = outcome(complete=False)
    stopped.complete, stopped.reasons = False, ["interrupted after 1 of 3 rows"]
    result = assemble(FACTS, stopped)
    assert not result.verdict.complete and not result.verdict.correct and not result.verdict.passed
    assert result.exit_code == 1 and result.verdict.reasons == ["interrupted after 1 of 3 rows"]


def test_expectations_that_failed_fail_the_run() -> None:
    checks = [Checked("busbw >= 11", False, "busbw >= 11 (measured 9.8)"), Checked("wrong == 0", True, "wrong == 0")]
    result = assemble(FACTS, outcome(), checks)
    assert result.exit_code == 1 and result.verdict.reasons == ["expectation failed: busbw >= 11 (measured 9.8)"]
    assert [check.held for check in result.expectations] == [False, True]
    assert result.verdict.lossless and result.verdict.correct


def test_an_unfaithful_run_is_untrusted_whatever_the_traffic_did() -> None:
    assert assemble(REAL, outcome(fidelity=FIDELITY)).exit_code == 0
    late = FIDELITY | {"lateness_ns": {"p50": 12, "p99": 1_001, "max": 1_001}}
    good = assemble(REAL, outcome(fidelity=late))
    assert (good.exit_code, good.verdict.trusted, good.verdict.passed, good.verdict.lossless) == (4, False, False, True)
    lossy = assemble(REAL, outcome(fidelity=late, drops={"lossless": 1, "lossy": 0, "link": 0}))
    assert lossy.exit_code == 4 and not lossy.verdict.lossless
    assert assemble(REAL, outcome(fidelity=None)).exit_code == 4, "fidelity is never assumed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lateness_ns": {"p99": 30_000.0}}, "99th percentile of lateness is 30,000 ns, more than 1,000 ns"),
        ({"held_share": 0.75}, "share of the time held back is 0.75, more than 0.5"),
        ({"socket_drops": 1}, "frames dropped by sockets is 1, more than 0"),
        ({"overflow": 2}, "frames lost to full queues of the emulator is 2, more than 0"),
        (
            {"refused": {"leaf:eth2": 2, "leaf:eth1": 1}},
            "frames that interfaces refused at leaf:eth1, leaf:eth2 "
            "(too long for the MTU, or the interface is down) is 3, more than 0",
        ),
        ({"cpu_share": 0.99}, "share of a processor is 0.99, more than 0.95"),
        ({"cpu_share": float("nan")}, "share of a processor is nan, more than 0.95"),
        ({"socket_drops": None}, "frames dropped by sockets was not measured"),
        ({"lateness_ns": None}, "99th percentile of lateness was not measured"),
    ],
)
def test_every_figure_out_of_bounds_is_named(change: dict[str, Any], reason: str) -> None:
    assert judge_fidelity(FIDELITY, FidelityBounds()) == []
    assert judge_fidelity(FIDELITY | change, FidelityBounds()) == [f"untrusted: {reason}"]


def test_bounds_may_be_tightened() -> None:
    assert judge_fidelity(FIDELITY, FidelityBounds(lateness_p99_ns=899, held_share=0.005)) == [
        "untrusted: 99th percentile of lateness is 900 ns, more than 899 ns",
        "untrusted: share of the time held back is 0.01, more than 0.005",
    ]


def test_replay_names_the_seed_once_and_quotes() -> None:
    arguments = ["run", "incast", "-t", "incast:senders=3", "--set", "a=b c"]
    assert replay_command(arguments, 7) == "testbed run incast -t incast:senders=3 --set 'a=b c' --seed 7"
    assert replay_command(["run", "--seed", "3"], 3) == "testbed run --seed 3"
    assert replay_command(["run", "--seed=3"], 3) == "testbed run --seed=3"


def test_write_then_read(tmp_path: Path) -> None:
    result = assemble(REAL, outcome(fidelity=FIDELITY))
    directory = tmp_path / "new" / "results"
    path = write(result, directory)
    assert path == directory / "run.json" and os.listdir(directory) == ["run.json"]
    assert read(directory) == read(path) == result
    assert json.loads(path.read_text()) == json.loads(result.to_json())


def test_an_older_result_is_replaced_whole_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(assemble(FACTS, outcome()), tmp_path)
    before = (tmp_path / "run.json").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(HostError, match=r"cannot write .*run\.json: No space left"):
        write(assemble(REAL, outcome(fidelity=FIDELITY)), tmp_path)
    assert os.listdir(tmp_path) == ["run.json"] and (tmp_path / "run.json").read_bytes() == before


def test_read_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path)
    document = json.loads(assemble(FACTS, outcome()).to_json())
    document["seed"], document["verdict"]["passed"] = "seven", "perhaps"
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert {fault.key for fault in caught.value.faults} == {"seed", "verdict.passed"}


@pytest.mark.parametrize(
    ("schema", "message"),
    [(2, "schema 2;"), ("1", 'schema "1";'), (True, "schema true;"), (1.5, "schema 1.5;"), (None, "no schema")],
)
def test_another_schema_is_refused_before_its_keys(tmp_path: Path, schema: object, message: str) -> None:
    document = {**json.loads(assemble(FACTS, outcome()).to_json()), "schema": schema, "new": 1}
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert [fault.key for fault in caught.value.faults] == ["schema"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: (not JSON|schema: no schema)"):
        read(tmp_path)


def test_a_result_of_an_earlier_version_without_the_new_keys_is_read(tmp_path: Path) -> None:
    document = json.loads(assemble(FACTS, outcome()).to_json())
    for key in ("expectations", "settings", "addresses", "provenance"):
        del document[key]
    (tmp_path / "run.json").write_text(json.dumps(document))
    assert read(tmp_path).settings is None


def test_a_report_that_breaks_the_contract_is_refused() -> None:
    with pytest.raises(ValidationError, match="lossy"):
        assemble(FACTS, outcome(drops={"lossless": 0, "link": 0}))


def test_the_schema_names_every_key() -> None:
    document = result_schema()
    assert document["properties"]["schema"]["const"] == SCHEMA
    assert set(document["properties"]) == set(json.loads(assemble(FACTS, outcome()).to_json()))


def test_links_imposed_by_netem_are_judged_more_strictly() -> None:
    held = FIDELITY | {"held_share": 0.06}
    assert judge_fidelity(held, FidelityBounds()) == []
    links = [{"ends": ["a:eth1", "b:eth1"], "emulation": "netem"}]
    native = [{"ends": ["a:eth1", "b:eth1"], "emulation": "native", "reason": "asked for"}]
    assert judge_fidelity(held | {"links": native}, FidelityBounds()) == []
    assert judge_fidelity(held | {"links": links, "netem_overflow": 0}, FidelityBounds()) == [
        "untrusted: share of the time held back is 0.06, more than 0.05"
    ]
    assert judge_fidelity(FIDELITY | {"links": links, "netem_overflow": 2}, FidelityBounds()) == [
        "untrusted: frames that netem lost unasked is 2, more than 0"
    ]
    assert judge_fidelity(FIDELITY | {"links": links}, FidelityBounds()) == [
        "untrusted: frames that netem lost unasked was not measured"
    ]
