"""What the data plane gives back: the report of a span, telemetry of a lab, frames lost while a lab was changed.

The data plane writes these; `dataplane/reports.schema.json` is derived from its types. Keys are in alphabetical order, so that
equal reports are equal texts. Times are nominal.
"""

# Annotations are evaluated here: of strings a TypedDict cannot tell which keys are required.
from typing import Annotated, Literal, NotRequired, TypedDict

from testbed.contract.plan import Storm


class DropsByCause(TypedDict):
    """Frames of one priority that a port lost, by cause."""

    headroom: Annotated[int, "for want of headroom"]
    buffer: Annotated[int, "for want of buffer, of a lossy priority"]
    link: Annotated[int, "on the link, which corrupts some"]
    outage: Annotated[int, "on a link that was down"]
    watchdog: Annotated[int, "by a watchdog, in a storm"]
    unroutable: Annotated[int, "for want of a route"]
    receiver: Annotated[int, "for want of room in the NIC that received them"]
    malformed: Annotated[int, "since nobody could read them"]


class PriorityFigures(TypedDict):
    """Counters and state of one priority of a port. Counts are of the span, and so is what was held at most."""

    frames_tx: Annotated[int, "frames sent"]
    frames_rx: Annotated[int, "frames received"]
    bytes_tx: Annotated[int, "bytes of frames sent, FCS included"]
    bytes_rx: Annotated[int, "bytes of frames received, FCS included"]
    data_frames_tx: Annotated[int, "frames sent that carried payload of a NIC"]
    drops: Annotated[DropsByCause, "frames lost, by cause"]
    pause_tx: Annotated[int, "PAUSE frames sent that name the priority"]
    pause_rx: Annotated[int, "PAUSE frames received that name the priority"]
    paused_ns: Annotated[int, "ns for which the port was not to send the priority"]
    credit_tx: Annotated[int, "messages of credits sent"]
    credit_rx: Annotated[int, "messages of credits received"]
    credit_wait_ns: Annotated[int, "ns for which frames waited for credits alone"]
    ecn_marked: Annotated[int, "frames marked in the egress queue"]
    demoted: Annotated[int, "frames of a host's kernel that asked for a lossless priority"]
    queue_bytes: Annotated[int, "bytes in the egress queue now"]
    queue_bytes_max: Annotated[int, "most bytes in the egress queue"]
    queue_bytes_min: NotRequired[Annotated[int | None, "least bytes in the egress queue; of settled states alone"]]
    headroom_bytes_max: Annotated[int, "most bytes of headroom that the ingress group used"]
    shared_bytes_max: Annotated[int, "most bytes that the ingress group held below its threshold"]
    ingress_bytes_max: Annotated[int, "most bytes that the ingress group held"]
    paused: Annotated[bool, "true: the port is not to send the priority now"]


class PortFigures(TypedDict):
    """A port."""

    rate_bps: Annotated[int, "bit/s on the line"]
    priorities: Annotated[dict[str, PriorityFigures], "by priority at which anything happened"]


class PoolFigures(TypedDict):
    """How much of a switch's memory was in use at most, and of what."""

    buffer_bytes_max: Annotated[int, "bytes in all"]
    shared_bytes_max: Annotated[int, "bytes below the thresholds of priority groups"]
    headroom_bytes_max: Annotated[int, "bytes of headroom"]
    lossy_bytes_max: Annotated[int, "bytes of lossy queues"]


class Drops(TypedDict):
    """Frames lost in all."""

    lossless: Annotated[int, "of lossless priorities, by switches and NICs"]
    lossy: Annotated[int, "of lossy ones, by switches and NICs"]
    link: Annotated[int, "by links that corrupt"]
    outage: Annotated[int, "by links that are down"]
    malformed: Annotated[int, "that nobody could read, and no NIC of the fabric sent"]


class StatePart(TypedDict):
    """The figures of a part of a run."""

    from_ns: Annotated[int, "ns at which it begins"]
    to_ns: Annotated[int, "ns at which it ends"]
    ports: Annotated[dict[str, PortFigures], "by port, `node:port`"]
    pools: Annotated[dict[str, PoolFigures], "by switch"]
    drops: Annotated[Drops, "frames lost in it"]


class SettledState(StatePart):
    """The settled state of a run, and its windows."""

    window_ns: Annotated[int | None, "ns of a window; null: none"]
    windows: Annotated[list[StatePart], "the latest windows, the oldest first"]
    windows_omitted: Annotated[int, "windows before those"]


class RankFigures(TypedDict):
    """A rank of the workload."""

    finish_ps: Annotated[int | None, "ps at which it finished; null: it has not, or runs elsewhere"]
    calcs: NotRequired[
        Annotated[list[list[int]], "of each calc that has ended its op, and the ps at which; absent: none"]
    ]


