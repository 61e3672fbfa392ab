"""A result as a timeline for Perfetto: a process a node, a track a port and priority, pauses with arrows to those they caused.

Messages are slices of the host that sends them, and iterations those of their job. Where a run recorded series, there are
counters of them, and the steps of each rank are slices of its host. Times count from the first that is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from testbed.exports import timeline_series
from testbed.exports.perfetto import Note, Trace
from testbed.run.job_result import JobResult
from testbed.run.pauses import PausedQueue, PauseGraph
from testbed.run.result import Flow, RunResult
from testbed.units import PS_PER_NS

if TYPE_CHECKING:
    from testbed.timeseries import TimeSeries

_NS_PER_US = 1_000


class _Slice(NamedTuple):
    """A time with a name; `end_ns` is None if it had not ended with the run."""

    name: str
    begin_ns: int
    end_ns: int | None
    notes: Mapping[str, Note]
    flows: Sequence[int] = ()
    ended: Sequence[int] = ()


def timeline(result: RunResult, series: TimeSeries | None = None) -> bytes:
    """Return a result as a file for Perfetto, with what it recorded over time."""
    pauses = result.pauses or PauseGraph()
    nodes: dict[str, dict[str, list[_Slice]]] = defaultdict(dict)
    for (node, port, priority), slices in sorted(_paused(pauses).items()):
        nodes[node][f"{port} priority {priority}"] = slices
    for host, messages in sorted(_messages(result.flows).items()):
        for number, lane in enumerate(_lanes(messages), start=1):
            nodes[host][f"messages {number}"] = lane
    for job in result.jobs:
        nodes[f"job {job.name}"]["iterations"] = list(_iterations(job))
    counters = list[timeline_series.Counter]()
    if series is not None:
        series = timeline_series.thinned(series)
        counters = [each for each in timeline_series.counters(series) if each.values]
        for rank in timeline_series.steps(series, result):
            nodes[rank.node][rank.track] = [_Slice(*each, {}) for each in rank.slices]
    everything = [each for tracks in nodes.values() for slices in tracks.values() for each in slices]
    first_ns = min([*(each.begin_ns for each in everything), *(0 for _ in counters[:1])], default=0)
    last_ns = max((end for each in everything for end in (each.begin_ns, each.end_ns or 0)), default=0)
    trace = Trace()
    _count(trace, pauses.intervals, first_ns)
    for node in sorted({*nodes, *(each.node for each in counters)}):
        process = trace.process(node)
        for name, slices in nodes.get(node, {}).items():
            track = trace.track(name, process)
            for each in slices:
                end_ns = last_ns if each.end_ns is None else each.end_ns
                begun_ns, ended_ns = each.begin_ns - first_ns, max(each.begin_ns, end_ns) - first_ns
                trace.slice(track, each.name, begun_ns, ended_ns, each.notes, each.flows, each.ended)
        for counter in counters:
            if counter.node == node:
                number = trace.counter(counter.name, process, counter.unit)
                for at_ns, value in counter.values:
                    trace.count(number, at_ns - first_ns, value)
    return trace.to_bytes()


def _paused(pauses: PauseGraph) -> dict[tuple[str, str, int], list[_Slice]]:
    """Return the pauses by node, port and priority. An arrow leads from each to those of the ports whose groups it made full."""
    out: dict[int, list[int]] = defaultdict(list)
    into: dict[int, list[int]] = defaultdict(list)
    arrow = 0
    for index, interval in enumerate(pauses.intervals):
        for cause, _share in interval.causes:
            arrow += 1
            out[cause].append(arrow)
            into[index].append(arrow)
    tracks: dict[tuple[str, str, int], list[_Slice]] = defaultdict(list)
    for index, interval in enumerate(pauses.intervals):
        node, _, port = interval.port.partition(":")
        notes: dict[str, Note] = {"paused by": interval.by}
        if interval.reason is not None:
            notes["reason"] = interval.reason
        if interval.root is not None:
            notes["root"] = pauses.roots[interval.root].sentence
        notes |= {f"share of {pauses.intervals[cause].port}": share for cause, share in interval.causes}
        end_ns = None if interval.to_ps is None else interval.to_ps // PS_PER_NS
        tracks[node, port, interval.priority].append(
            _Slice("paused", interval.from_ps // PS_PER_NS, end_ns, notes, out[index], into[index])
        )
    return tracks


def _messages(flows: Iterable[Flow]) -> dict[str, list[_Slice]]:
    """Return what each host sent, by when it was posted."""
    sent: dict[str, list[_Slice]] = defaultdict(list)
    for flow in flows:
        end_ns = None if flow.completion_ns is None else int(flow.completion_ns)
        sent[flow.src].append(_Slice(f"to {flow.dst}", int(flow.start_ns), end_ns, {"bytes": flow.bytes}))
    for messages in sent.values():
        messages.sort(key=lambda each: each.begin_ns)
    return sent


def _lanes(messages: Iterable[_Slice]) -> list[list[_Slice]]:
    """Share messages out to as few tracks as can be, so that those of one follow each other."""
    lanes: list[list[_Slice]] = []
    for message in messages:
        free = (lane for lane in lanes if (end := lane[-1].end_ns) is not None and end <= message.begin_ns)
        lane = next(free, None)
        if lane is None:
            lanes.append([message])
        else:
            lane.append(message)
    return lanes


def _iterations(job: JobResult) -> Iterator[_Slice]:
    at_us = job.start_us or 0.0
    for number, iteration in enumerate(job.iterations):
        begin_ns, end_ns = round(at_us * _NS_PER_US), round((at_us + iteration.time_us) * _NS_PER_US)
        notes: dict[str, Note] = {"exposed_us": iteration.exposed_us, "hidden_us": iteration.hidden_us}
        yield _Slice(f"iteration {number}", begin_ns, end_ns, notes)
        at_us += iteration.time_us


def _count(trace: Trace, intervals: Iterable[PausedQueue], first_ns: int) -> None:
    """Write how many queues stood still, as a counter of the fabric."""
    changes: dict[int, int] = defaultdict(int)
    for interval in intervals:
        changes[interval.from_ps // PS_PER_NS] += 1
        if interval.to_ps is not None:
            changes[interval.to_ps // PS_PER_NS] -= 1
    counter = trace.counter("queues that stand still", trace.process("fabric"), "queues")
    now = 0
    for at_ns, change in sorted(changes.items()):
        now += change
        trace.count(counter, at_ns - first_ns, now)
