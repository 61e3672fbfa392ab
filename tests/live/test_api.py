"""Labs from Python: the examples of docs/guides/python.md as they stand there, and what goes wrong with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import Lab
from testbed.api import ProgramFailed
from testbed.errors import UsageError
from testbed.run.counters import TotalDrops
from testbed.run.result import RunResult
from testbed.system import namespaces
from tests.live.netns_lab import isolated

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python[^\n]*\n(.*?)```", (ROOT / "docs" / "guides" / "python.md").read_text(), re.DOTALL)
TESTS = [block for block in BLOCKS if "import pytest" in block]
EXAMPLES = [block for block in BLOCKS if block not in TESTS]


def test_the_guide_has_examples() -> None:
    assert EXAMPLES and TESTS


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run_and_leave_nothing(example: str) -> None:
    @isolated
    def run() -> None:
        exec(compile(example, "python.md", "exec"), {})
        assert namespaces.open_namespaces() == []

    run()


@pytest.mark.parametrize("example", TESTS)
def test_the_examples_of_tests_pass(example: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example)

    @isolated
    def run() -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and re.search(r"== [1-9][0-9]* passed in ", done.stdout), done.stdout + done.stderr
        assert namespaces.open_namespaces() == []

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
    assert namespaces.open_namespaces() == []


@isolated
def test_a_block_that_fails_takes_its_lab_along() -> None:
    with pytest.raises(ZeroDivisionError), Lab.deploy("pair", dilation=2000):
        assert len(namespaces.open_namespaces()) == 3
        raise ZeroDivisionError
    assert namespaces.open_namespaces() == []
    with pytest.raises(UsageError, match="no setting is called"):
        Lab.deploy("pair", dilation=2000, settings={"lossless.pcf": True})


@isolated
def test_a_run_reports_its_own_counts_and_inspect_those_of_the_lab() -> None:
    with Lab.deploy("pair", dilation=2000, settings={"emulation": "native", "transport.timeout": 8}) as lab:

        def run(size: str) -> RunResult:
            result = lab.run("permutation", minbytes=size, maxbytes=size)
            assert result.verdict.correct and result.verdict.lossless
            return result

        first, second = run("256K"), run("256K")
        for each in (first, second):
            # 64 packets out of each NIC and into it; how many acknowledgements there are depends on where packet numbers begin.
            data = [port.model_dump()["priorities"]["3"]["data_frames_tx"] for port in each.ports.values()]
            assert data == [64] * 4
        assert first.flows[0].start_ns == second.flows[0].start_ns == 0
        # 768 packets at 3 %: that none is lost, and that one is lost eight times in a row, are rarer than once in 10^9 runs.
        lab.link("a1:eth1").impair(loss="3%", direction="out")
        lossy = [run("1M") for _ in range(3)]
        for each in lossy:
            assert each.drops.link == each.ports["a1:eth1"].priorities["3"].drops.link
        assert sum(each.drops.link for each in lossy) > 0
        assert sum(qp["retransmitted"] for each in lossy for qp in each.qps) > 0
        # Programs lose frames too, which is no fault of a run that comes after them.
        lab.link("a1:eth1").impair(loss="100%", direction="out")
        lab.exec("a1", "ping", "-c", "10", "-i", "0.002", "-W", "1", "b1", check=False)
        lab.link("a1:eth1").reset()
        idle = run("256K")
        assert idle.drops == TotalDrops(lossless=0, lossy=0, link=0)
        seen = lab.inspect()
        runs = [first, second, *lossy, idle]
        assert seen["drops"]["link"] > sum(each.drops.link for each in runs), "what ping lost, too"
        for name, port in seen["ports"].items():
            assert port["priorities"]["3"]["frames_tx"] == sum(
                each.ports[name].priorities["3"].frames_tx for each in runs
            )
            marks = [each.ports[name].priorities["3"].queue_bytes_max for each in runs]
            assert port["priorities"]["3"]["queue_bytes_max"] == max(marks)
        fidelity = [each.fidelity for each in runs if each.fidelity is not None]
        assert seen["fidelity"]["lateness_ns"]["max"] >= max(each["lateness_ns"]["max"] for each in fidelity)