class Flow(TypedDict):
    """A send op of the workload: from the first byte posted until the last arrived."""

    src: Annotated[str, "host that sends"]
    dst: Annotated[str, "host that receives"]
    bytes: Annotated[int, "length of the message"]
    start_ns: Annotated[int, "ns at which it was posted"]
    start_ps: Annotated[int, "the same, exactly"]
    completion_ns: Annotated[int | None, "ns at which its last byte had arrived; null: it has not"]
    completion_ps: Annotated[int | None, "the same, exactly"]
    goodput_bps: Annotated[int | None, "bit/s of its bytes between the two"]
    priority: NotRequired[Annotated[int | None, "priority of its packets, where it is not that of the workload"]]


class Pause(TypedDict):
    """The pause that the switch behind a stormed port asked for."""

    from_ps: Annotated[int, "ps at which it said stop"]
    to_ps: Annotated[int | None, "ps at which it said go on; null: it has not"]
    held_bytes: Annotated[int, "bytes that its group held then"]
    came_bytes: Annotated[int, "bytes that came after that"]
    drained_bytes: Annotated[int, "bytes that left"]
    dropped_bytes: Annotated[int, "bytes that were dropped"]


class FoundStorm(TypedDict):
    """What a watchdog took for a storm."""

    port: Annotated[str, "port that was kept paused, `node:port`"]
    priority: Annotated[int, "priority"]
    action: Annotated[Literal["drop", "forward"], "what became of the queue"]
    paused_since_ps: Annotated[int, "ps since when it was paused"]
    detected_ps: Annotated[int, "ps at which it was detected"]
    restored_ps: Annotated[int | None, "ps at which it was over; null: it is not"]
    dropped: Annotated[int, "frames dropped in it"]
    peer: Annotated[str | None, "port at the other end of the link; null: there is none"]
    peer_pause: Annotated[
        Pause | None, "what the switch there asked for; null: it is a host, or asked for nothing so long"
    ]


class ErasureFigures(TypedDict):
    """What recovery by erasure did."""

    blocks: Annotated[int, "blocks sent"]
    parity_tx: Annotated[int, "parity packets sent"]
    blocks_asked: Annotated[int, "blocks of which packets were asked for again"]
    recovered: Annotated[int, "packets that were lost and rebuilt at b"]


class Connection(TypedDict):
    """One direction of a queue pair."""

    qpn: Annotated[int, "number of the queue pair"]
    a: Annotated[str, "host that sends"]
    b: Annotated[str, "host that receives"]
    packets_tx: Annotated[int, "packets sent, those sent again included"]
    retransmitted: Annotated[int, "packets sent again"]
    acks_rx: Annotated[int, "acknowledgements received"]
    naks_rx: Annotated[int, "NAKs received"]
    rnr_naks_rx: Annotated[int, "RNR NAKs received"]
    timeouts: Annotated[int, "timeouts"]
    error: Annotated[str | None, "null, `retry exceeded`, `rnr retry exceeded`, or `refused by the peer`"]
    erasure: Annotated[ErasureFigures | None, "with recovery by erasure"]
    rank_a: NotRequired[Annotated[int | None, "rank that sends, where a host has several ports or ranks"]]
    rank_b: NotRequired[Annotated[int | None, "rank that receives, likewise"]]
    port_a: NotRequired[Annotated[str | None, "port that it leaves by, `node:port`, likewise"]]
    port_b: NotRequired[Annotated[str | None, "port that it arrives at, likewise"]]
    source_port: NotRequired[Annotated[int | None, "UDP source port of its packets, likewise"]]


class Packets(TypedDict):
    """Where packets are that were sent; PAUSE frames are not counted."""

    sent: Annotated[int, "packets sent"]
    delivered: Annotated[int, "those that arrived"]
    dropped: Annotated[int, "those that were lost"]
    in_flight: Annotated[int, "those that are under way"]


class FoundDeadlock(TypedDict):
    """A circle of ports, each of which waits for the next, the last for the first."""

    at_ns: Annotated[int, "ns since when all of it stood still"]
    cured_ns: Annotated[int | None, "ns at which it was broken; null: it is not"]
    ports: Annotated[list[str], "the ports, `node:port`"]
    priority: Annotated[int | None, "priority"]


class BernoulliInForce(TypedDict):
    """Independent losses."""

    kind: Annotated[Literal["bernoulli"], "kind of process"]
    probability: Annotated[float, "probability that a frame is lost"]


