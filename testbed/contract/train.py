"""The part of the contract that is raw frames: trains of a tester."""

# Annotations are evaluated here: of strings a TypedDict cannot tell which keys are required.
from typing import Annotated, NotRequired, TypedDict


class Shape(TypedDict):
    """A frame of a train that has several."""

    hex: Annotated[str, "frame, as that of the train"]
    every_ps: Annotated[int, "ps until the next frame"]


class Burst(TypedDict):
    """Bursts that the frames of a train come in."""

    frames: Annotated[int, "frames of a burst, at least 1"]
    gap_ps: Annotated[int, "ps between two bursts, beside the time that follows each frame"]


class FlowNumber(TypedDict):
    """The flow of a tester that a train is of."""

    number: Annotated[int, "its number, 16 bits"]
    stamped: NotRequired[Annotated[bool, "true: the last 14 bytes of each frame say its flow, and when it was sent"]]
    last_bit: NotRequired[Annotated[bool, "true: that is when its last bit was sent, not its first"]]


class Train(TypedDict):
    """Raw frames on the link of a host."""

    node: Annotated[str, "name of the host"]
    port: Annotated[str, "name of its port"]
    hex: Annotated[str, "frame from destination MAC to payload, without FCS, in hexadecimal; 14 to 9234 bytes"]
    at_ps: NotRequired[Annotated[int | None, "ps after the next start of a workload; null: now"]]
    every_ps: NotRequired[Annotated[int, "ps between two frames"]]
    count: NotRequired[Annotated[int, "frames; absent: 1"]]
    priority: NotRequired[Annotated[int | None, "priority whose pauses it heeds; null: none"]]
    sequence: NotRequired[Annotated[bool, "true: a RoCEv2 packet whose PSN counts up"]]
    after_ps: NotRequired[Annotated[int | None, "ps after now, in place of `at_ps`"]]
    until_ps: NotRequired[
        Annotated[
            int | None, "ps after the moment that `at_ps` or `after_ps` counts from: no frame starts from then on"
        ]
    ]
    more: NotRequired[Annotated[list[Shape], "frames that follow in turn, `count` in all; absent: `hex` again"]]
    burst: NotRequired[Annotated[Burst | None, "bursts that frames come in; absent: none"]]
    flow: NotRequired[
        Annotated[FlowNumber | None, "flow of a tester: its frames are counted, and a pause delays all that follow"]
    ]
