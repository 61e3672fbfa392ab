"""Settings of the kernel's netem queueing discipline: encoded for it, read back from it, and compared.

What was checked against a running kernel, and what follows from it here:

- netem sorts its queue by the time at which each frame is due, so jitter, or a delay made shorter, lets frames overtake;
  a FIFO below it comes too late to help. A netem with a rate never lets a frame be due before the one ahead of it. So
  `in_order` gives it a rate at which a frame takes no time.
- Correlations, reordering, corruption, rate, ECN and slots stay as they were unless a request names them, so ours names
  them all. A delay distribution stays too, and is not even reported: none can be on a device that is ours alone.
- One counter holds losses asked for, frames that found the queue full, and frames that the discipline below refused. The
  sender of a frame that found it full gets ENOBUFS, that of a lost one learns nothing, and the discipline below counts its
  own. So losses are drops less refusals less drops below. With `limit_for` the queue is never full.

Sources: include/uapi/linux/pkt_sched.h and net/sched/sch_netem.c of Linux 6.1.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, fields, replace

from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_NEWQDISC  # type: ignore[import-untyped]

from testbed.errors import DriverError
from testbed.system import namespaces
from testbed.system.netlink import DUMP, LOOPBACK_INDEX, Message, Netlink, attribute, attributes, encode_request
from testbed.system.qdisc import Qdisc, TrafficClass, new_qdisc, read_qdiscs

KIND = "netem"

HANDLE = 0x0002_0000
"""Handle of every netem, 2:0 as tc writes it; another than that of the shaper which it may have below."""

DEFAULT_LIMIT_FRAMES = 1000
"""The kernel's own limit where none is given: too small for any bandwidth-delay product worth emulating."""

_QUEUE_SLACK_NS = 100_000_000
_QUEUE_SLACK_FRAMES = 1000

_U32_MAX = 0xFFFFFFFF
_QUANTA = 1 << 32
_PSCHED_SHIFT = 6  # one tick of tc_netem_qopt's times is 64 ns
_JITTER_BOUND_NS = 1 << 31  # the kernel computes with it as s32

# Bytes a second. The time of a frame is length × 1e9 / rate, rounded down: 0 for every length that there is. As bits it
# still fits 64, or tc would show it as 0.
_ORDERING_RATE = 1 << 60

_QOPT = struct.Struct("=6I")  # latency, limit, loss, gap, duplicate, jitter
_RATE = struct.Struct("=IiIi")  # rate, packet overhead, cell size, cell overhead
_CORR, _REORDER, _CORRUPT, _LOSS, _RATE_KIND, _ECN, _RATE64 = 1, 3, 4, 5, 6, 7, 8
_LATENCY64, _JITTER64, _SLOT, _SLOT_DIST, _PRNG_SEED = 10, 11, 12, 13, 14
_LOSS_GI, _LOSS_GE = 1, 2
_SLOT_BYTES = 40  # struct tc_netem_slot
_NESTED = 0x8000

_TCMSG = struct.Struct("=BxxxiIII")  # family, interface, handle, parent, info
_TCA_STATS2 = 7
_STATS_BASIC, _STATS_QUEUE, _STATS_PACKETS64 = 1, 3, 8


@dataclass(frozen=True)
class GilbertElliott:
    """Loss in bursts, by a chain of two states that takes a step each frame. All four are probabilities.

    `to_bad`, `to_good`: of changing state. `loss_bad`, `loss_good`: of losing a frame in that state. The kernel stores
    the complement of `loss_bad`.
    """

    to_bad: float
    to_good: float
    loss_bad: float = 1.0
    loss_good: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _require_probability(field.name, getattr(self, field.name))

    @classmethod
    def of(cls, loss: float, mean_burst: float) -> GilbertElliott:
        """Return the chain that loses the share `loss` of all frames, `mean_burst` in a row on average.

        Raises ValueError if no chain does: a burst is at least one frame, and one frame at least passes between two.
        """
        if not 0 <= loss < 1 or mean_burst < 1:
            raise ValueError(f"loss is below 1 and a burst one frame or more, not {loss} and {mean_burst}")
        to_bad = loss / (mean_burst * (1 - loss))
        if to_bad > 1:
            raise ValueError(f"bursts of {mean_burst} frames cannot make a loss of {loss}: lengthen them")
        return cls(to_bad=to_bad, to_good=1 / mean_burst)

    @property
    def loss(self) -> float:
        """The share of frames lost in the long run."""
        steps = self.to_bad + self.to_good
        bad = self.to_bad / steps if steps else 0.0
        return bad * self.loss_bad + (1 - bad) * self.loss_good


