"""A plot for each topic that a picture says more of than its table: lines are expected, marks are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from validation import bifrost, pause
from validation.case import Row

MARKS = "osD^v<>P"
# What makes the same file of the same figures: no date, no random identifiers, text as text.
SETTINGS: Any = {
    "svg.hashsalt": "validation",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def save(topic: str, rows: Sequence[Row], path: Path) -> None:
    """Draw a topic's plot into a file; the suffix says of which kind."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 4), layout="constrained")
        PLOTS[topic](figure, rows)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _grouped(rows: Iterable[Row], axis: int) -> list[tuple[str, list[Row]]]:
    """Return the rows by what one of the axes says of them, in order of appearance."""
    order = list(dict.fromkeys(row.case.labels[axis] for row in rows))
    found = groupby(sorted(rows, key=lambda row: order.index(row.case.labels[axis])), lambda row: row.case.labels[axis])
    return [(label, list(group)) for label, group in found]


def _finish(axes: Axes, x: str, y: str, title: str, columns: int = 1) -> None:
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.legend(fontsize=8, ncols=columns)


def _pause(figure: Figure, rows: Sequence[Row]) -> None:
    left, right = figure.subplots(1, 2)
    for colour, (ratio, of_ratio) in enumerate(_grouped(rows, 1)):
        long = [pause.Setting(1000, of_ratio[0].case.setting.percent, share / 100) for share in range(5, 151)]
        curve = [(setting.share, 100 * pause.expect(setting)["utilisation"]) for setting in long]
        left.plot(*zip(*curve, strict=True), color=f"C{colour}", label=f"Rd/Rs = {ratio}, closed form")
        for mark, (_, of_length) in zip(MARKS, _grouped(of_ratio, 0), strict=False):
            points = [(row.case.setting.share, 100 * row.measured.figures["utilisation"]) for row in of_length]
            left.plot(*zip(*points, strict=True), mark, color=f"C{colour}", fillstyle="none")
    half = [row for row in rows if row.case.setting.percent == 50]
    for colour, (mark, (km, of_length)) in enumerate(zip(MARKS, _grouped(half, 0), strict=False)):
        left.plot([], [], mark, color="grey", fillstyle="none", label=f"{km} km, measured")
        for key, line, name in (("peak", "-", "draining"), ("peak_stopped", "--", "stopped")):
            shares = [row.case.setting.share for row in of_length]
            right.plot(shares, [row.expected[key] / 1e6 for row in of_length], line, color=f"C{colour}")
            right.plot(
                shares,
                [row.measured.figures[key] / 1e6 for row in of_length],
                mark,
                color=f"C{colour}",
                fillstyle="none",
            )
            right.plot([], [], line + mark, color=f"C{colour}", fillstyle="none", label=f"{km} km, {name}")
    right.set(yscale="log", ylim=(0.1, None))
    _finish(left, "X / (Rd·τ)", "receiver's link busy, %", "Throughput")
    _finish(right, "X / (Rd·τ)", "peak of the queue, MB", "Buffer, Rd/Rs = 50 % (lines: closed form)", columns=2)


def _bifrost(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots()
    curve = [(xoff / 1e6, 100 * bifrost.form(xoff).utilisation) for xoff in range(500_000, 7_000_001, 50_000)]
    axes.plot(*zip(*curve, strict=True), label="closed form")
    points = [(row.case.setting / 1e6, 100 * row.measured.figures["throughput"]) for row in rows]
    axes.plot(*zip(*points, strict=True), "o", color="C1", label="measured")
    axes.axvline(bifrost.FLOOR_BYTES / 1e6, color="C2", linestyle=":", label="Rd·τ = 5 MB")
    axes.axvline(bifrost.PAPER_BYTES / 1e6, color="C3", linestyle="--", label="reported by the paper: about 6 MB")
    _finish(axes, "XOFF = XON, MB", "throughput, Gb/s", "Two 100G links of 80 km into one")


PLOTS: dict[str, Callable[[Figure, Sequence[Row]], None]] = {"pause": _pause, "bifrost": _bifrost}
