"""A campaign of kills: TESTBED_KILLS of them (`make survival KILLS=200`), by default as many as every change can afford."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import Machine, private_machine
from tests.live.survival import Kill, survive

KILLS = int(os.environ.get("TESTBED_KILLS", "20"))
FIRST = int(os.environ.get("TESTBED_FIRST_KILL", "0"))
STRANGER = "testbed-pair-stranger"  # named like ours, without our label


@pytest.fixture(scope="module")
def machine(repo_root: Path, tmp_path_factory: pytest.TempPathFactory, require_root: None) -> Iterator[Machine]:
    """Give a machine of our own inside this one, with a namespace on it that is somebody else's."""
    with private_machine(repo_root, tmp_path_factory.mktemp("machine")) as machine:
        enter = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", "ip", "netns"]
        subprocess.run([*enter, "add", STRANGER], check=True)
        try:
            yield machine
        finally:
            subprocess.run([*enter, "del", STRANGER], check=True)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + KILLS))
def test_nothing_survives_but_what_is_reported(machine: Machine, seed: int) -> None:
    kill = Kill.drawn(seed)
    print(f"{kill}; again: make survival KILLS=1 FIRST={seed}")
    survive(machine, kill, STRANGER)
