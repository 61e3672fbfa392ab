"""Results that reports are made of in these tests: small runs under the virtual clock, and what no small run has, by hand."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.report.page.document import Run, Study
from testbed.report.page.file import page
from testbed.run.flow_result import FlowClass, FlowCompletion, FlowTimes, Spread
from testbed.run.judgement import conclude
from testbed.run.result import RunResult
from testbed.study.combinations import SweepRow
from testbed.study.figures import Figures
from testbed.study.sweep import SweepResult, Winner
from tests.virtual.harness import make_trial, run_trial

Json = dict[str, Any]
STORM = (
    "workload.size=256KiB",
    "timeline=[{at: 5us, node: b1, storm: {}, for: 300us}]",
    "lossless.watchdog={detection: 100us, restoration: 100us, poll: 50us}",
    "expect=[drops.lossless == 0]",
)


def storm() -> RunResult:
    """Return a run in which a NIC stops all others, and a watchdog drops what waits for it."""
    trial = make_trial("two-dc:length=1km", "permutation", *STORM)
    return conclude(trial, run_trial(trial), "virtual", 1, "testbed run permutation")


def incast(*settings: str) -> RunResult:
    """Return a run of two senders to one receiver."""
    trial = make_trial("incast:senders=2", "incast", "workload.size=64KiB", *settings)
    return conclude(trial, run_trial(trial), "virtual", 1, "testbed run incast")


def fast() -> RunResult:
    """Return a run that skips what recurs in messages of 8 MiB."""
    settings = ("workload.size=8MiB", "workload.payload=false", "fast=1%")
    trial = make_trial("pair", "permutation", *settings)
    return conclude(trial, run_trial(trial), "virtual", 1, "testbed run permutation --fast 1%")


def write(path: Path, *shown: Run | Study, change: Callable[[Json], None] | None = None) -> Path:
    """Write a report; `change` may alter its document before."""
    text = page(shown)
    if change is not None:
        match = re.search(r'id="data">([^<]*)<', text)
        assert match is not None
        document = json.loads(gzip.decompress(base64.b64decode(match[1])))
        change(document)
        data = base64.b64encode(gzip.compress(json.dumps(document).encode())).decode()
        text = text[: match.start(1)] + data + text[match.end(1) :]
    path.write_text(text, encoding="utf-8")
    return path


def with_pauses(document: Json) -> None:
    """Add pauses: a slow NIC stops its leaf, that the border, and that, thirty times, a host; the last never ends."""
    us = 1_000_000

    def paused(port: str, start: int, end: int | None, by: str, causes: list[list[float]], reason: str | None) -> Json:
        times = {"from_ps": start * us, "to_ps": None if end is None else end * us}
        return {"port": port, "priority": 3, **times, "by": by, "causes": causes, "reason": reason, "root": 0}

    intervals = [
        paused("leaf-b:eth1", 5, 300, "b1:eth1", [], "slow receiver"),
        paused("border-b:eth1", 9, 310, "leaf-b:eth3", [[0, 1.0]], None),
        paused("border-a:eth2", 12, None, "border-b:eth2", [[1, 0.75], [0, 0.25]], None),
    ]
    intervals += [paused("a1:eth1", 15 + 9 * n, 20 + 9 * n, "leaf-a:eth1", [[2, 1.0]], None) for n in range(30)]
    root = {
        "reason": "slow receiver", "at": "b1:eth1", "priority": 3, "from_ps": 5 * us, "to_ps": 300 * us,
        "intervals": len(intervals), "ports": sorted({row["port"] for row in intervals}), "paused_ps": 1_000 * us,
        "victims": {"flows": 1, "listed": [{"src": "a2", "dst": "b2"}]},
        "sentence": "b1's NIC takes in less than comes: it paused leaf-b:eth1, which paused border-b:eth1",
    }  # fmt: skip
    document["runs"][0]["run"]["pauses"] = {"intervals": intervals, "omitted": 7, "roots": [root]}


def with_series(document: Json) -> None:
    """Add what ports and ranks did over time, at 300 points of a us."""
    at = list(range(300))
    columns = [
        {
            "kind": "port",
            "name": port,
            "priority": 3,
            "quantity": quantity,
            "at": at,
            "value": [each * step for each in at],
        }
        for port in document["runs"][0]["run"]["ports"]
        for quantity, step in (("bytes_tx", 6_000), ("queue_bytes", 90), ("shared_bytes", 70), ("headroom_bytes", 20))
    ]
    columns += [
        {"kind": "rank", "name": str(rank), "priority": -1, "quantity": "step", "at": [50 + rank, 200], "value": [1, 2]}
        for rank in range(4)
    ]
    document["runs"][0]["series"] = {"period_ns": 1000, "points": 300, "columns": columns}


def flows() -> RunResult:
    """Return a run with a workload of sixty flows, all but the last of which ended."""
    spread = Spread(mean=4, p50=3, p95=9, p99=10, max=12)
    times = [
        FlowTimes(src="a1", dst="b1", priority=3, bytes=10 ** (3 + n % 4), start_us=float(n), fct_us=took, alone_us=2.0,
                  slowdown=None if took is None else took / 2)
        for n in range(60)
        for took in [None if n == 59 else 2.0 + n]
    ]  # fmt: skip
    whole = FlowClass(least_bytes=1, most_bytes=10**6, count=60, finished=59, fct_us=spread, slowdown=spread)
    parts = [whole.model_copy(update={"most_bytes": 1000}), whole.model_copy(update={"least_bytes": 1001})]
    return incast().model_copy(
        update={"flow_completion": FlowCompletion(sizes="websearch", load=None, all=whole, by_size=parts, flows=times)}
    )


def sweep() -> SweepResult:
    """Return a sweep over three axes in which nothing holds at the longest span without selective repeat."""
    over = {
        "topology.length": ["1km", "80km", "1000km"],
        "transport.recovery": ["go-back-n", "selective-repeat"],
        "topology.loss": ["0", "1e-4"],
    }
    rows = [
        _row(settings, held=settings["topology.length"] != "1000km" or settings["transport.recovery"] != "go-back-n")
        for length in over["topology.length"]
        for recovery in over["transport.recovery"]
        for loss in over["topology.loss"]
        for settings in [{"topology.length": length, "transport.recovery": recovery, "topology.loss": loss}]
    ]
    best = [
        Winner(where={"topology.length": length}, row=4 * n + 2, near=[])
        for n, length in enumerate(over["topology.length"])
    ]
    return SweepResult(
        lab="two-dc", seed=1, versions={}, replay="testbed sweep", over=over, rows=rows, best_by=["topology.length"], best=best
    )  # fmt: skip


def _row(settings: dict[str, str], *, held: bool) -> SweepRow:
    figures = Figures(
        time_us=100.0, algbw_gbytes_per_s=5.0 if held else 1.0, busbw_gbytes_per_s=6.0 if held else 1.5, share_of_ideal=0.5,
        lossless=held, drops={"lossless": 0 if held else 9, "lossy": 0, "link": 0}, packets_tx=9, retransmitted=3, timeouts=0,
        pause_frames=4, paused_ns=2e3, queue_bytes_max=9_000, headroom_bytes_max=1_000, buffer_bytes=32_000_000, watts=90.0,
        joules_per_step=0.1, cost_per_step=0.01,
    )  # fmt: skip
    reasons = [] if held else ["not lossless: 9 frames dropped"]
    verdict = "passed" if held else "failed"
    return SweepRow(
        settings=settings, verdict=verdict, reasons=reasons, figures=figures, event_log_hash=None, replay="testbed run"
    )


def many_hosts(count: int) -> RunResult:
    """Return a run of so many hosts below one spine layer, as large as a real one: every port has counters, every pair a flow."""
    one = incast()
    switches = [f"leaf{n}" for n in range(count // 32)]
    counters = next(iter(one.ports.values()))
    facts = {**one.links[0]}
    names = [(f"h{n}:eth1", f"leaf{n // 32}:eth{n % 32 + 1}") for n in range(count)]
    names += [(f"{leaf}:eth{33 + s}", f"spine{s}:eth{n + 1}") for n, leaf in enumerate(switches) for s in range(8)]
    group = {"priority": 3, "xoff_bytes": 100_000, "xon_bytes": 90_000, "headroom_bytes": 40_000}
    groups = {
        name: {"buffer_bytes": 32_000_000, "groups": [{"port": f"eth{n}", **group} for n in range(1, 41)]}
        for name in [*switches, *(f"spine{s}" for s in range(8))]
    }
    flow, pair, place = one.flows[0], one.qps[0], one.ranks[0]
    hosts = [f"h{n}" for n in range(count)]
    return one.model_copy(
        update={
            "settings": None,
            "ports": {end: counters for link in names for end in link},
            "links": [{**facts, "link": f"{a} - {b}"} for a, b in names],
            "ranks": [place.model_copy(update={"rank": n, "host": host}) for n, host in enumerate(hosts)],
            "flows": [
                flow.model_copy(update={"src": a, "dst": b, "start_ns": 10 * n})
                for n, a in enumerate(hosts)
                for b in hosts[:4]
            ],
            "qps": [{**pair, "a": a, "b": b} for a, b in zip(hosts, [*hosts[1:], hosts[0]], strict=True)],
            "in_force": {**one.in_force, "switches": groups},
        }
    )
