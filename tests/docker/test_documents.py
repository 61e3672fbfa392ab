"""Blocks of the documentation that need a Docker engine, as printed."""

from __future__ import annotations

import shlex

import pytest

from bench.engine import DockerEngine
from tests.documents import Block, marked
from tests.live.machine import Machine

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(300)]

BLOCKS = [block for block in marked("needs docker") if block.language == "sh"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.page)
def test_a_block_works_as_printed(machine: Machine, engine: DockerEngine, images: None, block: Block) -> None:
    for command, code in block.commands():
        program, *arguments = shlex.split(command)
        if program == "docker":
            engine.docker(*arguments)  # raises unless it succeeds
            continue
        # With images that are there already, a build has nothing to fetch.
        done = machine.run(*arguments)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
