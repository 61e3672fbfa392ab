"""A Docker engine of the tests' own, with the images of nodes in it; both are made once for all tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engine import DockerEngine, docker_engine
from tests.live.machine import Machine, private_machine


@pytest.fixture(scope="session")
def engine(require_root: None) -> Iterator[DockerEngine]:
    """Run an engine with both images of the testbed in it."""
    with docker_engine() as private_engine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", private_engine.address)
        yield private_engine


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, engine: DockerEngine) -> Iterator[Machine]:
    """Give a machine with a /run of its own; afterwards nothing of it is left, and no container."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine
    assert engine.docker("ps", "--all", "--quiet") == ""


@pytest.fixture(scope="session")
def images(engine: DockerEngine) -> None:
    """Build both images, unless they are there."""
    subprocess.run([sys.executable, "-m", "testbed.cli", "images", "build", "--missing"], check=True, timeout=280)
