"""Tables of a result as CSV and as Parquet: flows, ports, iterations of jobs, and series.

Parquet is written by pyarrow, which comes with the extra `data` and is imported only when such a file is asked for.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.errors import HostError
from testbed.run.result import RunResult
from testbed.timeseries import Key, TimeSeries, write_parquet

Row = dict[str, Any]
SERIES_COLUMNS = (*Key._fields, "time_ps", "value")
_NO_PYARROW = "pyarrow is not installed: pip install 'lossless-testbed[data]'"


def _flows(result: RunResult) -> list[Row]:
    if result.flow_completion is not None:
        return [flow.model_dump() for flow in result.flow_completion.flows]
    kept = ("src", "dst", "bytes", "in_place", "iterations", "start_ns", "completion_ns", "duration_ns", "goodput_bps")
    return [{key: getattr(flow, key) for key in kept} for flow in result.flows]


def _ports(result: RunResult) -> list[Row]:
    rows = []
    for name, port in result.ports.items():
        for priority, counters in port.priorities.items():
            counts = {key: value for key, value in counters.model_dump().items() if key != "drops"}
            lost = {f"drops_{cause}": count for cause, count in counters.drops.model_dump().items()}
            rows.append({"port": name, "rate_bps": port.rate_bps, "priority": int(priority), **counts, **lost})
    return rows


def _iterations(result: RunResult) -> list[Row]:
    return [
        {"job": job.name, "iteration": number, **iteration.model_dump()}
        for job in result.jobs
        for number, iteration in enumerate(job.iterations)
    ]


TABLES: Mapping[str, Callable[[RunResult], list[Row]]] = {
    "flows": _flows,
    "ports": _ports,
    "iterations": _iterations,
}
"""What can be written, by name."""


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows as CSV; the first line names the columns, and what a row does not have is empty."""
    columns = _columns(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def series_csv(series: TimeSeries) -> str:
    """Return series as CSV, a line for each change: what it is of, when in ps, and the value from then on."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SERIES_COLUMNS)
    for key, points, values in series.tracks():
        times_ps = (points * series.period_ps).tolist()
        writer.writerows((*key, time_ps, value) for time_ps, value in zip(times_ps, values.tolist(), strict=True))
    return out.getvalue()


def series_parquet(series: TimeSeries) -> bytes:
    """Return series as Parquet, with the columns of `series_csv`. Raises HostError without pyarrow."""
    out = io.BytesIO()
    try:
        write_parquet(series, out)
    except ImportError:
        raise HostError(_NO_PYARROW) from None
    return out.getvalue()


def arrow() -> tuple[Any, Any]:
    """Import pyarrow and its part for Parquet. Raises HostError where it is not installed."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise HostError(_NO_PYARROW) from None


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """Return rows as Parquet: a column for each name, null where a row does not have it. Raises HostError without pyarrow."""
    pyarrow, parquet = arrow()
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in _columns(rows)})
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
