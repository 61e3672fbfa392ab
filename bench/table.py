"""The table that a person reads: every figure beside its goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.containers import GOAL_SECONDS as CONTAINERS_GOAL_SECONDS
from bench.deploy import GOAL_DESTROY_SECONDS, GOAL_LARGE_SECONDS, GOAL_SECONDS
from bench.fast import GOAL_RATIO as FAST_GOAL_RATIO
from bench.history import Release
from bench.real import GOAL_FORWARD_RATIO
from bench.report import GOAL_BYTES, GOAL_OPEN_S
from bench.start_up import GOAL_COMPILE_S, GOAL_LARGE_BYTES, GOAL_LARGE_S, GOAL_RUN_S
from bench.telemetry import GOAL_COST
from bench.traces import GOAL_MB_PER_S
from bench.virtual import GOAL_CAUSES_COST, GOAL_FRAME_HOPS_PER_S, GOAL_SERIES_COST

Json = dict[str, Any]


def render(document: Json, last: Release | None = None) -> RenderableType:
    """Return the table of a whole document, with the machine below it, and what the last release is that it is held against."""
    table = Table("what", "figure", "goal", "to last", "rival", "detail")
    for name in filter(document.__contains__, SECTIONS):
        measured = document[name]
        if "error" in measured:
            table.add_row(f"{name}: not measured", "", "", "", "", Text(measured["error"], style="red"))
            continue
        for key, row in _keyed(name, measured):
            style = "" if row.met is None else "green" if row.met else "yellow"
            ratio = _to_last(row.value, last.figures.get(key) if last else None)
            table.add_row(row.what, Text(row.figure, style=style), row.goal, ratio, row.rival, row.detail)
    machine = document["machine"]
    load = " ".join(f"{load:.1f}" for load in machine["load_average"])
    below = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; load average before: {load}"
    compared = f"last release: {last.place()}" if last else "last release: none recorded"
    return Group(table, Text(below), Text(compared))


def figures(document: Json) -> dict[str, float]:
    """Return the figures of a document that are kept of releases, by the key of their row."""
    sound = [name for name in SECTIONS if "error" not in document.get(name, {"error": ""})]
    keyed = (pair for name in sound for pair in _keyed(name, document[name]))
    return {key: row.value for key, row in keyed if row.value is not None}


def _keyed(name: str, measured: Json) -> list[tuple[str, Row]]:
    """Return the rows of a section with their keys, of which the first has the name of the section alone."""
    rows = SECTIONS[name](measured)
    return [(f"{name}.{number}" if number else name, row) for number, row in enumerate(rows)]


def _to_last(value: float | None, before: float | None) -> str:
    return "" if value is None or before is None else f"{value / before:.2f}"


class Row(NamedTuple):
    """What was measured, its figure and goal as text, whether it is met, what else there is to say, the same by a rival, and the
    figure as a number where it is kept of releases."""

    what: str
    figure: str
    goal: str
    met: bool | None
    detail: str
    rival: str = ""
    value: float | None = None


def _virtual(measured: Json) -> list[Row]:
    rate = measured["frame_hops_per_s"]
    best = f"median of {measured['rounds']}; best {measured['frame_hops_per_s_best'] / 1e6:.2f} M"
    work = f"{measured['frame_hops'] / 1e6:.1f} M hops and {measured['events'] / 1e6:.1f} M events in {measured['seconds']:.2f} s"
    goal = GOAL_FRAME_HOPS_PER_S
    what = f"virtual clock, {measured['hosts']} hosts, frame-hops/s"
    return [
        Row(what, f"{rate / 1e6:.2f} M", f"≥ {goal / 1e6:.0f} M", rate >= goal, best, value=rate),
        Row("virtual clock, nominal time of a run", f"{measured['nominal_ns'] / 1e6:.2f} ms", "", None, work),
        Row("virtual clock, event log", measured["event_log_hash"], "", None, "the same in every run"),
    ]


def _cores(measured: Json) -> list[Row]:
    rates = [measured["frame_hops_per_s_one"] / 1e6, measured["frame_hops_per_s_two"] / 1e6]
    turns = measured["turns"]
    apart = turns["apart_turns"] / max(turns["turns"], 1)
    detail = (
        f"{rates[0]:.2f} M and {rates[1]:.2f} M frame-hops/s, medians of {measured['rounds']} in turns; "
        f"best {measured['ratio_best']:.2f}; {apart:.0%} of {turns['turns']:,} turns with threads"
    )
    ratio, goal = measured["ratio"], measured["goal"]
    what = f"virtual clock, two cores / one, {measured['hosts']} hosts, lookahead {turns['lookahead_ps'] / 1e6:g} µs"
    return [Row(what, f"{ratio:.2f}", f"≥ {goal}", ratio >= goal, detail, value=ratio)]


def _cores_model(measured: Json) -> list[Row]:
    def row(cores: str, part: Json) -> Row:
        what = f"virtual clock, {cores} cores / one, {measured['hosts']} hosts, reckoned"
        detail = f"{part['share']:.1%} of {part['events_a_turn']:,.0f} events a turn in the busiest of {part['shards']} parts"
        return Row(what, f"{part['ratio']:.1f}", "", None, f"{detail}; {measured['event_ns']:.0f} ns an event")

    return [row(cores, part) for cores, part in measured["parts"].items()]


def _causes(measured: Json) -> list[Row]:
    cost, pauses = measured["cost"], measured["pauses"]
    detail = f"median of {measured['rounds']} in turns, best {measured['cost_best']:.1%}; {pauses:,} PAUSE frames"
    what = "cost of causes: recording who paused whom, an incast"
    return [Row(what, f"{cost:.1%}", f"< {GOAL_CAUSES_COST:.0%}", cost < GOAL_CAUSES_COST, detail)]


def _report(measured: Json) -> list[Row]:
    size, opened = measured["bytes"], measured["open_s"]
    what = f"report on a run of {measured['hosts']} hosts"
    written = f"written in {measured['write_s']:.2f} s, median of {measured['rounds']}"
    rows: list[Row] = [
        Row(
            f"{what}, size",
            f"{size / 1e6:.2f} MB",
            f"< {GOAL_BYTES / 1e6:g} MB",
            size < GOAL_BYTES,
            written,
            value=size,
        )
    ]
    if opened is None:
        return [*rows, Row(f"{what}, opened", "", "", None, "not measured: no Chromium")]
    return [
        *rows,
        _seconds(f"{what}, opened", opened, GOAL_OPEN_S, f"median of {measured['rounds']}, after a first time"),
    ]


def _traces(measured: Json) -> list[Row]:
    rate, goal = measured["read_mb_per_s"], GOAL_MB_PER_S
    matched = f"matched at {measured['matched_ops_per_s'] / 1e6:.2f} M/s"
    detail = f"{measured['ops'] / 1e3:.0f} k ops, {matched}; median of {measured['rounds']}"
    what = f"trace of GOAL, {measured['megabytes']:.0f} MB of text, read, MB/s"
    return [Row(what, f"{rate:.0f}", f"≥ {goal}", rate >= goal, detail, value=rate)]


def _series(measured: Json) -> list[Row]:
    cost = measured["cost"]
    kept = f"{measured['rows'] / 1e3:.0f} k changes at {measured['points']:,} points"
    detail = f"medians of {measured['rounds']} in turns; best {measured['cost_best']:.1%}; {kept}"
    what = "series at auto, off the virtual clock's speed"
    return [Row(what, f"{cost:.1%}", f"< {GOAL_SERIES_COST:.0%}", cost < GOAL_SERIES_COST, detail)]


def _fast(measured: Json) -> list[Row]:
    what = f"fast-forward, ring all-reduce of {measured['size']} on 64 ranks, beside exact runs"
    rate = measured["exact_frame_hops_per_s"] / 1e6
    detail = (
        f"{measured['frame_hops'] / 1e6:.0f} M frame-hops in {measured['seconds']:.2f} s, {measured['skipped']:.1%} skipped; "
        f"exact {rate:.2f} M/s; {measured['ratio_small']:.1f} times with {measured['exact_size']}"
    )
    ratio = measured["ratio"]
    met = ratio >= FAST_GOAL_RATIO
    return [Row(what, f"{ratio:.0f} times", f"≥ {FAST_GOAL_RATIO:.0f}", met, detail, value=ratio)]


def _real(measured: Json) -> list[Row]:
    rows: list[Row] = []
    for size, figures in measured["frame_bytes"].items():
        ratio, both = figures["forward_ratio"], [figures["real_frames_per_s"], figures["bare_frames_per_s"]]
        detail = f"{both[0] / 1e3:.0f} k against {both[1] / 1e3:.0f} k frames/s, medians of {measured['rounds']}"
        goal = GOAL_FORWARD_RATIO
        what = f"real clock / bare forwarder, {size} B"
        rows.append(Row(what, f"{ratio:.2f}", f"≥ {goal}", ratio >= goal, detail, value=ratio))
    return rows


def _telemetry(measured: Json) -> list[Row]:
    cost, (low, high) = measured["cost"], measured["cost_quartiles"]
    still = f"stood still {measured['cost_standing_still']:.2%}"
    detail = f"median of {measured['rounds']}, quartiles {low:.1%} and {high:.1%}; {still}"
    what = f"telemetry of {measured['ports']} ports, {measured['looks_per_s']:.1f} Hz, off the throughput"
    return [Row(what, f"{cost:.1%}", f"< {GOAL_COST:.0%}", cost < GOAL_COST, detail)]


def _deploy(measured: Json) -> list[Row]:
    count = measured["nodes"]
    build, destroy = measured[f"seconds_{count}_nodes"], measured[f"destroy_seconds_{count}_nodes"]
    what = f"{measured['nodes']} namespaces, {measured['links']} links"
    goal, goal_gone = (GOAL_SECONDS, GOAL_DESTROY_SECONDS) if count < 1000 else (GOAL_LARGE_SECONDS, None)
    worst = f"median of {measured['rounds']}; worst {measured[f'seconds_{count}_nodes_max']:.2f} s"
    worst_gone = f"median of {measured['rounds']}; worst {measured[f'destroy_seconds_{count}_nodes_max']:.2f} s"
    theirs, theirs_gone = (_rival(measured["rival"], key, "s", 1) for key in ("seconds", "destroy_seconds"))
    return [
        _seconds(f"build {what}", build, goal, worst, theirs if count < 1000 else ""),
        _seconds(f"destroy {what}", destroy, goal_gone, worst_gone, theirs_gone if count < 1000 else ""),
    ]


def _chain(measured: Json) -> list[Row]:
    rate = measured["hops_per_s"]
    what = f"chain of {measured['nodes']} nodes, hops of packets of 4178 B/s of processor time"
    rival = _rival(measured["rival"], "hops_per_s", "M", 1e6)
    return [Row(what, f"{rate / 1e6:.2f} M", "", None, f"medians of {measured['rounds']} in turns", rival, rate)]


def _start_up(measured: Json) -> list[Row]:
    took = measured["processor_seconds"]
    detail = f"of processor time, median of {measured['rounds']}; {measured['seconds']:.2f} s by the wall"
    return [_seconds("smallest run, from start to end", took, GOAL_RUN_S, detail)]


def _fabric(measured: Json) -> list[Row]:
    hosts, took, most = measured["hosts"], measured["seconds"], measured["memory_bytes"]
    large = hosts == 8192
    detail = f"of processor time, median of {measured['rounds']}"
    memory = Row(
        f"{hosts:,} hosts, memory before the first event",
        f"{most / 1e9:.2f} GB",
        f"< {GOAL_LARGE_BYTES / 1e9:g} GB" if large else "",
        most < GOAL_LARGE_BYTES if large else None,
        "the most that the process had",
        value=most,
    )
    compiled = GOAL_COMPILE_S if hosts == 1024 else None
    return [
        _seconds(f"{hosts:,} hosts, before the first event", took, GOAL_LARGE_S if large else None, detail),
        _seconds(f"{hosts:,} hosts, plan compiled", measured["compile_seconds"], compiled, detail),
        memory,
    ]


def _rival(rival: Json, key: str, unit: str, scale: float) -> str:
    """Write a rival's figure, or how to install the rival."""
    return f"{rival['name']}: {rival[key] / scale:.2f} {unit}" if "name" in rival else rival["install"]


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


def _seconds(what: str, took: float, goal: float | None, detail: str, rival: str = "") -> Row:
    if goal is None:
        return Row(what, f"{took:.2f} s", "", None, detail, rival, took)
    return Row(what, f"{took:.2f} s", f"< {goal:g} s", took < goal, detail, rival, took)


SECTIONS: dict[str, Callable[[Json], list[Row]]] = {
    "virtual": _virtual,
    "virtual_128": _virtual,
    "virtual_cores": _cores,
    "virtual_cores_16": _cores,
    "virtual_cores_256": _cores,
    "virtual_cores_1024": _cores,
    "cores_model_256": _cores_model,
    "cores_model_1024": _cores_model,
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
    "chain": _chain,
    "start_up": _start_up,
    "fabric_1024": _fabric,
    "fabric_8192": _fabric,
    "fabric_65536": _fabric,
}
