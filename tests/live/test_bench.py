"""The benchmarks in small: their document has the keys that scripts rely on, and nothing is left behind."""

import contextlib
import io
import json
import sys
from dataclasses import replace
from unittest import mock

import pytest

from bench import __main__ as command
from bench import chain, containers, cores, deploy, real, report, start_up, telemetry, traces, virtual
from testbed.drivers.netns import NetnsDriver
from testbed.errors import DriverError
from tests.live.netns_lab import isolated

pytestmark = pytest.mark.usefixtures("require_root")

CLOSE = cores.Comparison(replace(virtual.SMALL, flow_bytes=1 << 17), 1.5)
SMALL = {
    "virtual": lambda: virtual.measure(2, replace(virtual.SMALL, flow_bytes=1 << 18)),
    "virtual_128": lambda: virtual.measure(1, replace(virtual.LARGE, flow_bytes=1 << 14)),
    "series": lambda: virtual.measure_series(1, replace(virtual.SMALL, flow_bytes=1 << 18)),
    "virtual_cores": lambda: cores.measure(cores.Comparison(replace(virtual.SPAN, flow_bytes=1 << 18), 1.8), 1),
    **dict.fromkeys(("virtual_cores_16", "virtual_cores_256", "virtual_cores_1024"), lambda: cores.measure(CLOSE, 1)),
    **dict.fromkeys(("cores_model_256", "cores_model_1024"), lambda: cores.model(CLOSE, (2, 4))),
    "causes": lambda: virtual.measure_causes(2, replace(virtual.PAUSED, flow_bytes=1 << 18)),
    "report": lambda: report.measure(1, "clos:spines=1,leaves=2,hosts=2", is_opened=False),
    "traces": lambda: traces.measure(1, 1),
    "real": lambda: real.measure(rounds=1, seconds=0.05),
    "telemetry": lambda: telemetry.measure(1, 0.5, "leaves=2,hosts=2,spines=1"),
    "deploy": lambda: deploy.measure(rounds=1),
    "deploy_1000": lambda: deploy.measure(1, deploy.Grid(5, 8, torus=True)),
    "containers": lambda: containers.measure(1, hosts=1),
    "chain": lambda: chain.measure(1, 50),
    "start_up": lambda: start_up.measure(1),
    **dict.fromkeys(("fabric_1024", "fabric_8192", "fabric_65536"), lambda: start_up.measure_fabric(16, 1)),
}


def run(form: str, benchmarks: object) -> tuple[int, str]:
    """Run the command line with these benchmarks; return the exit code and what it printed."""
    output = io.StringIO()
    arguments = mock.patch.object(sys, "argv", ["bench", "--format", form])
    chosen = mock.patch.object(command, "BENCHMARKS", benchmarks)
    with arguments, chosen, contextlib.redirect_stdout(output):
        return command.main(), output.getvalue()


@isolated
def test_one_document_holds_every_figure() -> None:
    code, text = run("json", SMALL)
    document = json.loads(text)
    assert code == 0, text
    assert document["virtual"]["frame_hops_per_s_best"] >= document["virtual"]["frame_hops_per_s"] > 0
    # 16 flows of 64 packets: each at least one hop up and one down, and as many for its ACK.
    assert document["virtual"]["conservation"]["sent"] == 2 * 16 * 64
    assert document["virtual"]["frame_hops"] >= 4 * 16 * 64
    assert document["virtual_128"]["frame_hops"] >= 4 * 128 * 4
    for name in ("virtual_cores", "virtual_cores_16"):
        assert document[name]["ratio"] > 0 and document[name]["turns"]["shards"] == 2
    parts = document["cores_model_256"]["parts"]
    assert [part["shards"] for part in parts.values()] == [2, 4]
    assert all(1 / part["shards"] <= part["share"] < 1 for part in parts.values())
    assert document["causes"]["pauses"] > 0
    assert document["report"]["hosts"] == 4 and 0 < document["report"]["bytes"] < 1_000_000
    assert document["traces"]["ops"] > 5000 and document["traces"]["read_mb_per_s"] > 0
    assert document["series"]["points"] > 10 and document["series"]["rows"] > 1_000
    sizes = document["real"]["frame_bytes"]
    assert document["real"]["forward_ratio"] == min(size["forward_ratio"] for size in sizes.values()) > 0
    for size in sizes.values():
        assert all(run["frames"] > 0 and run["lost"] == 0 for run in size["real_runs"] + size["bare_runs"])
    assert document["telemetry"]["ports"] == 12
    assert document["telemetry"]["cost_quartiles"] == [document["telemetry"]["cost"]] * 2
    # At most a message for each port and one for the lab; a quotient of two rates has a rounding of its own.
    said = document["telemetry"]["messages_per_s"] / document["telemetry"]["looks_per_s"]
    assert 0 < said < 13 or said == pytest.approx(13)
    assert (document["deploy"]["nodes"], document["deploy"]["links"]) == (100, 180)
    assert document["deploy"]["seconds_100_nodes"] > 0
    assert (document["deploy_1000"]["nodes"], document["deploy_1000"]["links"]) == (40, 80)
    assert document["deploy_1000"]["seconds_40_nodes"] > 0
    assert document["containers"]["containers"] == 3 and document["containers"]["seconds"] > 0
    assert document["chain"]["hops_per_s"] > 0 and document["chain"]["rival"].keys() & {"install", "name"}
    assert document["start_up"]["processor_seconds"] > 0
    assert document["fabric_1024"]["hosts"] == 16 and document["fabric_1024"]["memory_bytes"] > 10**7
    assert NetnsDriver().list_labs() == {}


@isolated
def test_what_cannot_be_measured_is_reported_and_the_rest_is_shown() -> None:
    def refused() -> None:
        raise DriverError("deploy", 1, "needs root")

    code, text = run("table", {**SMALL, **dict.fromkeys(("real", "telemetry", "deploy", "containers"), refused)})
    assert code == 3
    assert "needs root" in text and "frame-hops/s" in text
