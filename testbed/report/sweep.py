"""A sweep as tables for people, and as comma-separated values for spreadsheets.

Pure functions of the document. A column that says nothing in any row is left out of the table for people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.experiment.axes import short_names
from testbed.report.figures import format_bytes, format_ns
from testbed.report.tables import table_of
from testbed.study.combinations import SweepRow
from testbed.study.figures import Figures
from testbed.study.sweep import SweepResult, Winner, reasons_by_rows

REASONS_SHOWN = 12
NEAR_SHOWN = 2
_NOTHING = "-"

Column = tuple[str, Callable[[Figures], str]]

_COLUMNS: tuple[Column, ...] = (
    ("time", lambda f: format_ns(f.time_us * 1000)),
    ("iteration", lambda f: _time(f.iteration_us)),
    ("exposed", lambda f: _time(f.exposed_us)),
    ("algbw", lambda f: f"{f.algbw_gbytes_per_s:.3f}"),
    ("busbw", lambda f: f"{f.busbw_gbytes_per_s:.3f}"),
    ("of ideal", lambda f: f"{f.share_of_ideal:.1%}"),
    ("lossless", lambda f: "yes" if f.lossless else "no"),
    ("dropped", lambda f: _count(f.drops["lossless"] + f.drops["lossy"])),
    ("lost on links", lambda f: _count(f.drops["link"] + f.drops["outage"])),
    ("sent again", lambda f: _count(f.retransmitted)),
    ("timeouts", lambda f: _count(f.timeouts)),
    ("pauses", lambda f: _count(f.pause_frames)),
    ("paused", lambda f: format_ns(f.paused_ns) if f.paused_ns else _NOTHING),
    ("credit wait", lambda f: format_ns(f.credit_wait_ns) if f.credit_wait_ns else _NOTHING),
    ("queue max", lambda f: _bytes(f.queue_bytes_max)),
    ("headroom max", lambda f: _bytes(f.headroom_bytes_max)),
    ("buffer", lambda f: _bytes(f.buffer_bytes)),
    ("slowdown", lambda f: _figure(f.slowdown_mean)),
    ("slowdown p99", lambda f: _figure(f.slowdown_p99)),
    ("power", lambda f: _figure(f.watts, "W")),
    ("pJ/bit", lambda f: _figure(f.nominal_pj_per_bit)),
    ("useful pJ/bit", lambda f: _figure(f.useful_pj_per_bit)),
    ("energy a step", lambda f: _figure(f.joules_per_step, "J")),
    ("cost a step", lambda f: _figure(f.cost_per_step)),
)


def _figure(value: float | None, unit: str = "") -> str:
    return _NOTHING if value is None else f"{value:.4g} {unit}".rstrip()


def _time(time_us: float | None) -> str:
    return _NOTHING if time_us is None else format_ns(time_us * 1000)


def _count(number: int) -> str:
    return f"{number:,}" if number else _NOTHING


def _bytes(length: int) -> str:
    return format_bytes(length) if length else _NOTHING


def render(result: SweepResult) -> RenderableType:
    """Return the whole report: the rows, why some did not pass, and where each setting wins."""
    parts: list[RenderableType] = [rows_table(result)]
    if reasons := reasons_lines(result.rows):
        parts += [Text(), *(Text(line) for line in reasons)]
    if result.best:
        parts += [Text(), best_table(result)]
    return Group(*parts)


def rows_table(result: SweepResult) -> Table:
    """Return one line a row: what varies, what came of it, and the verdict."""
    names = short_names(list(result.over))
    varied = [key for key, values in result.over.items() if len(values) > 1]
    cells = [[column(row.figures) if row.figures else _NOTHING for _, column in _COLUMNS] for row in result.rows]
    shown = [index for index in range(len(_COLUMNS)) if any(line[index] != _NOTHING for line in cells)]
    fixed = ", ".join(f"{names[key]} {values[0]}" for key, values in result.over.items() if len(values) == 1)
    title = f"{len(result.rows)} runs, lab {result.lab}, seed {result.seed}{f', {fixed}' if fixed else ''}"
    titles = [_COLUMNS[index][0] for index in shown]
    table = table_of(f"{title}; bandwidths in GB/s", ("#", *(names[key] for key in varied)), tuple(titles))
    table.add_column("verdict", no_wrap=True)
    for number, (row, line) in enumerate(zip(result.rows, cells, strict=True)):
        settings = (Text(row.settings[key]) for key in varied)
        table.add_row(str(number), *settings, *(line[index] for index in shown), row.verdict)
    return table


def reasons_lines(rows: Sequence[SweepRow]) -> list[str]:
    """Return why rows did not pass, each reason once, with the rows that it holds for."""
    grouped = [(reason, numbers) for reason, numbers in reasons_by_rows(rows)]
    lines = [f"  {spans(numbers)}: {reason}" for reason, numbers in grouped[:REASONS_SHOWN]]
    if len(grouped) > REASONS_SHOWN:
        lines.append(f"  {len(grouped) - REASONS_SHOWN} more reasons in sweep.json")
    return lines


def spans(numbers: Sequence[int]) -> str:
    """Write ascending numbers as "3, 7-9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def best_table(result: SweepResult) -> Table:
    """Return which of the other settings win, for each value of those that the winners are named of."""
    names = short_names(list(result.over))
    others = [key for key, values in result.over.items() if len(values) > 1 and key not in result.best_by]
    left = [*(names[key] for key in result.best_by), "best", "#"]
    table = table_of("Where each wins", tuple(left), ("busbw", "of ideal", "lossless"), "as good within 1 %")
    for winner in result.best:
        where = [Text(winner.where[key]) for key in result.best_by]
        if winner.row is None:
            table.add_row(*where, "none held", *[_NOTHING] * 5)
            continue
        row = result.rows[winner.row]
        assert row.figures is not None
        figures = (f"{row.figures.busbw_gbytes_per_s:.3f}", f"{row.figures.share_of_ideal:.1%}")
        lossless = "yes" if row.figures.lossless else "no"
        text = _settings(row, others)
        table.add_row(*where, text, str(winner.row), *figures, lossless, _near(result, winner, others))
    return table


