"""Whether a run under the real clock was faithful enough to be trusted, and what to do where it was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.contract.report import Fidelity
from testbed.plan.dilation import larger_dilation

_MOST_HELD = 0.99  # a share that leaves something to divide by


@dataclass(frozen=True, slots=True)
class FidelityBounds:
    """What a run under the real clock may show and still be trusted; lateness in nominal time.

    The clock holds nominal time back rather than let frames leave late, so lateness stays within a few frame times
    of the fastest link (1 µs at 100G) whatever the machine does; how much was held back says whether it kept up. Held
    back for half of the time, the run had twice the dilation that was asked for.

    The kernel's netem does not wait with it: what it delays arrives too early by the share that was held back. So where
    netem imposes links, that share is how far off their delays are, and the bound is that of the figures themselves.
    """

    lateness_p99_ns: float = 1_000
    held_share: float = 0.5
    held_share_netem: float = 0.05
    socket_drops: int = 0
    overflow: int = 0
    cpu_share: float = 0.95


def judge_fidelity(fidelity: Fidelity | None, bounds: FidelityBounds) -> list[str]:
    """Return why an emulation cannot be trusted, one line a figure out of bounds; none if it can.

    A figure that was not measured is out of bounds: fidelity is never assumed.
    """
    if fidelity is None:
        return ["untrusted: fidelity was not measured"]
    lateness = fidelity.get("lateness_ns") or {}
    netem = any(link["emulation"] == "netem" for link in fidelity.get("links", ()))
    held_share = min(bounds.held_share, bounds.held_share_netem) if netem else bounds.held_share
    refused: Mapping[str, int] = fidelity.get("refused", {})
    stolen: Mapping[str, int] = fidelity.get("lost_in_kernel", {})
    late: Mapping[str, int] = fidelity.get("kernel_drops", {})
    gates: Mapping[str, int] = fidelity.get("kernel_gates", {})
    held = _UNHELD if any(gates.get(port) == 0 for port in late) else ""
    figures: list[tuple[str, Any, float, str]] = [
        ("99th percentile of lateness", lateness.get("p99"), bounds.lateness_p99_ns, " ns"),
        ("share of the time held back", fidelity.get("held_share"), held_share, ""),
        ("frames dropped by sockets", fidelity.get("socket_drops"), bounds.socket_drops, ""),
        ("frames lost to full queues of the emulator", fidelity.get("overflow"), bounds.overflow, ""),
        ("frames that interfaces refused" + _where(refused, _REFUSED), sum(refused.values()), bounds.overflow, ""),
        ("frames lost inside the kernel" + _on_their_way(stolen), sum(stolen.values()), bounds.overflow, ""),
        ("frames of hosts' kernels lost by the emulator" + _where(late, held), sum(late.values()), bounds.overflow, ""),
        ("share of a processor", fidelity.get("cpu_share"), bounds.cpu_share, ""),
    ]
    if "agents" in fidelity:
        apart = ("how far agents were apart", fidelity.get("apart_ns"), bounds.lateness_p99_ns, " ns")
        between: Mapping[str, int] = fidelity["lost_between"]
        lost = ("frames lost between machines" + _on_their_way(between), sum(between.values()), bounds.overflow, "")
        figures += [apart, lost]
    if netem:
        figures.append(("frames that netem lost unasked", fidelity.get("netem_overflow"), bounds.overflow, ""))
    altered: Mapping[str, str] = fidelity.get("altered", {})
    reasons = [f"untrusted: {node} was altered during the run: {reason}" for node, reason in sorted(altered.items())]
    for name, value, bound, unit in figures:
        if value is None:
            reasons.append(f"untrusted: {name} was not measured")
        elif not value <= bound:
            reasons.append(f"untrusted: {name} is {_figure(value)}{unit}, more than {_figure(bound)}{unit}")
    return reasons


_UNHELD = " (`kernel: lossless` needs tbf and u32 in the kernel: see testbed doctor)"
_REFUSED = " (too long for the MTU, or the interface is down)"


def _where(counts: Mapping[str, int], cause: str = "") -> str:
    """Return at which ports, and what it can be."""
    return f" at {', '.join(sorted(counts))}{cause}" if counts else ""


def _on_their_way(lost: Mapping[str, int]) -> str:
    """Return which ports had sent them."""
    return f" on their way from {', '.join(sorted(lost))}" if lost else ""


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shortfall(fidelity: Fidelity | None, bounds: FidelityBounds) -> float:
    """Return how many times too fast a run was for its machine, as far as its figures tell; 1 where they do not.

    Held back for a share h of its time, it went 1/(1 - h) times slower than asked for. Lateness counts in nominal time, so
    that a dilation as many times larger brings it to its bound.
    """
    if fidelity is None:
        return 1
    held = min(float(fidelity.get("held_share") or 0), _MOST_HELD)
    lateness = fidelity.get("lateness_ns")
    late_ns = float(lateness["p99"] if lateness else 0)
    return max(1 / (1 - held), late_ns / bounds.lateness_p99_ns, 1)


def advice(dilation: int, fidelity: Fidelity | None, bounds: FidelityBounds) -> str:
    """Return how a run that was not faithful at a dilation can be repeated so that it is."""
    slower = larger_dilation(dilation, shortfall(fidelity, bounds))
    repeat = f"repeat it with --dilation {slower}" if slower > dilation else "repeat it on a faster machine"
    return f"{repeat}, or while this machine has less to do, or with --clock virtual, which no load disturbs"