class GilbertElliottInForce(TypedDict):
    """Losses in bursts."""

    kind: Annotated[Literal["gilbert-elliott"], "kind of process"]
    enter: Annotated[float, "probability of a change from good to bad"]
    leave: Annotated[float, "probability of a change from bad to good"]
    loss_good: Annotated[float, "probability of loss in the good state"]
    loss_bad: Annotated[float, "probability of loss in the bad state"]


class CodewordsInForce(TypedDict):
    """Uncorrectable FEC codewords."""

    kind: Annotated[Literal["codewords"], "kind of process"]
    per_second: Annotated[float, "failures in a nominal second"]
    burst_ps: Annotated[int, "ps that one lasts"]
    rate_bps: Annotated[int, "bit/s on the line"]


class Impairment(TypedDict):
    """A change of a link that took place; keys that it did not name are absent."""

    link: Annotated[int, "index of the link"]
    way: Annotated[int, "0: a to b, 1: b to a"]
    label: Annotated[str, "text that came with it"]
    asked_ps: Annotated[int, "ps for which it was asked"]
    at_ps: Annotated[int, "ps at which it took place"]
    delay_ps: NotRequired[Annotated[int | None, "ps of propagation"]]
    jitter_ps: NotRequired[Annotated[int | None, "ps of jitter at most"]]
    loss_process: NotRequired[
        Annotated[BernoulliInForce | GilbertElliottInForce | CodewordsInForce | None, "losses; null: none"]
    ]
    rate_bps: NotRequired[Annotated[int | None, "bit/s of the sending port"]]
    up: NotRequired[Annotated[bool | None, "whether it is up"]]
    weights: NotRequired[Annotated[list[int] | None, "weights of the sending port"]]
    drain: NotRequired[Annotated[bool | None, "whether the sending port starts nothing new"]]
    storm: NotRequired[Annotated[Storm | None, "storm of the sending host; null: its end"]]
    rerouted: NotRequired[Annotated[int | None, "routes of switches that changed, a station of a switch each"]]


class Lateness(TypedDict):
    """How late frames left."""

    p50: Annotated[int, "ns, the median"]
    p99: Annotated[int, "ns, the 99th percentile"]
    max: Annotated[int, "ns, the most"]


class MeasuredDelay(TypedDict):
    """What frames took over one direction of a link, from the last bit sent to being read at the far end."""

    link: Annotated[int, "index of the link"]
    way: Annotated[int, "0: a to b, 1: b to a"]
    count: Annotated[int, "frames that were timed"]
    mean_ns: Annotated[int, "ns, the mean"]


class MeasuredFidelity(TypedDict):
    """How faithful a run under the real clock was."""

    lateness_ns: Annotated[Lateness, "how late frames left"]
    late_frames: Annotated[int, "frames that left later than three frame times of the fastest link"]
    held_share: Annotated[float, "share of wall time for which nominal time was held back"]
    cpu_share: Annotated[float, "share of wall time in which the loop had work"]
    delays: Annotated[
        list[MeasuredDelay], "delays of links since they were last changed by hand, where some were timed"
    ]
    socket_drops: Annotated[int, "frames lost on their way out of the kernel"]
    overflow: Annotated[int, "frames that found no room on their way into the kernel"]
    turned_away: Annotated[
        dict[str, int], "by port: times that a full queue of the kernel refused a frame, sent again then"
    ]
    refused: Annotated[dict[str, int], "by port: frames that its interface would not take"]
    lost_in_kernel: Annotated[dict[str, int], "by port: frames sent that never came out of the kernel at the far end"]
    kernel_drops: Annotated[
        dict[str, int], "by port of a host: frames of its kernel that found no room in the emulator"
    ]
    kernel_gates: Annotated[
        dict[str, int], "by port of a host whose kernel heeds pauses: ns of its slowest gate; 0: it has none"
    ]


class PeerRow(TypedDict):
    """Another agent of a run."""

    agent: Annotated[str, "its name"]
    offset_ns: Annotated[int | None, "ns that its clock is ahead"]
    round_trip_ns: Annotated[int | None, "ns of a round trip to it"]
    silent_ns: Annotated[int, "ns for which nothing was heard of it at most"]
    finish_ps: Annotated[int | None, "ps after the start at which its ranks finished; null: they have not"]


class Crossed(TypedDict):
    """Frames over a link to another agent."""

    out: Annotated[int, "frames that went there"]
    back: Annotated[int, "frames that came from there"]


class Agents(TypedDict):
    """The other agents of a run of several."""

    others: Annotated[list[PeerRow], "the others"]
    apart_ns: Annotated[int, "ns that agents were apart at most"]
    crossed: Annotated[dict[str, Crossed], "by port on a link to another agent"]


class LinkListing(TypedDict):
    """Who imposes a link."""

    ends: Annotated[list[str], "its ends, `node:port`"]
    emulation: Annotated[Literal["netem", "native"], "who"]
    reason: NotRequired[Annotated[str, "why not netem"]]


