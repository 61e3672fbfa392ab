"""What agents and controllers say to each other over MQTT: topics, envelopes, and bodies; `verbs.py` has the verbs.

MQTT 3.1.1 has no reply topic and no correlation data, so both travel in the envelope. Everything that comes off the
bus passes through `decode_request` or `decode_reply`: bytes in, a frozen model out, or `InvalidMessage`, and nothing
else.

Topics::

    testbed/<lab>/<agent>/command              requests to an agent; lab `-` for verbs that concern no single lab
    testbed/<lab>/<agent>/reply/<client>       replies; each client reads its own topic only
    testbed/<lab>/<node>/<port>/telemetry      port counters while they change, at most ten a second
    testbed/<lab>/<agent>/live                 the same of all ports of a lab in one short message
    testbed/<lab>/topology                     what the lab is made of
    testbed/<lab>/state                        the lab as a whole, likewise
    testbed/<lab>/events                       what was done to the lab, once each
    testbed/agents/<agent>/status              retained `online` or `offline`; `offline` is the agent's last will
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from testbed.errors import TestbedError
from testbed.progress import Phase

PREFIX = "testbed"
NO_LAB = "-"
ONLINE = b"online"
OFFLINE = b"offline"

# A plan of a thousand nodes is a few megabytes; a result with a hundred thousand flows some twenty.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Enough for `[0-9a-f-]` identifiers of both sides, and bounded because agents remember the recent ones.
MAX_ID_CHARS = 64

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_REPLY_TOPIC = re.compile(rf"{PREFIX}/(?:{_NAME}|-)/{_NAME}/reply(?:/{_NAME})?")

Name = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
CorrelationId = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9-]{{1,{MAX_ID_CHARS}}}$")]


class InvalidMessage(TestbedError):
    """Say what is wrong with a message, and whom to tell.

    `reply_to` and `correlation_id` are set when the broken message still carried a usable pair; else they are None
    and the message can only be dropped and counted.
    """

    def __init__(self, reason: str, reply_to: str | None = None, correlation_id: str | None = None) -> None:
        super().__init__(reason)
        self.reply_to = reply_to
        self.correlation_id = correlation_id


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Request(_Message):
    """Ask an agent for one verb. The agent answers on `reply_to` with the same `correlation_id`."""

    version: Literal[1] = 1
    correlation_id: CorrelationId
    reply_to: str
    verb: Name
    body: dict[str, Any] = Field(default_factory=dict)


class Reply(_Message):
    """Answer a request: any number of `progress` and `alive`, then exactly one `result` or `error`."""

    version: Literal[1] = 1
    correlation_id: CorrelationId
    kind: Literal["alive", "progress", "result", "error"]
    body: dict[str, Any] = Field(default_factory=dict)


class BuildStep(_Message):
    """The body of a `progress` while a lab is built: of a phase `done` of `total` are done, and the phases before it are over."""

    phase: Phase
    done: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]


class RunStep(_Message):
    """The body of a `progress` while a run goes on: it is at row `row` of `rows`, counted from 0, of that size.

    `nominal_ps` is the nominal time so far and `share` how much of the run is done, where that is known. Can be made of what says
    more of it, an `execution.Progress`.
    """

    model_config = ConfigDict(from_attributes=True)

    row: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]
    nominal_ps: Annotated[int, Field(ge=0)] | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None


class CaptureStep(_Message):
    """The body of a `progress` when a run is captured: the name of the file in the agent's directory of captures."""

    capture: Name


Step = BuildStep | RunStep | CaptureStep


class Body(_Message):
    """The body of a request. `about` is the lab that it concerns, `NO_LAB` if none."""

    @property
    def about(self) -> str:
        """The lab on whose topic the request has to come; empty if the body names none as it should."""
        return NO_LAB


class NoBody(Body):
    """The body of a verb that takes no argument."""


class LabBody(Body):
    """The body of a verb that concerns one lab."""

    lab: Name

    @property
    def about(self) -> str:
        """The lab."""
        return self.lab


class DeployBody(Body):
    """Build a lab in the system and start its data plane.

    `plan` is the fabric plan, `dilation` the wall seconds of one nominal second; `topology` is the lab that the plan is
    of, for verbs that change it later, `written` that lab and the experiment as they were written down, `native` the links
    that netem is to leave alone. Deploying the same plan again changes nothing. A lab that is up by another plan is made
    that of this one with `reconcile`, and else refused; with `dry_run` nothing is done, and the answer says what would be.
    """

    plan: dict[str, Any]
    dilation: Annotated[int, Field(ge=1, le=1_000_000)]
    topology: dict[str, Any] | None = None
    written: dict[str, Any] | None = None
    native: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    reconcile: bool = False
    dry_run: bool = False

    @property
    def about(self) -> str:
        """The lab of the plan; empty where that is no safe name."""
        lab = self.plan.get("lab")
        return lab if isinstance(lab, str) and is_name(lab) else ""


class Participant(_Message):
    """One of the agents that run a lab together, and where its data plane hears the others: `address:port`."""

    name: Name
    address: str


class Participants(_Message):
    """The agents that run a lab together, and which of them the receiver is. `key` tells this run from all others."""

    key: Annotated[int, Field(ge=0, lt=2**63)]
    number: Annotated[int, Field(ge=0)]
    agents: list[Participant]


class ResultPlace(_Message):
    """A file on a host."""

    host: str
    path: str


