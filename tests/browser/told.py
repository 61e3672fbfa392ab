"""What an agent tells of a lab, made up for the live page: counters that grow, pauses, losses, a run from start to end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from testbed.drawing.document import fabric_document
from testbed.lab.topology import Lab, lab_from, lab_source

Json = dict[str, Any]
Message = tuple[str, bytes, bool]
AGENT = "lab1"
RUN = "4a1f"
PERIOD_NS = 100_000
"""Nominal time between two looks: a tenth of a second at a dilation of 1000."""
_BEGAN = datetime(2026, 11, 30, 19, 26, tzinfo=UTC)


class ToldLab:
    """A lab whose agent tells of it: each method returns messages as topic, payload, and whether they are retained."""

    def __init__(self, topology: str, name: str, session: str = "5e551017") -> None:
        self.lab: Lab = lab_from(lab_source(topology))
        self.name = name
        self.session = session
        self.look = 0
        self._numbers: dict[str, int] = {}
        self._counted: dict[str, list[int]] = {}
        self._lost: dict[str, int] = {}

    def online(self) -> list[Message]:
        """Tell that the agent is there, and what the lab is."""
        nodes = [
            {"name": node.name, "kind": "host", "site": None, "domain": None, "agent": None, "ports": []}
            for node in self.lab.nodes
        ]
        links = [
            {
                "a": str(link.a),
                "b": str(link.b),
                "rate_bps": link.rate_bps,
                "length_m": None,
                "delay_ns": link.delay_ps / 1000,
            }
            for link in self.lab.links
        ]
        body = {"driver": "netns", "dilation": 1000, "nodes": nodes, "links": links, "sites": [], "domains": []}
        status = (f"testbed/agents/{AGENT}/status", b"online", True)
        topology = self._message(
            f"testbed/{self.name}/topology", {**body, "picture": fabric_document(self.lab)}, retain=True
        )
        return [status, topology, *self.state()]

    def state(self, **changes: Any) -> list[Message]:
        """Tell the state of the lab."""
        body = {
            "state": "running", "driver": "netns", "dilation": 1000, "busy": False, "frame_hops": 1000 * self.look, "ranks": 4,
            "ranks_finished": 0, "drops": {"lossless": sum(self._lost.values()), "lossy": 0, "link": 0}, "deadlocks": [],
            "fidelity": {"lateness_ns": {"p99": 3000}, "held_share": 0.001}, "current": None, "last": None, "progress": None,
        }  # fmt: skip
        return [self._message(f"testbed/{self.name}/state", {**body, **changes}, retain=True)]

    def live(
        self, *, full: bool = False, drops: Iterable[tuple[str, str, int]] = (), paused: bool = True
    ) -> list[Message]:
        """Tell of the ports at the next look; `drops` are ports, causes and counts of frames."""
        self.look += 1
        ports: dict[str, dict[str, list[int]]] = {}
        for place, link in enumerate(self.lab.links):
            for side, end in enumerate((str(link.a), str(link.b))):
                counted = self._counted.setdefault(end, [0] * 10)
                share = 0.5 + 0.5 * math.sin(self.look / 9 + place * 0.7 + side * 2)
                counted[0] += round(share * link.rate_bps * PERIOD_NS / 8e9)
                counted[2] = round(400_000 * share * (0.6 + 0.4 * math.sin(self.look / 3 + place)))
                counted[4] = int(paused and share > 0.6 and side == 0)
                counted[5] += round((share - 0.6) * 2 * PERIOD_NS) if counted[4] else 0
                ports[end] = {"3": list(counted)}
        happened = [
            {"what": "drops", "port": port, "priority": 3, "cause": cause, "frames": frames}
            for port, cause, frames in drops
        ]
        for port, _, frames in drops:
            self._counted[port][9] += frames
            self._lost[port] = self._lost.get(port, 0) + frames
        body = {
            "run": RUN,
            "full": full or self.look == 1,
            "ports": ports,
            "drops": {},
            "happened": happened,
            "left_out": 0,
        }
        return [self._message(f"testbed/{self.name}/{AGENT}/live", body)]

    def started(self) -> list[Message]:
        """Tell that a run begins."""
        run = {"run": RUN, "name": "all_reduce", "ranks": 4, "rows": 3, "sizes": [1024, 1 << 20], "seed": 1, "dilation": 1000,
               "clock": "real", "expected_ns": None, "experiment": None}  # fmt: skip
        self._run = run
        return [self._event("run started", **run), *self.state(busy=True, current=run)]

    def progress(self, share: float) -> list[Message]:
        """Tell how far the run is."""
        body = {"run": RUN, "row": 1, "rows": 3, "size_bytes": 1 << 20, "nominal_ns": round(share * 5e6), "rate": 0.001,
                "share": share, "left_s": 40 * (1 - share), "ranks": 4, "ranks_finished": 1}  # fmt: skip
        return [self._event("run progress", **body), *self.state(busy=True, current=self._run, progress=body)]

    def ended(self, *, passed: bool = True) -> list[Message]:
        """Tell that the run is over."""
        verdict = "PASSED: lossless, correct, trusted" if passed else "FAILED: 12 frames lost; correct, trusted"
        reasons = [] if passed else ["not lossless: 12 frames dropped at b1:eth1"]
        body = {"run": RUN, "name": "all_reduce", "complete": True, "interrupted": False, "reasons": reasons, "verdict": verdict,
                "passed": passed, "exit_code": 0 if passed else 1, "figures": {"busbw": 9.5}, "nominal_ns": 5_000_000,
                "wall_s": 41.5, "result": {"host": "machine", "path": "/results/run.json"}}  # fmt: skip
        return [self._event("run ended", **body), *self.state(last=body)]

    def gone(self) -> list[Message]:
        """Take back what is retained, as when the lab is destroyed."""
        return [(f"testbed/{self.name}/{what}", b"", True) for what in ("topology", "state")]

    def event(self, event: str, **details: Any) -> list[Message]:
        """Tell that something was done to the lab."""
        return [self._event(event, **details)]

    def _event(self, event: str, **details: Any) -> Message:
        return self._message(f"testbed/{self.name}/events", {"event": event, **details})

    def _message(self, topic: str, body: Json, *, retain: bool = False) -> Message:
        self._numbers[topic] = self._numbers.get(topic, 0) + 1
        at = _BEGAN + timedelta(seconds=self.look / 10)
        head = {"v": 1, "agent": AGENT, "lab": self.name, "at": at.isoformat(timespec="milliseconds"), "session": self.session,
                "seq": self._numbers[topic], "nominal_ns": self.look * PERIOD_NS, "run": None}  # fmt: skip
        return topic, json.dumps({**head, **body}).encode(), retain
