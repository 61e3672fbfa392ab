"""Every lab and experiment that ships with the testbed ends as its header says, and is valid to `validate`."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import topologies

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
EXPERIMENTS = topologies.experiments()
LABS = topologies.files()


def stated_exit_code(path: Path) -> int:
    """Return the exit code that the comments at the head of a file name first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line for line in lines if line.startswith("#")]
    match = re.search(r"exit code (\d)", " ".join(header))
    assert match, f"{path} does not say with which exit code it ends"
    return int(match[1])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_ends_with_the_exit_code_of_its_header(call_testbed: Cli, name: str) -> None:
    done = call_testbed("run", str(EXPERIMENTS[name]))
    assert done.returncode == stated_exit_code(EXPERIMENTS[name]), done.stdout + done.stderr
    assert call_testbed("validate", str(EXPERIMENTS[name])).returncode == 0


@pytest.mark.parametrize("name", LABS)
def test_a_lab_ends_with_the_exit_code_of_its_header(call_testbed: Cli, name: str) -> None:
    done = call_testbed("run", "all_reduce", "-t", name)
    assert done.returncode == stated_exit_code(LABS[name]), done.stdout + done.stderr
    assert call_testbed("validate", name).returncode == 0


@pytest.mark.parametrize("name", topologies.generators())
def test_a_generated_lab_carries_an_all_reduce(call_testbed: Cli, name: str) -> None:
    done = call_testbed("run", "all_reduce", "-t", name, "-b", "64K")
    assert done.returncode == 0, done.stdout + done.stderr
    assert call_testbed("validate", name).returncode == 0
