"""Flows of a run: what one node sent to another in one row, over all iterations. Pure.

A flow begins when its first message is posted and is complete when the last byte of its last message has arrived. The
acknowledgement that tells its sender is part of a row's time and not of a flow's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from testbed.contract.report import Report
from testbed.units import PS_PER_SECOND

Json = dict[str, Any]


def of_workload(report: Report, first_ps: int, **where: Any) -> list[Json]:
    """Return the flows of the loaded workload, with `where` it is in the run: `size_bytes`, `in_place`, `iteration`.

    Times count from the start of the workload itself, which is what agents have in common; `workload_ps` is that start,
    counted from `first_ps`.
    """
    start_ps = report["start_ps"]
    return merge(
        {
            **{key: flow[key] for key in ("src", "dst", "bytes")},
            "start_ps": flow["start_ps"] - start_ps,
            "completion_ps": None if flow["completion_ps"] is None else flow["completion_ps"] - start_ps,
            "workload_ps": start_ps - first_ps,
            **where,
        }
        for flow in report["flows"]
    )


def merge(flows: Iterable[Json]) -> list[Json]:
    """Join the messages from one node to another into one flow: first start, last completion, all bytes.

    A flow with an unfinished message has no completion.
    """
    merged: dict[tuple[str, str], list[Json]] = {}
    for flow in flows:
        merged.setdefault((flow["src"], flow["dst"]), []).append(flow)
    return [_joined(parts) for parts in merged.values()]


def _joined(parts: list[Json]) -> Json:
    ends = [part["completion_ps"] for part in parts]
    return {
        **parts[0],
        "bytes": sum(part["bytes"] for part in parts),
        "start_ps": min(part["start_ps"] for part in parts),
        "completion_ps": None if None in ends else max(ends),
    }


def over_iterations(flows: Iterable[Json]) -> list[Json]:
    """Join the flows of all iterations of a row, as run.json has them.

    `bytes`, `iterations` and `duration_ns` are sums, `start_ns` is that of the first, `completion_ns` of the last; times
    count from the start of the run's first workload. A flow that was not complete in some iteration has neither
    completion, duration nor goodput.
    """
    series: dict[tuple[int, bool, str, str], list[Json]] = {}
    for flow in flows:
        series.setdefault((flow["size_bytes"], flow["in_place"], flow["src"], flow["dst"]), []).append(flow)
    return [_summed(parts) for parts in series.values()]


def _summed(parts: list[Json]) -> Json:
    first, last = parts[0], parts[-1]
    length = sum(part["bytes"] for part in parts)
    if any(part["completion_ps"] is None for part in parts):
        end, lasted = None, 0
    else:
        end = (last["workload_ps"] + last["completion_ps"]) // 1000
        lasted = sum(part["completion_ps"] - part["start_ps"] for part in parts)
    return {
        **{key: first[key] for key in ("src", "dst", "size_bytes", "in_place")},
        "bytes": length,
        "iterations": len(parts),
        "start_ns": (first["workload_ps"] + first["start_ps"]) // 1000,
        "completion_ns": end,
        "duration_ns": None if end is None else lasted // 1000,
        "goodput_bps": length * 8 * PS_PER_SECOND // lasted if lasted > 0 else 0,
    }
