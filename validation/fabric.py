"""Labs by hand and runs through the Python layers, for validation and for the tests of the virtual clock."""

import json
from collections.abc import Mapping
from typing import Any

from testbed._dataplane import VirtualFabric
from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from, load_lab
from testbed.plan.workload import compile_workload
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.traffic import RankSchedule, Recv, Schedule, Send

Json = dict[str, Any]

# Sizes that expectations are computed with, written down from the standards and not taken from the code under test.
GAP_BYTES = 20  # preamble, start delimiter and gap (IEEE 802.3)
FCS_BYTES = 4
ROCE_BYTES = 14 + 20 + 8 + 12 + 4  # Ethernet, IPv4, UDP, BTH, ICRC
RETH_BYTES = 16
AETH_BYTES = 4
PFC_BYTES = 64  # with its FCS
MTU = 4096
FULL_FRAME_BYTES = ROCE_BYTES + MTU + FCS_BYTES  # the middle packet of a message, as a buffer counts it
FULL_WIRE_BYTES = FULL_FRAME_BYTES + GAP_BYTES  # and as it occupies the line
ACK_WIRE_BYTES = ROCE_BYTES + AETH_BYTES + FCS_BYTES + GAP_BYTES
PFC_WIRE_BYTES = PFC_BYTES + GAP_BYTES
PS = 10**12
PS_PER_BYTE = 80  # at 100G
RATE_BPS = 100 * 10**9
PS_PER_KM = 4_897_000  # single-mode fibre, group index 1.468


def star(
    delays: Mapping[str, str], rates: Mapping[str, str] | None = None, switch: Json | None = None, **first_link: Any
) -> Json:
    """Return a lab of hosts around one switch, each behind a link of its own delay; 100G where `rates` has no other.

    `switch` says what the switch is like, `first_link` adds settings to the link of the first host.
    """
    ports = {host: f"sw:eth{number}" for number, host in enumerate(delays, 1)}
    links: list[Json] = [{"endpoints": [f"{host}:eth1", ports[host]], "delay": delays[host]} for host in delays]
    for host, link in zip(delays, links, strict=True):
        link |= {"rate": rates[host]} if rates and host in rates else {}
    links[0] |= first_link
    nodes: Json = {host: {"kind": "host"} for host in delays}
    nodes["sw"] = {"kind": "switch", **({"buffer": "auto"} if switch is None else switch)}
    return {"name": "star", "topology": {"nodes": nodes, "links": links}}


def spans(count: int, delay_ps: int, rate: str, loss: float = 0) -> Json:
    """Return a lab of so many pairs of hosts, each joined by one link that loses what a1, a2 … send to b1, b2 …"""
    pairs = [(f"a{number}", f"b{number}") for number in range(1, count + 1)]
    nodes = {host: {"kind": "host"} for side in zip(*pairs, strict=True) for host in side}
    link: Json = {"delay": f"{delay_ps}ps", "rate": rate, "loss": [loss, 0]}
    links = [{"endpoints": [f"{a}:eth1", f"{b}:eth1"], **link} for a, b in pairs]
    return {"name": "spans", "topology": {"nodes": nodes, "links": links}}


def make_trial(lab: str | Json, collective: str, *overrides: str) -> Trial:
    """Return the trial of a collective on a lab, given by name or as the data of a lab file."""
    name = lab if isinstance(lab, str) else "custom"
    experiment = experiment_from(Source("test", {"topology": name, "workload": {"collective": collective}}))
    loaded = load_lab(lab) if isinstance(lab, str) else lab_from(Source("test", lab))
    return Trial(experiment.with_overrides(overrides), loaded)


def loaded_fabric(trial: Trial, schedule: Schedule) -> VirtualFabric:
    """Return a fabric of the trial's plan, with a schedule loaded onto it."""
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
    return fabric


def report_of(fabric: VirtualFabric) -> Json:
    report: Json = json.loads(fabric.report())
    return report


def finish(fabric: VirtualFabric, budget: int = 1_000_000) -> Json:
    """Run the loaded workload to its end and return the report."""
    for _ in range(10_000):
        if fabric.advance(budget):
            return report_of(fabric)
    raise AssertionError(f"still running at {report_of(fabric)['now_ps']} ps")


def run_until(fabric: VirtualFabric, until_ps: int) -> Json:
    """Run flows that are long enough to a time; return a report that shows no fault."""
    assert fabric.run_until(until_ps, 10**12)
    report = report_of(fabric)
    assert report["now_ps"] == until_ps and not report["complete"], "the flows are too short"
    assert report["drops"]["lossless"] == 0 and report["violations"] == []
    return report


def flows_to_last(senders: int, *sizes: int) -> Schedule:
    """Let each of the first ranks send messages of these sizes to the last rank, lengths only, all posted at once."""
    sending = RankSchedule(0, tuple(Send(senders, 0, size, 0) for size in sizes))
    receiving = tuple(Recv(sender, 0, size) for sender in range(senders) for size in sizes)
    return Schedule((*(sending for _ in range(senders)), RankSchedule(0, receiving)))


def priority(report: Json, port: str, number: int = 3) -> Json:
    """Return the counters of one priority of a port."""
    counters: Json = report["ports"][port]["priorities"][str(number)]
    return counters
