"""The rows of a run as plain text: the table that users of nccl-tests know, and the records of rccl-tests.

Both may be piped to the tools that people have. A line of the table that does not begin with # has the columns of
nccl-tests, and after them what the bandwidth out of place is of the ideal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from testbed.run.result import Measurement, RankPlace, Row, RunResult

RANK_ROWS = 64

_ROW_COLUMNS = ("size", "count", "type", "redop", "root")
_ROW_UNITS = ("(B)", "(elements)", "", "", "")
_MEASURED_COLUMNS = ("time", "algbw", "busbw", "#wrong")
_MEASURED_UNITS = ("(us)", "(GB/s)", "(GB/s)", "")
_MEASURED_WIDTHS = (9, 7, 7, 7)
_IDEAL, _IDEAL_WIDTH = "%ideal", 7
_OUT_OF_PLACE, _IN_PLACE = "out-of-place", "in-place"
_SIZE_WIDTH, _TYPE_WIDTH, _REDOP_WIDTH, _ROOT_WIDTH = 11, 6, 6, 5

_Place = tuple[str, Callable[[Row], Measurement | None]]
"""A heading, and what of a row was measured there."""

# Names of tests in the records of rccl-tests.
_RCCL_NAMES = {
    "all_reduce": "AllReduce",
    "all_gather": "AllGather",
    "reduce_scatter": "ReduceScatter",
    "all_to_all": "AlltoAll",
    "broadcast": "Broadcast",
    "reduce": "Reduce",
    "gather": "Gather",
    "scatter": "Scatter",
    "sendrecv": "SendRecv",
}


def rows_text(result: RunResult, width: int | None = None) -> str:
    """Return the ranks and the table of nccl-tests, at most 107 columns wide while sizes stay below 10 GB.

    Where that is more than `width`, what was measured in place stands in a table below, of at most 77 columns.
    """
    collective = result.collective
    in_place = any(row.in_place for row in collective.rows)
    lines = [
        f"# {collective.name} ({collective.algorithm}), {_of_ranks(collective.ranks)}, lab {result.lab}, seed {result.seed}",
        f"# {result.clock} clock, dilation {result.dilation}; times are nominal{_emulation(result)}",
        "#",
        *_rank_list(result.ranks),
    ]
    places: list[_Place] = [
        (_OUT_OF_PLACE, lambda row: row),
        *([(_IN_PLACE, lambda row: row.in_place)] if in_place else []),
    ]
    table = _table(collective.rows, places)
    if width is not None and in_place and max(map(len, table)) > width:
        table = [*_table(collective.rows, places[:1]), "#", *_table(collective.rows, places[1:], with_ideal=False)]
    return "\n".join([*lines, *table, "#", *_summary(collective.rows)])


def _table(rows: list[Row], places: Sequence[_Place], *, with_ideal: bool = True) -> list[str]:
    """Return headings and rows, with what was measured at each of these places."""
    widest = max((len(row.type) for row in rows), default=0)
    widths = (_SIZE_WIDTH, _SIZE_WIDTH, max(_TYPE_WIDTH, widest + 1), _REDOP_WIDTH, _ROOT_WIDTH)
    titles = "".join(title.center(sum(_MEASURED_WIDTHS)) for title, _ in places)
    lines = [("#" + " " * (sum(widths) - 1) + titles).rstrip()]
    for names, measured, ideal in ((_ROW_COLUMNS, _MEASURED_COLUMNS, _IDEAL), (_ROW_UNITS, _MEASURED_UNITS, "")):
        cells = _cells(names, widths) + _cells(measured, _MEASURED_WIDTHS) * len(places)
        lines.append("#" + (cells + (_cells((ideal,), (_IDEAL_WIDTH,)) if with_ideal else ""))[1:].rstrip())
    for row in rows:
        start = (str(row.size_bytes), str(row.count), row.type, row.redop, str(row.root))
        cells = _cells(start, widths) + "".join(_measured(measurement(row)) for _, measurement in places)
        percent = "-" if row.percent_of_ideal is None else f"{row.percent_of_ideal:.1f}"
        lines.append(cells + (_cells((percent,), (_IDEAL_WIDTH,)) if with_ideal else ""))
    return lines


def _of_ranks(count: int) -> str:
    return f"{count} rank{'' if count == 1 else 's'}"


def _rank_list(ranks: list[RankPlace]) -> list[str]:
    """Return a line for each rank: where it runs."""
    if not ranks:
        return []
    cells = [("rank", "host", "port", "domain", "site")]
    cells += [(str(at.rank), at.host, at.port, at.domain or "-", at.site or "-") for at in ranks[:RANK_ROWS]]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = [
        f"# {row[0]:>{widths[0]}}  "
        + "  ".join(f"{text:<{width}}" for text, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]
    omitted = len(ranks) - RANK_ROWS
    return [*(line.rstrip() for line in lines), *([f"# {omitted} more ranks in run.json"] if omitted > 0 else []), "#"]


def _emulation(result: RunResult) -> str:
    """Return who imposed the links, where that is known."""
    counts = Counter(link["emulation"] for link in (result.fidelity or {}).get("links", ()))
    if not counts:
        return ""
    return "; links " + ", ".join(f"{mode} {count}" if len(counts) > 1 else mode for mode, count in counts.items())


def _measurements(rows: list[Row]) -> list[Measurement]:
    return [*rows, *(row.in_place for row in rows if row.in_place)]


def _summary(rows: list[Row]) -> list[str]:
    """Return the closing lines: wrong elements and mean bus bandwidth in GB/s, over both columns."""
    measurements = _measurements(rows)
    if not measurements:
        return ["# No row was completed"]
    wrong = [measurement.wrong for measurement in measurements if measurement.wrong is not None]
    mean = sum(measurement.busbw_gbytes_per_s for measurement in measurements) / len(measurements)
    checked = f"{sum(wrong)} {'OK' if sum(wrong) == 0 else 'FAILED'}" if wrong else "not checked, lengths only"
    return [f"# Wrong elements       : {checked}", f"# Avg bus bandwidth    : {mean:.6g}"]


def _cells(texts: tuple[str, ...], widths: tuple[int, ...]) -> str:
    # A value as wide as its column keeps a space before it, at the cost of alignment.
    return "".join(f" {text:>{width - 1}}" for text, width in zip(texts, widths, strict=True))


def _measured(measurement: Measurement | None) -> str:
    if measurement is None:
        return _cells(("-",) * len(_MEASURED_WIDTHS), _MEASURED_WIDTHS)
    time, algbw, busbw = measurement.time_us, measurement.algbw_gbytes_per_s, measurement.busbw_gbytes_per_s
    return _cells((_number(time), _number(algbw), _number(busbw), _wrong(measurement)), _MEASURED_WIDTHS)


def _wrong(measurement: Measurement) -> str:
    return "N/A" if measurement.wrong is None else str(measurement.wrong)


def _number(value: float) -> str:
    """Write a figure with two decimals, fewer where it is large."""
    return f"{value:.2f}" if value < 10_000 else f"{value:.1f}" if value < 100_000 else f"{value:.0f}"


def records(result: RunResult) -> list[dict[str, Any]]:
    """Return one record for each measurement, with the keys and in the order of rccl-tests; times in us, rates in GB/s."""
    collective = result.collective
    nodes = len({at.host.partition("/")[0] for at in result.ranks}) or collective.ranks
    return [
        {
            "numCycle": 0,
            "name": _RCCL_NAMES.get(collective.name, collective.name),
            "nodes": nodes,
            "ranks": collective.ranks,
            "ranksPerNode": -(-collective.ranks // nodes),
            "gpusPerRank": 1,
            "size": row.size_bytes,
            "type": row.type,
            "redop": row.redop,
            "inPlace": in_place,
            "time": measured.time_us,
            "algBw": measured.algbw_gbytes_per_s,
            "busBw": measured.busbw_gbytes_per_s,
            "wrong": _wrong(measured),
        }
        for row in collective.rows
        for in_place, measured in ((0, row), (1, row.in_place))
        if measured is not None
    ]


def records_json(result: RunResult) -> str:
    """Return the records as one JSON list, a record a line."""
    return "[\n" + ",\n".join(json.dumps(record) for record in records(result)) + "\n]\n"


def records_csv(result: RunResult) -> str:
    """Return the records as CSV, with a line of names."""
    rows = records(result)
    lines = [",".join(str(value) for value in record.values()) for record in rows]
    return "".join(f"{line}\n" for line in ([",".join(rows[0])] if rows else []) + lines)
