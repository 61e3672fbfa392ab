"""The headroom that plans derive is enough, for any rate, distance, packet and response; and it is not idle."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed._dataplane import VirtualFabric
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import chosen_ranks, compile_fabric
from testbed.plan.workload import compile_workload
from testbed.traffic import COLLECTIVES, Shape

LABS = [
    "incast:senders={hosts},rate={rate},length={length}",
    "clos:spines=2,leaves={hosts},hosts=3,rate={rate},delay=3us",
]


def incast(spec: str, *overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run an incast of 1 MiB from every sender under the virtual clock; return plan and report."""
    lab = load_lab(spec)
    experiment = new_experiment(spec, "incast").with_overrides(overrides)
    plan = compile_fabric(lab, experiment)
    shape = Shape(len(chosen_ranks(lab, experiment)), 2**18, payload=False)
    fabric = VirtualFabric(json.dumps(plan))
    fabric.load(json.dumps(compile_workload(lab, experiment, COLLECTIVES["incast"].schedule(shape))))
    for _ in range(100):
        if fabric.advance(1_000_000):
            report: dict[str, Any] = json.loads(fabric.report())
            return plan, report
    raise AssertionError("the incast did not end")


def headroom_shares(plan: dict[str, Any], report: dict[str, Any]) -> list[float]:
    """Return, for every group that saw traffic, how much of its headroom was used at most."""
    shares = []
    for node in plan["nodes"]:
        for group in node.get("priority_groups", ()):
            ports = report["ports"][f"{node['name']}:{node['ports'][group['port']]['name']}"]
            counters = ports["priorities"].get(str(group["priority"]))
            if counters is not None:
                shares.append(counters["headroom_bytes_max"] / group["headroom_bytes"])
    return shares


@settings(max_examples=40)
@given(
    st.sampled_from(LABS),
    st.integers(2, 6),
    st.sampled_from(["10G", "25G", "100G", "400G"]),
    st.sampled_from(["0m", "50m", "2km", "10km"]),
    st.sampled_from([1024, 2048, 4096]),
    st.just("auto") | st.integers(0, 5000).map(lambda ns: f"{ns}ns"),
    st.sampled_from(["auto", "20KB"]),
)
def test_no_frame_is_lost(
    lab: str, hosts: int, rate: str, length: str, mtu: int, response: str, threshold: str
) -> None:
    settings = [f"transport.mtu={mtu}", f"lossless.response={response}", f"lossless.xoff={threshold}"]
    settings += [f"lossless.xon={threshold}", "transport.window=4MB"]
    plan, report = incast(lab.format(hosts=hosts, rate=rate, length=length), *settings)
    assert not any(report["drops"].values()) and report["violations"] == []
    assert max(headroom_shares(plan, report)) <= 1


def test_the_headroom_is_needed() -> None:
    """More than 85 % of it is used, and 80 % of it would lose frames."""
    lab, *early = "incast:senders=8,rate=400G,length=2km", "lossless.xoff=20KB", "lossless.xon=20KB"
    plan, report = incast(lab, "transport.window=4MB", *early)
    assert max(headroom_shares(plan, report)) > 0.85
    fewer = max(group["headroom_bytes"] for group in plan["nodes"][-1]["priority_groups"]) * 4 // 5
    _, scant = incast(lab, "transport.window=4MB", *early, f"lossless.headroom={fewer}")
    assert scant["drops"]["lossless"] > 0
