"""What changed at the ports of a lab between two looks, in one short message: for pages that draw it ten times a second. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.bus.told import Figures

Document = dict[str, Any]
Priority = tuple[str, str]
"""A port and one of its priorities."""

FULL_S = 2.0
"""Seconds after which all figures are told again, so that who comes late knows them, and silence means that nobody tells."""
MOST_HAPPENED = 40


class LiveLab:
    """The ports of one lab, as they were told last."""

    def __init__(self) -> None:
        self._told: dict[Priority, Figures] = {}
        self._drops: dict[Priority, dict[str, int]] = {}
        self._full_at_s: float | None = None

    def message(self, ports: Mapping[str, Mapping[str, Any]], now_s: float) -> Document | None:
        """Return what to tell of counters by port, `node:port`; None where nothing changed since the message before."""
        is_first = self._full_at_s is None
        is_full = is_first or now_s - (self._full_at_s or 0.0) >= FULL_S
        now = {
            (port, priority): _figures(counters)
            for port, figures in ports.items()
            for priority, counters in figures.get("priorities", {}).items()
        }
        lost = {
            key: {cause: count for cause, count in ports[key[0]]["priorities"][key[1]]["drops"].items() if count}
            for key, figures in now.items()
            if figures.dropped
        }
        changed = [key for key, figures in now.items() if figures != self._told.get(key)]
        if not changed and not is_full:
            return None
        happened = [] if is_first else [event for key in changed for event in self._happened(key, now[key], lost)]
        self._told, self._drops = now, lost
        if is_full:
            self._full_at_s = now_s
        told = now if is_full else changed
        return {
            "full": is_full,
            "ports": _nested({key: now[key] for key in told}),
            "drops": _nested({key: lost[key] for key in told if key in lost}),
            "happened": happened[:MOST_HAPPENED],
            "left_out": max(0, len(happened) - MOST_HAPPENED),
        }

    def _happened(self, key: Priority, now: Figures, lost: Mapping[Priority, Mapping[str, int]]) -> Iterator[Document]:
        """Yield what happened to a priority since the message before, losses first."""
        where = {"port": key[0], "priority": int(key[1])}
        before, causes = self._told.get(key), self._drops.get(key, {})
        for cause, count in lost.get(key, {}).items():
            if (frames := count - causes.get(cause, 0)) > 0:
                yield {"what": "drops", **where, "cause": cause, "frames": frames}
        was_paused, was_paused_ns = (before.paused, before.paused_ns) if before else (0, 0)
        # A watchdog that lifts a pause takes back what it would have lasted.
        paused_ns = max(0, now.paused_ns - was_paused_ns)
        state = {(0, 1): "began", (1, 0): "ended"}.get((was_paused, now.paused), "between" if paused_ns else "")
        if state and not was_paused == now.paused == 1:
            yield {"what": "pause", **where, "state": state, "paused_ns": paused_ns}


def _figures(counters: Mapping[str, Any]) -> Figures:
    return Figures(
        counters["bytes_tx"],
        counters["bytes_rx"],
        counters["queue_bytes"],
        counters["ingress_bytes_max"],
        int(counters["paused"]),
        counters["paused_ns"],
        counters["pause_rx"],
        counters["pause_tx"],
        counters["ecn_marked"],
        sum(counters["drops"].values()),
    )


def _nested(flat: Mapping[Priority, Any]) -> dict[str, dict[str, Any]]:
    """Return values by port, and there by priority."""
    nested: dict[str, dict[str, Any]] = {}
    for (port, priority), value in flat.items():
        nested.setdefault(port, {})[priority] = value
    return nested
