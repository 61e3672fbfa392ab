"""Metrics of a lab that is up: what Prometheus reads of it over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.live.machine import Machine, private_machine


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one, with ports that nobody else can take."""
    with private_machine(repo_root, tmp_path, network=True) as private:
        private.ip("link", "set", "lo", "up")
        yield private


PORT = 9464
READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())"


def sample(machine: Machine, where: str, name: str, **labels: str) -> list[float]:
    """Ask an agent; return the values of a metric with these labels."""
    inside = ["nsenter", f"--net=/proc/{machine.holder}/ns/net", sys.executable, "-c", READ, where]
    text = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
    families = list(text_string_to_metric_families(text.removesuffix("\n")))
    samples = [each for family in families for each in family.samples if each.name == name]
    return [each.value for each in samples if labels.items() <= each.labels.items()]


def test_the_local_agent_serves_what_its_labs_count(machine: Machine) -> None:
    with machine.start("agent", "--metrics", str(PORT)) as agent:
        try:
            assert agent.stdout is not None
            where = agent.stdout.readline().rpartition(" ")[2].strip()
            assert where == f"http://127.0.0.1:{PORT}/metrics"
            machine.ok("deploy", "-t", "pair", "--dilation", "1000")
            assert sample(machine, where, "testbed_lab_running", lab="pair", driver="netns", dilation="1000") == [1]
            assert sample(machine, where, "testbed_drops_total", lab="pair", cause="lossless") == [0]
        finally:
            agent.send_signal(signal.SIGINT)
        agent.communicate(timeout=60)
        assert agent.returncode == 0