@dataclass(frozen=True)
class FourState:
    """Loss by the four-state chain of netem's `loss state`; 1 is the gap, 2 and 3 the burst, 4 a single loss."""

    p13: float
    p31: float
    p32: float = 0.0
    p14: float = 0.0
    p23: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _require_probability(field.name, getattr(self, field.name))


Loss = float | GilbertElliott | FourState
"""A number is the probability with which each frame is lost, whatever befell the others."""


@dataclass(frozen=True)
class Netem:
    """What one netem does to the frames that leave a device.

    `delay_ns` ± `jitter_ns` (uniform) for each frame; kept `in_order`, a frame waits for the one ahead of it. `limit`:
    frames that may be inside. `seed`: of the losses and the jitter; None where the kernel draws its own (before 6.6).
    `foreign`: names of settings that were read back and that this testbed never makes.
    """

    delay_ns: int = 0
    jitter_ns: int = 0
    loss: Loss = 0.0
    limit: int = DEFAULT_LIMIT_FRAMES
    seed: int | None = None
    in_order: bool = True
    foreign: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ns < 1 << 63:
            raise ValueError(f"a delay is not negative and below 2^63 ns, not {self.delay_ns}")
        if not 0 <= self.jitter_ns < _JITTER_BOUND_NS:
            raise ValueError(f"jitter is not negative and below 2^31 ns, not {self.jitter_ns}")
        if not 1 <= self.limit <= _U32_MAX:
            raise ValueError(f"a limit is 1 to {_U32_MAX} frames, not {self.limit}")
        if self.seed is not None and not 0 <= self.seed < 1 << 64:
            raise ValueError(f"a seed has at most 64 bits, unlike {self.seed}")
        if isinstance(self.loss, int | float):
            _require_probability("loss", self.loss)


@dataclass(frozen=True)
class Statistics:
    """Counters of a queueing discipline. `dropped` of a netem is more than loss: see the top of this module."""

    frames: int
    bytes: int
    queued_frames: int
    queued_bytes: int
    dropped: int


def _require_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a probability, not {value}")


def _quanta(probability: float) -> int:
    """Return a probability as the kernel stores it, in units of 2^-32; 1 becomes the greatest number that fits."""
    return min(round(probability * _QUANTA), _U32_MAX)


def _probability(quanta: int) -> float:
    return 1.0 if quanta == _U32_MAX else quanta / _QUANTA


def qdisc(netem: Netem, below: Qdisc | None = None) -> Qdisc:
    """Return the queueing discipline to hand to `new_qdisc`; frames that were delayed go on to the one `below`.

    Without one below, the same request changes a netem that is there in place: what is below stays, and so do the
    frames inside, each due when it was.
    """
    child = () if below is None else (TrafficClass(HANDLE | 1, None, below),)
    return Qdisc(KIND, encode(netem), HANDLE, child)


def encode(netem: Netem) -> bytes:
    """Return TCA_OPTIONS of a netem: every setting, so that nothing stays of an earlier one.

    Raises ValueError if it has `foreign` settings.
    """
    if netem.foreign:
        raise ValueError(f"cannot apply settings of another program: {', '.join(netem.foreign)}")
    independent = netem.loss if isinstance(netem.loss, int | float) else 0.0
    delay, jitter = (min(time_ns >> _PSCHED_SHIFT, _U32_MAX) for time_ns in (netem.delay_ns, netem.jitter_ns))
    data = _QOPT.pack(delay, netem.limit, _quanta(independent), 0, 0, jitter)
    data += attribute(_CORR, bytes(12)) + attribute(_REORDER, bytes(8)) + attribute(_CORRUPT, bytes(8))
    data += attribute(_RATE_KIND, _RATE.pack(_U32_MAX if netem.in_order else 0, 0, 0, 0))
    if netem.in_order:
        data += attribute(_RATE64, struct.pack("=Q", _ORDERING_RATE))
    data += attribute(_ECN, bytes(4)) + attribute(_SLOT, bytes(_SLOT_BYTES))
    data += attribute(_LATENCY64, struct.pack("=q", netem.delay_ns))
    data += attribute(_JITTER64, struct.pack("=q", netem.jitter_ns))
    if isinstance(netem.loss, GilbertElliott):
        chain = netem.loss
        states = (chain.to_bad, chain.to_good, 1 - chain.loss_bad, chain.loss_good)
        data += attribute(_LOSS | _NESTED, attribute(_LOSS_GE, struct.pack("=4I", *map(_quanta, states))))
    elif isinstance(netem.loss, FourState):
        states = tuple(getattr(netem.loss, field.name) for field in fields(FourState))
        data += attribute(_LOSS | _NESTED, attribute(_LOSS_GI, struct.pack("=5I", *map(_quanta, states))))
    if netem.seed is not None:
        data += attribute(_PRNG_SEED, struct.pack("=Q", netem.seed))
    return data


