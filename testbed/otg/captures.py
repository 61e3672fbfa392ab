"""Captures of a generator's ports: what came in there, cut out of the capture of the whole fabric."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from testbed import pcapng
from testbed.contract.plan import Plan
from testbed.otg.addresses import peers_of
from testbed.otg.config import Capture
from testbed.otg.validation import Refused
from testbed.run.engine import Engine
from testbed.sizes import FCS_BYTES, LINE_OVERHEAD_BYTES, SHORTEST_FRAME_BYTES
from testbed.units import PS_PER_NS, PS_PER_SECOND

MOST_BYTES = 512 * 2**20
"""The longest capture of a fabric that is read."""
_PCAP_NANOSECONDS = 0xA1B23C4D
_ETHERNET = 1
_FAR_PS = 2**63


class Window(NamedTuple):
    """From when to when a port captures, in ps."""

    from_ps: int
    to_ps: int


@dataclass
class Captures:
    """The captures of a session: one of the fabric, while any port captures, and by port the time that counts."""

    windows: dict[str, Window] = field(default_factory=dict)
    _directory: TemporaryDirectory[str] | None = None
    _is_open: bool = False

    @property
    def path(self) -> Path:
        """Where the capture of the fabric is written."""
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="testbed-otg-")
        return Path(self._directory.name) / "capture.pcapng"

    def started(self, place: str) -> bool:
        """Return whether a port captures now."""
        return place in self.windows and self.windows[place].to_ps == _FAR_PS

    def set(self, place: str, started: bool, now_ps: int, engine: Engine) -> None:
        """Start or stop the capture of a port. A start forgets what the port captured before."""
        if started:
            if not any(self.started(other) for other in self.windows):
                self._end(engine)
                engine.capture(str(self.path))
                self.windows, self._is_open = {}, True
            self.windows[place] = Window(now_ps, _FAR_PS)
        elif self.started(place):
            self.windows[place] = Window(self.windows[place].from_ps, now_ps)
            if not any(self.started(other) for other in self.windows):
                self._end(engine)

    def read(self, place: str, capture: Capture, plan: Plan, engine: Engine) -> bytes:
        """Return what came in at a port as a file. Raises Refused where nothing was captured, or too much."""
        if place not in self.windows:
            raise Refused([f"port_name: nothing was captured at {place}"])
        if self._is_open:
            # The file is whole once the capture has ended, so it ends here; later frames are left out.
            self.windows = {
                name: window if window.to_ps != _FAR_PS else Window(window.from_ps, _FAR_PS - 1)
                for name, window in self.windows.items()
            }
            self._end(engine)
        if self.path.stat().st_size > MOST_BYTES:
            raise Refused([f"port_name: the capture is longer than {MOST_BYTES} bytes: capture for less time"])
        frames = _arrivals(self.path.read_bytes(), place, self.windows[place], plan)
        return pcapng_file(place, frames, capture) if capture.format == "pcapng" else pcap_file(frames, capture)

    def clear(self) -> None:
        """Forget all captures, with the directory they were in."""
        self.windows, self._is_open = {}, False
        if self._directory is not None:
            with suppress(OSError):
                self._directory.cleanup()
            self._directory = None

    def _end(self, engine: Engine) -> None:
        if self._is_open:
            engine.capture(None)
            self._is_open = False


def _arrivals(content: bytes, place: str, window: Window, plan: Plan) -> Iterator[tuple[int, bytes]]:
    """Yield when frames had come in at a port, in ns, and their bytes: the fabric captures them where they leave."""
    peer, rate_bps, delay_ps = peers_of(plan)[place]
    for frame in pcapng.frames(content):
        if frame.interface != peer:
            continue
        bits = (max(len(frame.data) + FCS_BYTES, SHORTEST_FRAME_BYTES) + LINE_OVERHEAD_BYTES) * 8
        at_ps = frame.time_ns * PS_PER_NS + delay_ps + bits * PS_PER_SECOND // rate_bps
        if window.from_ps <= at_ps < window.to_ps:
            yield at_ps // PS_PER_NS, frame.data


def pcap_file(frames: Iterator[tuple[int, bytes]], capture: Capture) -> bytes:
    """Return frames as a pcap file with nanoseconds."""
    kept = capture.packet_size or pcapng.SNAP_BYTES
    parts = [struct.pack("<IHHiIII", _PCAP_NANOSECONDS, 2, 4, 0, 0, kept, _ETHERNET)]
    for at_ns, data in frames:
        shown = data[:kept]
        parts.append(struct.pack("<IIII", at_ns // 10**9, at_ns % 10**9, len(shown), len(data)) + shown)
    return b"".join(parts)


def pcapng_file(name: str, frames: Iterator[tuple[int, bytes]], capture: Capture) -> bytes:
    """Return frames as a pcapng file with one interface."""
    kept = capture.packet_size or pcapng.SNAP_BYTES
    parts = [pcapng.section(), pcapng.interface(name, kept)]
    parts += [pcapng.packet(0, at_ns, pcapng.INBOUND, data[:kept], len(data)) for at_ns, data in frames]
    return b"".join(parts)
