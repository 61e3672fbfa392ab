"""An interrupt at any moment ends a command with one line and 130, from its first import to the end of its interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTING = """
import atexit, importlib.abc, os, signal, sys

moment = sys.argv.pop(1)

class AtImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == moment:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
if moment == "the end":
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
from testbed.start import main
sys.argv[0] = "testbed"
sys.exit(main())
"""
# What is imported at that moment → what is said.
MOMENTS = {
    "testbed.commands.beginning": "interrupted before anything was begun",
    "testbed.cli": "interrupted before anything was begun",
    "testbed.commands.table": "interrupted before anything was begun",
    "testbed.commands.conformance": "interrupted before anything was begun",
    "testbed.conformance.suite": "interrupted",
}


def interrupted(repo_root: Path, moment: str) -> subprocess.CompletedProcess[str]:
    # Where the tests themselves run in the background, a shell has it ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-c", INTERRUPTING, moment, "conformance", "--list"]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("moment", "said"), MOMENTS.items())
def test_an_interrupt_is_one_line(repo_root: Path, moment: str, said: str) -> None:
    done = interrupted(repo_root, moment)
    assert (done.returncode, done.stderr) == (130, f"{said}\n")


def test_an_interrupt_after_the_end_is_silent(repo_root: Path) -> None:
    done = interrupted(repo_root, "the end")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert "pfc" in done.stdout.lower()
