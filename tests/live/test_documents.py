"""Blocks of the documentation that need root or a broker: guides from the first line to the last, and examples of verbs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import marked
from tests.live.machine import Machine, private_machine

pytestmark = [pytest.mark.timeout(240)]

BLOCKS = [block for block in marked("needs root") if block.language == "sh"]
GUIDES = [block for block in BLOCKS if block.page.startswith("docs/guides/")]
EXAMPLES = [block for block in BLOCKS if block.page.startswith("docs/cmd/")]
# Examples that make the lab that they need; all others are of one that is up.
ALONE = ("deploy", "redeploy", "calibrate", "doctor")


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one; afterwards insist that nothing is left of it."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_every_block_that_needs_root_is_run() -> None:
    assert [block.page for block in GUIDES] == [f"docs/guides/{name}.md" for name in ("hosts", "labs", "programs")]
    assert len(GUIDES) + len(EXAMPLES) == len(BLOCKS)


def test_the_guides_to_hosts_and_labs_work_as_printed(machine: Machine) -> None:
    for block in GUIDES:
        for command, code in block.commands():
            done = machine.run(*shlex.split(command)[1:])
            assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


def test_the_examples_of_verbs_work_as_printed(machine: Machine) -> None:
    """One lab serves all of them; the one that destroys it comes last."""
    commands = [example for block in EXAMPLES for example in block.commands()]
    for command, code in sorted(commands, key=lambda example: _rank(shlex.split(example[0])[1])):
        done = machine.run(*shlex.split(command)[1:])
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


def _rank(verb: str) -> int:
    """Return when an example comes: those that make the lab first, the one that destroys it last."""
    return -1 if verb == "deploy" else 2 if verb == "destroy" else int(verb not in ALONE)


def test_the_guide_to_sharing_works_as_printed(machine: Machine) -> None:
    """Each block is pasted into a shell as it stands; the second when the agent has said that it is ready."""
    begins, goes_on = [block.text for block in marked("needs a broker") if block.page == "docs/guides/sharing.md"]
    script = f"""
set -eu
mount -t tmpfs tmpfs /var/lib
mosquitto_sub() {{ command mosquitto_sub -C 1 "$@"; }}
exec 3>&1 >/var/lib/log 2>&1
{begins}
agent=$!
for _ in $(seq 600); do grep -q "agent lab1 is ready" /var/lib/log && break; sleep 0.1; done
exec >&3
{goes_on}
testbed --broker mqtts://localhost:8883 --credentials controller.credentials --ca ca.pem --agent lab1 destroy --all
kill $agent; wait $agent || true
testbed broker down
"""
    done = pasted(machine, script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lab two-dc is up" in done.stdout and "testbed/" in done.stdout


def test_the_guide_to_the_live_page_works_as_printed(machine: Machine) -> None:
    """The file that it says to open is there, and so is the password."""
    [block] = [block.text for block in marked("needs a broker") if block.page == "docs/guides/live.md"]
    done = pasted(machine, f"set -eu; mount -t tmpfs tmpfs /var/lib\n{block}\ntestbed broker down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/dashboard.html, which reads from ws://127.0.0.1:9883/" in done.stdout
    assert "/var/lib/testbed/broker/reader.credentials" in done.stdout
    assert (machine.directory / "results" / "dashboard.html").exists()


def test_examples_of_an_agent_on_a_broker_are_those_of_the_guides() -> None:
    blocks = marked("needs a broker")
    guide = " ".join(block.text.replace("\\\n", " ") for block in blocks if block.page.startswith("docs/guides/"))
    for block in blocks:
        for command, _ in block.commands():
            assert " ".join(command.split()) in " ".join(guide.split()), f"{block.page}: {command}"


def pasted(machine: Machine, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a shell of the machine, with the command `testbed` in its path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    inside = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", f"--wd={machine.directory}", "bash", "-c", script]
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(machine.directory / "cache")}
    return subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=200)
