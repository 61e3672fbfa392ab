"""The public face under the virtual clock: labs from Python and from pytest, without root."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import testbed
from testbed import Lab, RunResult, UsageError

pytest_plugins = ["pytester"]


def test_a_virtual_lab_runs_a_collective_and_says_how_to_repeat_it(call_testbed: Callable[..., object]) -> None:
    with Lab.virtual("two-dc:length=8km,hosts=1", settings={"lossless.headroom": "auto"}, seed=7) as lab:
        assert (lab.name, lab.hosts, lab.dilation) == ("two-dc", ("a1", "b1"), 1)
        result = lab.run("all_reduce", minbytes="64K", maxbytes="64K")
    assert isinstance(result, RunResult) and result.verdict.lossless and result.verdict.correct
    assert (result.clock, result.seed) == ("virtual", 7)
    again = Lab.virtual("two-dc:length=8km,hosts=1", settings={"lossless.headroom": "auto"}, seed=7)
    assert again.run("all_reduce", minbytes="64K", maxbytes="64K").event_log_hash == result.event_log_hash
    done = call_testbed(*shlex.split(result.replay)[1:], "--format", "json")
    assert f'"event_log_hash": "{result.event_log_hash}"' in done.stdout  # type: ignore[attr-defined]


def test_what_cannot_be_meant_is_an_error_before_any_run() -> None:
    with pytest.raises(UsageError, match="no setting is called"):
        Lab.virtual("pair", settings={"lossless.pcf": True})
    with pytest.raises(UsageError, match="virtual clock"):
        Lab.virtual("pair", settings={"clock": "real"})
    with pytest.raises(testbed.ExperimentError, match="minbytes"):
        Lab.virtual("pair").run("incast", minbytes="2M", maxbytes="1M")


def test_an_experiment_file_is_run_on_the_lab_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(
        "topology: two-dc\nclock: real\nworkload: {collective: incast, size: 64KiB}\nexpect: ['busbw > ideal']\n"
    )
    result = Lab.virtual("incast:senders=2").run(path)
    assert (result.lab, result.clock, result.collective.name) == ("incast", "virtual", "incast")
    assert result.exit_code == 1
    kept = Lab.virtual("incast:senders=2", settings={"transport.mtu": 1024}, seed=5).run(path)
    assert kept.seed == 5 and "--set transport.mtu=1024" in kept.replay


def test_everything_that_is_exported_is_there() -> None:
    assert {"Lab", "AsyncLab", "VirtualLab", "RunResult", "TestbedError", "UsageError"} <= set(testbed.__all__)
    assert all(getattr(testbed, name).__name__ == name for name in testbed.__all__)


def test_a_marked_test_has_the_virtual_clock(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import pytest

@pytest.mark.parametrize("hosts", [pytest.param(n, marks=pytest.mark.testbed(topology=f"two-dc:hosts={n}", clock="virtual"))
                                   for n in (1, 2)])
def test_it(lab, hosts):
    assert len(lab.hosts) == 2 * hosts
    assert lab.run("all_reduce", minbytes="64K", maxbytes="64K").verdict.lossless

@pytest.mark.testbed(topology="pair", clock="virtual", dilation=3)
def test_dilation(lab):
    pass

@pytest.mark.testbed(topology="pair", clock="sidereal")
def test_clock(lab):
    pass
""")
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers")
    done.assert_outcomes(passed=2, errors=2)
    assert "dilation has no effect under the virtual clock" in done.stdout.str()
    assert "clock is one of real, virtual, not sidereal" in done.stdout.str()
