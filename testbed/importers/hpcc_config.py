"""Configuration files of the ns-3 family that began with HPCC: what they say of buffers, marking and DCQCN.

`KEY value …` by lines. Values may refer to other keys as `${KEY}`. A megabyte of a buffer is 2^20 bytes, a kilobyte of a
marking threshold 1000 (third.cc and switch-mmu.cc of HPCC, github.com/alibaba-edu/High-Precision-Congestion-Control).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from testbed.errors import TopologyError
from testbed.importers.text import Line, Text, shown
from testbed.sizes import LEAST_OWN_PAYLOAD_BYTES, LONGEST_MTU_BYTES
from testbed.units import format_rate, format_size, format_time, parse_rate, parse_time

_MEGABYTE = 2**20
_KILOBYTE = 1000
_MOST_RATES = 64
_LARGEST = 10**12
HEADER_BYTES = 48
"""Beside the payload of data: 14 of Ethernet, 20 of IP, 8 of UDP and 6 of its own; no preamble and no gap (custom-header.cc)."""
ACK_BYTES = 60
"""Of an acknowledgement, which is filled up to the least frame without FCS (rdma-hw.cc)."""
_USUAL_PAYLOAD_BYTES = 4096
_SHIFT = 3
"""The exponent that the family has built in for the dynamic threshold of ports as fast as a NIC: alpha is 2^-3 (third.cc)."""

CONTROLS = {1: "DCQCN", 3: "HPCC", 7: "TIMELY", 8: "DCTCP", 10: "HPCC-PINT"}
DCQCN_CONTROL = 1

# What holds where a file says nothing: the defaults of the attributes (third.cc and rdma-hw.cc of the family).
_UNSAID = {
    "alpha-timer": "55us",
    "increase-timer": "1500us",
    "cut-interval": "4us",
    "notify-interval": "4us",
    "g": 1 / 16,
    "fast-recovery": 5,
    "additive": "5M",
    "hyper": "50M",
    "minimum": "100M",
}

# Key → key of DCQCN's parameters, and how its value is written.
_TIMES = {
    "RP_TIMER": ("increase-timer",),
    "ALPHA_RESUME_INTERVAL": ("alpha-timer",),
    "RATE_DECREASE_INTERVAL": ("cut-interval", "notify-interval"),
}
_RATES = {"RATE_AI": "additive", "RATE_HAI": "hyper", "MIN_RATE": "minimum"}
_MAPS = {"KMIN_MAP": "kmin", "KMAX_MAP": "kmax", "PMAX_MAP": "pmax"}
# Names of files, what is written and how long: nothing of the network.
_PLUMBING = """
TOPOLOGY_FILE FLOW_FILE TRACE_FILE TRACE_OUTPUT_FILE FCT_OUTPUT_FILE PFC_OUTPUT_FILE QLEN_MON_FILE LINK_UTIL_OUTPUT_FILE
ENABLE_LINK_UTIL_RECORD ENABLE_TRACE WORKING_DIR OUTPUT_DIR QLEN_MON_START QLEN_MON_END QLEN_MON_DUMP_INTERVAL
QLEN_MON_INTERVAL MON_START MON_END
"""
_OTHERS = """
ROUTING_MODE DCTCP_RATE_AI L2_CHUNK_SIZE L2_ACK_INTERVAL L2_BACK_TO_ZERO HAS_WIN GLOBAL_T VAR_WIN FAST_REACT U_TARGET
MI_THRESH INT_MULTI MULTI_RATE SAMPLE_FEEDBACK PINT_LOG_BASE PINT_PROB RATE_BOUND ACK_HIGH_PRIO PAUSE_TIME
SIMULATOR_STOP_TIME NIC_TOTAL_PAUSE_TIME W_DL W_BW S_STATIC W_QL W_TL W_DP S_CONG S_TOTAL ALPHA BETA
"""
_SILENT = frozenset(_PLUMBING.split())
_KNOWN = _SILENT | frozenset(_OTHERS.split())


@dataclass
class Config:
    """What a configuration file says, in the words of labs and experiments; `left` is what, in which file and line.

    `marking` has thresholds by the rate of a port in bit/s, in bytes, and the probability.
    """

    file: str
    taken: set[str] = field(default_factory=set)
    left: list[tuple[str, str, int]] = field(default_factory=list)
    buffer: str = ""
    border_buffer: str = ""
    is_dynamic: bool = False
    loss: float = 0.0
    payload_bytes: int = 0
    control: int = 0
    dcqcn: dict[str, Any] = field(default_factory=dict)
    marking: dict[str, dict[int, float]] = field(default_factory=dict)
    marks: bool = True
    down: tuple[int, int, int] | None = None
    places: dict[str, int] = field(default_factory=dict)

    def experiment(self, called: Mapping[int, str]) -> dict[str, Any]:
        """Return the sections of an experiment; the nodes are called so by number."""
        transport: dict[str, Any] = {}
        if self.payload_bytes:
            transport |= self._packets()
        if self.control == DCQCN_CONTROL and self.has_marks:
            transport["congestion-control"] = "dcqcn"
        elif self.control == DCQCN_CONTROL:
            self._leave("CC_MODE 1 (DCQCN) without marks for it to act on", "CC_MODE")
        elif self.control:
            self._leave(f"CC_MODE {self.control} ({CONTROLS.get(self.control, 'unknown')})", "CC_MODE")
        if self.dcqcn or self.control == DCQCN_CONTROL:
            transport["dcqcn"] = {"preset": "hpcc-ns3", **_UNSAID, **self.dcqcn}
        if self.down is not None:
            self._leave(f"LINK_DOWN of {called.get(self.down[1])} and {called.get(self.down[2])}", "LINK_DOWN")
        return {"transport": transport} if transport else {}

    @property
    def has_marks(self) -> bool:
        """Whether queues are marked: all three maps are there, and marking is on."""
        return self.marks and len(self.marking) == len(_MAPS)

    def thresholds(self, rate_bps: int, nic_bps: int) -> dict[str, Any]:
        """Return the thresholds of a port of a switch, and the marks of its queues.

        Alpha is 1/8 at ports up to the rate of NICs, and doubles with the rate above, up to 1.
        """
        thresholds: dict[str, Any] = {}
        if self.is_dynamic:
            shift = _SHIFT
            while shift and rate_bps > nic_bps:
                shift, nic_bps = shift - 1, 2 * nic_bps
            thresholds["alpha"] = str(Fraction(1, 2**shift))
        if self.has_marks:
            figures = {key: by_rate.get(rate_bps) for key, by_rate in self.marking.items()}
            low, high, most = (figures[key] for key in ("kmin", "kmax", "pmax"))
            if low is None or high is None or most is None:
                what = f"marking at {format_rate(rate_bps)}, of which no map speaks"
                self.left.append((what, self.file, self.places["KMIN_MAP"]))
            elif low > high:
                raise TopologyError.at(
                    self.file, "", f"kmin is above kmax at {format_rate(rate_bps)}", self.places["KMIN_MAP"]
                )
            else:
                thresholds["ecn"] = {"kmin": format_size(int(low)), "kmax": format_size(int(high)), "pmax": most}
        return thresholds

    def _leave(self, what: str, key: str) -> None:
        self.taken.discard(key)
        self.left.append((what, self.file, self.places.get(key, 0)))

    @property
    def frames(self) -> dict[str, int]:
        """Sizes of packets as the family has them; none where the file says none, or more than an experiment can have."""
        if not LEAST_OWN_PAYLOAD_BYTES <= self.payload_bytes <= LONGEST_MTU_BYTES - HEADER_BYTES:
            return {}
        return {"payload": self.payload_bytes, "header": HEADER_BYTES, "ack": ACK_BYTES}

    @property
    def needs_long_packets(self) -> bool:
        """Whether packets do not fit links as they are without a word of their MTU."""
        return bool(self.frames) and self.payload_bytes > _USUAL_PAYLOAD_BYTES

    def _packets(self) -> dict[str, Any]:
        if self.frames:
            return {"frames": self.frames}
        near = min((1024, 2048, 4096), key=lambda mtu: abs(mtu - self.payload_bytes))
        self._leave(f"PACKET_PAYLOAD_SIZE {self.payload_bytes}, taken as {near}", "PACKET_PAYLOAD_SIZE")
        return {"mtu": near}


def read_config(text: Text) -> Config:
    """Return what a configuration file says; raise TopologyError for a value that cannot be read."""
    config = Config(text.file)
    for line in text.lines():
        key, values = line.words[0], line.words[1:]
        reader = _READERS.get(key)
        if reader is None:
            if key in _SILENT:
                continue
            what = f"{key} {' '.join(values[:3])}".strip() if key in _KNOWN else "lines that belong to no key"
            config.left.append((shown(what), text.file, line.number))
            continue
        if not values:
            text.fail(line.number, f"{key} has no value")
        config.places[key] = line.number
        config.taken.add(key)
        reader(text, line, config)
    return config


def _whole(text: Text, line: Line, high: int = _LARGEST) -> int:
    return text.whole(line.number, line.words[1], line.words[0], 0, high)


def _size(megabytes: int) -> str:
    return format_size(megabytes * _MEGABYTE)


def _buffer(text: Text, line: Line, config: Config) -> None:
    megabytes = _whole(text, line, 10**6)
    if megabytes:
        config.buffer = _size(megabytes)


def _border_buffer(text: Text, line: Line, config: Config) -> None:
    megabytes = _whole(text, line, 10**6)
    if megabytes:
        config.border_buffer = _size(megabytes)


def _dynamic(text: Text, line: Line, config: Config) -> None:
    config.is_dynamic = bool(_whole(text, line, 1))


def _marks(text: Text, line: Line, config: Config) -> None:
    config.marks = bool(_whole(text, line, 1))


def _payload(text: Text, line: Line, config: Config) -> None:
    config.payload_bytes = _whole(text, line, 65_535)


def _control(text: Text, line: Line, config: Config) -> None:
    config.control = _whole(text, line, 1000)


def _loss(text: Text, line: Line, config: Config) -> None:
    config.loss = text.number(line.number, line.words[1], line.words[0], 0, 1)


def _gain(text: Text, line: Line, config: Config) -> None:
    config.dcqcn["g"] = text.number(line.number, line.words[1], line.words[0], 0, 1)


def _rounds(text: Text, line: Line, config: Config) -> None:
    config.dcqcn["fast-recovery"] = _whole(text, line, 1000)


def _time(text: Text, line: Line, config: Config) -> None:
    time_ps = text.quantity(line.number, f"{line.words[1]}us", line.words[0], parse_time)
    if not time_ps:
        text.fail(line.number, f"{line.words[0]} must be longer than 0")
    for key in _TIMES[line.words[0]]:
        config.dcqcn[key] = format_time(time_ps)


def _rate(text: Text, line: Line, config: Config) -> None:
    rate = text.quantity(line.number, line.words[1], line.words[0], parse_rate)
    config.dcqcn[_RATES[line.words[0]]] = format_rate(rate)


def _map(text: Text, line: Line, config: Config) -> None:
    """Read `n` and n pairs of a rate in bit/s and a value: kilobytes, or a probability."""
    key, count = line.words[0], _whole(text, line, _MOST_RATES)
    words = line.words[2:]
    if len(words) != 2 * count:
        text.fail(line.number, f"{key} says {count} pairs, and {len(words)} words follow")
    values: dict[int, float] = {}
    for rate, value in zip(words[::2], words[1::2], strict=True):
        rate_bps = text.whole(line.number, rate, f"a rate of {key}", 1, 10**15)
        if key == "PMAX_MAP":
            values[rate_bps] = text.number(line.number, value, key, 0, 1)
        else:
            values[rate_bps] = round(_KILOBYTE * text.number(line.number, value, key, 0, 10**9))
    config.marking[_MAPS[key]] = values


def _down(text: Text, line: Line, config: Config) -> None:
    if len(line.words) < 4:
        text.fail(line.number, "LINK_DOWN has three numbers: a time in us and two nodes")
    time_us, a, b = (text.whole(line.number, word, "LINK_DOWN", 0, _LARGEST) for word in line.words[1:4])
    if time_us or a or b:
        config.down = (time_us, a, b)


_Reader = Callable[[Text, Line, Config], None]


def _all(keys: Iterable[str], reader: _Reader) -> dict[str, _Reader]:
    return dict.fromkeys(keys, reader)


_READERS: dict[str, _Reader] = {
    "BUFFER_SIZE": _buffer,
    "DCI_BUFFER_SIZE": _border_buffer,
    "USE_DYNAMIC_PFC_THRESHOLD": _dynamic,
    "ENABLE_QCN": _marks,
    "PACKET_PAYLOAD_SIZE": _payload,
    "CC_MODE": _control,
    "ERROR_RATE_PER_LINK": _loss,
    "EWMA_GAIN": _gain,
    "FAST_RECOVERY_TIMES": _rounds,
    "LINK_DOWN": _down,
    **_all(_TIMES, _time),
    **_all(_RATES, _rate),
    **_all(_MAPS, _map),
}
