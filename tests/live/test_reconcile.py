"""A lab that runs is made another one: what does not differ notices nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine, wait_for

NODES = {"a1": "host", "a2": "host", "b1": "host", "leaf-a": "switch", "leaf-b": "switch"}
LINKS = [
    ("a1:eth1", "leaf-a:eth1"),
    ("a2:eth1", "leaf-a:eth2"),
    ("leaf-a:eth9", "leaf-b:eth9"),
    ("b1:eth1", "leaf-b:eth1"),
]
DATAGRAMS_BPS = "1M"
"""The buffer of a socket holds what comes in half a second, in which no kernel leaves a program without a processor."""
LONGER_S = 300
"""Longer than any test: the client is told to end."""


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def write(path: Path, length: str, *more: str) -> list[str]:
    """Write a lab down, its span so long, with these hosts more on the far leaf; return the options that name it."""
    nodes = NODES | dict.fromkeys(more, "host")
    links = LINKS + [(f"{host}:eth1", f"leaf-b:eth{number}") for number, host in enumerate(more, start=2)]
    lengths = {"leaf-a:eth9": length}
    data = {
        "name": "grows",
        "topology": {
            "nodes": {name: {"kind": kind} for name, kind in nodes.items()},
            "links": [{"endpoints": list(ends), "length": lengths.get(ends[0], "20m")} for ends in links],
        },
    }
    path.write_text(json.dumps(data))
    return ["-t", str(path), "--dilation", "1000"]


def addresses(machine: Machine) -> dict[tuple[str, str], tuple[str, str]]:
    """Return MAC and IP of what each host has, by name and kind."""
    (lab,) = machine.labs()
    assert lab["state"] == "running"
    return {(entry["node"], entry["kind"]): (entry["mac"], entry["ip"]) for entry in lab["stations"]}


def start_client(machine: Machine) -> subprocess.Popen[str]:
    """Let iperf3 send numbered datagrams from a1 to a2; its result is JSON."""
    datagrams = ("-u", "-b", DATAGRAMS_BPS, "-l", "1000", "-t", str(LONGER_S))
    return machine.start("exec", "--name", "grows", "a1", "--", "iperf3", "-J", "-c", "a2", *datagrams)


def await_frames(machine: Machine) -> None:
    """Wait until a1 has sent some; counters begin at zero with each change."""
    wait_for(lambda: machine.labs()[0]["ports"]["leaf-a:eth1"]["priorities"].get("0", {}).get("frames_rx", 0) > 100)


def end_client(client: subprocess.Popen[str]) -> Any:
    """Let a client end, and its server with it; return its result."""
    assert client.poll() is None, "it was to run all the while"
    (child,) = Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    return json.loads(client.communicate(timeout=60)[0])["end"]


def test_what_stays_loses_nothing_while_a_lab_grows_and_shrinks(machine: Machine, tmp_path: Path) -> None:
    machine.ok("deploy", *write(tmp_path / "small.yaml", "1km"))
    before = addresses(machine)
    heard = tmp_path / "heard.json"
    machine.ok("exec", "--name", "grows", "a2", "--", "iperf3", "-s", "-1", "-J", "-D", "--logfile", str(heard))
    wait_for(lambda: bool(machine.ok("exec", "--name", "grows", "a2", "--", "ss", "-Hltn", "sport = :5201")))
    datagrams = start_client(machine)
    await_frames(machine)
    large = write(tmp_path / "large.yaml", "2km", "b2")
    planned = json.loads(machine.ok("deploy", *large[:2], "--dry-run", "--format", "json"))
    assert addresses(machine) == before
    done = json.loads(machine.ok("deploy", *large, "--format", "json"))
    assert done["changed"] and done["changes"] == planned["changes"]
    changed = {(change["kind"], change["name"]): change["action"] for change in done["changes"]}
    assert changed["node", "b2"] == "add" and changed["link", "b2:eth1 - leaf-b:eth2"] == "add"
    assert changed["link", "leaf-a:eth9 - leaf-b:eth9"] == "change"
    assert addresses(machine).items() > before.items()
    assert "1 received" in machine.ok("exec", "--name", "grows", "a1", "--", "ping", "-c1", "-W20", "b2")
    assert not json.loads(machine.ok("deploy", *large, "--format", "json"))["changed"]
    machine.ok("deploy", *write(tmp_path / "small.yaml", "2km"))
    assert addresses(machine) == before
    await_frames(machine)
    sent = end_client(datagrams)["sum"]
    wait_for(lambda: heard.exists() and heard.read_text().rstrip().endswith("}"))
    received = json.loads(heard.read_text())["end"]["sum"]
    # The last ones may be under way when the server hears that it is over.
    assert received["lost_packets"] == 0 < 200 < received["packets"] <= sent["packets"], (received, sent)


def test_a_lab_that_was_changed_still_carries_a_collective(machine: Machine, tmp_path: Path) -> None:
    machine.ok("deploy", *write(tmp_path / "small.yaml", "1km"))
    large = write(tmp_path / "large.yaml", "2km", "b2", "b3")
    busy = machine.run("run", "all_reduce", *large, "--clock", "real", "-b", "64K")
    assert (busy.returncode, "with another plan" in busy.stderr) == (2, True)
    machine.ok("deploy", *large)
    done = machine.run("run", "all_reduce", *large, "--clock", "real", "-b", "64K", "--format", "json")
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["collective"]["ranks"] == 5
    assert result["verdict"]["lossless"] and result["verdict"]["correct"], result["verdict"]
    machine.ok("redeploy", *write(tmp_path / "small.yaml", "1km"))
    assert {node for node, _ in addresses(machine)} == {"a1", "a2", "b1"}
