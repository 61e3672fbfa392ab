"""The table that a person reads: every figure beside its goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.containers import GOAL_SECONDS as CONTAINERS_GOAL_SECONDS
from bench.deploy import GOAL_DESTROY_SECONDS, GOAL_LARGE_SECONDS, GOAL_SECONDS
from bench.fast import GOAL_RATIO as FAST_GOAL_RATIO
from bench.real import GOAL_FORWARD_RATIO
from bench.report import GOAL_BYTES, GOAL_OPEN_S
from bench.telemetry import GOAL_COST
from bench.traces import GOAL_MB_PER_S
from bench.virtual import GOAL_CAUSES_COST, GOAL_CORES_RATIO, GOAL_FRAME_HOPS_PER_S, GOAL_SERIES_COST

Json = dict[str, Any]


def render(document: Json) -> RenderableType:
    """Return the table of a whole document, with the machine below it."""
    table = Table("what", "figure", "goal", "detail")
    for name, rows in SECTIONS.items():
        measured = document[name]
        if "error" in measured:
            table.add_row(f"{name}: not measured", "", "", Text(measured["error"], style="red"))
            continue
        for what, figure, goal, met, detail in rows(measured):
            style = "" if met is None else "green" if met else "yellow"
            table.add_row(what, Text(figure, style=style), goal, detail)
    machine = document["machine"]
    load = " ".join(f"{load:.1f}" for load in machine["load_average"])
    below = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; load average before: {load}"
    return Group(table, Text(below))


Row = tuple[str, str, str, bool | None, str]


def _virtual(measured: Json) -> list[Row]:
    rate = measured["frame_hops_per_s"]
    best = f"median of {measured['rounds']}; best {measured['frame_hops_per_s_best'] / 1e6:.2f} M"
    work = f"{measured['frame_hops'] / 1e6:.1f} M hops and {measured['events'] / 1e6:.1f} M events in {measured['seconds']:.2f} s"
    goal = GOAL_FRAME_HOPS_PER_S
    what = f"virtual clock, {measured['hosts']} hosts, frame-hops/s"
    return [
        (what, f"{rate / 1e6:.2f} M", f"≥ {goal / 1e6:.0f} M", rate >= goal, best),
        ("virtual clock, nominal time of a run", f"{measured['nominal_ns'] / 1e6:.2f} ms", "", None, work),
        ("virtual clock, event log", measured["event_log_hash"], "", None, "the same in every run"),
    ]


def _cores(measured: Json) -> list[Row]:
    rates = [measured["frame_hops_per_s_one"] / 1e6, measured["frame_hops_per_s_two"] / 1e6]
    detail = f"{rates[0]:.2f} M and {rates[1]:.2f} M frame-hops/s, medians of {measured['rounds']} in turns"
    ratio = measured["ratio"]
    return [
        ("virtual clock, two cores / one", f"{ratio:.2f}", f"≥ {GOAL_CORES_RATIO}", ratio >= GOAL_CORES_RATIO, detail)
    ]


def _causes(measured: Json) -> list[Row]:
    cost, pauses = measured["cost"], measured["pauses"]
    detail = f"median of {measured['rounds']} in turns, best {measured['cost_best']:.1%}; {pauses:,} PAUSE frames"
    what = "cost of causes: recording who paused whom, an incast"
    return [(what, f"{cost:.1%}", f"< {GOAL_CAUSES_COST:.0%}", cost < GOAL_CAUSES_COST, detail)]


def _report(measured: Json) -> list[Row]:
    size, opened = measured["bytes"], measured["open_s"]
    what = f"report on a run of {measured['hosts']} hosts"
    written = f"written in {measured['write_s']:.2f} s, median of {measured['rounds']}"
    rows: list[Row] = [
        (f"{what}, size", f"{size / 1e6:.2f} MB", f"< {GOAL_BYTES / 1e6:g} MB", size < GOAL_BYTES, written)
    ]
    if opened is None:
        return [*rows, (f"{what}, opened", "", "", None, "not measured: no Chromium")]
    return [
        *rows,
        _seconds(f"{what}, opened", opened, GOAL_OPEN_S, f"median of {measured['rounds']}, after a first time"),
    ]


def _traces(measured: Json) -> list[Row]:
    rate, goal = measured["read_mb_per_s"], GOAL_MB_PER_S
    matched = f"matched at {measured['matched_ops_per_s'] / 1e6:.2f} M/s"
    detail = f"{measured['ops'] / 1e3:.0f} k ops, {matched}; median of {measured['rounds']}"
    what = f"trace of GOAL, {measured['megabytes']:.0f} MB of text, read, MB/s"
    return [(what, f"{rate:.0f}", f"≥ {goal}", rate >= goal, detail)]


def _series(measured: Json) -> list[Row]:
    cost = measured["cost"]
    kept = f"{measured['rows'] / 1e3:.0f} k changes at {measured['points']:,} points"
    detail = f"medians of {measured['rounds']} in turns; best {measured['cost_best']:.1%}; {kept}"
    what = "series at auto, off the virtual clock's speed"
    return [(what, f"{cost:.1%}", f"< {GOAL_SERIES_COST:.0%}", cost < GOAL_SERIES_COST, detail)]


def _fast(measured: Json) -> list[Row]:
    what = f"fast-forward, ring all-reduce of {measured['size']} on 64 ranks, beside exact runs"
    rate = measured["exact_frame_hops_per_s"] / 1e6
    detail = (
        f"{measured['frame_hops'] / 1e6:.0f} M frame-hops in {measured['seconds']:.2f} s, {measured['skipped']:.1%} skipped; "
        f"exact {rate:.2f} M/s; {measured['ratio_small']:.1f} times with {measured['exact_size']}"
    )
    ratio = measured["ratio"]
    return [(what, f"{ratio:.0f} times", f"≥ {FAST_GOAL_RATIO:.0f}", ratio >= FAST_GOAL_RATIO, detail)]


def _real(measured: Json) -> list[Row]:
    rows: list[Row] = []
    for size, figures in measured["frame_bytes"].items():
        ratio, both = figures["forward_ratio"], [figures["real_frames_per_s"], figures["bare_frames_per_s"]]
        detail = f"{both[0] / 1e3:.0f} k against {both[1] / 1e3:.0f} k frames/s, medians of {measured['rounds']}"
        goal = GOAL_FORWARD_RATIO
        rows.append((f"real clock / bare forwarder, {size} B", f"{ratio:.2f}", f"≥ {goal}", ratio >= goal, detail))
    return rows


def _telemetry(measured: Json) -> list[Row]:
    cost, (low, high) = measured["cost"], measured["cost_quartiles"]
    still = f"stood still {measured['cost_standing_still']:.2%}"
    detail = f"median of {measured['rounds']}, quartiles {low:.1%} and {high:.1%}; {still}"
    what = f"telemetry of {measured['ports']} ports, {measured['looks_per_s']:.1f} Hz, off the throughput"
    return [(what, f"{cost:.1%}", f"< {GOAL_COST:.0%}", cost < GOAL_COST, detail)]


def _deploy(measured: Json) -> list[Row]:
    count = measured["nodes"]
    build, destroy = measured[f"seconds_{count}_nodes"], measured[f"destroy_seconds_{count}_nodes"]
    what = f"{measured['nodes']} namespaces, {measured['links']} links"
    goal, goal_gone = (GOAL_SECONDS, GOAL_DESTROY_SECONDS) if count < 1000 else (GOAL_LARGE_SECONDS, None)
    worst = f"median of {measured['rounds']}; worst {measured[f'seconds_{count}_nodes_max']:.2f} s"
    worst_gone = f"median of {measured['rounds']}; worst {measured[f'destroy_seconds_{count}_nodes_max']:.2f} s"
    return [_seconds(f"build {what}", build, goal, worst), _seconds(f"destroy {what}", destroy, goal_gone, worst_gone)]


def _containers(measured: Json) -> list[Row]:
    rows = [("build", "seconds", CONTAINERS_GOAL_SECONDS), ("destroy", "destroy_seconds", None)]
    return [
        _seconds(
            f"{verb} {measured['containers']} containers",
            measured[key],
            goal,
            f"median of {measured['rounds']}; worst {measured[f'{key}_max']:.2f} s",
        )
        for verb, key, goal in rows
    ]


def _seconds(what: str, took: float, goal: float | None, detail: str) -> Row:
    if goal is None:
        return (what, f"{took:.2f} s", "", None, detail)
    return (what, f"{took:.2f} s", f"< {goal:g} s", took < goal, detail)


SECTIONS: dict[str, Callable[[Json], list[Row]]] = {
    "virtual": _virtual,
    "virtual_128": _virtual,
    "virtual_cores": _cores,
    "causes": _causes,
    "report": _report,
    "traces": _traces,
    "series": _series,
    "fast": _fast,
    "real": _real,
    "telemetry": _telemetry,
    "deploy": _deploy,
    "deploy_1000": _deploy,
    "containers": _containers,
}
