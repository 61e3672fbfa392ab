"""Whole labs under the real clock, their links imposed by whoever is asked: run inside user-mode Linux or outside alike.

Run with who imposes (`netem`, `native`) and the names of scenarios; prints one JSON object, name to figures. Nothing is
judged here.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from testbed.agent.owner import LabOwner
from testbed.agent.process import make_owner
from testbed.bus.messages import DeployBody, RunBody
from testbed.drivers import emulation
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import Lab, lab_from
from testbed.optics import behaviour
from testbed.plan.compile import compile_fabric
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.system import namespaces, netem, netlink
from testbed.system.netlink import Netlink
from testbed.system.qdisc import SHAPER_HANDLE, new_qdisc, read_qdiscs, read_shaped_rate

Json = dict[str, Any]

DILATION = 1000
# Nominal; of the wall 0, 1, 5, 20 and 60 ms. A guest that wakes up some 0.1 ms late is then within a frame time of its step.
DELAYS_NS = [0, 100, 500, 2000, 6000]
DELAY_DILATION = 10_000
DELAY_RUNS = 12

LOSS = 0.02
LOSS_BYTES = 8 << 20

# Profile and length in mm; of each the delay is read back.
PROFILES = [
    ("100g-dac", 2_000),
    ("100g-sr4", 100_000),
    ("100g-dr1", 50_000),
    ("100g-dr1", 500_000),
    ("100g-lr1", 10_000_000),
    ("100g-zr", 80_000_000),
    ("100g-dwdm", 800_000_000),
]
TOO_LOSSY = ("100g-dr1", 500_000, 4.5e-4)  # profile, length, BER at which codewords fail often enough to be seen


def make_lab(name: str, **span: Any) -> Lab:
    """Make two hosts with a switch between them; the link of the first host is `span`."""
    links = [
        {"endpoints": ["a:eth1", "s:eth1"], "rate": "100G", **({"delay": "0us"} | span)},
        {"endpoints": ["s:eth2", "b:eth1"], "rate": "100G", "delay": "0us"},
    ]
    nodes = {"a": {"kind": "host"}, "b": {"kind": "host"}, "s": {"kind": "switch", "buffer": "auto"}}
    return lab_from(Source("test", {"name": name, "topology": {"nodes": nodes, "links": links}}))


def trial_on(lab: Lab, mode: str, size: int) -> Trial:
    """Make the trial in which both hosts send `size` bytes, lengths only, to each other."""
    settings = [f"workload.size={size}", "workload.payload=false", "clock=real", f"emulation={mode}"]
    return Trial(new_experiment("test", "permutation").with_overrides(settings), lab)


@contextmanager
def deployed(trial: Trial, dilation: int = DILATION) -> Iterator[LabOwner]:
    """Bring a lab up, and take it down again."""
    owner = make_owner()
    try:
        owner.deploy(DeployBody(plan=json.loads(json.dumps(trial.plan)), dilation=dilation))
        yield owner
    finally:
        owner.destroy(trial.lab.name)


def run(owner: LabOwner, trial: Trial) -> Json:
    """Run a trial on its lab and return its outcome."""
    return owner.run(RunBody(lab=trial.lab.name, spec=trial.spec()), lambda step: None)


def delay(mode: str) -> Json:
    """Times of a message of one frame and its acknowledgement, for each of DELAYS_NS."""
    figures: Json = {}
    for delay_ns in DELAYS_NS:
        trial = trial_on(make_lab("wire", delay=f"{delay_ns}ns"), mode, 4096)
        with deployed(trial, DELAY_DILATION) as owner:
            outcomes = [run(owner, trial) for _ in range(DELAY_RUNS)]
        figures[str(delay_ns)] = {
            "time_us": [outcome["rows"][0]["time_us"] for outcome in outcomes],
            "links": outcomes[-1]["report"]["fidelity"]["links"],
            "complete": all(outcome["complete"] for outcome in outcomes),
        }
    return figures


def loss(mode: str) -> Json:
    """The report of a transfer over a link that loses frames from `a` to the switch, and the kernel's own counters."""
    trial = trial_on(make_lab("leak", delay="1us", loss=[LOSS, 0]), mode, LOSS_BYTES)
    with deployed(trial) as owner:
        report = run(owner, trial)["report"]
        with inside("leak", "a") as control:
            counters = netem.read_statistics(control)
    dropped = {handle: figures.dropped for (_index, handle), figures in counters.items()}
    return {
        "report": report,
        "kernel_dropped": dropped.get(netem.HANDLE, 0) - dropped.get(SHAPER_HANDLE, 0) if mode == "netem" else None,
    }


