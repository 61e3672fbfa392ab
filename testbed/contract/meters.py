"""The part of what the data plane gives back that is the meters of a tester's ports."""

# Annotations are evaluated here: of strings a TypedDict cannot tell which keys are required.
from typing import Annotated, TypedDict


class SentFlow(TypedDict):
    """What a tester's port has sent of a flow."""

    flow: Annotated[int, "number of the flow"]
    frames: Annotated[int, "frames sent"]
    bytes: Annotated[int, "bytes of them, FCS included"]
    first_ps: Annotated[int | None, "ps at which the first began; null: none has"]
    last_ps: Annotated[int | None, "ps at which the last began"]
    running: Annotated[bool, "true: there may be more to send"]


class ReceivedFlow(TypedDict):
    """What a tester's port has received of a flow. Latency ends with the first bit of a frame."""

    flow: Annotated[int, "number of the flow"]
    frames: Annotated[int, "frames received"]
    bytes: Annotated[int, "bytes of them, FCS included"]
    first_ps: Annotated[int, "ps at which the first had come"]
    last_ps: Annotated[int, "ps at which the last had come"]
    latency_min_ps: Annotated[int, "ps, the least latency"]
    latency_max_ps: Annotated[int, "ps, the most"]
    latency_mean_ps: Annotated[int, "ps, the mean"]


class PortMeters(TypedDict):
    """What a port of a host has counted of the flows of a tester."""

    port: Annotated[str, "the port, `node:port`"]
    frames_rx: Annotated[int, "frames received that are no RoCEv2 packets"]
    bytes_rx: Annotated[int, "bytes of them, FCS included"]
    sent: Annotated[list[SentFlow], "by flow, what it has sent"]
    received: Annotated[list[ReceivedFlow], "by flow, what it has received of frames with a stamp"]
