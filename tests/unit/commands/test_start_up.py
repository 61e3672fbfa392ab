"""What a short run waits for before its first event: it imports and reads nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOADED = """
import sys
from testbed.start import main
try:
    code = main()
except SystemExit as end:
    code = end.code
from testbed.optics.catalogue import load_catalogue
print(*sorted(sys.modules), f"catalogue:{load_catalogue.cache_info().currsize}", file=sys.stderr)
sys.exit(code)
"""
# What only labs in the system, agents, other formats and other processes take.
ELSEWHERE = {"pyroute2", "aiomqtt", "paho.mqtt.client", "asyncio", "testbed.replay.reading", "testbed.importers.clab"}


def loaded(directory: Path, *arguments: str) -> set[str]:
    """Return what a command has imported at its end, and how often it read the catalogue of optics."""
    line = [sys.executable, "-c", LOADED, *arguments, "--out", str(directory / "out")]
    done = subprocess.run(line, cwd=directory, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(("topology", "read"), [("two-dc", 0), ("pair:profile=400g-dr4", 1)], ids=["plain", "optics"])
def test_a_run_under_the_virtual_clock_imports_and_reads_what_it_uses(tmp_path: Path, topology: str, read: int) -> None:
    modules = loaded(tmp_path, "run", "all_reduce", "-t", topology, "-b", "64K", "-e", "64K")
    assert not modules & ELSEWHERE
    assert f"catalogue:{read}" in modules
