"""Traces on a network under the virtual clock: against jobs that say the same, and closed forms."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings

from testbed.errors import ExperimentError
from testbed.experiment.file import load_experiment
from testbed.lab.topology import load_lab
from testbed.replay.form import Op, Trace
from testbed.replay.goal import write_goal
from testbed.replay.protobuf import written as field
from testbed.replay.protobuf import written_varint
from testbed.run.execution import Outcome
from testbed.run.trial import Trial, from_spec
from tests.unit.replay.traces import traces
from tests.virtual.harness import run_trial
from tests.virtual.test_jobs import SIZE, SPINE, run

MS = 10**9
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def replayed(directory: Path, trace: Trace, more: str = "") -> Outcome:
    """Run a trace of calcs and messages from a file beside the experiment, as a user does."""
    (directory / "t.goal").write_text(write_goal(trace))
    (directory / "e.yaml").write_text(f"topology: {SPINE}\njobs: [{{name: t, trace: t.goal{more}}}]\n")
    loaded = load_experiment(directory / "e.yaml")
    outcome = run_trial(Trial(loaded, load_lab(SPINE)))
    assert outcome.complete and outcome.report["violations"] == [], outcome.reasons
    return outcome


def trace(*ranks: Sequence[Op]) -> Trace:
    return Trace(("t",), tuple(map(tuple, ranks)))


def test_a_trace_takes_as_long_as_the_job_that_says_the_same(tmp_path: Path) -> None:
    """Two iterations of computing, then sending: times, exposed and hidden communication agree to the picosecond."""
    result = replayed(
        tmp_path,
        trace(
            [Op("calc", 3 * MS, lane=0), Op("send", SIZE, 1, after=(0,))], [Op("calc", MS, lane=0), Op("recv", SIZE, 0)]
        ),
        ", repeat: 2, ranks: [h1, h3]",
    )
    said = (
        f"topology: {SPINE}\njobs:\n  - name: t\n    ranks: [h1, h3]\n    repeat: 2\n    program:\n"
        f"      - {{send: {SIZE}, from: 0, to: 1, id: x}}\n"
    )
    assert len(result.jobs[0]["iterations"]) == 2
    alone_us = run(said).jobs[0]["iterations"][0]["time_us"]
    assert result.jobs[0]["iterations"][0]["time_us"] == pytest.approx(3000 + alone_us, abs=1e-6)
    # The sender is exposed for the whole message, the receiver but for the millisecond that it computes: of 3 ms and the message.
    assert result.jobs[0]["hidden_us"] == pytest.approx(2 * 1000 / 2)


def test_an_op_that_begins_with_another_does_not_wait_for_its_end(tmp_path: Path) -> None:
    """After 1 ms a calc of 5 ms and with it one of 2 ms, which ends first on a cpu of its own, and last on that of the others."""
    apart = [Op("calc", MS, lane=0), Op("calc", 5 * MS, lane=0, after=(0,)), Op("calc", 2 * MS, lane=1, begun=(1,))]
    assert replayed(tmp_path, trace(apart, [])).jobs[0]["end_us"] == pytest.approx(6000)
    shared = [*apart[:2], apart[2]._replace(lane=0)]
    assert replayed(tmp_path, trace(shared, [])).jobs[0]["end_us"] == pytest.approx(8000)


@given(traces())
@settings(deadline=None, max_examples=20)
def test_whatever_matches_comes_to_its_end(tmp_path_factory: pytest.TempPathFactory, drawn: Trace) -> None:
    outcome = replayed(tmp_path_factory.mktemp("t"), drawn, ", repeat: 2")
    assert outcome.jobs[0]["end_us"] is not None


def test_a_trace_goes_to_an_agent_and_comes_back_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.goal").write_text(write_goal(trace([Op("send", 8, 1)], [Op("recv", 8, 0)])))
    (tmp_path / "e.yaml").write_text(f"topology: {SPINE}\njobs: [{{name: t, trace: t.goal}}]\n")
    trial = Trial(load_experiment(tmp_path / "e.yaml"), load_lab(SPINE))
    sent = json.loads(json.dumps(trial.spec()))
    assert from_spec(sent).experiment == trial.experiment


def test_the_command_places_scales_repeats_and_says_what_it_took(call_testbed: Cli, tmp_path: Path) -> None:
    """Two traces side by side: each computes 1 ms half as long, three times, and the second rank gets a message."""
    for name in ("a.goal", "b.goal"):
        (tmp_path / name).write_text(
            write_goal(trace([Op("calc", MS, lane=0), Op("send", 8, 1, after=(0,))], [Op("recv", 8, 0)]))
        )
    options = ["-t", SPINE, "--scale-compute", "0.5", "--iterations", "3", "--out", "r", "--format", "json"]
    done = call_testbed("replay", "a.goal", "b.goal", *options)
    assert done.returncode == 0, done.stderr
    assert "a.goal: took 2 ranks, 3 ops; left out nothing" in done.stderr
    result = json.loads(done.stdout)
    assert [job["name"] for job in result["jobs"]] == ["a", "b"]
    assert [job["ranks"] for job in result["jobs"]] == [["h1", "h2"], ["h3", "h4"]]
    for job in result["jobs"]:
        assert len(job["iterations"]) == 3 and 1500 < job["end_us"] < 1520


def test_policies_of_jobs_place_traces(call_testbed: Cli, tmp_path: Path) -> None:
    """A shuffle gives two traces of two ranks four hosts, and another seed others; patterns say which, commas and all."""
    text = write_goal(trace([Op("send", 8, 1)], [Op("recv", 8, 0)]))
    (tmp_path / "a.goal").write_text(text)
    (tmp_path / "b.goal").write_text(text)

    def places(*options: str) -> list[list[str]]:
        done = call_testbed(
            "replay", "a.goal", "b.goal", "-t", SPINE, *options, "--out", "r", "--force", "--format", "json"
        )
        assert done.returncode == 0, done.stderr
        return [job["ranks"] for job in json.loads(done.stdout)["jobs"]]

    first, second = (places("--place", "random", "--seed", seed) for seed in ("1", "2"))
    assert (
        all(sorted(name for own in ranks for name in own) == ["h1", "h2", "h3", "h4"] for ranks in (first, second))
        and first != second
    )
    assert places("--ranks", "h[2,3]", "--ranks", "h4,h[1-1]") == [["h2", "h3"], ["h4", "h1"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nic.goal", "-t", SPINE, "--strict"], "nic.goal:3: left out: nic of a message"),
        (["nic.goal", "-t", SPINE, "--place", "random", "--ranks", "h1,h2"], "--ranks and --place: name one of them"),
        (["nic.goal", "-t", SPINE, "--place", "rand"], "rand"),
        (
            ["lost.goal", "-t", SPINE],
            "lost.goal:3: rank 0: sends 8 bytes with tag 0 to rank 1, which does not receive them",
        ),
        (["many.goal", "-t", SPINE], "the traces have 5 ranks, and lab clos has 4"),
        (["lost.goal"], "no lab given"),
        (["lost.goal", "-t", SPINE, "--ranks", "h1", "--ranks", "h2"], "--ranks is given 2 times, for 1 traces"),
        (["lost.goal", "-t", SPINE, "--algorithm", "ring"], "the trace has the collectives: none"),
        (["what.txt", "-t", SPINE], "what.txt: the format of the file is not recognised"),
        (["none.goal", "-t", SPINE], "none.goal: No such file"),
    ],
)
def test_what_cannot_run_ends_with_2_and_its_place(
    call_testbed: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "lost.goal").write_text("num_ranks 2\nrank 0 {\nsend 8b to 1\n}\nrank 1 {\n}\n")
    (tmp_path / "many.goal").write_text(write_goal(trace([], [], [], [], [])))
    (tmp_path / "what.txt").write_text("hello\n")
    (tmp_path / "nic.goal").write_text("num_ranks 2\nrank 0 {\nsend 8b to 1 nic 1\n}\nrank 1 {\nrecv 8b from 0\n}\n")
    done = call_testbed("replay", *arguments)
    assert done.returncode == 2 and message in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["../t.goal", "/etc/hostname", "none.goal", "bad.goal"])
def test_a_trace_of_an_experiment_stands_beside_it(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "t.goal").write_text("num_ranks 1\nrank 0 {\n}\n")
    (home / "bad.goal").write_text("num_ranks 1\nrank 0 {\nhello\n}\n")
    (home / "e.yaml").write_text(f"topology: {SPINE}\njobs: [{{name: t, trace: {name}}}]\n")
    with pytest.raises(ExperimentError) as caught:
        load_experiment(home / "e.yaml")
    (fault,) = caught.value.faults
    assert fault.line == (3 if name == "bad.goal" else 2)


def test_an_exported_collective_takes_as_long_when_it_is_replayed(call_testbed: Cli, tmp_path: Path) -> None:
    """A ring of four ranks, there and back as GOAL, as text and in binary, and as Chakra."""
    options = ["all_reduce", "-t", SPINE, "-b", "1M", "-e", "1M"]
    ran = json.loads(call_testbed("run", *options, "--out", "a", "--format", "json").stdout)
    row_us = ran["collective"]["rows"][0]["time_us"]
    for name, more in (("ring.goal", []), ("ring.bin", ["--binary"])):
        done = call_testbed(
            "export", "goal", "all_reduce", "-t", SPINE, "--set", "workload.size=1MiB", "-o", name, *more
        )
        assert done.returncode == 0 and "wrote 4 ranks, 48 ops" in done.stderr, done.stderr
        back = json.loads(call_testbed("replay", name, "-t", SPINE, "--out", name[5:], "--format", "json").stdout)
        assert back["makespan_us"] == pytest.approx(row_us, rel=1e-3)
    done = call_testbed("export", "chakra", "all_reduce", "-t", SPINE, "--set", "workload.size=1MiB", "-o", "ring")
    assert done.returncode == 0 and "wrote 4 ranks, 48 nodes" in done.stderr, done.stderr
    names = [f"ring.{rank}.et" for rank in range(4)]
    back = json.loads(call_testbed("replay", *names, "-t", SPINE, "--out", "et", "--format", "json").stdout)
    assert back["makespan_us"] == pytest.approx(row_us, rel=1e-3)
    assert call_testbed("export", "goal", "all_reduce", "-t", SPINE, "--binary").returncode == 2


def test_flows_of_other_simulators_end_as_flows_and_chains_as_a_job(call_testbed: Cli, tmp_path: Path) -> None:
    """A star of four: an incast ends as flows with slowdowns; a chain by triggers takes one flow after the other."""
    lab = "clos:spines=1,leaves=1,hosts=4"
    (tmp_path / "in.cm").write_text(
        "Nodes 4\nConnections 3\n" + "".join(f"{node}->0 start 0 size 1000000\n" for node in (1, 2, 3))
    )
    done = call_testbed("replay", "in.cm", "-t", lab, "--out", "a", "--format", "json")
    assert done.returncode == 0, done.stderr
    flows = json.loads(done.stdout)["flow_completion"]["flows"]
    assert [(flow["src"], flow["dst"]) for flow in flows] == [("h2", "h1"), ("h3", "h1"), ("h4", "h1")]
    assert max(flow["slowdown"] for flow in flows) == pytest.approx(3, rel=0.05)
    alone_us = flows[0]["alone_us"]
    (tmp_path / "chain.cm").write_text(
        "Nodes 4\nConnections 3\nTriggers 2\n0->1 id 1 start 0 size 1000000 recv_done_trigger 1\n"
        "1->2 id 2 trigger 1 size 1000000 recv_done_trigger 2\n2->3 id 3 trigger 2 size 1000000\n"
        "trigger id 1 oneshot\ntrigger id 2 oneshot\n"
    )
    done = call_testbed("replay", "chain.cm", "-t", lab, "--out", "b", "--format", "json")
    makespan_us = json.loads(done.stdout)["makespan_us"]
    assert 3 * alone_us < makespan_us < 3 * alone_us + 3
    (tmp_path / "flow.txt").write_text("2\n0 1 3 100 1000000 2.0\n2 3 3 100 1000000 2.000001\n")
    done = call_testbed("replay", "flow.txt", "-t", lab, "--out", "c", "--format", "json")
    flows = json.loads(done.stdout)["flow_completion"]["flows"]
    assert [(flow["start_us"], flow["slowdown"]) for flow in flows] == [(0, 1), (1, 1)]


def test_a_chakra_all_reduce_takes_as_long_as_the_built_in_ring(call_testbed: Cli, tmp_path: Path) -> None:
    """Four ranks and 1 MiB, within 0.1 %; a double tree by `--algorithm` takes as long as the built-in one."""
    for rank in range(4):
        said = [(b"comm_type", 0), (b"comm_size", 2**20)]
        node = (
            field(1, rank) + field(3, 7) + b"".join(field(10, field(1, name) + field(9, value)) for name, value in said)
        )
        raw = b"".join(written_varint(len(part)) + part for part in (field(1, "0.0.4"), node))
        (tmp_path / f"sum.{rank}.et").write_bytes(gzip.compress(raw) if rank % 2 else raw)
    names = [f"sum.{rank}.et" for rank in range(4)]
    for algorithm in ("ring", "double-tree"):
        done = call_testbed(
            "replay", *names, "-t", SPINE, "--algorithm", algorithm, "--out", "t", "--format", "json", "--force"
        )
        assert done.returncode == 0 and "took 4 ranks, 4 nodes; left out nothing" in done.stderr, done.stderr
        (step,) = json.loads(done.stdout)["jobs"][0]["steps"]
        options = [
            "-t",
            SPINE,
            "-b",
            "1M",
            "-e",
            "1M",
            "--set",
            f"workload.algorithm={algorithm}",
            "--out",
            "r",
            "--force",
        ]
        ran = json.loads(call_testbed("run", "all_reduce", *options, "--format", "json").stdout)
        assert step["algorithm"] == algorithm
        assert step["time_us"] == pytest.approx(ran["collective"]["rows"][0]["time_us"], rel=1e-3)


def test_what_is_sent_for_weights_is_hidden_behind_what_is_computed(call_testbed: Cli, tmp_path: Path) -> None:
    """Two layers on two ranks: of their weights' all-reduces the second one's is hidden, while the first computes."""
    (tmp_path / "w.txt").write_text(
        "HYBRID_TRANSFORMER model_parallel_NPU_group: 1 all_gpus: 2\n2\n"
        "a -1 1000 NONE 0 5000000 NONE 0 1000 ALLREDUCE 1048576 0\nb -1 1000 NONE 0 1000 NONE 0 1000 ALLREDUCE 1048576 0\n"
    )
    done = call_testbed("replay", "w.txt", "-t", SPINE, "--out", "t", "--format", "json")
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    first, second = sorted(job["steps"], key=lambda step: step["step"])
    assert job["hidden_us"] == pytest.approx(first["time_us"]) and job["exposed_us"] == pytest.approx(second["time_us"])
    assert job["end_us"] == pytest.approx(5005 + second["time_us"])
