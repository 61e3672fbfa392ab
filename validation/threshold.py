"""Where groups that share a pool settle under dynamic thresholds, in a running fabric."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import dynamic_threshold
from validation.fabric import finish, flows_to_last, loaded_fabric, make_trial, priority, star

POOL_BYTES = 18_000_000


@dataclass(frozen=True)
class Setting:
    """So many senders into one port, each a priority group with this alpha."""

    groups: int
    alpha: Fraction


def expect(setting: Setting) -> Figures:
    """Return what each group holds when it says stop."""
    return {"held": dynamic_threshold(POOL_BYTES, float(setting.alpha), setting.groups)}


def measure(setting: Setting) -> Measured:
    """Fill the switch; a group's threshold is the most that it held, less its headroom. One sender needs a slow receiver."""
    delays = {f"s{number}": "100ns" for number in range(1, setting.groups + 1)} | {"r1": "100ns"}
    switch = {"profile": "azure-24mb", "thresholds": {"reserve": 0, "alpha": str(setting.alpha)}}
    settings = ["workload.payload=false", "transport.window=64MiB", "transport.verb=send"]
    trial = make_trial(star(delays, {"r1": "25G"}, switch), "incast", *settings)
    size = round(4 * expect(setting)["held"])
    report = finish(loaded_fabric(trial, flows_to_last(setting.groups, size)))
    assert report["complete"] and report["drops"]["lossless"] == 0 and report["violations"] == []
    counters = [priority(report, f"sw:eth{number}") for number in range(1, setting.groups + 1)]
    assert all(entry["pause_tx"] and 0 < entry["headroom_bytes_max"] <= 96_928 for entry in counters)
    return Measured({"held": fmean(entry["ingress_bytes_max"] - entry["headroom_bytes_max"] for entry in counters)})


TOPIC = Topic(
    name="threshold",
    title="Dynamic thresholds: where they settle",
    text="""\
n senders at 100G into one port at 25G, on a switch of 24 MB whose groups share 18 MB (Azure's worked configuration, without
reserves). With T = alpha·(pool − used), n equally loaded groups settle at alpha·B/(1 + n·alpha). What a group held is the most
in it, less what stood in its headroom; the grain is a frame of 4158 bytes.""",
    source="closed form (Choudhury and Hahne 1998); set-up of Bai et al., Azure, NSDI 2023",
    axes=("n", "alpha"),
    quantities=(Quantity("held", "held by each, MB", 0.02, scale=1e-6),),
    cases=tuple(
        Case((str(groups), str(alpha)), Setting(groups, alpha), quick=True)
        for alpha in (Fraction(1, 32), Fraction(1, 8), Fraction(1, 2))
        for groups in (1, 8, 32)
    ),
    expect=expect,
    measure=measure,
)
