"""The fabric, and what changes it: the parts of the contract that are a plan, changes of links, frames, attachments."""

# Annotations are evaluated here: of strings a TypedDict cannot tell which keys are required.
from collections.abc import Iterator
from typing import Annotated, Literal, NotRequired, TypedDict

from testbed.contract.container import Container


class Station(TypedDict):
    """Somebody with addresses: of P ports of hosts, station p is the NIC of port p and station P + p the kernel there."""

    name: Annotated[str, "name of the host"]
    kind: Annotated[Literal["nic", "kernel"], "what it is"]
    mac: Annotated[str, "MAC address"]
    ip: Annotated[str, "IPv4 address"]
    node: Annotated[int, "index of the host"]
    port: Annotated[int, "index of its port"]


class Port(TypedDict):
    """A port of a node."""

    name: Annotated[str, "name of the interface"]
    mac: Annotated[str, "MAC address"]
    rate_bps: Annotated[int, "bit/s on the line"]
    response_ps: Annotated[int, "ps after the arrival of a PAUSE frame in which frames may still start"]
    weights: Annotated[list[int], "weights of deficit round robin, of eight priorities; 0: strict"]


class Receive(TypedDict):
    """The receive buffer of a NIC that takes packets in more slowly than they can come."""

    drain_bps: Annotated[int, "bit/s of frames, FCS included, that leave the buffer"]
    buffer_bytes: Annotated[int, "bytes that it holds"]
    xoff_bytes: Annotated[int, "bytes above which it asks its peer to stop"]
    xon_bytes: Annotated[int, "bytes at or below which it asks its peer to go on"]
    priority: NotRequired[
        Annotated[int | None, "priority that it asks to be stopped; absent: it sends no PAUSE frames"]
    ]


class Local(TypedDict):
    """How ranks of one host copy to each other."""

    rate_bps: Annotated[int, "bit/s at which a rank sends, and takes in, one copy at a time"]
    latency_ps: Annotated[int, "ps from the end of a copy to its arrival"]


class HostOptions(TypedDict, total=False):
    """The optional keys of a host."""

    receive: Annotated[Receive, "receive buffer of its one port; absent: it takes everything in at once"]
    receives: Annotated[list[Receive | None], "the same by port, of a host with several"]
    local: Annotated[Local, "copies between its ranks; absent: none"]
    dscp_to_priority: Annotated[
        list[list[int]],
        "by port, the priority of each of the 64 DSCPs at its NIC; empty, and absent for all: class selectors",
    ]
    kernel_lossless: Annotated[
        list[int],
        "priorities whose pauses the frames of its kernel heed, and which are lossless for them; absent: none",
    ]
    elsewhere: Annotated[bool, "true: another agent has it"]
    agent: Annotated[str, "agent that has it. For agents"]
    container: Annotated[Container, "what it is made of. For drivers"]
    private_pids: Annotated[bool, "true: a namespace with processes of its own. For drivers"]


class Host(HostOptions):
    """A host: a NIC behind each port, where its kernel has an address too."""

    name: Annotated[str, "name"]
    kind: Annotated[Literal["host"], "kind of node"]
    ports: Annotated[list[Port], "its ports"]
    station: Annotated[int, "index of the NIC of its first port among the stations"]


class PriorityGroup(TypedDict):
    """A lossless priority group of an ingress port. Its threshold is static (`xoff_bytes`) or dynamic (`alpha_log2`)."""

    port: Annotated[int, "index of the port"]
    priority: Annotated[int, "number of the group, 0 to 7"]
    headroom_bytes: Annotated[int, "bytes that it may hold above its threshold"]
    xoff_bytes: NotRequired[Annotated[int, "bytes above which XOFF is sent"]]
    xon_bytes: NotRequired[Annotated[int, "bytes at or below which XON is sent"]]
    alpha_log2: NotRequired[
        Annotated[
            int | None, "threshold as a share of the free pool: its base-2 logarithm; -64: none of it, 64: all of it"
        ]
    ]
    reserve_bytes: NotRequired[Annotated[int, "bytes of its own, beside the pool"]]
    xon_offset_bytes: NotRequired[Annotated[int, "bytes by which XON is below a dynamic threshold"]]