class RunBody(LabBody):
    """Run a trial on a lab that is up: `Trial.spec()`. With `capture` the agent writes every frame into a file of its own.

    `party` is for labs of several agents: each is told to run its part. `run_id` names the run, for `cancel`. `result` is
    where the controller writes run.json, for those who are told of the run.
    """

    spec: dict[str, Any]
    capture: bool = False
    party: Participants | None = None
    run_id: CorrelationId | None = None
    result: ResultPlace | None = None


class CancelBody(LabBody):
    """End the run on a lab, which stays up: the one of this `run_id`, begun or not yet, or without one whichever there is."""

    run_id: CorrelationId | None = None


class PortBody(LabBody):
    """Name one port of one node of a lab."""

    node: Name
    port: Name


class ImpairBody(LabBody):
    """Change what one port of a lab sends, receives, or both; show it; or make it as planned again.

    `settings` is for `set` only, and what an `Impairment` of an experiment's timeline can have.
    """

    node: Name
    port: Name
    action: Literal["set", "show", "reset"]
    direction: Literal["both", "out", "in"] = "both"
    settings: dict[str, Any] = Field(default_factory=dict)


class ErrorBody(_Message):
    """Carry an agent's error to the controller, which raises it again with the same exit code."""

    message: str
    exit_code: int = 3


_STEP: TypeAdapter[Step] = TypeAdapter(Step)
_JSON_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def is_name(text: str) -> bool:
    """Return whether `text` is safe as a topic segment, a file name and part of a namespace's name."""
    return re.fullmatch(_NAME, text) is not None


def is_reply_topic(topic: str) -> bool:
    """Return whether an agent may publish a reply there: below our prefix, without wildcards."""
    return _REPLY_TOPIC.fullmatch(topic) is not None


def command_topic(lab: str, agent: str) -> str:
    """Name the topic on which `agent` takes requests about `lab`."""
    return f"{PREFIX}/{lab}/{agent}/command"


def reply_topic(lab: str, agent: str, client: str) -> str:
    """Name the topic on which `client` reads what `agent` answers about `lab`."""
    return f"{PREFIX}/{lab}/{agent}/reply/{client}"


def status_topic(agent: str) -> str:
    """Name the retained topic that says whether `agent` is alive."""
    return f"{PREFIX}/agents/{agent}/status"


def telemetry_topic(lab: str, node: str, port: str) -> str:
    """Name the topic of one port's counters."""
    return f"{PREFIX}/{lab}/{node}/{port}/telemetry"


def live_topic(lab: str, agent: str) -> str:
    """Name the topic of what changed at the ports of a lab that `agent` has."""
    return f"{PREFIX}/{lab}/{agent}/live"


def topology_topic(lab: str) -> str:
    """Name the retained topic of a lab's nodes and links."""
    return f"{PREFIX}/{lab}/topology"


def state_topic(lab: str) -> str:
    """Name the topic of a lab's state, progress and fidelity."""
    return f"{PREFIX}/{lab}/state"


def events_topic(lab: str) -> str:
    """Name the topic of what is done to a lab."""
    return f"{PREFIX}/{lab}/events"


def decode_request(payload: bytes) -> Request:
    """Read a request. Raise `InvalidMessage`, and nothing else, whatever the bytes are."""
    document = _decode_object(payload)
    reply_to = document.get("reply_to")
    correlation_id = document.get("correlation_id")
    answerable = (
        isinstance(reply_to, str)
        and is_reply_topic(reply_to)
        and isinstance(correlation_id, str)
        and re.fullmatch(rf"[A-Za-z0-9-]{{1,{MAX_ID_CHARS}}}", correlation_id) is not None
    )
    if not answerable:
        raise InvalidMessage("no usable reply_to and correlation_id")
    try:
        return Request.model_validate(document)
    except ValidationError as error:
        raise InvalidMessage(explain(error), reply_to, correlation_id) from None


def decode_reply(payload: bytes) -> Reply:
    """Read a reply. Raise `InvalidMessage`, and nothing else, whatever the bytes are."""
    try:
        return Reply.model_validate(_decode_object(payload))
    except ValidationError as error:
        raise InvalidMessage(explain(error)) from None


def decode_told(payload: bytes) -> dict[str, Any] | None:
    """Read what is told of a lab without being asked; None for what is not a JSON object, as where a word is taken back."""
    try:
        return _decode_object(payload)
    except InvalidMessage:
        return None


def decode_step(body: dict[str, Any]) -> Step | None:
    """Read the body of a `progress`; None if it is none that we know, which is no reason to give up what is being done."""
    try:
        return _STEP.validate_python(body)
    except ValidationError:
        return None


def encode(message: Request | Reply) -> bytes:
    """Write a message as JSON. Raise `InvalidMessage` when it is longer than the bus takes."""
    payload = message.model_dump_json().encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        raise InvalidMessage(f"message of {len(payload)} bytes; the bus takes {MAX_MESSAGE_BYTES}")
    return payload


def _decode_object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise InvalidMessage(f"message of {len(payload)} bytes; the bus takes {MAX_MESSAGE_BYTES}")
    try:
        return _JSON_OBJECT.validate_json(payload)
    except ValidationError:
        # Nothing of the payload is repeated here: it may hold anything, secrets of somebody else included.
        raise InvalidMessage("not a JSON object") from None


def explain(error: ValidationError) -> str:
    """Return what a message lacks to be valid, in one line."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'message'}: {fault['msg']}" for fault in error.errors()[:5]
    ]
    return "; ".join(faults)
