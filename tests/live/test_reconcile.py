"""A lab that runs is made another one: what does not differ notices nothing."""

from __future__ import annotations

import json
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
DATAGRAMS_BPS = "4M"
SECONDS = 8


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as found:
        yield found


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


def iperf(machine: Machine, server: str, *arguments: str) -> Any:
    """Start a client in a1; its result is JSON."""
    return machine.start("exec", "--name", "grows", "a1", "--", "iperf3", "-J", "-c", server, *arguments)


def test_what_stays_loses_nothing_while_a_lab_grows_and_shrinks(machine: Machine, tmp_path: Path) -> None:
    machine.ok("deploy", *write(tmp_path / "small.yaml", "1km"))
    before = addresses(machine)
    for port in ("5201", "5202"):
        machine.ok("exec", "--name", "grows", "a2", "--", "iperf3", "-s", "-1", "-D", "-p", port)
    clients = [
        iperf(machine, "a2", "-p", "5201", "-u", "-b", DATAGRAMS_BPS, "-l", "1000", "-t", str(SECONDS)),
        iperf(machine, "a2", "-p", "5202", "-b", DATAGRAMS_BPS, "-t", str(SECONDS)),
    ]
    wait_for(lambda: machine.labs()[0]["ports"]["leaf-a:eth1"]["priorities"].get("0", {}).get("frames_rx", 0) > 100)
    large = write(tmp_path / "large.yaml", "2km", "b2")
    planned = json.loads(machine.ok("deploy", *large[:2], "--dry-run", "--format", "json"))
    assert addresses(machine) == before
    done = json.loads(machine.ok("deploy", *large, "--format", "json"))
    assert done["changed"] and done["changes"] == planned["changes"]
    changed = {(change["kind"], change["name"]): change["action"] for change in done["changes"]}
    assert changed["node", "b2"] == "add" and changed["link", "b2:eth1 - leaf-b:eth2"] == "add"
    assert changed["link", "leaf-a:eth9 - leaf-b:eth9"] == "change"
    assert addresses(machine).items() > before.items()
    assert all(client.poll() is None for client in clients), "the clients were to run all the while"
    assert "1 received" in machine.ok("exec", "--name", "grows", "a1", "--", "ping", "-c1", "-W20", "b2")
    assert not json.loads(machine.ok("deploy", *large, "--format", "json"))["changed"]
    machine.ok("deploy", *write(tmp_path / "small.yaml", "2km"))
    assert addresses(machine) == before
    datagrams, stream = [json.loads(client.communicate(timeout=60)[0])["end"] for client in clients]
    assert datagrams["sum"]["lost_packets"] == 0 < 1000 < datagrams["sum"]["packets"], datagrams["sum"]
    assert stream["sum_sent"]["retransmits"] == 0 < stream["sum_received"]["bytes"], stream["sum_sent"]


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
