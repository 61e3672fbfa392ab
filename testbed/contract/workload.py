"""The part of the contract that is a workload."""

from typing import Annotated, Literal, NotRequired, TypedDict

from testbed.contract.congestion import CongestionControl

Dtype = Literal[
    "int8", "uint8", "int32", "uint32", "int64", "uint64", "half", "float", "double", "bfloat16"
]  # fmt: skip


class Erasure(TypedDict):
    """A code of recovery by erasure."""

    data: Annotated[int, "data packets of a block"]
    parity: Annotated[int, "parity packets of a block"]


class Rnr(TypedDict):
    """What becomes of a message whose receive has not been posted."""

    timer: Annotated[int, "code of the wait that a NAK asks for, 0 to 31 (IBTA volume 1, 9.7.5.2.8)"]
    retries: Annotated[int, "times that a requester tries again; 7: for ever"]


class FrameSizes(TypedDict):
    """Sizes on the line, preamble and gap included, of frames that are not those of RoCEv2."""

    header_bytes: Annotated[int, "bytes around the payload of data and parity"]
    ack_bytes: Annotated[int, "bytes of an acknowledgement, NAK or notification of congestion"]


class Transport(TypedDict):
    """How all queue pairs behave."""

    recovery: Annotated[Literal["go-back-n", "selective-repeat", "erasure", "timer"], "how lost packets are made good"]
    verb: Annotated[Literal["send", "write"], "verb of every message"]
    mtu_bytes: Annotated[int, "bytes of payload of a packet: 256, 512, 1024, 2048 or 4096; any with `frames`"]
    ack_every: Annotated[int, "packets after which an acknowledgement is asked for"]
    window_bytes: Annotated[int, "bytes under way at most"]
    timeout_ps: Annotated[int, "ps without progress after which packets are sent again"]
    retries: Annotated[int, "timeouts in a row after which a queue pair fails"]
    congestion_control: NotRequired[Annotated[CongestionControl | None, "congestion control; null: none"]]
    erasure: NotRequired[Annotated[Erasure, "code, with recovery erasure"]]
    chunk_packets: NotRequired[Annotated[int, "packets of a chunk, with recovery timer"]]
    frames: NotRequired[Annotated[FrameSizes, "sizes of frames, under the virtual clock; absent: those of RoCEv2"]]
    rnr: NotRequired[Annotated[Rnr, "where receives must be posted; absent: there always is one"]]


class QueuePair(TypedDict):
    """A reliable connection, used both ways, or two ranks of one host that copy to each other."""

    a: Annotated[int, "one rank"]
    b: Annotated[int, "the other"]
    qpn: Annotated[int, "number of the queue pair, 24 bits"]
    entropy: Annotated[int, "UDP source port of its packets"]
    ports: NotRequired[Annotated[list[int], "index of its port on the host of a, and on that of b; absent: the first"]]
    priority: NotRequired[
        Annotated[int, "priority of its packets, 0 to 7, with their DSCP; absent: those of the workload"]
    ]
    dscp: NotRequired[Annotated[int, "DSCP of its packets"]]
    local: NotRequired[Annotated[bool, "true: both ranks are on one host, which copies between them"]]


class SendOp(TypedDict):
    """Send a message."""

    kind: Annotated[Literal["send"], "kind of op"]
    qp: Annotated[int, "index of the queue pair"]
    offset: Annotated[int, "where it is in the rank's memory, bytes"]
    bytes: Annotated[int, "its length"]
    remote_offset: Annotated[int, "where a write puts it in the peer's memory, bytes"]
    requires: NotRequired[Annotated[list[int], "ops of the rank that must have finished"]]


class RecvOp(TypedDict):
    """Receive a message."""

    kind: Annotated[Literal["recv"], "kind of op"]
    qp: Annotated[int, "index of the queue pair"]
    offset: Annotated[int, "where it is put in the rank's memory, bytes"]
    bytes: Annotated[int, "its length"]
    requires: NotRequired[Annotated[list[int], "ops of the rank that must have finished"]]


class ReduceOp(TypedDict):
    """Combine two vectors."""

    kind: Annotated[Literal["reduce"], "kind of op"]
    dtype: Annotated[Dtype, "type of an element"]
    redop: Annotated[Literal["sum", "prod", "max", "min"], "operator"]
    divisor: NotRequired[Annotated[int, "divides each sum, towards zero for integers; absent: 1"]]
    dst: Annotated[int, "where the result is put, bytes"]
    lhs: Annotated[int, "where one vector is, bytes"]
    rhs: Annotated[int, "where the other is, bytes"]
    count: Annotated[int, "elements"]
    requires: NotRequired[Annotated[list[int], "ops of the rank that must have finished"]]


class CopyOp(TypedDict):
    """Copy within a rank's memory."""

    kind: Annotated[Literal["copy"], "kind of op"]
    dst: Annotated[int, "where to, bytes"]
    src: Annotated[int, "where from, bytes"]
    bytes: Annotated[int, "length"]
    requires: NotRequired[Annotated[list[int], "ops of the rank that must have finished"]]


class CalcOp(TypedDict):
    """Let time pass."""

    kind: Annotated[Literal["calc"], "kind of op"]
    duration_ps: Annotated[int, "ps"]
    requires: NotRequired[Annotated[list[int], "ops of the rank that must have finished"]]


Op = SendOp | RecvOp | ReduceOp | CopyOp | CalcOp


class Rank(TypedDict):
    """A rank of a collective, on a host, which may have several."""

    node: Annotated[int, "index of the host in the plan"]
    memory_bytes: Annotated[int, "bytes of its memory; 0: lengths alone are exchanged"]
    ops: Annotated[list[Op], "what it does"]


class Workload(TypedDict):
    """What is loaded onto a fabric and run to completion."""

    schema: Annotated[Literal[1], "version of the contract"]
    priority: Annotated[int, "priority of its packets, 0 to 7"]
    dscp: Annotated[int, "DSCP of its packets"]
    ack_dscp: NotRequired[Annotated[int, "DSCP of acknowledgements; absent: that of the data of their queue pair"]]
    transport: Annotated[Transport, "how its queue pairs behave"]
    qps: Annotated[list[QueuePair], "its queue pairs"]
    ranks: Annotated[list[Rank], "its ranks"]
    limit_ps: NotRequired[Annotated[int | None, "ps after its start at which it is given up"]]
