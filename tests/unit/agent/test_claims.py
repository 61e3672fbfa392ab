"""Claims on labs: one process has one, others are told which, and a dead one leaves none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.agent.claims import Claims
from testbed.errors import HostError

HOLDER = """
import sys
from pathlib import Path
from testbed.agent.claims import Claims
claims = Claims("agent lab1", Path(sys.argv[1]))
claims.take("base")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lab_of_another_process_is_refused_by_name_and_free_once_that_is_killed(tmp_path: Path) -> None:
    ours = Claims("agent local", tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        said = f"agent lab1, process {holder.pid} "
        with pytest.raises(HostError, match=f"lab base is driven by {said}"):
            ours.take("base")
        owner = ours.owner("base")
        assert owner is not None and owner.startswith(said)
        ours.take("other")
        holder.kill()
        holder.wait()
    assert ours.owner("base") is None
    ours.take("base")
    ours.take("base")
    assert ours.owner("base") is None
    assert Claims("third", tmp_path).owner("base") is not None
    ours.close()
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []


def test_a_claim_for_a_while_ends_with_it_unless_it_was_there_before(tmp_path: Path) -> None:
    directory = tmp_path / "labs"
    ours, others = Claims("agent local", directory), Claims("testbed destroy", directory)
    with others.held("base"), pytest.raises(HostError, match="driven by testbed destroy"):
        ours.take("base")
    assert not directory.exists()
    ours.take("base")
    with ours.held("base"):
        pass
    with pytest.raises(HostError, match="driven by agent local"), others.held("base"):
        pass
    assert directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(HostError, match="is not the name of a lab"):
        ours.take("../base")