def decode(options: bytes) -> Netem:
    """Read TCA_OPTIONS of a netem, as sent or as the kernel reports it.

    Raises DriverError (EBADMSG) if they are too short.
    """
    parts = attributes(options, _QOPT.size)
    try:
        delay, limit, loss, gap, duplicate, jitter = _QOPT.unpack_from(options)
        delay_ns, jitter_ns = delay << _PSCHED_SHIFT, jitter << _PSCHED_SHIFT
        if _LATENCY64 in parts:
            (delay_ns,) = struct.unpack_from("=q", parts[_LATENCY64])
        if _JITTER64 in parts:
            (jitter_ns,) = struct.unpack_from("=q", parts[_JITTER64])
        rate = _decode_rate(parts)
        return Netem(
            delay_ns=delay_ns,
            jitter_ns=jitter_ns,
            loss=_decode_loss(loss, parts.get(_LOSS)),
            limit=limit,
            seed=struct.unpack_from("=Q", parts[_PRNG_SEED])[0] if _PRNG_SEED in parts else None,
            in_order=rate == _ORDERING_RATE,
            foreign=_foreign(parts, gap, duplicate, rate),
        )
    except (struct.error, ValueError) as error:
        raise DriverError("read back netem", errno.EBADMSG, str(error)) from error


def _decode_rate(parts: dict[int, bytes]) -> int:
    """Return the rate in bytes per second, 0 for none."""
    (rate,) = struct.unpack_from("=I", parts.get(_RATE_KIND, bytes(_RATE.size)))
    return int(struct.unpack_from("=Q", parts[_RATE64])[0] if _RATE64 in parts else rate)


def _decode_loss(independent: int, chain: bytes | None) -> Loss:
    states = attributes(chain, 0) if chain is not None else {}
    if _LOSS_GE in states:
        to_bad, to_good, pass_bad, loss_good = map(_probability, struct.unpack_from("=4I", states[_LOSS_GE]))
        return GilbertElliott(to_bad, to_good, 1 - pass_bad, loss_good)
    if _LOSS_GI in states:
        return FourState(*map(_probability, struct.unpack_from("=5I", states[_LOSS_GI])))
    return _probability(independent)


def _foreign(parts: dict[int, bytes], gap: int, duplicate: int, rate: int) -> tuple[str, ...]:
    """Name what is set that `encode` never sets."""
    present = {
        "gap": gap,
        "duplicate": duplicate,
        "correlation": any(parts.get(_CORR, b"")),
        "reorder": any(parts.get(_REORDER, b"")[:4]),
        "corrupt": any(parts.get(_CORRUPT, b"")),
        "rate": rate not in (0, _ORDERING_RATE) or any(parts.get(_RATE_KIND, b"")[4:]),
        "ecn": any(parts.get(_ECN, b"")),
        "slot": any(parts.get(_SLOT, b"")) or _SLOT_DIST in parts,
    }
    return tuple(name for name, there in present.items() if there)


def loses(loss: Loss) -> bool:
    """Return whether a frame can be lost."""
    if isinstance(loss, FourState):
        return loss.p13 > 0 or loss.p14 > 0
    return (loss.loss if isinstance(loss, GilbertElliott) else loss) > 0


def differences(requested: Netem, configured: Netem) -> list[str]:
    """Compare what was asked of the kernel with what it does; one line a difference, empty if there is none.

    Probabilities are equal if their quanta are. A loss too rare for the quantum is a difference. A seed that the kernel
    does not report is none: that kernel takes no seeds, which `configured.seed` tells.
    """
    wanted = decode(encode(requested))
    differences = []
    for field in fields(Netem):
        ours, theirs = getattr(wanted, field.name), getattr(configured, field.name)
        if ours != theirs and not (field.name == "seed" and theirs is None):
            differences.append(f"{field.name}: asked {ours}, configured {theirs}")
    if loses(requested.loss) and not loses(wanted.loss):
        differences.append(f"loss: asked {requested.loss}, which is less than the kernel's quantum of 2^-32")
    return differences


