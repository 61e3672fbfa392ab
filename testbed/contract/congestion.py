"""The part of the contract that is congestion control."""

from typing import Annotated, Literal, TypedDict


class Dcqcn(TypedDict):
    """DCQCN: a rate by notifications of marks."""

    kind: Annotated[Literal["dcqcn"], "kind of congestion control"]
    g: Annotated[float, "gain of alpha, 0 to 1"]
    initial_alpha: Annotated[float, "alpha before the first cut, 0 to 1"]
    alpha_timer_ps: Annotated[int, "ps between two decays of alpha"]
    increase_timer_ps: Annotated[int, "ps between two increases of the rate"]
    byte_counter_bytes: Annotated[int, "bytes sent between two increases; 2^64 − 1: none"]
    fast_recovery_rounds: Annotated[int, "increases that only halve the distance to the target"]
    additive_bps: Annotated[int, "bit/s of an additive increase"]
    hyper_bps: Annotated[int, "bit/s of a hyper increase"]
    minimum_bps: Annotated[int, "bit/s that no cut goes below"]
    cut_interval_ps: Annotated[int, "ps between two cuts at least"]
    notify_interval_ps: Annotated[int, "ps between two notifications of a queue pair at least"]
    notify_dscp: Annotated[int, "DSCP of notifications"]


class Timely(TypedDict):
    """TIMELY: a rate by the gradient of the round trip."""

    kind: Annotated[Literal["timely"], "kind of congestion control"]
    alpha: Annotated[float, "weight of the newest difference, 0 to 1"]
    beta: Annotated[float, "share that a decrease takes, 0 to 1"]
    low_ps: Annotated[int, "ps of a round trip below which the rate always grows"]
    high_ps: Annotated[int, "ps above which it always shrinks"]
    minimum_rtt_ps: Annotated[int, "ps by which gradients are normalised"]
    additive_bps: Annotated[int, "bit/s of an additive increase"]
    hyper_bps: Annotated[int, "bit/s of a hyper increase"]
    minimum_bps: Annotated[int, "bit/s that no cut goes below"]


class Dctcp(TypedDict):
    """DCTCP: a rate by the share of marks."""

    kind: Annotated[Literal["dctcp"], "kind of congestion control"]
    g: Annotated[float, "gain of alpha, 0 to 1"]
    additive_bps: Annotated[int, "bit/s of an increase"]
    minimum_bps: Annotated[int, "bit/s that no cut goes below"]


class Hpcc(TypedDict):
    """HPCC: a rate and a window by telemetry of switches."""

    kind: Annotated[Literal["hpcc"], "kind of congestion control"]
    target: Annotated[float, "utilisation of links, above 0 to 1"]
    stages: Annotated[int, "additive steps before utilisation sets the rate again"]
    base_rtt_ps: Annotated[int, "ps of a round trip without queues"]
    additive_bps: Annotated[int, "bit/s of an increase"]
    minimum_bps: Annotated[int, "bit/s that no cut goes below"]
    header_bytes: Annotated[int, "bytes that telemetry takes of a packet"]


class Swift(TypedDict):
    """Swift: a window by a target of the delay."""

    kind: Annotated[Literal["swift"], "kind of congestion control"]
    base_target_ps: Annotated[int, "ps that are aimed at without hops"]
    hop_ps: Annotated[int, "ps that a hop adds"]
    hops: Annotated[int, "hops of a path"]
    scaling_range_ps: Annotated[int, "ps that a small window adds at most"]
    scaling_least_packets: Annotated[float, "window that adds all of it"]
    scaling_most_packets: Annotated[float, "window that adds nothing"]
    additive_packets: Annotated[float, "packets that a window grows by in a round trip"]
    beta: Annotated[float, "share that a decrease takes, 0 to 1"]
    most_decrease: Annotated[float, "share that it takes at most, below 1"]
    initial_packets: Annotated[float, "first window"]


class Nscc(TypedDict):
    """NSCC: the sender's window of Ultra Ethernet."""

    kind: Annotated[Literal["nscc"], "kind of congestion control"]
    base_rtt_ps: Annotated[int, "ps of a round trip without queues"]
    target_ps: Annotated[int, "ps in queues that are aimed at"]
    proportional_packets: Annotated[float, "packets that a window grows by in a round trip without delay"]
    fair_packets: Annotated[float, "packets that it grows by above the target, without a mark"]
    eta_packets: Annotated[float, "packets that it always grows by"]
    fast: Annotated[float, "share of what is acknowledged that it grows by on an idle path"]
    gamma: Annotated[float, "share that a decrease takes, 0 to 1"]
    most_decrease: Annotated[float, "share that it takes at most, 0 to 1"]
    delay_weight: Annotated[float, "weight of the newest delay, 0 to 1"]
    most_products: Annotated[float, "largest window, in bandwidth-delay products"]
    initial_products: Annotated[float, "first window, likewise"]


CongestionControl = Dcqcn | Timely | Dctcp | Hpcc | Swift | Nscc
