"""What `run` refuses before its first frame, `validate` refuses too, with the same words, lines and keys."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.commands import validate
from testbed.commands.common import read_trial
from testbed.contract.workload import Workload
from testbed.errors import InputError
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab
from testbed.plan.workload import compile_workload
from testbed.study import preflight
from testbed.traffic import Schedule

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# Two priorities of a span of 300 km at 100G: 73.6 MB of headroom, and 32 MB of memory unless the lab says otherwise.
SPAN = """\
name: mine
topology:
  nodes:
    a1: {kind: host}
    b1: {kind: host}
    border-a: {kind: switch, lossless: [3, 4]}
    border-b: {kind: switch, lossless: [3, 4]}
  links:
    - {endpoints: ["a1:eth1", "border-a:eth1"], rate: 100G, length: 20m}
    - {endpoints: ["border-a:eth2", "border-b:eth1"], rate: 100G, length: 300km}
    - {endpoints: ["border-b:eth2", "b1:eth1"], rate: 100G, length: 20m}
"""
PAIR = """\
name: small
topology:
  nodes:
    a1: {kind: host}
    b1: {kind: host}
    leaf: {kind: switch%s}
  links:
    - {endpoints: ["a1:eth1", "leaf:eth1"]%s}
    - {endpoints: ["leaf:eth2", "b1:eth1"]}
"""
# What is wrong with the lab alone → its text, the place of the fault, and how the fault starts.
LABS = {
    "two priorities of a long span": (SPAN, "lab.yaml:6: topology.nodes.border-a.buffer:", "32MB cannot hold"),
    "no priority that all switches keep": (
        SPAN.replace("[3, 4]", "[3], buffer: auto", 1).replace("[3, 4]", "[4], buffer: auto"),
        "lossless.priority:",
        "priority 3 is not lossless on border-b",
    ),
    "packets larger than a link takes": (PAIR % ("", ", mtu: 1500"), "transport.mtu:", "packets of 4156 bytes"),
    "no host": (
        "name: x\ntopology:\n  nodes:\n    r: {kind: switch}\n    s: {kind: switch}\n"
        '  links:\n    - {endpoints: ["r:eth1", "s:eth1"]}\n',
        "lab.yaml:3: topology.nodes:",
        "all_reduce needs 1 rank, and there are 0",
    ),
}
# What is wrong with an experiment on a sound lab → its workload, another line, and the fault.
EXPERIMENTS = {
    "a misspelt figure": ("", "expect: ['wrongg == 0']", ':3: expect[0]: wrongg == 0: the result has no "wrongg"'),
    "a port of another lab": ("", "expect: ['ports[\"b1:eth9\"].rate_bps > 0']", 'did you mean "b1:eth1"?'),
    "a rank that is nowhere": (", ranks: [a1, b9]", "seed: 2", ':2: workload.ranks: lab pair has no host "b9"'),
    "a late rank that is nowhere": (", late: {z: 1ms}", "seed: 2", ":2: workload.late.z: no rank runs on z"),
    "a window below a packet": ("", "transport: {window: 1024}", ":3: transport.window: 1024 bytes are less than"),
    "slices that never end": (", slice: 1, datatype: double", "seed: 2", ":2: workload"),
}


def faults(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return the faults on standard error, without the name that the command puts before them."""
    lines = [line.removeprefix("testbed: ") for line in done.stderr.splitlines()]
    return [line for line in lines if not line.startswith(("virtual clock:", "warning:"))]


@pytest.mark.parametrize(("text", "place", "message"), LABS.values(), ids=LABS)
def test_a_lab_that_cannot_run_is_not_valid(
    call_testbed: Cli, tmp_path: Path, text: str, place: str, message: str
) -> None:
    (tmp_path / "lab.yaml").write_text(text)
    validated, run = call_testbed("validate", "lab.yaml"), call_testbed("run", "all_reduce", "-t", "lab.yaml")
    assert validated.returncode == run.returncode == 2
    # Who validates a lab has no experiment in mind: what the lab does not allow is a fault of its file.
    assert faults(validated) == [fault.replace("command line: ", "lab.yaml: ", 1) for fault in faults(run)]
    assert any(place in line and message in line for line in faults(run)), run.stderr


