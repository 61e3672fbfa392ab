"""The fabric in Rust: one class a clock, of the same shape.

Plans, workloads and reports are JSON texts; docs/internals/plan.md and docs/internals/engine.md define them. Faults in them raise
ValueError; a refusal of the system (socket, namespace, file) raises OSError, and memory that is not there MemoryError.
"""

from typing import Self, final

__all__ = [
    "GoalReader",
    "GoalTrace",
    "RealFabric",
    "VirtualFabric",
    "indent_json",
    "measure_forwarder",
    "measure_load",
]

@final
class VirtualFabric:
    """A fabric under the virtual clock: exact, deterministic, without privileges.

    A run may use `cores` cores, wherever links take any time; 0 is as many as there are, where it pays. What comes out of
    it is the same. Without `causes` it does not record who paused whom.
    """

    def __new__(cls, plan: str, cores: int = 1, causes: bool = True) -> Self: ...
    def begin_span(self, statistics: str) -> None:
        """Count from here on in reports. `statistics`: JSON {"warmup_ps", "window_ps": n | null} of a settled state, or null."""

    def fast_forward(self, tolerance: float) -> None:
        """Skip whole periods of what recurs from now on, on one core; figures may be off by such a share of themselves.

        The report then has no hash of the event log, and says under `fast` what was skipped.
        """

    def record_series(self, plan: str) -> None:
        """Record series from the next start of a workload on, and anew where a span begins: a SeriesPlan as JSON."""

    def series(self) -> bytes:
        """End the recording and return it, as `testbed.timeseries.decode` reads it; no bytes if there is none."""

    def load(self, workload: str) -> None:
        """Forget the last workload and install this one: queue pairs, schedules, memory (zeroed)."""

    def load_trace(self, workload: str, trace: GoalTrace) -> None:
        """Install a workload whose ranks work off a trace, not ops; its queue pairs are those of the trace's sends."""

    def communication(self) -> list[tuple[int, int]]:
        """Return of each rank of a trace for how many ps it communicated alone, and while it computed."""

    def finished_ops(self) -> int:
        """Return how many ops of the workload, or of the trace, have finished."""

    def trace_fault(self) -> str | None:
        """Return why a rank of a trace cannot go on, if that is not the network."""

    def impair(self, changes: str) -> None:
        """Change links, now or so long after the next start of a workload: a JSON list, see docs/internals/plan.md."""

    def cancel_impairments(self) -> None:
        """Forget the changes that are still due."""

    def inject(self, frames: str) -> None:
        """Put raw frames on the links of hosts, in trains: a JSON list, see docs/internals/plan.md."""

    def withdraw(self, flows: str) -> None:
        """Forget what is left of the trains of these flows, a JSON list of numbers."""

    def meters(self) -> str:
        """Return what the ports of hosts have sent and received of flows: a JSON list of PortMeters."""

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        """Copy `data` into the rank's memory, `offset` in bytes."""

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        """Return `length` bytes of the rank's memory from `offset`."""

    def advance(self, budget: int) -> bool:
        """Run at most `budget` events, on several cores about as many; return True once the workload is over."""

    def run_until(self, until_ps: int, budget: int) -> bool:
        """Run at most `budget` events, workload or none; return True once nominal time has come to `until_ps`."""

    def turns(self) -> str:
        """Return how the fabric was run on several cores, as JSON; no result, as it depends on the machine.

        {"shards", "lookahead_ps", "turns", "apart_turns", "events", "apart_events", "longest_events"}: shards and the
        shortest link between two of them now; turns between two meetings, those that threads ran, the events of both,
        and those of the busiest shard of each turn, summed.
        """

    def report(self) -> str:
        """Return the state of the fabric as JSON; counters are those of the span, or since the fabric was made."""

    def pauses(self) -> str:
        """Return the records of the pauses of the span as JSON, see testbed.contract.pauses."""

    def capture(self, path: str | None) -> None:
        """Write every frame that crosses a link into a nanosecond pcap at `path`, until called with None."""

