"""Traces of a link: CSV files with a column `time` and any of `rate`, `delay`, `jitter`, `loss`.

They are read, within bounds, when the experiment file is read; an experiment in memory holds their points.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from testbed import units
from testbed.errors import Fault, UnitError, nearest
from testbed.experiment.impairments import MAX_TRACE_POINTS
from testbed.schema.source import Source

MAX_BYTES = 2**20
_PARSERS: Mapping[str, Callable[[object], object]] = {
    "time": units.parse_time,
    "rate": units.parse_rate,
    "delay": units.parse_time,
    "jitter": units.parse_time,
    "loss": units.parse_ratio,
}
COLUMNS = tuple(_PARSERS)


class _Unreadable(Exception):
    """A trace that cannot be read; the text says why."""


def inline(source: Source, directory: Path) -> None:
    """Replace the file name of every trace in an experiment's data by the points of that file; note faults.

    A name leads to a file in `directory`, where the experiment file is, or below; never out of it.
    """
    entries = source.data.get("timeline") if isinstance(source.data, dict) else None
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        impair = entry.get("impair") if isinstance(entry, dict) else None
        name = impair.get("trace") if isinstance(impair, dict) else None
        if not isinstance(impair, dict) or not isinstance(name, str):
            continue
        faults: list[Fault] = []
        try:
            impair["trace"] = _points(name, directory, faults)
        except _Unreadable as error:
            source.fault(("timeline", number, "impair", "trace"), str(error))
        source.faults += faults
        if faults or isinstance(impair["trace"], str):
            # Faulty as it is, it must not cause a second fault where the models read it.
            impair["trace"] = [{"time": 0}]


def _points(name: str, directory: Path, faults: list[Fault]) -> list[dict[str, Any]]:
    path = _inside(name, directory)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise _Unreadable(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _Unreadable(f"{name} is not UTF-8 text") from None
    if len(raw) > MAX_BYTES:
        raise _Unreadable(f"{name} is larger than {MAX_BYTES} bytes")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _read(path, rows, faults)
    except csv.Error as error:
        raise _Unreadable(f"{name}:{rows.line_num}: not CSV: {error}") from None


def _inside(name: str, directory: Path) -> Path:
    try:
        home = directory.resolve(strict=True)
        path = (home / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise _Unreadable(f"there is no file {name} beside the experiment file") from None
    if not path.is_relative_to(home):
        raise _Unreadable(f"{name} is outside the directory of the experiment file")
    if not path.is_file():
        raise _Unreadable(f"{name} is not a file")
    return path


def _read(path: Path, rows: Any, faults: list[Fault]) -> list[dict[str, Any]]:
    columns = [cell.strip() for cell in next(rows, [])]
    for column in columns:
        if column not in COLUMNS:
            raise _Unreadable(f'{path.name}: no column is called "{column}"{nearest(column, COLUMNS)}')
    if "time" not in columns or len(columns) < 2 or len(set(columns)) < len(columns):
        raise _Unreadable(f"{path.name}: the first line names the columns, each once: time and any of {COLUMNS[1:]}")
    points: list[dict[str, Any]] = []
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            faults.append(Fault(str(path), rows.line_num, "", f"{len(cells)} cells, not {len(columns)}"))
            continue
        if len(points) == MAX_TRACE_POINTS:
            raise _Unreadable(f"{path.name} has more than {MAX_TRACE_POINTS} points")
        point = {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if cell.strip()}
        points.append(point)
        faults += _cell_faults(path, rows.line_num, point)
    if not points and not faults:
        raise _Unreadable(f"{path.name} has no points")
    return points


def _cell_faults(path: Path, line: int, point: dict[str, Any]) -> list[Fault]:
    """Find what cannot be read, while its line is still known."""
    faults = [] if "time" in point else [Fault(str(path), line, "time", "missing")]
    for column, cell in point.items():
        try:
            _PARSERS[column](cell)
        except UnitError as error:
            faults.append(Fault(str(path), line, column, str(error)))
    return faults
