"""What `inspect` and `events` say to people of a running lab."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from testbed.commands import events
from testbed.report.live import lab_words, port_table, port_words

DROPS = {"headroom": 0, "buffer": 0, "link": 0}
QUIET = {
    "frames_tx": 12,
    "frames_rx": 0,
    "bytes_tx": 1500,
    "drops": DROPS,
    "pause_rx": 0,
    "paused": False,
    "queue_bytes": 0,
}
PAUSED = {**QUIET, "pause_rx": 3, "paused": True, "queue_bytes": 41_600, "drops": {**DROPS, "link": 2}}
IDLE = {"state": "running", "busy": False, "frame_hops": 1200, "ranks": 0, "ranks_finished": 0}
FIDELITY = {"lateness_ns": {"p50": 1, "p99": 1500, "max": 9}, "held_share": 0.02, "socket_drops": 4, "refused": {}}


def lines(table: Any) -> list[list[str]]:
    console = Console(width=200, highlight=False)
    with console.capture() as said:
        console.print(table)
    return [line.split() for line in said.get().splitlines()]


def test_figures_have_a_column_where_there_are_any() -> None:
    quiet = lines(port_table({"a1:eth1": {"priorities": {"3": QUIET}}}))
    assert quiet == [
        ["port", "priority", "frames", "tx", "frames", "rx", "bytes", "tx"],
        ["a1:eth1", "3", "12", "-", "1.50", "kB"],
    ]
    both = lines(port_table({"a1:eth1": {"priorities": {"0": QUIET, "3": PAUSED}}}))
    titles = "port priority frames tx frames rx bytes tx pause rx paused now queue drops"
    assert " ".join(both[0]) == titles
    assert both[1][-4:] == ["-", "-", "-", "-"]
    assert both[2][-6:] == ["3", "yes", "41.60", "kB", "link", "2"]
    assert port_table({"a1:eth1": {"priorities": {}}}) is None


def test_a_port_and_a_lab_are_described_in_a_line() -> None:
    assert port_words({"priorities": {}}) == "no frame yet"
    assert port_words({"priorities": {"3": PAUSED}}) == (
        "priority 3: frames tx 12, bytes tx 1.50 kB, pause rx 3, paused now yes, queue 41.60 kB, drops link 2"
    )
    assert lab_words({"state": "broken"}) == "broken"
    assert lab_words(IDLE) == "idle, 1,200 frame-hops"
    run = {**IDLE, "busy": True, "ranks": 4, "ranks_finished": 1, "drops": {"lossless": 3}, "fidelity": FIDELITY}
    run["deadlocks"] = [{"cured_ns": None}, {"cured_ns": 5}]
    assert lab_words(run) == (
        "a run is under way, 1 of 4 ranks finished, 1,200 frame-hops, drops: lossless 3, deadlocks: 1, "
        "99 % of frames at most 1.50 us late, late frames 0, time held back 2.0%, "
        "lost by the emulator: 4 frames dropped by sockets"
    )


def test_what_the_emulator_lost_of_kernel_traffic_is_reported_of_an_idle_lab_too() -> None:
    figures = {**FIDELITY, "socket_drops": 0, "late_frames": 7, "kernel_drops": {"b1:eth1": 40, "a1:eth1": 1200}}
    assert lab_words({**IDLE, "fidelity": figures}) == (
        "idle, 1,200 frame-hops, 99 % of frames at most 1.50 us late, late frames 7, time held back 2.0%, "
        "lost by the emulator: 1,240 frames of hosts' kernels for which it was too slow at a1:eth1, b1:eth1"
    )


def test_frames_that_may_not_use_a_lossless_priority_have_a_column() -> None:
    titles, row = lines(port_table({"leaf:eth1": {"priorities": {"3": {**QUIET, "demoted": 5}}}}))
    assert (titles[-1], row[-1]) == ("demoted", "5")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "deployed"}, "deployed"),
        ({"event": "run ended", "complete": True, "reasons": []}, "run ended"),
        ({"event": "run ended", "complete": False, "reasons": ["stalled"]}, "run ended: not complete, stalled"),
        ({"event": "run failed", "reason": "lab x is busy"}, "run failed: lab x is busy"),
        (
            {"event": "impaired", "directions": [{"from": "a:eth1", "to": "b:eth1"}]},
            "impaired: what a:eth1 sends to b:eth1",
        ),
        (
            {"event": "deployed", "lost": [{"frames": 2, "port": "a:eth1", "cause": "outage"}]},
            "deployed: 2 frames lost at a:eth1: outage",
        ),
    ],
)
def test_what_was_done_is_reported_with_its_details(event: dict[str, Any], words: str) -> None:
    assert events.event_words(event) == words


def test_the_last_figures_are_reported_once_and_before_what_was_done_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_PERIOD_S", 0.01)
    state, port, done = "testbed/x/state", "testbed/x/a1/eth1/telemetry", "testbed/x/events"

    async def told() -> AsyncIterator[tuple[str, bytes]]:
        for hops in (1, 2, 3):
            yield state, json.dumps({**IDLE, "frame_hops": hops}).encode()
        yield done, json.dumps({"at": datetime.now(UTC).isoformat(), "event": "impaired"}).encode()
        yield state, json.dumps({**IDLE, "frame_hops": 3}).encode()
        yield state, b""
        yield port, json.dumps({"priorities": {"3": QUIET}}).encode()
        await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(events.Digest(3).read(told()), 10))
    said = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "idle, 3 frame-hops",
        "impaired",
        "a1:eth1  priority 3: frames tx 12, bytes tx 1.50 kB",
    ]