class Marking(TypedDict):
    """ECN marking in egress queues."""

    kmin_bytes: Annotated[int, "bytes of queue up to which nothing is marked"]
    kmax_bytes: Annotated[int, "bytes of queue above which everything is marked"]
    pmax: Annotated[float, "probability of a mark at `kmax_bytes`"]


class QueueMarking(Marking):
    """ECN marking in one egress queue."""

    port: Annotated[int, "index of the port"]
    priority: Annotated[int, "number of the queue, 0 to 7"]


class Watchdog(TypedDict):
    """What is done about lossless priorities that are paused for too long."""

    detection_ps: Annotated[int, "ps of uninterrupted pause that make a storm"]
    restoration_ps: Annotated[int, "ps without a pause that end it"]
    poll_ps: Annotated[int, "ps between two polls"]
    action: Annotated[Literal["drop", "forward"], "what becomes of the queue in a storm"]


Defect = Literal[
    "ignores-pause",
    "pauses-whole-port",
    "obeys-lossy-pause",
    "obeys-global-pause",
    "ignores-enable-vector",
    "ignores-zero-source",
    "halves-quanta",
    "keeps-longer-pause",
    "never-refreshes",
    "never-xon",
    "asks-too-little",
    "asks-all-priorities",
    "asks-next-priority",
    "asks-every-port",
    "spares-first-port",
    "spares-last-port",
    "reorders",
    "keeps-weights",
    "marks-on-arrival",
]


class SwitchOptions(TypedDict, total=False):
    """The optional keys of a switch."""

    cell_bytes: Annotated[int, "bytes of a cell of memory; frames take whole cells; absent: 1"]
    pool_bytes: Annotated[int, "bytes that groups with dynamic thresholds share"]
    headroom_pool_bytes: Annotated[int, "bytes of headroom that all groups share; 0: each has its own"]
    lossy_alpha_log2: Annotated[int | None, "dynamic limit of lossy queues, like a group's `alpha_log2`"]
    lossy_reserve_bytes: Annotated[int, "bytes that each lossy queue has of its own"]
    lossy_pool_bytes: Annotated[int, "bytes that all lossy queues share at egress"]
    watchdog: Annotated[Watchdog, "watchdog of paused priorities; absent: none"]
    ecn: Annotated[Marking, "ECN marking in the egress queues of lossless priorities; absent: none"]
    priority_to_queue: Annotated[list[int], "queue of each of the eight priorities; absent: its own number"]
    priority_to_group: Annotated[
        list[int], "priority group of each of the eight priorities; absent: that with the number of its queue"
    ]
    queue_ecn: Annotated[list[QueueMarking], "ECN marking of single egress queues, in place of `ecn`"]
    defects: Annotated[list[Defect], "deliberate defects, for tests that must notice: names in switch/defects.rs"]
    elsewhere: Annotated[bool, "true: another agent has it"]
    agent: Annotated[str, "agent that has it. For agents"]
    container: Annotated[Container, "what it is made of. For drivers"]
    private_pids: Annotated[bool, "true: a namespace with processes of its own. For drivers"]


class Routes(TypedDict):
    """The table of a switch."""

    routes: Annotated[list[list[int]], "by station, the ports of equal cost towards it, ascending; empty: unreachable"]
    route_counts: NotRequired[
        Annotated[list[int], "by entry of `routes`, for how many stations in succession it is; absent: one each"]
    ]


class Switch(SwitchOptions, Routes):
    """A switch with a shared buffer."""

    name: Annotated[str, "name"]
    kind: Annotated[Literal["switch"], "kind of node"]
    ports: Annotated[list[Port], "its ports"]
    pfc: Annotated[bool, "true: it sends PAUSE frames"]
    lossless: Annotated[list[int], "the queues of its lossless priorities"]
    buffer_bytes: Annotated[int, "bytes of memory for frames"]
    lossy_queue_bytes: Annotated[int, "bytes that one lossy queue may hold; not used with `lossy_alpha_log2`"]
    hash_seed: Annotated[int, "seed of the choice among equal paths"]
    dscp_to_priority: Annotated[list[int], "priority of each of the 64 DSCPs"]
    priority_groups: Annotated[list[PriorityGroup], "its lossless ingress queues"]


