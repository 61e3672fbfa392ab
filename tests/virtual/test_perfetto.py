"""The timeline of a run for Perfetto, read back by its own package: pauses and arrows are those of run.json, edge by edge."""

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from testbed import timeseries
from testbed.exports import timeline_series

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
PS_PER_NS = 1_000
CASES = {
    "many senders": ["incast", "-t", "clos:leaves=2,spines=1,hosts=2", "-b", "256K", "-e", "256K"],
    "jobs": ["jobs.yaml"],
}
JOBS = """topology: clos:leaves=2,spines=1,hosts=2
lossless: {xoff: 30KB, xon: 20KB}
jobs:
  - name: one
    ranks: 4
    repeat: 2
    program: [{compute: 3us}, {all_to_all: 256KiB}]
"""


class Shown(NamedTuple):
    """A slice as Perfetto reads it: its process and track, when it was, and the arrows that leave it and end in it."""

    process: str
    track: str
    name: str
    begin_ns: int
    end_ns: int
    notes: dict[str, Any]
    flows: list[int]
    ended: list[int]


def read(path: Path) -> tuple[list[Shown], list[tuple[int, int]]]:
    """Return the slices of a file, and the values of its counter."""
    packets = protos.Trace.FromString(path.read_bytes()).packet
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor
        for packet in packets
        if packet.HasField("track_descriptor")
    }
    events = [(packet.timestamp, packet.track_event) for packet in packets if packet.HasField("track_event")]
    kinds = protos.TrackEvent.Type
    slices, counts = list[Shown](), list[tuple[int, int]]()
    for index, (at_ns, event) in enumerate(events):
        track = tracks[event.track_uuid]
        if event.type == kinds.TYPE_COUNTER:
            counts.append((at_ns, event.counter_value))
        elif event.type == kinds.TYPE_SLICE_BEGIN:
            end_ns, end = events[index + 1]
            assert (end.type, end.track_uuid) == (kinds.TYPE_SLICE_END, event.track_uuid)
            notes = {note.name: getattr(note, note.WhichOneof("value")) for note in event.debug_annotations}
            process = tracks[track.parent_uuid].process.process_name
            flows, ended = list(event.flow_ids), list(event.terminating_flow_ids)
            slices.append(Shown(process, track.name, event.name, at_ns, end_ns, notes, flows, ended))
    return slices, counts


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_pauses_and_their_causes_are_those_of_the_result(
    tmp_path: Path, call_testbed: Cli, arguments: list[str]
) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    done = call_testbed("run", *arguments, "--out", "here", "--trace", "run.pftrace")
    assert done.returncode == 0 and "timeline: run.pftrace" in done.stderr, done.stderr
    result = json.loads(Path("here/run.json").read_text())
    slices, counts = read(Path("run.pftrace"))
    intervals, roots = result["pauses"]["intervals"], result["pauses"]["roots"]
    paused = [each for each in slices if each.name == "paused"]
    assert len(paused) == len(intervals) > 1
    by_place = {(f"{each.process}:{each.track}", each.begin_ns): each for each in paused}
    begins = [each.begin_ns for each in slices]
    first_ns = min(row["from_ps"] // PS_PER_NS for row in intervals) - min(each.begin_ns for each in paused)
    shown = [
        by_place[f"{row['port']} priority {row['priority']}", row["from_ps"] // PS_PER_NS - first_ns]
        for row in intervals
    ]
    for row, each in zip(intervals, shown, strict=True):
        if row["to_ps"] is not None:
            assert each.end_ns == row["to_ps"] // PS_PER_NS - first_ns
        assert each.notes["paused by"] == row["by"] and each.notes.get("reason", None) == row["reason"]
        assert row["root"] is None or each.notes["root"] == roots[row["root"]]["sentence"]
    arrows = {flow: number for number, each in enumerate(shown) for flow in each.flows}
    edges = sorted((arrows[flow], number) for number, each in enumerate(shown) for flow in each.ended)
    assert edges == sorted((cause, number) for number, row in enumerate(intervals) for cause, _ in row["causes"])
    assert min(begins) == 0 and max(value for _, value in counts) >= 1
    # Slices of one track follow each other.
    for track in {(each.process, each.track) for each in slices}:
        times = [(each.begin_ns, each.end_ns) for each in slices if (each.process, each.track) == track]
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(times)), track
    if result["jobs"]:
        iterations = [each for each in slices if each.track == "iterations"]
        assert [(each.process, each.name) for each in iterations] == [("job one", f"iteration {n}") for n in range(2)]
    else:
        sent = sorted((each.process, each.name) for each in slices if each.track.startswith("messages"))
        assert sent == sorted((row["src"], f"to {row['dst']}") for row in result["flows"])


def counted(path: Path) -> dict[tuple[str, str], tuple[str, list[tuple[int, int]]]]:
    """Return unit and values of every counter, by its process and its name."""
    packets = protos.Trace.FromString(path.read_bytes()).packet
    tracks = {
        each.track_descriptor.uuid: each.track_descriptor for each in packets if each.HasField("track_descriptor")
    }
    values: dict[int, list[tuple[int, int]]] = {}
    for packet in packets:
        if packet.HasField("track_event") and packet.track_event.type == protos.TrackEvent.Type.TYPE_COUNTER:
            values.setdefault(packet.track_event.track_uuid, []).append(
                (packet.timestamp, packet.track_event.counter_value)
            )
    return {
        (tracks[tracks[uuid].parent_uuid].process.process_name, tracks[uuid].name): (tracks[uuid].counter.unit_name, of)
        for uuid, of in values.items()
    }


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_series_are_counters_and_the_steps_of_ranks_are_slices(
    tmp_path: Path, call_testbed: Cli, arguments: list[str]
) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    asked = ("--out", "here", "--trace", "run.pftrace", "--series", "1us")
    done = call_testbed("run", *arguments, *asked)
    assert done.returncode == 0, done.stderr
    series, counters = timeseries.read("here"), counted(Path("run.pftrace"))
    assert series is not None
    period_ns = series.period_ps // PS_PER_NS
    levels = {"queue_bytes": "queue", "shared_bytes": "shared buffer", "headroom_bytes": "headroom"}
    for key, points, values in series.tracks():
        node, _, port = key.name.partition(":")
        if key.quantity in levels:
            unit, shown = counters.pop((node, f"{port} priority {key.priority} {levels[key.quantity]}"))
            assert unit == "bytes"
            assert shown == [(at * period_ns, value) for at, value in zip(points, values, strict=True)]
        elif key.quantity == "bytes_tx":
            unit, shown = counters.pop((node, f"{port} priority {key.priority} sent"))
            # What each rate comes to over its time is what was sent, to a bit a period and in the order of the series.
            ends = [at for at, _ in shown[1:]]
            bits = sum(rate * (end - at) / 10**9 for (at, rate), end in zip(shown, ends, strict=False))
            assert unit == "bit/s" and bits == pytest.approx(8 * int(values[-1]), abs=len(shown)) and shown[-1][1] == 0
    assert set(counters) == {("fabric", "queues that stand still")}
    result = json.loads(Path("here/run.json").read_text())
    slices, _ = read(Path("run.pftrace"))
    of = "one" if result["jobs"] else "incast"
    for place in result["ranks"]:
        name = place["host"] if result["jobs"] else place["rank"]
        steps = [each for each in slices if (each.process, each.track) == (place["host"], f"rank {name} of {of}")]
        points, values = series.changes(timeseries.Key("rank", str(place["rank"]), -1, "step"))
        # Each ends where the count grew, and begins where it last changed; what it is called says up to which op.
        grown = [(int(at), int(value)) for at, value in zip(points, values, strict=True) if value > 0]
        assert [(each.end_ns, int(each.name.split()[-1])) for each in steps] == [(at * period_ns, v) for at, v in grown]
        assert all(before.end_ns <= after.begin_ns for before, after in itertools.pairwise(steps)) and steps


def test_a_timeline_has_no_more_changes_than_a_timeline_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_series, "MOST_CHANGES", 300)
    points = np.arange(1, 2001)
    long = timeseries.TimeSeries(10**6, 2001, {timeseries.Key("port", "a:eth1", 3, "queue_bytes"): (points, points)})
    thin = timeline_series.thinned(long)
    assert (thin.rows, thin.period_ps) == (250, 8 * 10**6)
    (counter,) = timeline_series.counters(thin)
    assert counter.values[-1] == (2_000_000, 2000) and len(counter.values) == 250
