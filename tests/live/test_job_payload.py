"""Jobs whose data travels on real interfaces, and traffic classes there: all that steps come to is compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine

JOBS = """
topology: clos:spines=1,leaves=2,hosts=2
transport: {ack-dscp: 48}
lossless: {background: [0]}
jobs:
  - name: train
    ranks: [h1, h3]
    payload: true
    repeat: 2
    program: [{all_reduce: 20KB, id: grads, channels: 2}, {wait: grads}, {send: 5000, from: 0, to: 1}]
  - {name: web, ranks: [h2, h4], priority: 0, program: [{send: 20KB, from: 0, to: 1}]}
"""


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as private:
        yield private


def test_what_steps_come_to_is_compared_in_real_time(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    done = machine.run("run", str(tmp_path / "jobs.yaml"), "--clock", "real", "--dilation", "1000", "--format", "json")
    result: dict[str, Any] = json.loads(done.stdout)
    # Whether time was held on a busy machine is not asked here.
    assert result["verdict"]["complete"] and result["verdict"]["correct"] and result["verdict"]["lossless"]
    assert [job["wrong"] for job in result["jobs"]] == [0, None]
    sent = {host: result["ports"][f"{host}:eth1"]["priorities"] for host in ("h1", "h2")}
    used = {host: {number for number, each in at.items() if each["frames_tx"]} for host, at in sent.items()}
    assert used == {"h1": {"3", "6"}, "h2": {"0"}}