class Bernoulli(TypedDict):
    """Independent losses."""

    kind: Annotated[Literal["bernoulli"], "kind of process"]
    probability: Annotated[float, "probability that a frame is lost"]
    acceleration: NotRequired[Annotated[float, "factor that the figures include already; a record"]]


class GilbertElliott(TypedDict):
    """Losses in bursts: a frame is lost by the state that it finds, and then the state changes."""

    kind: Annotated[Literal["gilbert-elliott"], "kind of process"]
    enter: Annotated[float, "probability of a change from good to bad"]
    leave: Annotated[float, "probability of a change from bad to good"]
    loss_good: Annotated[float, "probability of loss in the good state"]
    loss_bad: Annotated[float, "probability of loss in the bad state"]
    acceleration: NotRequired[Annotated[float, "factor that the figures include already; a record"]]


class Codewords(TypedDict):
    """Uncorrectable FEC codewords, Poisson in nominal time; each loses every frame that it overlaps."""

    kind: Annotated[Literal["codewords"], "kind of process"]
    per_second: Annotated[float, "failures in a nominal second"]
    burst_ps: Annotated[int, "ps that one lasts"]
    rate_bps: Annotated[int, "bit/s on the line"]
    acceleration: NotRequired[Annotated[float, "factor that the figures include already; a record"]]


LossProcess = Bernoulli | GilbertElliott | Codewords


class Grant(TypedDict):
    """Credits of one priority of a direction."""

    priority: Annotated[int, "priority, 0 to 7"]
    block_bytes: Annotated[int, "bytes of a block"]
    blocks: Annotated[int, "blocks granted"]
    update_blocks: Annotated[int, "released blocks after which the sender is told"]


class Link(TypedDict):
    """A link. Lists of two are by direction: a to b, then b to a."""

    a: Annotated[list[int], "one end: index of the node, index of its port"]
    b: Annotated[list[int], "the other end"]
    delay_ps: Annotated[int, "ps of propagation, one way"]
    loss: Annotated[list[float], "probability that a frame is lost, by direction"]
    medium: Annotated[Literal["veth", "vxlan", "memory"], "what carries frames under the real clock"]
    loss_process: NotRequired[Annotated[list[LossProcess | None], "a process beside `loss`, by direction"]]
    carrier: NotRequired[Annotated[bool, "false: down from the beginning"]]
    flow_control: NotRequired[
        Annotated[Literal["pfc", "credit", "none"], "what keeps priorities lossless; absent: pfc"]
    ]
    credits: NotRequired[Annotated[list[list[Grant]], "what b grants a, and what a grants b"]]
    emulation: NotRequired[Annotated[Literal["netem", "native"], "who imposes delay and loss, where that is decided"]]
    mtu_bytes: NotRequired[Annotated[int, "bytes of the IP MTU of its interfaces; absent: 4200. For drivers"]]
    vni: NotRequired[Annotated[int, "VXLAN network identifier. For drivers"]]
    local: NotRequired[Annotated[str, "address of this machine, of a link to another. For drivers"]]
    remote: NotRequired[Annotated[str, "address of the other machine. For drivers"]]


class PlanOptions(TypedDict, total=False):
    """The optional keys of a plan."""

    emulation: Annotated[Literal["auto", "netem", "native"], "who is to impose links; absent: auto. For drivers"]
    driver: Annotated[Literal["netns", "docker"], "what nodes are; absent: netns. For drivers"]
    prefix_length: Annotated[int, "length of the network prefix of all addresses; absent: 15. For drivers"]
    machines: Annotated[dict[str, str], "by agent with a part of the lab, the address of its machine. For agents"]


class Plan(PlanOptions):
    """A fabric."""

    schema: Annotated[Literal[1], "version of the contract"]
    lab: Annotated[str, "name of the lab"]
    seed: Annotated[int, "seed of everything random"]
    stations: Annotated[
        list[Station], "NICs in the order of the hosts and of their ports, then kernels in the same order"
    ]
    nodes: Annotated[list[Host | Switch], "hosts and switches"]
    links: Annotated[list[Link], "links"]


class Storm(TypedDict):
    """Pauses that a host asks for without need."""

    priorities: Annotated[list[int], "priorities that it pauses"]
    quanta: Annotated[int, "quanta of each PAUSE frame, which is renewed at half time"]
    period_ps: NotRequired[Annotated[int | None, "ps of a period; absent: without a break"]]
    on_ps: NotRequired[Annotated[int | None, "ps at the beginning of each period in which it pauses"]]


