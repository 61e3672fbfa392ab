"""Labs from Python: the examples of the README as they stand there, and what goes wrong with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import Lab, kernel
from testbed.api import ProgramFailed
from testbed.errors import UsageError
from tests.live.netns_lab import isolated

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
TESTS = [block for block in BLOCKS if "import pytest" in block]
EXAMPLES = [block for block in BLOCKS if block not in TESTS]


def test_the_readme_has_examples() -> None:
    assert EXAMPLES and TESTS


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run_and_leave_nothing(example: str) -> None:
    @isolated
    def run() -> None:
        exec(compile(example, "README.md", "exec"), {})
        assert kernel.open_namespaces() == []

    run()


@pytest.mark.parametrize("example", TESTS)
def test_the_examples_of_tests_pass(example: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example)

    @isolated
    def run() -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
        assert kernel.open_namespaces() == []

    run()


@isolated
def test_a_lab_is_worked_in() -> None:
    with Lab.deploy("pair", dilation=2000, settings={"lossless.pfc": True}) as lab:
        assert (lab.name, lab.hosts, lab.switches, lab.dilation) == ("pair", ("a1", "b1"), ("leaf",), 2000)
        assert lab.inspect()["state"] == "running"
        done = lab.exec("a1", "sh", "-c", "echo here; echo there >&2; exit 5", check=False)
        assert (done.returncode, done.stdout, done.stderr) == (5, "here\n", "there\n")
        with pytest.raises(ProgramFailed, match="a1: false ended with status 1"):
            lab.exec("a1", "false")
        with pytest.raises(UsageError, match="has no node c1"):
            lab.exec("c1", "true")
        link = lab.link("a1:eth1")
        rows = link.impair(delay="50us", direction="out")
        assert [(row["from"], row["asked"]["delay_ns"]) for row in rows] == [("a1:eth1", 50_000)]
        assert all(row["asked"]["delay_ns"] < 1_000 for row in link.reset())
        with pytest.raises(UsageError, match="delay"):
            link.impair(delay="soon")
        with pytest.raises(UsageError, match="no port a1:eth9"):
            lab.link("a1:eth9")
        result = lab.run("all_reduce", minbytes="64K", maxbytes="64K", iterations=2)
        assert result.verdict.lossless and result.verdict.correct
        assert result.collective.rows[0].wrong == 0
        assert "--dilation 2000" in result.replay
        again = Lab.deploy("pair", dilation=2000, settings={"lossless.pfc": True})
        with again:
            pass
        assert lab.inspect()["state"] == "running"
    assert kernel.open_namespaces() == []


@isolated
def test_a_block_that_fails_takes_its_lab_along() -> None:
    with pytest.raises(ZeroDivisionError), Lab.deploy("pair", dilation=2000):
        assert len(kernel.open_namespaces()) == 3
        raise ZeroDivisionError
    assert kernel.open_namespaces() == []
    with pytest.raises(UsageError, match="no setting is called"):
        Lab.deploy("pair", dilation=2000, settings={"lossless.pcf": True})