def overflow(mode: str) -> Json:
    """The report of a transfer through a netem whose limit somebody sets too low behind our back, as the run begins.

    A run on a lab that was altered before it is refused.
    """
    trial = trial_on(make_lab("full", delay="60us"), mode, 1 << 20)
    altered: list[bool] = []

    def alter(step: Json) -> None:
        if not altered:
            altered.append(True)
            with inside("full", "s") as control:
                control.apply(new_qdisc(101, netem.qdisc(netem.Netem(delay_ns=60_000_000, limit=20))))

    with deployed(trial) as owner:
        report = owner.run(RunBody(lab=trial.lab.name, spec=trial.spec()), alter)["report"]
        with inside("full", "s") as control:
            dropped = netem.read_statistics(control)[101, netem.HANDLE].dropped
    return {"report": report, "kernel_dropped": dropped}


def profiles(mode: str) -> Json:
    """What the kernel has for a link of each profile, beside what its behaviour says; and one that netem cannot do."""
    links = []
    driver = NetnsDriver()
    for number, (name, length_mm) in enumerate(PROFILES):
        lab = make_lab(f"light{number}", profile=name, length=f"{length_mm}mm", delay=None)
        plan = json.loads(json.dumps(compile_fabric(lab, trial_on(lab, mode, 4096).experiment)))
        driver.deploy(plan, DILATION)
        try:
            ends = [driver.configured(lab.name, end) for end in ("a:eth1", "s:eth1")]
            asked = [emulation.settings(plan, 0, way, DILATION) for way in (0, 1)]
        finally:
            driver.destroy(lab.name)
        links.append(
            {
                "profile": name,
                "delay_ps": behaviour.behaviour(name, length_mm).delay_ps,
                "configured": [end and {"delay_ns": end.delay_ns, "limit": end.limit} for end in ends],
                "differences": [
                    netem.differences(a, end) if end else ["none"] for a, end in zip(asked, ends, strict=True)
                ],
            }
        )
    name, length_mm, ber = TOO_LOSSY
    lab = make_lab("dim", profile=name, length=f"{length_mm}mm", ber=ber, delay=None)
    plan = compile_fabric(lab, trial_on(lab, mode, 4096).experiment)
    chosen = driver.emulations(plan, DILATION)
    return {"profiles": links, "too_lossy": [{"mode": link.mode, "reason": link.reason} for link in chosen]}


def changes(mode: str) -> Json:
    """A lab changed while it stands, then deployed again at another dilation; what each end is at every step."""
    trial = trial_on(make_lab("alive", delay="20us", loss=0.001), mode, 4096)
    plan = json.loads(json.dumps(trial.plan))
    driver = NetnsDriver()
    steps: Json = {"steps": []}

    def look() -> None:
        ends = [driver.configured("alive", end) for end in ("a:eth1", "s:eth1")]
        steps["steps"].append([emulation.nominal(end, DILATION) if end else None for end in ends])

    driver.deploy(plan, DILATION)
    try:
        look()
        driver.impair("alive", "s:eth1", {"delay_ps": 30_000_000, "jitter_ps": 4_000_000}, DILATION)
        look()
        burst = {"kind": "gilbert-elliott", "enter": 0.0625, "leave": 0.25, "loss_good": 0.0, "loss_bad": 1.0}
        driver.impair("alive", "s:eth1", {"loss_process": burst}, DILATION)
        look()
        driver.shape("alive", "a", "eth1", 1_000_000)
        with inside("alive", "a") as control:
            steps["shaped_bps"] = read_shaped_rate(control, 101)
        look()
        driver.deploy(plan, 2 * DILATION)
        look()
        with inside("alive", "a") as control:
            steps["shaped_again_bps"] = read_shaped_rate(control, 101)
            steps["kinds"] = [read_qdiscs(control)[101].kind]
        native = {**plan, "emulation": "native"}
        driver.deploy(native, DILATION)
        look()
        with inside("alive", "a") as control:
            steps["kinds"].append(read_qdiscs(control)[101].kind)
    finally:
        driver.destroy("alive")
    return steps


@contextmanager
def inside(lab: str, node: str) -> Iterator[Netlink]:
    """Open a netlink socket inside a node."""

    def entered() -> Netlink:
        namespaces.enter(namespaces.namespace_path(lab, node))
        return netlink.Netlink()

    with namespaces.in_thread(entered) as control:
        yield control


SCENARIOS: dict[str, Callable[[str], Json]] = {
    work.__name__: work for work in (delay, loss, overflow, profiles, changes)
}


def main(mode: str, names: list[str]) -> None:
    """Run scenarios and print what they found."""
    figures: Json = {}
    for name in names:
        try:
            figures[name] = SCENARIOS[name](mode)
        except Exception:  # noqa: BLE001  told to the test of this scenario alone
            figures[name] = {"error": traceback.format_exc()}
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