def test_a_lab_that_keeps_another_priority_is_valid_with_the_setting_that_it_needs(
    call_testbed: Cli, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(PAIR % (", lossless: [5]", ""))
    setting = ("--set", "lossless.priority=5")
    alone, told = call_testbed("validate", "lab.yaml"), call_testbed("validate", "lab.yaml", *setting)
    assert alone.returncode == told.returncode == 0
    assert " ".join(setting) in alone.stderr and told.stderr == ""
    refused = call_testbed("run", "all_reduce", "-t", "lab.yaml", "-b", "4K")
    assert refused.returncode == 2 and "all switches keep 5: set lossless.priority" in refused.stderr
    assert call_testbed("run", "all_reduce", "-t", "lab.yaml", "-b", "4K", *setting).returncode == 0


@pytest.mark.parametrize("fault", LABS)
def test_a_lab_that_no_collective_can_run_on_can_stay_up(tmp_path: Path, fault: str) -> None:
    """Other traffic may have shorter packets, and needs no host. Buffers and priorities are the lab's own."""
    text, _, message = LABS[fault]
    (tmp_path / "lab.yaml").write_text(text)
    trial = read_trial(None, str(tmp_path / "lab.yaml"), []).under("real")
    with pytest.raises(InputError, match=message):
        preflight.check(trial)
    if fault in ("packets larger than a link takes", "no host"):
        preflight.check_lab(trial)
    else:
        with pytest.raises(InputError, match=message):
            preflight.check_lab(trial)


@pytest.mark.parametrize(("workload", "line", "message"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_that_cannot_run_is_not_valid(
    call_testbed: Cli, tmp_path: Path, workload: str, line: str, message: str
) -> None:
    (tmp_path / "e.yaml").write_text(
        f"topology: pair\nworkload: {{collective: all_reduce, size: 4KiB{workload}}}\n{line}\n"
    )
    validated, run = call_testbed("validate", "e.yaml"), call_testbed("run", "e.yaml")
    assert validated.returncode == run.returncode == 2
    assert faults(validated) == faults(run)
    assert any(message in fault for fault in faults(run)), run.stderr


def test_both_clocks_count_unless_the_experiment_names_one(call_testbed: Cli, tmp_path: Path) -> None:
    """The real clock needs more headroom, for frames that are handled late: 75,797,466 bytes, not 75,645,618."""
    (tmp_path / "lab.yaml").write_text(SPAN.replace("[3, 4]}", "[3, 4], buffer: 75.7MB}"))
    experiment = tmp_path / "e.yaml"
    experiment.write_text("topology: lab.yaml\nworkload: {collective: all_reduce, size: 4KiB}\n")
    for subject in ("lab.yaml", "e.yaml"):
        done = call_testbed("validate", subject)
        assert done.returncode == 2
        assert "lab.yaml:6: topology.nodes.border-a.buffer: under the real clock: 75.7MB cannot hold" in done.stderr
    assert call_testbed("run", "e.yaml").returncode == 0
    experiment.write_text(experiment.read_text() + "clock: virtual\n")
    done = call_testbed("validate", "e.yaml")
    assert done.returncode == 0
    assert "warning: lab.yaml:6: topology.nodes.border-a.buffer: under the real clock: 75.7MB" in done.stderr


def test_a_workload_is_compiled_once_for_both_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[str]()

    def count(lab: Lab, experiment: Experiment, schedule: Schedule) -> Workload:
        compiled.append(experiment.clock)
        return compile_workload(lab, experiment, schedule)

    monkeypatch.setattr(preflight, "compile_workload", count)
    file = tmp_path / "jobs.yaml"
    file.write_text("topology: pair\njobs: [{name: one, ranks: 2, program: [{all_reduce: 4KiB}]}]\n")
    assert validate._check(str(file), [], strict=False).faults == []
    assert len(compiled) == 1
