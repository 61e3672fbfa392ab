"""Policies of scheduling as a table for people, the best first. A column that says nothing in any row is left out."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from testbed.report.figures import format_count, format_ns
from testbed.report.tables import table_of
from testbed.study.schedules import Comparison, ScheduleResult

_NOTHING = "-"
_REASONS_SHOWN = 3

_COLUMNS: tuple[tuple[str, Callable[[Comparison], str]], ...] = (
    ("makespan", lambda f: format_ns(f.makespan_us * 1000)),
    ("slowdown", lambda f: _NOTHING if f.slowdown_mean is None else f"{f.slowdown_mean:.3f}"),
    ("worst", lambda f: _NOTHING if f.slowdown_worst is None else f"{f.slowdown_worst:.3f}"),
    ("exposed", lambda f: format_ns(f.exposed_us * 1000)),
    ("far", lambda f: _NOTHING if f.far_share is None else f"{f.far_share:.1%}"),
    ("pauses", lambda f: format_count(f.pause_frames) if f.pause_frames else _NOTHING),
    ("paused", lambda f: format_ns(f.paused_us * 1000) if f.paused_us else _NOTHING),
    ("energy", lambda f: _NOTHING if f.joules is None else f"{f.joules:.4g} J"),
    ("cost", lambda f: _NOTHING if f.cost is None else f"{f.cost:.4g}"),
)


def render(result: ScheduleResult) -> RenderableType:
    """Return the table, and why some did not pass."""
    cells = [[column(row.figures) if row.figures else _NOTHING for _, column in _COLUMNS] for row in result.rows]
    shown = [index for index in range(len(_COLUMNS)) if any(line[index] != _NOTHING for line in cells)]
    title = f"{len(result.rows)} policies, lab {result.lab}, seed {result.seed}; the best first"
    table = table_of(title, left=("policy",), right=tuple(_COLUMNS[index][0] for index in shown))
    table.add_column("verdict", no_wrap=True)
    for row, line in zip(result.rows, cells, strict=True):
        table.add_row(Text(row.policy), *(line[index] for index in shown), row.verdict)
    note = (
        "slowdown: mean and worst of the jobs, each against alone on the same ranks; far: bytes over several switches"
    )
    parts: list[RenderableType] = [table, Text(note, style="dim")]
    if reasons := [f"  {row.policy}: {reason}" for row in result.rows for reason in row.reasons[:_REASONS_SHOWN]]:
        parts += [Text(), *map(Text, reasons)]
    return Group(*parts)
