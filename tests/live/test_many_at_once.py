"""Many commands at once on a machine where nothing runs yet: one agent starts, one calibration is made, and all succeed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import Machine, private_machine

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine of our own inside this one, on which nothing runs yet."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_eight_cold_deploys_at_once_all_succeed(machine: Machine) -> None:
    started = [machine.start("deploy", "-t", f"pair:name=p{number}", "--dilation", "2000") for number in range(8)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert [(code, errors) for _, errors, code in ends] == [(0, "")] * 8
    assert sorted(lab["lab"] for lab in machine.labs()) == [f"p{number}" for number in range(8)]
    assert len(machine.agents()) == 1


def test_deploys_at_once_share_one_calibration(machine: Machine) -> None:
    started = [machine.start("deploy", "-t", f"pair:name=p{number}", "--format", "json") for number in range(3)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert [(code, errors) for _, errors, code in ends] == [(0, "")] * 3
    assert len({json.loads(out)["dilation"] for out, _, _ in ends}) == 1