def limit_for(rate_bps: int, longest_delay_ns: int, smallest_frame_bytes: int) -> int:
    """Return a limit that a link which is always full of its smallest frames never reaches.

    Rate and delay in wall time; the delay with its jitter. Holds what the link holds, what arrives in 100 ms in which
    the kernel's timer is late, and a thousand frames more. The limit itself costs no memory. Raises ValueError if no
    limit is high enough.
    """
    if rate_bps < 1 or longest_delay_ns < 0 or smallest_frame_bytes < 1:
        raise ValueError(f"not a link: {rate_bps} bit/s, {longest_delay_ns} ns, frames of {smallest_frame_bytes} bytes")
    bits_ns = rate_bps * (longest_delay_ns + _QUEUE_SLACK_NS)
    limit = -(-bits_ns // (8 * smallest_frame_bytes * 1_000_000_000)) + _QUEUE_SLACK_FRAMES
    if limit > _U32_MAX:
        raise ValueError(f"a link holding {limit} frames is more than netem can hold; dilate time")
    return limit


def stretched(present: Netem, delay_ns: int, jitter_ns: int) -> Netem:
    """Return settings with another delay, and a limit that fits it as the present one fits the present delay.

    The limit never shrinks: frames may be inside that the longer delay let in.
    """
    before_ns = present.delay_ns + present.jitter_ns + _QUEUE_SLACK_NS
    after_ns = delay_ns + jitter_ns + _QUEUE_SLACK_NS
    frames = -(-max(present.limit - _QUEUE_SLACK_FRAMES, 0) * after_ns // before_ns) + _QUEUE_SLACK_FRAMES
    return replace(present, delay_ns=delay_ns, jitter_ns=jitter_ns, limit=max(present.limit, frames))


def with_loss(present: Netem, loss: Loss) -> Netem:
    """Return settings with another loss."""
    return replace(present, loss=loss)


def read(control: Netlink) -> dict[int, Netem]:
    """Return what each netem at the root of an interface of the socket's namespace does, by interface index."""
    disciplines = read_qdiscs(control).items()
    return {index: decode(discipline.options) for index, discipline in disciplines if discipline.kind == KIND}


def read_statistics(control: Netlink) -> dict[tuple[int, int], Statistics]:
    """Return the counters of the queueing disciplines of the socket's namespace, by (interface index, handle)."""
    request = encode_request(RTM_GETQDISC, DUMP, _TCMSG.pack(0, 0, 0, 0, 0))
    statistics = {}
    for kind, payload in control.query(Message(request, "read the counters of qdiscs")):
        if kind == RTM_NEWQDISC:
            _family, index, handle, _parent, _info = _TCMSG.unpack_from(payload)
            statistics[index, handle] = _statistics(attributes(payload, _TCMSG.size)[_TCA_STATS2])
    return statistics


def _statistics(nested: bytes) -> Statistics:
    values = attributes(nested, 0)
    total_bytes, frames = struct.unpack_from("=QI", values[_STATS_BASIC])
    if _STATS_PACKETS64 in values:  # only where 32 bits do not hold them
        (frames,) = struct.unpack_from("=Q", values[_STATS_PACKETS64])
    queued_frames, queued_bytes, dropped = struct.unpack_from("=III", values[_STATS_QUEUE])
    return Statistics(frames, total_bytes, queued_frames, queued_bytes, dropped)


def probe() -> bool:
    """Return whether this kernel has netem, by trying it on the loopback of a namespace that never gets a name.

    Takes CAP_SYS_ADMIN; raises DriverError for any refusal but that of a kernel without it.
    """

    def attempt() -> bool:
        namespaces.unshare_network()
        try:
            with Netlink() as control:
                control.apply(new_qdisc(LOOPBACK_INDEX, qdisc(Netem())))
        except DriverError as error:
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return False
            raise
        except OSError as error:
            raise DriverError("probe netem", error.errno or 0, os.strerror(error.errno or 0)) from error
        return True

    return namespaces.in_thread(attempt)
