"""Random cases for fast-forward, each a pure function of a seed: long messages, and what disturbs a steady state.

As a program it holds so many of them against exact runs: `python -m tests.fast_cases 200`.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from testbed._dataplane import VirtualFabric
from testbed.experiment.file import Experiment, experiment_from
from testbed.lab.topology import load_lab
from testbed.run.execution import Outcome
from testbed.run.perform import perform
from testbed.run.trial import Trial
from testbed.schema.source import Source

# Packets of all ranks of a case together.
PACKETS = 12_000
_LABS = (
    "pair:rate={rate}",
    "incast:senders={few},rate={rate}",
    "dumbbell:hosts={few},rate={rate},bottleneck={slower}",
    "ring:switches=3,hosts={few},rate={rate}",
    "clos:spines=2,leaves=2,hosts={few},rate={rate},delay={delay}",
    "clos:spines=2,leaves=3,hosts={few},length=30m,profile=400g-dr4",
    "two-dc:hosts={few},rate={rate},length=2km",
    "rail:servers=2,accelerators=4,spines=2,rate={rate}",
)
_COLLECTIVES = ("all_reduce", "all_gather", "permutation", "sendrecv", "incast", "all_to_all", "broadcast")


@dataclass
class Agreement:
    """What two runs of a case came to: `skips` of the fast one, and where it `differs` from the exact one."""

    seed: int
    skips: int
    differs: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()


def draw(seed: int) -> Experiment:
    """Draw the experiment of a seed, which sends lengths alone."""
    luck = random.Random(seed)
    rate = luck.choice(("100G", "200G", "400G"))
    slower = {"100G": "50G", "200G": "100G", "400G": "100G"}[rate]
    words = {"rate": rate, "slower": slower, "few": luck.choice((2, 3, 4)), "delay": luck.choice(("300ns", "1us"))}
    mtu = luck.choice((1024, 2048, 4096))
    data: dict[str, Any] = {
        "topology": luck.choice(_LABS).format(**words),
        "seed": luck.randrange(2**31),
        "limit": luck.choice(("20s", "20s", "150us")),
        "transport": _transport(luck, mtu),
        "workload": {"collective": luck.choice(_COLLECTIVES), "payload": False},
    }
    ranks = 8
    data["workload"]["size"] = luck.randrange(PACKETS // 4, PACKETS) * mtu // ranks * 4
    if luck.random() < 0.3:
        data["lossless"] = {"ecn": luck.choice(("sonic", "hpcc-ns3"))}
        data["transport"]["congestion-control"] = "dcqcn"
    if luck.random() < 0.2:
        data |= {"warmup": "30us", "window": luck.choice(("40us", "111us"))}
    if luck.random() < 0.2:
        data["workload"]["qps"] = 2
        data["transport"]["qps"] = 2
        del data["workload"]["qps"]
    return experiment_from(Source(f"seed {seed}", data))


def _transport(luck: random.Random, mtu: int) -> dict[str, Any]:
    transport: dict[str, Any] = {
        "mtu": mtu,
        "verb": luck.choice(("write", "send")),
        "recovery": luck.choice(("go-back-n", "go-back-n", "selective-repeat")),
        "ack-every": luck.choice((1, 4, 16, 16, 64)),
    }
    if luck.random() < 0.3:
        transport["window"] = f"{luck.choice((16, 64, 256)) * mtu // 1024}KiB"
    return transport


def hold(seed: int) -> Agreement:
    """Run a case fast and exactly and compare all that either has to say, but for the hash and what was skipped."""
    experiment = draw(seed)
    trial = Trial(experiment, load_lab(experiment.topology))
    fast, exact = _run(trial, True), _run(trial, False)
    skipped = fast.report.pop("fast")
    assert skipped is not None and fast.report["event_log_hash"] is None
    fast.report["event_log_hash"] = exact.report["event_log_hash"]
    differs = [key for key, value in exact.report.items() if fast.report[key] != value]  # type: ignore[literal-required]
    if fast.report.keys() != exact.report.keys():
        differs.append("keys")
    whole = ("rows", "flows", "pauses", "complete", "reasons", "end_ps")
    differs += [key for key in whole if getattr(fast, key) != getattr(exact, key)]
    return Agreement(seed, skipped["skips"], differs, tuple(skipped["exact_ps"]))


def _run(trial: Trial, fast: bool) -> Outcome:
    fabric = VirtualFabric(json.dumps(trial.plan), 1)
    if fast:
        fabric.fast_forward(0.01)
    return perform(trial, fabric, "virtual", lambda progress: None)


def main(cases: int) -> int:
    """Hold so many cases; return how many differ."""
    held = [hold(seed) for seed in range(cases)]
    wrong = [agreement for agreement in held if agreement.differs]
    reasons = Counter(reason for agreement in held for reason in agreement.reasons)
    print(f"{cases} cases, {sum(agreement.skips > 0 for agreement in held)} of them skipped, {len(wrong)} differ")
    print(", ".join(f"{reason}: {count}" for reason, count in reasons.most_common()))
    for agreement in wrong:
        print(f"seed {agreement.seed}: {', '.join(agreement.differs)}")
    return len(wrong)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
