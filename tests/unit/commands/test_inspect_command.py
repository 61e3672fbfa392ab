"""What inspect prints of labs, for people."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from testbed.control import inspection

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
ROW = {"lab": "base", "nodes": ["a1"], "agent": "local", "driver": "netns", "dilation": 50, "frame_hops": 0}


@pytest.fixture
def shown(call_testbed: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that shows a lab of these facts and returns the lines."""

    def show(**facts: Any) -> list[str]:
        async def rows(*_: object) -> list[dict[str, Any]]:
            return [ROW | facts]

        monkeypatch.setattr(inspection, "inspect", rows)
        done = call_testbed("inspect")
        assert done.returncode == 0
        return [line.rstrip() for line in done.stdout.splitlines()]

    return show


def test_a_broken_lab_has_a_line_for_each_fault_and_one_for_what_to_do(shown: Callable[..., list[str]]) -> None:
    lines = shown(state="broken", faults={"a1": "eth1 is down", "sw": "eth1 has no carrier"})
    assert lines[:4] == [
        "lab base: broken, agent local, driver netns, dilation 50",
        "  - a1: eth1 is down",
        "  - sw: eth1 has no carrier",
        "What to do: deploy lab base again, which restores it, or destroy it.",
    ]


def test_of_many_faults_the_first_are_shown(shown: Callable[..., list[str]]) -> None:
    lines = shown(state="broken", faults={f"h{number}": "its container is exited" for number in range(9)})
    assert lines[4:7] == [
        "  - h3: its container is exited",
        "  - and 5 more",
        "What to do: deploy lab base again, which restores it, or destroy it.",
    ]
    assert shown(state="broken")[1] == "  - it has no data plane"


@pytest.mark.parametrize(
    ("facts", "line"), [({"state": "running"}, "idle, 0 frame-hops"), ({"state": "foreign", "owner": "agent lab1"}, "")]
)
def test_a_lab_that_is_not_broken_has_no_advice(
    shown: Callable[..., list[str]], facts: dict[str, Any], line: str
) -> None:
    lines = shown(**facts)
    words = "running" if facts["state"] == "running" else "driven by agent lab1"
    assert lines[0] == f"lab base: {words}, agent local, driver netns, dilation 50"
    assert lines[1].startswith(line) and not any("What to do" in line for line in lines)