class RouteChange(TypedDict):
    """By which ports a switch forwards what is for a station."""

    node: Annotated[int, "index of the switch"]
    station: Annotated[int, "index of the station"]
    ports: Annotated[list[int], "ports of equal cost; a flow stays on its own while that is one of them"]


class Change(TypedDict):
    """A change of one direction of a link. What is not named stays as it is."""

    link: Annotated[int, "index of the link"]
    way: Annotated[int, "0: a to b, 1: b to a"]
    at_ps: NotRequired[Annotated[int | None, "ps after the next start of a workload; null: now"]]
    after_ps: NotRequired[Annotated[int | None, "ps after now, in place of `at_ps`"]]
    label: NotRequired[Annotated[str, "text that the log repeats"]]
    delay_ps: NotRequired[Annotated[int, "ps of propagation"]]
    jitter_ps: NotRequired[Annotated[int, "ps of jitter at most, uniform, order kept"]]
    loss_process: NotRequired[Annotated[LossProcess | None, "process in place of all losses; null: none"]]
    rate_bps: NotRequired[Annotated[int, "bit/s at which the sending port serialises"]]
    up: NotRequired[Annotated[bool, "false: the frame on the line is cut, and those that follow are lost"]]
    weights: NotRequired[Annotated[list[int], "weights of the sending port, of eight priorities"]]
    drain: NotRequired[Annotated[bool, "true: the port starts nothing but control frames"]]
    storm: NotRequired[Annotated[Storm | None, "storm of the sending host; null: its end"]]
    routes: NotRequired[
        Annotated[list[RouteChange], "ways that switches take from then on, since links failed or came back"]
    ]


class Attachment(TypedDict):
    """Where the data plane finds a port under the real clock."""

    node: Annotated[str, "name of the node"]
    port: Annotated[str, "name of its port"]
    netns: Annotated[str, "path of the network namespace"]
    interface: Annotated[str, "interface inside it"]
    fresh: NotRequired[Annotated[bool, "true: the interface was not there before"]]


class Participant(TypedDict):
    """An agent of several that run a lab together."""

    name: Annotated[str, "name"]
    address: Annotated[str, "address:port at which its data plane hears the others"]


class Participants(TypedDict):
    """The agents that run a workload together."""

    key: Annotated[int, "number of the run, the same for all"]
    number: Annotated[int, "index of the receiver among the agents"]
    agents: Annotated[list[Participant], "all of them"]


class Statistics(TypedDict):
    """A settled state that is told apart in reports."""

    warmup_ps: Annotated[int, "ps after the start of the first workload before it begins"]
    window_ps: NotRequired[Annotated[int | None, "ps of a window of its own; null: none"]]


class SeriesPlan(TypedDict):
    """What is recorded of a run: values at multiples of a period, as their changes."""

    period_ps: Annotated[int, "ps between two points, doubled where there are too many of them or of changes"]
    points: Annotated[int, "points at most"]
    changes: Annotated[int, "changes at most, of all ports together"]


def hosts_of(plan: Plan) -> Iterator[Host]:
    """Yield the hosts of a plan, in its order."""
    for node in plan["nodes"]:
        if node["kind"] == "host":
            yield node


def queue_of(switch: Switch, priority: int) -> int:
    """Return the queue of a priority at a switch."""
    return switch["priority_to_queue"][priority] if "priority_to_queue" in switch else priority


def group_of(switch: Switch, priority: int) -> int:
    """Return the priority group of a priority at a switch."""
    return switch["priority_to_group"][priority] if "priority_to_group" in switch else queue_of(switch, priority)


def switches_of(plan: Plan) -> Iterator[Switch]:
    """Yield the switches of a plan, in its order."""
    for node in plan["nodes"]:
        if node["kind"] == "switch":
            yield node


def receivers_of(host: Host) -> Iterator[tuple[str, Receive]]:
    """Yield the receive buffers of a host, each with the name of its port."""
    one = [host["receive"]] if "receive" in host else []
    for port, receive in zip(host["ports"], host.get("receives", one), strict=False):
        if receive is not None:
            yield port["name"], receive
