"""Blocks of the documentation that need root: the guide to labs from its first line to its last, and examples of verbs."""

from __future__ import annotations

import shlex
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
    with private_machine(repo_root, tmp_path) as found:
        yield found


def test_every_block_that_needs_root_is_run() -> None:
    assert [block.page for block in GUIDES] == ["docs/guides/labs.md"]
    assert len(GUIDES) + len(EXAMPLES) == len(BLOCKS)


def test_the_guide_to_labs_works_as_printed(machine: Machine) -> None:
    for block in GUIDES:
        for command, code in block.commands():
            done = machine.run(*shlex.split(command)[1:])
            assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


def test_the_examples_of_verbs_work_as_printed(machine: Machine) -> None:
    """One lab serves all of them; the one that destroys it comes last."""
    commands = [found for block in EXAMPLES for found in block.commands()]
    for command, code in sorted(commands, key=lambda found: _rank(shlex.split(found[0])[1])):
        done = machine.run(*shlex.split(command)[1:])
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


def _rank(verb: str) -> int:
    """Return when an example comes: those that make the lab first, the one that destroys it last."""
    return -1 if verb == "deploy" else 2 if verb == "destroy" else int(verb not in ALONE)
