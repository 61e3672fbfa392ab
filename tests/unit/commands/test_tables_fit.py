"""Whatever prints a table fits the terminals that people have: nothing is cropped, and no word or figure is broken."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from testbed.commands import common, deploy, impair
from testbed.commands import doctor as doctor_command
from testbed.commands.common import Format
from testbed.control import inspection
from testbed.machine import doctor

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
WIDE = 10_000
COMMANDS = [
    ["doctor"],
    ["validate", "--explain", "two-dc:length=300km"],
    ["explain", "lossless.headroom"],
    ["link", "400g-zr", "--length", "80km", "--ber", "1e-3"],
    ["headroom", "--rate", "400G", "--length", "80km", "--buffer", "128MB", "--ports", "2"],
    ["list", "topologies"],
    ["list", "topologies", "two-dc"],
    ["profiles"],
    ["profiles", "400g-zr"],
    ["conformance", "--list"],
    ["inspect", "--name", "base"],
]
LINKS = [{"ends": [f"border-a:eth{number}", "b1:eth1"], "emulation": "native"} for number in range(3)]
LAB = {
    "lab": "base", "state": "running", "agent": "local", "driver": "netns", "dilation": 50, "frame_hops": 0,
    "nodes": ["border-a", "b1"], "links": LINKS,
    "stations": [
        {"node": "b1", "kind": kind, "ip": f"10.{place}.12.{number}"}
        for place, kind in enumerate(("kernel", "nic")) for number in range(101, 109)
    ],
    "health": {"b1": {"state": "unhealthy", "reason": "the check ping -c 1 a1 ended with status 1 for 12 times"}},
}  # fmt: skip
LINK = {"delay_ns": 1_958_800, "rate_bps": 10**11, "loss": {"kind": "bernoulli", "probability": 1.2e-9}, "up": True}
IMPAIRED = {
    "from": "border-a:eth2", "to": "border-b:eth2", "emulation": "native",
    "asked": LINK, "configured": LINK,
    "measured": {
        "over_ns": 10**9, "delay_ns": 1_958_812, "rate_bps": 399_123_456_789, "loss": 1.234e-9, "lost": 12, "outage": 3,
        "frames": 12_345_678_901,
    },
}  # fmt: skip
CHECKS = [
    doctor.Check("netem", False, "this kernel does not have it", "links imposed by netem; without it they are native"),
    doctor.Check("docker", False, "no engine at /var/run/docker.sock (No such file or directory)", "driver docker"),
]
CHANGES = {
    "lab": "base",
    "changes": [
        {"action": "change", "kind": "link", "name": "border-a:eth12 - border-b:eth12", "settings": ["rate", "length"]},
        {"action": "add", "kind": "node", "name": "b17", "settings": [f"setting-{number}" for number in range(12)]},
    ],
}


@pytest.fixture
def at_width(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that gives the terminal a width, with a lab that answers."""

    async def rows(*_: object) -> list[dict[str, Any]]:
        return [LAB]

    monkeypatch.setattr(inspection, "inspect", rows)
    monkeypatch.setattr(doctor, "checks", lambda: CHECKS)
    monkeypatch.setattr(doctor_command, "_broker", lambda: ("mosquitto", True, "/usr/sbin/mosquitto", "shared labs"))
    return lambda width: monkeypatch.setattr(common, "_PIPE_COLUMNS", width)


def assert_whole(narrow: str, wide: str, width: int) -> None:
    tables = [line for line in narrow.splitlines() if len(line.rstrip()) > width]
    assert not tables and "…" not in narrow.replace("=…", "")
    broken = set(wide.split()) - set(narrow.split())
    assert not broken


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_tables_fit(call_testbed: Cli, at_width: Callable[[int], None], command: list[str]) -> None:
    at_width(WIDE)
    wide = call_testbed(*command).stdout
    assert wide
    for width in (80, 100, 140, 200):
        at_width(width)
        assert_whole(call_testbed(*command).stdout, wide, width)


def test_what_a_link_does_fits() -> None:
    def printed(width: int) -> str:
        console = Console(file=io.StringIO(), width=width)
        console.print(impair._table(IMPAIRED), crop=False)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    for width in (80, 100, 140, 200):
        assert_whole(printed(width), printed(WIDE), width)


def test_what_deploy_would_change_fits(capsys: pytest.CaptureFixture[str], at_width: Callable[[int], None]) -> None:
    at_width(WIDE)
    deploy._print_answer(CHANGES, Format.table, "would be changed")
    wide = capsys.readouterr().out
    for width in (80, 100, 140, 200):
        at_width(width)
        deploy._print_answer(CHANGES, Format.table, "would be changed")
        assert_whole(capsys.readouterr().out, wide, width)
