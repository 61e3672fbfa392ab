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
        ("three-leaves:hosts=3", 'the lab "three-leaves" is a file and takes no parameters'),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "run"])
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