@final
class RealFabric:
    """A fabric under the real clock: the same, with real frames on the interfaces that `attachments` names."""

    def __new__(cls, plan: str, dilation: int, attachments: str) -> Self: ...
    def quiesce(self, leaving: str, budget: int) -> bool:
        """Take no more frames from hosts' kernels; return True once all in flight have arrived, False after `budget` ms.

        `leaving` is a JSON list of [node, port]: frames that wait at those links are taken first. Call it again to wait on.
        """

    def replace(self, plan: str, attachments: str) -> None:
        """Go on with another plan, counters at zero, still quiesced; frames in flight or in sockets that go are lost and counted.

        An attachment that is `fresh` has an interface made anew. When it fails all stays as it was.
        """

    def resume(self) -> str:
        """Take frames from hosts' kernels again; return what was lost since `quiesce`, a JSON list of Loss."""

    def begin_span(self, statistics: str) -> None:
        """Count from here on in reports. `statistics`: JSON {"warmup_ps", "window_ps": n | null} of a settled state, or null."""

    def end_span(self) -> None:
        """Tell no more windows of the span apart."""

    def record_series(self, plan: str) -> None:
        """Record series from the next start of a workload on, and anew where a span begins: a SeriesPlan as JSON."""

    def series(self) -> bytes:
        """End the recording and return it, as `testbed.timeseries.decode` reads it; no bytes if there is none."""

    def load(self, workload: str) -> None:
        """Forget the last workload and install this one: queue pairs, schedules, memory (zeroed)."""

    def impair(self, changes: str) -> None:
        """Change links, now or so long after the next start of a workload: a JSON list, see docs/internals/plan.md."""

    def cancel_impairments(self) -> None:
        """Forget the changes that are still due."""

    def inject(self, frames: str) -> None:
        """Put raw frames on the links of hosts, in trains: a JSON list, see docs/internals/plan.md."""

    def withdraw(self, flows: str) -> None:
        """Forget what is left of the trains of these flows, a JSON list of numbers."""

    def meters(self) -> str:
        """Return what the ports of hosts have sent and received of flows: a JSON list of PortMeters."""

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        """Copy `data` into the rank's memory, `offset` in bytes."""

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        """Return `length` bytes of the rank's memory from `offset`."""

    def advance(self, budget: int) -> bool:
        """Run for at most `budget` milliseconds of wall time; return True once the workload is over."""

    def run_until(self, until_ps: int, budget: int) -> bool:
        """Run for at most `budget` ms of wall time, workload or none; return True once nominal time has come to `until_ps`."""

    def report(self) -> str:
        """Return the state of the fabric as JSON; counters are those of the span, or since the fabric was made."""

    def pauses(self) -> str:
        """Return the records of the pauses of the span as JSON, see testbed.contract.pauses."""

    def telemetry(self) -> str:
        """Return ports, drops, ranks and fidelity as JSON; the fabric stands still only while they are copied."""

    def capture(self, path: str | None) -> None:
        """Write every frame that crosses a link into a nanosecond pcap at `path`, until called with None."""

    def listen(self, address: str) -> int:
        """Open a UDP socket at an address of this machine, once, by which to keep step with others; return its port."""

    def join(self, participants: str) -> None:
        """Run the workloads loaded from now on together with other fabrics of the plan.

        `participants`: JSON {"key": any number, the same for all, "number": the index of this one among
        "agents": [{"name", "address": "ip:port"}]}. Raises ValueError for anything else.
        """

    def leave(self) -> None:
        """Run them alone again."""

    def close(self) -> None:
        """Stop forwarding and close the sockets; every later call raises OSError."""

@final
class GoalTrace:
    """A trace of GOAL that stays on disk: read by pieces, then matched by pieces, then given to a `VirtualFabric`.

    Faults of the file raise what those of `GoalReader` do. Faults of its messages raise ValueError of a list: of each the rank,
    the op with its line or None, the message, and the op and the line of another op or None.
    """

    def __new__(cls, path: str, is_binary: bool, most_ops: int) -> Self: ...
    def read(self, budget: int) -> bool:
        """Read about `budget` bytes, in binary whole ranks; return True once the file is over."""

    def match_messages(self, budget: int) -> bool:
        """Carry out `budget` events of the trace; return True once all its messages have met their receives."""

    def sends(self) -> list[tuple[int, int, int]]:
        """Return sender, receiver and channel of messages that leave their rank, each once and in order."""

    def ranks(self) -> int:
        """Return how many ranks the trace has, once it is read."""

    def ops(self) -> int:
        """Return how many ops it has, once it is read."""

    def ended(self) -> int:
        """Return how many of them have ended in `match_messages`."""

    def bytes(self) -> int:
        """Return the length of the file when it was opened."""

    def offset(self) -> int:
        """Return how much of it has been read."""

    def nics(self) -> tuple[int, int]:
        """Return how many messages name a nic, and the line of the first."""

@final
class GoalReader:
    """A file of GOAL, read a piece at a time; it holds the ranks that have been read and not taken.

    A fault of the file raises ValueError of line (0: the file as a whole), byte or None, message, and what is quoted of the
    file in place of `{}`, or None. A file that cannot be read raises OSError.
    """

    def __new__(cls, path: str, is_binary: bool, most_ops: int) -> Self: ...
    def advance(self, budget: int) -> bool:
        """Read about `budget` bytes, in binary whole ranks; return True once the file is over."""

    def take_ranks(self) -> list[tuple[tuple[str, int, int, int, int, tuple[int, ...], tuple[int, ...], int], ...]]:
        """Return the ops of the ranks that have been read since, each as the fields of `testbed.replay.form.Op`."""

    def bytes(self) -> int:
        """Return the length of the file when it was opened."""

    def offset(self) -> int:
        """Return how much of it has been read."""

    def nics(self) -> tuple[int, int]:
        """Return how many messages name a nic, and the line of the first."""

def indent_json(compact: str) -> str:
    """Return JSON without spaces laid out as `json.dumps(..., indent=2)` does it."""

def measure_forwarder(path: str, frame: bytes, seconds: float) -> str:
    """Measure how many copies of `frame` a bare recvmmsg/sendmmsg forwarder moves along a path; return rates as JSON.

    `path`: {"source", "ingress", "egress", "sink"}, each {"netns": path, "interface": name}: source and ingress are the
    ends of one veth pair, egress and sink those of another. The answer has "frames", "elapsed_ns", "frames_per_s",
    "lost", and "source_idle_share": near 1 the forwarder was the bottleneck. Blocks for a little more than `seconds`.
    """

def measure_load(source: str, sink: str, frame: bytes, seconds: float) -> str:
    """Send copies of `frame` from `source` while someone else forwards them, and count them at `sink`; return rates.

    Ends and answer are as for `measure_forwarder`.
    """
