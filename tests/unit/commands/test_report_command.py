"""Reports beside results: `run` and `sweep` write one and say where last, unless they are told not to or print JSON."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = ("run", "all_reduce", "-t", "pair", "--clock", "virtual", "-b", "64K", "--out", "here")
SWEEP = (
    "sweep",
    "incast",
    "-t",
    "pair",
    "--set",
    "workload.size=64K",
    "--over",
    "transport.mtu=1024,4096",
    "--out",
    "here",
)


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_file())


@pytest.mark.parametrize(("words", "result"), [(RUN, "run.json"), (SWEEP, "sweep.json")], ids=["run", "sweep"])
def test_a_report_is_written_beside_a_result_and_named_last(
    call_testbed: Cli, tmp_path: Path, words: tuple[str, ...], result: str
) -> None:
    done = call_testbed(*words)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "here") == sorted(["report.html", result])
    assert done.stderr.splitlines()[-1] == f"result: here/{result}, report: here/report.html"
    again = call_testbed("report", "here", "-o", "again.html")
    assert again.returncode == 0 and again.stderr == "written: again.html\n"
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "here" / "report.html").read_bytes()


@pytest.mark.parametrize("option", [("--no-report",), ("--format", "json")], ids=["told not to", "json"])
def test_no_report_is_written_for_programs_or_when_told(
    call_testbed: Cli, tmp_path: Path, option: tuple[str, ...]
) -> None:
    done = call_testbed(*RUN, *option)
    assert done.returncode == 0 and files(tmp_path / "here") == ["run.json"]
    assert "report" not in done.stderr


def test_a_report_that_is_there_is_kept(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report.html").write_text("mine")
    done = call_testbed(*RUN)
    assert done.returncode == 2 and "here/report.html" in done.stderr
    assert files(tmp_path / "here") == ["report.html"]
    assert call_testbed(*RUN, "--no-report").returncode == 0


def test_results_that_are_none_are_refused_by_name(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    for words, said in ((["none"], "cannot read none"), (["run.json"], "run.json: schema: no schema")):
        done = call_testbed("report", *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr
