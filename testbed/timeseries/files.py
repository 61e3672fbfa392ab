"""Series on disk, in columns beside run.json: Parquet where pyarrow is installed, else numpy's .npz.

Parquet has a row for each change: kind, name, priority, quantity, time_ps, value. The .npz has the first four by series, with
`changes`, how many each has, and by change `point` and `value`; point k is at k times `period_ps`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from testbed.errors import UsageError
from testbed.files import write_whole
from testbed.timeseries.model import QUANTITIES, Key, TimeSeries

FORMATS = ("parquet", "npz")
_RUN = "run.json"


def _has_pyarrow() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def describe(series: TimeSeries, asked: str) -> dict[str, Any]:
    """Return what run.json says of series that will be written beside it; `asked` is the period asked for."""
    quantities = sorted({key.quantity for key, *_ in series.tracks()})
    kind = "parquet" if _has_pyarrow() else "npz"
    return {
        "file": f"series.{kind}",
        "format": kind,
        "asked": asked,
        "period_ns": series.period_ns,
        "points": series.points,
        "series": len(series.keys()),
        "rows": series.rows,
        "quantities": {name: QUANTITIES[name] for name in quantities},
    }


def write(series: TimeSeries, target: Path) -> Path:
    """Write series into a file whose name ends in .parquet or .npz, in a directory that is made if absent; return its path.

    The file appears whole or not at all; see `files.write_whole`.
    """
    write_rows = write_parquet if target.suffix == ".parquet" else _write_npz
    return write_whole(target, lambda file: write_rows(series, file))


def read(run: Path | str) -> TimeSeries | None:
    """Read the series of a run, by its run.json or the directory that holds it; None if nothing was recorded.

    Raises UsageError for files that cannot be read.
    """
    run = Path(run)
    source = run / _RUN if run.is_dir() else run
    try:
        description = json.loads(source.read_text(encoding="utf-8")).get("time_series")
        if description is None:
            return None
        path = source.parent / Path(description["file"]).name
        return (_read_parquet if path.suffix == ".parquet" else _read_npz)(path)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read the series of {source}: {error}") from error


def _write_npz(series: TimeSeries, file: BinaryIO) -> None:
    tracks = list(series.tracks())
    np.savez_compressed(
        file,
        period_ps=np.int64(series.period_ps),
        points=np.int64(series.points),
        kind=np.array([key.kind for key, *_ in tracks], np.str_),
        name=np.array([key.name for key, *_ in tracks], np.str_),
        priority=np.array([key.priority for key, *_ in tracks], np.int8),
        quantity=np.array([key.quantity for key, *_ in tracks], np.str_),
        changes=np.array([len(points) for _, points, _ in tracks], np.int64),
        point=_joined([points for _, points, _ in tracks]).astype(np.int32),
        value=_joined([values for *_, values in tracks]),
    )


def _joined(columns: list[Any]) -> Any:
    return np.concatenate([np.empty(0, np.int64), *columns])


def _read_npz(path: Path) -> TimeSeries:
    with np.load(path) as columns:
        names = zip(*(columns[name].tolist() for name in ("kind", "name", "priority", "quantity")), strict=True)
        keys = [Key(*each) for each in names]
        return _split(
            keys,
            columns["changes"],
            columns["point"].astype(np.int64),
            columns["value"],
            (int(columns["period_ps"]), int(columns["points"])),
        )


def _split(keys: list[Key], changes: Any, point: Any, value: Any, grid: tuple[int, int]) -> TimeSeries:
    """Return series out of their changes, which stand one behind the other."""
    ends = np.cumsum(changes)[:-1]
    parts = zip(np.split(point, ends), np.split(value, ends), strict=True)
    return TimeSeries(*grid, dict(zip(keys, parts, strict=False)))


def write_parquet(series: TimeSeries, file: BinaryIO) -> None:
    """Write series as Parquet, a row for each change. Raises ImportError without pyarrow."""
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    tracks = list(series.tracks())
    changes = [len(points) for _, points, _ in tracks]

    def worded(name: str) -> Any:
        words, codes = np.unique([getattr(key, name) for key, *_ in tracks] or [""], return_inverse=True)
        codes = np.repeat(codes[: len(tracks)], changes).astype(np.int32)
        return arrow.DictionaryArray.from_arrays(codes, words.tolist())

    columns = {
        "kind": worded("kind"),
        "name": worded("name"),
        "priority": arrow.array(np.repeat(np.array([key.priority for key, *_ in tracks], np.int8), changes)),
        "quantity": worded("quantity"),
        "time_ps": arrow.array(_joined([points for _, points, _ in tracks]) * series.period_ps),
        "value": arrow.array(_joined([values for *_, values in tracks])),
    }
    table = arrow.table(columns)
    grid = {"period_ps": str(series.period_ps), "points": str(series.points)}
    parquet.write_table(table.replace_schema_metadata(grid), file, compression="zstd")


def _read_parquet(path: Path) -> TimeSeries:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ValueError("it is Parquet: install pyarrow (pip install lossless-testbed[parquet])") from None
    table = parquet.read_table(path)
    period_ps, points = (int(table.schema.metadata[name]) for name in (b"period_ps", b"points"))
    parts = [table.column(name).combine_chunks() for name in ("kind", "name", "quantity")]
    priority = table.column("priority").to_numpy()
    codes = [part.indices.to_numpy() for part in parts]
    changed = np.zeros(table.num_rows, bool)
    changed[:1] = True
    for column in (*codes, priority):
        changed[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(changed)
    kinds, names, quantities = (
        [part.dictionary[int(code)].as_py() for code in column[starts]]
        for part, column in zip(parts, codes, strict=True)
    )
    keys = [Key(*each) for each in zip(kinds, names, priority[starts].tolist(), quantities, strict=True)]
    changes = np.diff(np.append(starts, table.num_rows))
    point = table.column("time_ps").to_numpy() // period_ps
    return _split(keys, changes, point, table.column("value").to_numpy(), (period_ps, points))
