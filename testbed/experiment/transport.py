"""How reliable connections behave: the section `transport` of an experiment, and how a retransmission timeout is written."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from testbed import units
from testbed.experiment.congestion import Dcqcn
from testbed.experiment.controls import Dctcp, Hpcc, Nscc, Swift, Timely
from testbed.experiment.frame_sizes import FrameSizes
from testbed.lab.routes import parse_ports
from testbed.schema.fields import AUTO, DscpOrAuto, FileModel, Size, SizeOrAuto

LARGEST_BLOCK = 256  # packets of data and parity: their numbers have a byte each on the wire
TIMEOUT_UNIT_PS = 4_096_000  # InfiniBand: 4.096 us, doubled n times
LARGEST_EXPONENT = 31
MOST_ROUND_TRIPS = 10_000
_ROUND_TRIPS = re.compile(r"(\d+|\d*\.\d+)\s*rtt")


def _timeout(value: object) -> object:
    """Check a timeout as it is written, and leave it so."""
    if value == AUTO or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_EXPONENT):
        return value
    if isinstance(value, str) and (trips := _round_trips(value)) is not None:
        if not 0 < trips <= MOST_ROUND_TRIPS:
            raise ValueError(f'"{value}" is not more than 0 and at most {MOST_ROUND_TRIPS} round trips')
        return value
    if isinstance(value, str) and value.strip()[-1:].isalpha():
        time_ps, longest_ps = units.parse_time(value), TIMEOUT_UNIT_PS << LARGEST_EXPONENT
        if not 0 < time_ps <= longest_ps:
            raise ValueError(f'"{value}" is not more than 0 and at most {longest_ps // units.PS_PER_SECOND} s')
        return value
    raise ValueError(
        f"{value!r} is not a timeout: an exponent from 1 to {LARGEST_EXPONENT}, a time like 75ms, round trips like 3rtt, or auto"
    )


def _round_trips(text: str) -> Fraction | None:
    match = _ROUND_TRIPS.fullmatch(text.strip())
    return Fraction(match[1]) if match else None


_EXPONENT = {"type": "integer", "minimum": 1, "maximum": LARGEST_EXPONENT}
_TIME = {"type": "string", "description": "a time like 75ms, round trips like 3rtt, or auto"}
Timeout = Annotated[int | str, BeforeValidator(_timeout), WithJsonSchema({"anyOf": [_EXPONENT, _TIME]})]


def timeout_ps(timeout: int | str, round_trip_ps: int) -> int:
    """Return what a timeout that is not `auto` comes to, where a round trip takes so long."""
    if isinstance(timeout, int):
        return TIMEOUT_UNIT_PS << timeout
    trips = _round_trips(timeout)
    return units.parse_time(timeout) if trips is None else max(1, ceil(trips * round_trip_ps))


MOST_QPS = 1024
PORT_RULES = (AUTO, "rail", "channel", "hash")


def _parse_port(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and value in PORT_RULES:
        return value
    try:
        return parse_ports(value)
    except ValueError:
        raise ValueError(f'"{value}" is not {", ".join(PORT_RULES)}, or ports like [eth1, eth2]') from None


def _parse_entropy(value: object) -> str | tuple[int, ...]:
    if value == "hash":
        return "hash"
    listed = value if isinstance(value, list | tuple) else ()
    if not listed or any(
        isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 2**16 for port in listed
    ):
        raise ValueError(f'"{value}" is not hash, or UDP ports like [49152, 49153]')
    return tuple(listed)


PortRule = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_parse_port),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["rail", ["eth1", "eth2"]],
        }
    ),
]
Entropy = Annotated[
    str | tuple[int, ...],
    BeforeValidator(_parse_entropy),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}],
            "examples": ["hash", [49152, 49153]],
        }
    ),
]


class Erasure(FileModel):
    """An erasure code: so many packets of data to a block, and so many of parity behind them.

    A message is cut into blocks, the last of them shorter if need be, with as much parity. Any `data` packets of a block
    give the others.
    """

    data: int = Field(default=32, strict=True, ge=1, le=LARGEST_BLOCK - 1)
    """Packets of data to a block."""
    parity: int = Field(default=4, strict=True, ge=1, le=LARGEST_BLOCK - 1)
    """Packets of parity behind them; data and parity together are at most 256."""

    @model_validator(mode="after")
    def _agrees(self) -> Erasure:
        if self.data + self.parity > LARGEST_BLOCK:
            raise ValueError(f"{self.data} + {self.parity} packets; a block has at most {LARGEST_BLOCK}")
        return self


class Transport(FileModel):
    """How a reliable connection behaves; `window` is in bytes.

    `recovery`: after a loss everything is sent again from the lost packet on, or that packet alone, or nothing if the
    parity of `erasure` makes up for it. With `timer` nothing is asked for: each `chunk` of so many bytes arrives whole or not
    at all, and is sent again when its own timeout runs out before it is acknowledged, as in the model of SDR-RDMA.

    `congestion-control` acts on the marks of `lossless.ecn` (`dcqcn`, `dctcp`, `nscc`), on round trips (`timely`, `swift`,
    `nscc`) or on what switches write into packets (`hpcc`); the section of its name is a preset, or parameters that differ
    from one.

    `timeout`, after which what is not acknowledged is sent again: a time (75ms), round trips of the longest path between two
    ranks that talk, without queues (3rtt), or InfiniBand's exponent n of 4.096 us x 2^n (14).

    Two ranks that talk have `qps` queue pairs, over which their messages are `spread`; `port` chooses the ports that those
    use, and `entropy` the UDP source ports by which switches tell them apart.

    Data, acknowledgements and notifications of congestion have a DSCP each. NICs tell priorities by the same map of DSCPs as
    the switch that they are linked with, and acknowledgements and notifications heed the pauses of their own priority.

    `receive-queue`: whether a `send` finds a receive always, or only when the schedule has come to it. Too early, it is told
    to wait by the InfiniBand code `rnr-timer` (12 is 0.64 ms), `rnr-retries` times without progress; 7 is for ever.
    """

    other_names: ClassVar[frozenset[str]] = frozenset({"cnp_dscp"})

    recovery: Literal["go-back-n", "selective-repeat", "erasure", "timer"] = "go-back-n"
    """What is sent again after a loss: all that follows, the packet alone, what parity cannot rebuild, or its chunk."""
    erasure: Erasure = Erasure.model_construct()
    """The code of `recovery: erasure`."""
    chunk: Size = 64 * 2**10
    """Bytes that `recovery: timer` acknowledges and sends again as one, a whole number of packets of `mtu`."""
    congestion_control: Literal["none", "dcqcn", "timely", "swift", "dctcp", "hpcc", "nscc"] = "none"
    """Algorithm that slows senders down: by marks of `lossless.ecn`, round trips, or telemetry of switches (virtual clock)."""
    dcqcn: Dcqcn = Dcqcn.model_construct()
    """Parameters of DCQCN: the name of a preset, or figures that differ from one."""
    timely: Timely = Timely.model_construct()
    """Parameters of TIMELY: the name of a preset, or figures that differ from one."""
    swift: Swift = Swift.model_construct()
    """Parameters of Swift: the name of a preset, or figures that differ from one."""
    dctcp: Dctcp = Dctcp.model_construct()
    """Parameters of DCTCP: the name of a preset, or figures that differ from one."""
    hpcc: Hpcc = Hpcc.model_construct()
    """Parameters of HPCC: the name of a preset, or figures that differ from one."""
    nscc: Nscc = Nscc.model_construct()
    """Parameters of NSCC: the name of a preset, or figures that differ from one."""
    verb: Literal["write", "send"] = "write"
    """How data is sent: RDMA writes, or sends that need a receive."""
    mtu: Literal[1024, 2048, 4096] = 4096
    """Bytes of payload in a packet."""
    frames: FrameSizes | None = None
    """Sizes of packets as another simulator has them, by its name or in bytes (virtual clock); left out, those of RoCEv2."""
    ack_every: int = Field(default=16, strict=True, ge=1, le=4096)
    """Packets after which an acknowledgement is asked for; left out, each where a congestion control but DCQCN hears of them."""
    window: SizeOrAuto = AUTO
    """Bytes that a connection may have sent without acknowledgement; `auto` is what its longest path needs."""
    timeout: Timeout = AUTO
    """Time (75ms), round trips (3rtt) or InfiniBand exponent after which packets are sent again; `auto` fits the path."""
    retries: int = Field(default=7, strict=True, ge=0, le=7)
    """Timeouts in a row, without progress, before a connection fails."""
    qps: int = Field(default=1, strict=True, ge=1, le=MOST_QPS)
    """Queue pairs of every two ranks that talk."""
    spread: Literal["messages", "slices"] = "messages"
    """How messages take several queue pairs: whole, one each in turn, or sliced over all of them."""
    port: PortRule = AUTO
    """Scale-out port of a queue pair: at home with the rank (`rail`), of the channel (`channel`), by `hash`, or ports by name."""
    entropy: Entropy = "hash"
    """UDP source ports of the queue pairs of two ranks: by a hash of both ranks and the seed, or listed, taken in turn."""
    dscp: DscpOrAuto = AUTO
    """DSCP of data, which switches must map to `lossless.priority`; `auto` is its class selector, else the lowest that does."""
    ack_dscp: DscpOrAuto = AUTO
    """DSCP of acknowledgements and NAKs; `auto` is that of the data that they are for."""
    cnp_dscp: DscpOrAuto = AUTO
    """DSCP of congestion notifications (CNP) of DCQCN; `auto` is 48, as adapters have it."""
    receive_queue: Literal["always", "posted"] = "always"
    """Whether a send finds a receive always, or only once the schedule has posted it."""
    rnr_timer: int = Field(default=12, strict=True, ge=0, le=31)
    """InfiniBand code of the time that a send without a receive is told to wait; 12 is 0.64 ms."""
    rnr_retries: int = Field(default=7, strict=True, ge=0, le=7)
    """Times that a send may be told to wait, without progress, before a connection fails; 7 is for ever."""

    @model_validator(mode="before")
    @classmethod
    def _of_adapters(cls, value: Any) -> Any:
        """Take `cnp_dscp`, as adapters write it."""
        if not isinstance(value, dict) or "cnp_dscp" not in value:
            return value
        if "cnp-dscp" in value:
            raise ValueError("cnp_dscp is cnp-dscp, which is given too")
        return {"cnp-dscp" if key == "cnp_dscp" else key: item for key, item in value.items()}

    @model_validator(mode="after")
    def _agrees(self) -> Transport:
        if self.receive_queue == "posted" and self.verb != "send":
            raise ValueError(f"receive-queue: a {self.verb} needs no receive; posted is for verb: send")
        if self.receive_queue == "posted" and self.recovery == "timer":
            raise ValueError("receive-queue: posted needs RNR NAKs, and recovery: timer sends none")
        if self.frames is not None and "mtu" in self.model_fields_set:
            raise ValueError("mtu: frames say what a packet carries; give frames.payload instead")
        chunked = self.frames is None or self.recovery == "timer"
        if not self.chunk or (chunked and self.chunk % self.payload_bytes):
            raise ValueError(f"chunk: {self.chunk} bytes are not a multiple of the MTU, {self.payload_bytes}")
        return self

    @property
    def packets_per_ack(self) -> int:
        """Packets after which an acknowledgement is asked for, as given or as congestion control needs it."""
        hears = self.congestion_control not in ("none", "dcqcn")
        return 1 if hears and "ack_every" not in self.model_fields_set else self.ack_every

    @property
    def payload_bytes(self) -> int:
        """Bytes of payload of a full packet."""
        return self.mtu if self.frames is None else self.frames.payload_bytes
