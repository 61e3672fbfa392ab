"""What is told of labs without being asked, as models: the schema that `testbed schema telemetry` prints.

Agents write these documents by hand, many times a second; tests hold what they wrote against the models. Figures are absolute,
so that a message that was lost does no harm, and each message has its number on its topic, so that a loss is noticed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from testbed.bus.messages import Name, ResultPlace

VERSION = 1
RUN_STARTED, RUN_PROGRESS, RUN_ENDED = "run started", "run progress", "run ended"

Count = Annotated[int, Field(ge=0)]
Document = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Told(_Part):
    """What every message begins with."""

    v: Annotated[Literal[1], Field(description="version of the schema")]
    agent: Annotated[Name, Field(description="agent that tells it")]
    lab: Annotated[str, Field(description="lab, or `-`")]
    at: Annotated[AwareDatetime, Field(description="wall time, UTC")]
    session: Annotated[str, Field(pattern="^[0-9a-f]{8}$", description="session of the agent with its broker")]
    seq: Annotated[
        int, Field(ge=1, description="number of the message on its topic in that session, from 1, without gaps")
    ]


class Seen(Told):
    """What a message has besides when a data plane was looked at."""

    nominal_ns: Annotated[Count, Field(description="ns of nominal time since the data plane was started")]
    run: Annotated[str | None, Field(description="id of the run under way")]


class PortTelemetry(Seen):
    """Topic `testbed/<lab>/<node>/<port>/telemetry`: all counters of a port."""

    rate_bps: Annotated[Count, Field(description="bit/s on the line")]
    priorities: Annotated[
        dict[str, Document], Field(description="counters and state by priority, as `ports` of run.json has them")
    ]


class Figures(NamedTuple):
    """One priority of a port, by position. Counts are of the lab, whatever runs have been on it."""

    bytes_tx: Annotated[Count, Field(description="bytes of frames sent")]
    bytes_rx: Annotated[Count, Field(description="bytes of frames received")]
    queue_bytes: Annotated[Count, Field(description="bytes in the egress queue now")]
    ingress_bytes_max: Annotated[Count, Field(description="most bytes that the ingress group held")]
    paused: Annotated[int, Field(ge=0, le=1, description="1: the port is not to send the priority now")]
    paused_ns: Annotated[Count, Field(description="nominal ns for which it was not to")]
    pause_rx: Annotated[Count, Field(description="PAUSE frames received")]
    pause_tx: Annotated[Count, Field(description="PAUSE frames sent")]
    ecn_marked: Annotated[Count, Field(description="frames marked")]
    dropped: Annotated[Count, Field(description="frames lost, whatever the cause")]


class DropsHappened(_Part):
    """Frames were lost since the message before."""

    what: Literal["drops"]
    port: str
    priority: Count
    cause: str
    frames: Annotated[int, Field(ge=1)]


class PauseHappened(_Part):
    """A pause began or ended since the message before, or did both in between."""

    what: Literal["pause"]
    port: str
    priority: Count
    state: Literal["began", "ended", "between"]
    paused_ns: Annotated[Count, Field(description="nominal ns paused since the message before")]


class Live(Seen):
    """Topic `testbed/<lab>/<agent>/live`: what changed at the ports of a lab that the agent has, in one message a look."""

    full: Annotated[bool, Field(description="true: every priority that ever had a frame; false: those that changed")]
    ports: Annotated[dict[str, dict[str, Figures]], Field(description="figures by port, `node:port`, and priority")]
    drops: Annotated[
        dict[str, dict[str, dict[str, Count]]],
        Field(description="frames lost by port, priority and cause, where any were"),
    ]
    happened: Annotated[
        list[Annotated[DropsHappened | PauseHappened, Field(discriminator="what")]],
        Field(max_length=40, description="losses and pauses since the message before"),
    ]
    left_out: Annotated[Count, Field(description="how many more of those there were")]


class Node(_Part):
    """A node of a lab."""

    name: str
    kind: Literal["host", "switch"]
    site: Annotated[str | None, Field(description="site, where there are several")]
    domain: Annotated[str | None, Field(description="scale-up domain")]
    agent: Annotated[str | None, Field(description="agent that has it, where there are several")]
    ports: list[str]


class Link(_Part):
    """A link of a lab."""

    a: Annotated[str, Field(description="one end, `node:port`")]
    b: str
    rate_bps: Count
    length_m: float | None
    delay_ns: float


class Topology(Told):
    """Topic `testbed/<lab>/topology`, retained: what a lab is made of. An empty payload takes it back."""

    driver: str
    dilation: Annotated[int, Field(ge=1, description="wall seconds of one nominal second")]
    nodes: list[Node]
    links: list[Link]
    sites: list[str]
    domains: list[str]
    picture: Annotated[Document | None, Field(description="where nodes and links are drawn, in pixels")]


class RunStarted(_Part):
    """A run has begun."""

    event: Literal["run started"] = "run started"
    run: Annotated[str | None, Field(description="id of the run")] = None
    name: Annotated[str, Field(description="collective, or jobs or flows")]
    ranks: Count
    rows: Annotated[Count, Field(description="sizes that are measured; 0 for jobs and flows")]
    sizes: Annotated[list[Count] | None, Field(description="the first and the last size, in bytes")]
    seed: int
    dilation: int
    clock: Literal["real"] = "real"
    expected_ns: Annotated[Count | None, Field(description="nominal ns that it takes at least, at the ideal bandwidth")]
    experiment: Annotated[Document | None, Field(description="the whole experiment; null: longer than 16 KiB")]


class RunProgress(_Part):
    """How far a run is; at most once a second."""

    event: Literal["run progress"] = "run progress"
    run: str | None = None
    row: Count
    rows: Count
    size_bytes: Count
    nominal_ns: Annotated[Count, Field(description="nominal ns since it began")]
    rate: Annotated[float, Field(ge=0, description="nominal seconds per wall second since it began")]
    share: Annotated[float | None, Field(ge=0, le=1, description="how much of it is done, where that is known")]
    left_s: Annotated[float | None, Field(ge=0, description="wall seconds left, by the share")]


class RunEnded(_Part):
    """A run is over. `verdict` and what follows from it are null where several agents had a part of it."""

    event: Literal["run ended"] = "run ended"
    run: str | None = None
    name: str
    complete: bool
    interrupted: bool
    reasons: list[str]
    verdict: Annotated[str | None, Field(description="the verdict in a sentence")] = None
    passed: bool | None = None
    exit_code: Annotated[int | None, Field(description="as the command ends: 0, 1 or 4")] = None
    figures: Annotated[
        dict[str, float], Field(description="of the last row: size_bytes, time_us, and algbw and busbw in GB/s")
    ]
    nominal_ns: Annotated[Count | None, Field(description="nominal ns from its first byte to its last; null: cut off")]
    wall_s: Annotated[float, Field(ge=0)] = 0.0
    result: Annotated[ResultPlace | None, Field(description="where its controller writes run.json, if it does")] = None


class State(Seen):
    """Topic `testbed/<lab>/state`, retained: a lab as a whole. An empty payload takes it back."""

    model_config = ConfigDict(extra="allow")

    state: Literal["running"]
    driver: str
    dilation: int
    busy: bool
    current: Annotated[RunStarted | None, Field(description="the run under way")]
    progress: Annotated[RunProgress | None, Field(description="how far that is")]
    last: Annotated[RunEnded | None, Field(description="the run before")]


class StartedEvent(Told, RunStarted):
    """Topic `testbed/<lab>/events`: a run has begun."""


class ProgressEvent(Told, RunProgress):
    """Topic `testbed/<lab>/events`: how far a run is; at most once a second."""


class EndedEvent(Told, RunEnded):
    """Topic `testbed/<lab>/events`: a run is over."""


class LabEvent(Told):
    """Topic `testbed/<lab>/events`: something else was done to a lab; the other keys are details of it."""

    model_config = ConfigDict(extra="allow")

    event: str


def schema() -> Document:
    """Return the JSON Schema of all that is told of labs: a document is one of its alternatives, by its topic."""
    union = TypeAdapter(
        Live | Topology | State | PortTelemetry | StartedEvent | ProgressEvent | EndedEvent | LabEvent
    ).json_schema()
    return {"title": "What agents tell of labs over MQTT", **union}
