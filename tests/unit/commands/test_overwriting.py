"""No command replaces a file that is there unless it is told to, and says so before it does anything else."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.control import inspection

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
PAIR = ("-t", "pair")
SMALL = (*PAIR, "-b", "4K")
SWEEP = ("sweep", "incast", *PAIR, "--set", "workload.size=4KiB", "--over", "transport.mtu=1024,4096", "--jobs", "1")

# A command → the file that it writes.
COMMANDS = {
    "run": (("run", "all_reduce", *SMALL, "--out", "here"), "here/run.json"),
    "run with a capture": (("run", "all_reduce", *SMALL, "--pcap", "--out", "here"), "here/capture.pcapng"),
    "sweep": ((*SWEEP, "--out", "here"), "here/sweep.json"),
    "a row of a sweep": ((*SWEEP, "--out", "here"), "here/row-1/run.json"),
    "graph": (("graph", *PAIR, "--dot", "-o", "pair.dot"), "pair.dot"),
    "capture": (("capture", "--name", "pair", "leaf:eth1", "-w", "leaf.pcapng"), "leaf.pcapng"),
    "save": (("save", "--name", "pair", "-o", "pair.yaml"), "pair.yaml"),
    "conformance": (("conformance", "--only", "pause-lossless", "--junit", "report.xml"), "report.xml"),
}


@pytest.fixture
def testbed(call_testbed: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run testbed in this process, where a lab called pair is up."""

    async def describe(target: object, name: str) -> dict[str, object]:
        written = {"lab": {"name": name, "topology": {"nodes": {}, "links": []}}, "experiment": {"topology": "pair"}}
        return {"lab": name, "written": written, "topology": None, "by_hand": [], "dilation": 1, "agents": []}

    monkeypatch.setattr(inspection, "describe", describe)
    return call_testbed


@pytest.mark.parametrize(("command", "file"), COMMANDS.values(), ids=COMMANDS)
def test_a_file_that_is_there_stays_as_it_is(testbed: Cli, tmp_path: Path, command: tuple[str, ...], file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    done = testbed(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert file in done.stderr and "--force" in done.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["run", "sweep", "graph"])
def test_force_replaces_it(testbed: Cli, tmp_path: Path, name: str) -> None:
    command, file = COMMANDS[name]
    assert testbed(*command).returncode == 0
    path = tmp_path / file
    first = path.read_text()
    path.write_text("mine")
    assert testbed(*command, "--force").returncode == 0
    assert path.read_text().splitlines()[:3] == first.splitlines()[:3]


def test_a_campaign_refuses_before_its_first_case(testbed: Cli, tmp_path: Path) -> None:
    case = tmp_path / "here" / "seed-7" / "lab.yaml"
    case.parent.mkdir(parents=True)
    case.write_text("mine")
    done = testbed("campaign", "--first", "1", "--seeds", "100000", "--out", "here")
    assert done.returncode == 2 and "seed-7/lab.yaml" in done.stderr and case.read_text() == "mine"


def test_the_replay_command_is_not_refused(testbed: Cli) -> None:
    first = json.loads(testbed("run", "all_reduce", *SMALL, "--out", "here", "--format", "json").stdout)
    assert "--out" not in first["replay"]
    again = testbed(*shlex.split(first["replay"])[1:])
    assert again.returncode == 0
    assert json.loads(again.stdout)["event_log_hash"] == first["event_log_hash"]