class Fidelity(MeasuredFidelity, total=False):
    """The same with what agents and the controller add: the kernel's part, and what several agents have to say."""

    netem_overflow: Annotated[int, "frames that netem lost unasked"]
    links: Annotated[list[LinkListing], "who imposes each link"]
    altered: Annotated[dict[str, str], "by node: what ceased to be as planned during the run"]
    apart_ns: Annotated[int, "ns that agents were apart at most"]
    lost_between: Annotated[dict[str, int], "by port: frames lost on their way to another machine"]
    clocks: Annotated[list[dict[str, str | int | None]], "offset and round trip of each agent's clock to another's"]
    agents: Annotated[dict[str, dict[str, object]], "figures of each agent"]


class SkippedInterval(TypedDict):
    """Whole periods that were skipped at once."""

    from_ps: Annotated[int, "ps now when it begins"]
    to_ps: Annotated[int, "ps now when it ends"]
    period_ps: Annotated[int, "ps of a period"]
    periods: Annotated[int, "so many of them"]
    frame_hops: Annotated[int, "frames that crossed a link in them"]


class FastForward(TypedDict):
    """What a run skipped, and how far its figures can be off for that."""

    tolerance: Annotated[float, "share by which figures may be off"]
    bound: Annotated[float, "share by which they can be off"]
    skipped_ps: Annotated[int, "ps of nominal time that was skipped"]
    skipped_frame_hops: Annotated[int, "frames that crossed a link in it"]
    skips: Annotated[int, "intervals that were skipped"]
    intervals: Annotated[list[SkippedInterval], "the first 1,000 of them"]
    exact_ps: Annotated[dict[str, int], "ps of nominal time that was run event by event, by why it was"]


class Report(TypedDict):
    """What was observed: of the span, or since the fabric was made where none was begun."""

    now_ps: Annotated[int, "ps now"]
    start_ps: Annotated[int, "ps at which the workload started"]
    events: Annotated[int, "events that the engine handled"]
    frame_hops: Annotated[int, "frames that crossed a link"]
    event_log_hash: Annotated[
        str | None, "16 hexadecimal digits; null under the real clock, and where events were skipped"
    ]
    complete: Annotated[bool, "true: every rank has finished"]
    stalled: Annotated[bool, "true: nothing is left that could happen"]
    expired: Annotated[bool, "true: the limit of the workload came first"]
    ranks: Annotated[list[RankFigures], "by rank"]
    flows: Annotated[list[Flow], "one for each send op"]
    ports: Annotated[dict[str, PortFigures], "by port, `node:port`"]
    pools: Annotated[dict[str, PoolFigures], "by switch"]
    settled: Annotated[SettledState | None, "the settled state, where it is told apart"]
    watchdog: Annotated[list[FoundStorm], "storms that watchdogs detected"]
    qps: Annotated[list[Connection], "by direction of a queue pair"]
    conservation: Annotated[Packets, "packets of NICs"]
    kernel_frames: Annotated[Packets, "frames of hosts' kernels"]
    drops: Annotated[Drops, "frames lost"]
    deadlocks: Annotated[list[FoundDeadlock], "circles of ports that waited for each other"]
    impairments: Annotated[list[Impairment], "changes of links in the order in which they took place"]
    violations: Annotated[list[str], "sentences, one for each broken invariant"]
    fidelity: Annotated[Fidelity | None, "null under the virtual clock, which is exact"]
    fast: NotRequired[Annotated[FastForward | None, "of a run that may skip what recurs"]]
    agents: NotRequired[Annotated[Agents | None, "in a run of several agents"]]


class Telemetry(TypedDict):
    """A fabric at one moment: of the lab, whatever the span."""

    now_ps: Annotated[int, "ps of nominal time since it was made"]
    frame_hops: Annotated[int, "frames that crossed a link"]
    ranks: Annotated[int, "ranks of the workload"]
    ranks_finished: Annotated[int, "those that have finished"]
    ports: Annotated[dict[str, PortFigures], "by port, `node:port`"]
    drops: Annotated[Drops, "frames lost"]
    deadlocks: Annotated[list[FoundDeadlock], "circles of ports that waited for each other"]
    fidelity: Annotated[MeasuredFidelity, "how faithful it is; shares are of the last span"]
    stopped_ns: Annotated[int, "ns of wall time for which the loop stood still to be copied"]


class Loss(TypedDict):
    """Frames that were lost because links of a running lab changed."""

    port: Annotated[str | None, "port at which they were lost; null: inside the fabric"]
    cause: Annotated[str, "why"]
    frames: Annotated[int, "how many"]
