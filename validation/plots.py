"""A plot for each topic that a picture says more of than its table: lines are expected, marks are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from validation import bifrost, dcqcn, pause
from validation.case import Row
from validation.closed_forms import go_back_n

MARKS = "osD^v<>P"
# What makes the same file of the same figures: no date, no random identifiers, text as text.
SETTINGS: Any = {
    "svg.hashsalt": "validation",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
}
Points = Iterable[tuple[float, float]]
Style = dict[str, Any]


def save(topic: str, rows: Sequence[Row], path: Path) -> None:
    """Draw a topic's plot into a file; the suffix says of which kind."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 4), layout="constrained")
        PLOTS[topic](figure, rows)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _grouped(rows: Iterable[Row], *axes: int) -> list[tuple[str, list[Row]]]:
    """Return the rows by what some of the axes say of them, in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(" ".join(row.case.labels[axis] for axis in axes), []).append(row)
    return list(groups.items())


def _line(axes: Axes, points: Points, colour: int, label: str = "", style: str = "-") -> None:
    axes.plot(*zip(*points, strict=True), style, color=f"C{colour}", label=label or None)


def _marks(axes: Axes, points: Points, colour: int, mark: str, label: str = "") -> None:
    axes.plot(*zip(*points, strict=True), mark, color=f"C{colour}", fillstyle="none", label=label or None)


def _measured(row: Row, key: str) -> float:
    quantity = next(quantity for quantity in row.topic.quantities if quantity.key == key)
    return row.measured.figures[key] * quantity.scale


def _expected(row: Row, key: str) -> float:
    quantity = next(quantity for quantity in row.topic.quantities if quantity.key == key)
    return row.expected[key] * quantity.scale


def _finish(axes: Axes, x: str, y: str, title: str, columns: int = 1, **settings: Any) -> None:
    axes.set(xlabel=x, ylabel=y, title=title, **settings)
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "log":
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8, ncols=columns)


def _pause(figure: Figure, rows: Sequence[Row]) -> None:
    left, right = figure.subplots(1, 2)
    for colour, (ratio, of_ratio) in enumerate(_grouped(rows, 1)):
        percent = of_ratio[0].case.setting.percent
        curve = [pause.Setting(1000, percent, share / 100) for share in range(5, 151)]
        points = [(setting.share, 100 * pause.expect(setting)["utilisation"]) for setting in curve]
        _line(left, points, colour, f"Rd/Rs = {ratio}, closed form")
        for mark, (_, group) in zip(MARKS, _grouped(of_ratio, 0), strict=False):
            _marks(left, [(row.case.setting.share, _measured(row, "utilisation")) for row in group], colour, mark)
    half = [row for row in rows if row.case.setting.percent == 50]
    for colour, (mark, (km, group)) in enumerate(zip(MARKS, _grouped(half, 0), strict=False)):
        left.plot([], [], mark, color="grey", fillstyle="none", label=f"{km} km, measured")
        for key, style, name in (("peak", "-", "draining"), ("peak_stopped", "--", "stopped")):
            _line(right, [(row.case.setting.share, _expected(row, key)) for row in group], colour, "", style)
            _marks(right, [(row.case.setting.share, _measured(row, key)) for row in group], colour, mark)
            right.plot([], [], style + mark, color=f"C{colour}", fillstyle="none", label=f"{km} km, {name}")
    _finish(left, "X / (Rd·τ)", "receiver's link busy, %", "Throughput")
    title = "Buffer, Rd/Rs = 50 % (lines: closed form)"
    _finish(right, "X / (Rd·τ)", "peak of the queue, MB", title, 2, yscale="log", ylim=(0.1, None))


def _bifrost(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    curve = [(xoff / 1e6, 100 * bifrost.form(xoff).utilisation) for xoff in range(500_000, 7_000_001, 50_000)]
    _line(axes, curve, 0, "closed form")
    _marks(axes, [(row.case.setting / 1e6, _measured(row, "throughput")) for row in rows], 1, "o", "measured")
    axes.axvline(bifrost.FLOOR_BYTES / 1e6, color="C2", linestyle=":", label="Rd·τ = 5 MB")
    axes.axvline(bifrost.PAPER_BYTES / 1e6, color="C3", linestyle="--", label="reported by the paper: about 6 MB")
    _finish(axes, "XOFF = XON, MB", "throughput, Gb/s", "Two 100G links of 80 km into one")


def _headroom(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (rate, group)) in enumerate(zip(MARKS, _grouped(rows, 1), strict=False)):
        _line(axes, [(float(row.case.labels[0]), _expected(row, "least")) for row in group], colour, f"{rate}, planner")
        points = [(float(row.case.labels[0]), _measured(row, "least")) for row in group]
        _marks(axes, points, colour, mark, f"{rate}, least without loss")
    _finish(axes, "km", "headroom, KB", "Headroom of one priority", xscale="log", yscale="log")


def _threshold(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (alpha, group)) in enumerate(zip(MARKS, _grouped(rows, 1), strict=False)):
        share = float(group[0].case.setting.alpha)
        curve = [(groups, 18 * share / (1 + groups * share)) for groups in range(1, 41)]
        _line(axes, curve, colour, f"alpha = {alpha}, closed form")
        points = [(row.case.setting.groups, _measured(row, "held")) for row in group]
        _marks(axes, points, colour, mark, f"alpha = {alpha}, measured")
    title = "Where n groups that share 18 MB settle"
    axes.set_xscale("log", base=2)
    _finish(axes, "n", "held by each, MB", title, ylim=(0, None))


def _go_back_n(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    losses = [10 ** (exponent / 20) for exponent in range(-140, -39)]
    for colour, (mark, (label, group)) in enumerate(zip(MARKS, _grouped(rows, 0, 1), strict=False)):
        km, rate = label.split()
        in_flight = group[0].case.setting.in_flight
        _line(axes, [(loss, 100 * go_back_n(loss, in_flight)) for loss in losses], colour)
        points = [(row.case.setting.loss, _measured(row, "goodput")) for row in group]
        _marks(axes, points, colour, mark, f"{km} km, {rate} (W = {in_flight:.0f})")
    title = "Go-back-N (lines: closed form)"
    _finish(axes, "p, loss of a packet", "goodput, % of the line", title, xscale="log", ylim=(0, 103))


def _selective_repeat(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    groups = _grouped(rows, 0, 1)
    for loss in (1e-4, 1e-3, 1e-2):
        _line(axes, [(loss * 0.6, 100 * loss), (loss * 1.5, 100 * loss)], 7, "closed form: p" if loss == 1e-4 else "")
    for colour, (mark, (label, group)) in enumerate(zip(MARKS, groups, strict=False)):
        km, rate = label.split()
        # Side by side, as they would lie upon one another.
        aside = 10 ** ((colour - len(groups) / 2) / 20)
        points = [(row.case.setting.loss * aside, 100 - _measured(row, "goodput")) for row in group]
        _marks(axes, points, colour, mark, f"{km} km, {rate}")
    title = "Selective repeat: what losses cost (marks side by side)"
    _finish(axes, "p, loss of a packet", "lost of the line, %", title, xscale="log", yscale="log")


def _sdr(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (label, group)) in enumerate(zip(MARKS, _grouped(rows, 0, 1), strict=False)):
        _line(axes, [(row.case.setting.loss, _expected(row, "slowdown")) for row in group], colour)
        measured = [_measured(row, "slowdown") for row in group]
        errors = [2 * row.measured.chance["slowdown"] * value for row, value in zip(group, measured, strict=True)]
        losses = [row.case.setting.loss for row in group]
        axes.errorbar(losses, measured, errors, fmt=mark, capsize=3, fillstyle="none", color=f"C{colour}", label=label)
    title = "128 MiB at 400G over a round trip of 25 ms (lines: formula; bars: two standard errors)"
    _finish(axes, "p, loss of a packet", "time over time without loss", title, xscale="log", yscale="log")


def _window(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (label, group)) in enumerate(zip(MARKS, _grouped(rows, 0, 1), strict=False)):
        window, rate = label.split()
        points = [(row.case.setting.metres / 1000, _expected(row, "share")) for row in group]
        _line(axes, points, colour)
        points = [(row.case.setting.metres / 1000, _measured(row, "share")) for row in group]
        axes.plot(*zip(*points, strict=True), mark, color=f"C{colour}", fillstyle="none", label=f"{window} B at {rate}")
    title = f"{rows[0].topic.title} (lines: closed form)"
    _finish(axes, "km", "share of the line, %", title, xscale="log", yscale="log")


def _marked(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (rate, group)) in enumerate(zip(MARKS, _grouped(rows, 1), strict=False)):
        bps = group[0].case.setting.gbps * 1e9
        for law, style, name in (
            (dcqcn.renewal, "-", "law step by step"),
            (dcqcn.fluid, ":", "fluid model, published"),
        ):
            _line(axes, [(flows, 100 * law(flows, bps)) for flows in range(2, 17)], colour, f"{rate}, {name}", style)
        points = [(row.case.setting.flows, _measured(row, "marked")) for row in group]
        _marks(axes, points, colour, mark, f"{rate}, measured")
    _finish(axes, "flows", "frames marked, %", "DCQCN at rest", yscale="log")


def _fair(figure: Figure, rows: Sequence[Row]) -> None:
    for axes, row in zip(figure.subplots(1, len(rows), sharey=True), rows, strict=True):
        for colour, (flow, points) in enumerate(row.measured.trace.items()):
            _line(axes, points, colour, f"{flow}, round trip {'2 µs' if flow == 'near' else '2 ms'}")
        axes.axhline(50, color="grey", linestyle=":", label="half of the line")
        _finish(axes, "ms", "rate, Gb/s", f"DCQCN, parameters {row.case.labels[0]}", ylim=(0, 100))


def _all_reduce(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    for colour, (mark, (name, group)) in enumerate(zip(MARKS, _grouped(rows, 1), strict=False)):
        sizes = [row.case.setting.size / 2**20 for row in group]
        expected = [_expected(row, "share") for row in group]
        _line(axes, zip(sizes, expected, strict=True), colour, f"{name}, closed form")
        measured = [_measured(row, "share") for row in group]
        _marks(axes, zip(sizes, measured, strict=True), colour, mark, f"{name}, measured")
    axes.axhspan(97, 99, color="C2", alpha=0.2, label="the field: 97 to 99 % of one site's training")
    title = "Ring all-reduce over 500 km at 100G, four ranks"
    _finish(axes, "MiB a rank", "busbw, % of one site's", title, xscale="log", ylim=(0, 101))


PLOTS: dict[str, Callable[[Figure, Sequence[Row]], None]] = {
    "pause": _pause,
    "bifrost": _bifrost,
    "headroom": _headroom,
    "threshold": _threshold,
    "go-back-n": _go_back_n,
    "selective-repeat": _selective_repeat,
    "sdr": _sdr,
    "window": _window,
    "credit": _window,
    "dcqcn-marks": _marked,
    "dcqcn-fairness": _fair,
    "all-reduce": _all_reduce,
}