def _settings(row: SweepRow, keys: Sequence[str]) -> Text:
    names = short_names(list(row.settings))
    words = [f"{names[key]} {value}" if _bare(value := row.settings[key]) else value for key in keys]
    return Text(" + ".join(words) or _NOTHING)


def _bare(value: str) -> bool:
    """Return whether a value says nothing without the name of its setting."""
    return not value[0].isalpha() or value in ("true", "false", "null", "auto", "none")


def _near(result: SweepResult, winner: Winner, keys: Sequence[str]) -> Text:
    rivals = sum(1 for row in result.rows if all(row.settings[key] == value for key, value in winner.where.items())) - 1
    if winner.near and len(winner.near) == rivals:
        return Text("every other")
    shown = [str(_settings(result.rows[number], keys)) for number in winner.near[:NEAR_SHOWN]]
    if len(winner.near) > NEAR_SHOWN:
        shown.append(f"{len(winner.near) - NEAR_SHOWN} more")
    return Text(", ".join(shown) or _NOTHING)


def as_rows(result: SweepResult) -> list[dict[str, object]]:
    """Return a mapping for each row: settings, every figure under the name that it has in the document, and the verdict.

    All have the same keys; a figure that a row does not have is null.
    """
    names = [name for name in Figures.model_fields if name != "drops"]
    causes = sorted({cause for row in result.rows if row.figures for cause in row.figures.drops})
    return [
        {
            **{key: row.settings[key] for key in result.over},
            **{name: getattr(row.figures, name, None) for name in names},
            **{f"drops_{cause}": row.figures and row.figures.drops.get(cause, 0) for cause in causes},
            "verdict": row.verdict,
            "reasons": "; ".join(row.reasons),
            "replay": row.replay,
        }
        for row in result.rows
    ]


def as_csv(result: SweepResult) -> str:
    """Return one line a row, of `as_rows`; null is empty."""
    rows = as_rows(result)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
