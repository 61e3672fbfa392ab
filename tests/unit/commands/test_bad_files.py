"""A fault of a file is said with the file, its line, and its key, also where what it names is not there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
EXPERIMENT = """# An experiment on a lab that is none.
workload: {collective: all_reduce, size: 4KB}
topology: "%s"
"""


@pytest.mark.parametrize(
    ("lab", "message"),
    [
        ("two-dx", 'no lab is called "two-dx"; did you mean "two-dc"?'),
        ("two-dc:lenth=8km", 'two-dc:lenth=8km: two-dc has no parameter "lenth"; did you mean "length"?'),
        (
            "three-leaves:hosts=3",
            'the lab "three-leaves" is a file and takes no parameters; keys of it are changed as links[2].length=80km',
        ),
        ("no/such.yaml", "no/such.yaml: No such file or directory"),
        ("/dev/null", "/dev/null:1: the file is empty"),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "run", "schedule"])
def test_a_lab_that_is_not_there_is_a_fault_of_the_experiment_that_names_it(
    call_testbed: Cli, tmp_path: Path, verb: str, lab: str, message: str
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT % lab)
    done = call_testbed(verb, "experiment.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.removeprefix("testbed: ") == f"experiment.yaml:3: topology: {message}\n"
    # Whoever names it on the command line knows where it stands.
    done = call_testbed("run", "experiment.yaml", "-t", lab)
    assert (done.returncode, done.stderr) == (2, f"testbed: {message}\n")


def test_a_fault_inside_the_lab_of_an_experiment_stands_at_its_own_line(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: far\ntopology: {nodes: {}, links: []}\nseed: 3\n")
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT % "lab.yaml")
    done = call_testbed("validate", "experiment.yaml")
    assert done.returncode == 2 and "lab.yaml:3: seed: unknown key" in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize("name", ["x" * 5_000, "é" * 300])
def test_a_name_too_long_for_a_file_is_no_lab(call_testbed: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT % name)
    done = call_testbed("validate", "experiment.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f'experiment.yaml:3: topology: no lab is called "{name[:40]}')
    for arguments in (("validate", name), ("run", "all_reduce", "-t", name)):
        done = call_testbed(*arguments)
        assert done.returncode == 2 and "no lab is called" in done.stderr, done.stderr


UNJOINED = """name: unjoined
topology:
  nodes: {s: {kind: switch}, r: {kind: switch}, a: {kind: host}, b: {kind: host}, c: {kind: host}}
  links:
    - {endpoints: ["a:eth1", "s:eth1"]}
    - {endpoints: ["b:eth1", "s:eth2"]}
    - {endpoints: ["c:eth1", "r:eth1"]}
"""


def test_what_a_lab_does_not_allow_is_said_with_its_file(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(UNJOINED)
    done = call_testbed("validate", "lab.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lab.yaml: workload: no path between ")
    # What an option asks for is a fault of the option.
    done = call_testbed("validate", "lab.yaml", "--set", "workload.ranks=[a, x]")
    assert done.returncode == 2 and "lab.yaml" not in done.stderr, done.stderr
