"""A trace: what each rank of a job does, as a graph of computing, messages and collectives, whatever file it is from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from testbed import traffic
from testbed.errors import ExperimentError, Fault, UsageError, nearest

ANY = -1
"""As the peer of a receive: any source. As its tag: any tag."""
NO_LANE = -1
MAX_RANKS = 65_536
MAX_OPS = 4_000_000
MAX_AMOUNT = 2**63 - 1
_TIMES = ("calc",)
_MESSAGES = ("send", "recv")

Json = dict[str, Any]


class Op(NamedTuple):
    """One thing that a rank does: `calc`, `send`, `recv`, or a collective by its name.

    `amount` is the duration of a calc in ps, else bytes: of a collective as `testbed.experiment.jobs.Step` counts them.
    `peer` is the other rank of a message, or the number of a collective's group. `tag` is that of a message, or the root of a
    collective. Calcs of one `lane` run one after another, and sends of one share a queue pair. The op begins when those
    `after` have finished and those `begun` have begun, by their positions in the rank. `line` is where it stands, 0 in files
    without lines.
    """

    kind: str
    amount: int
    peer: int = 0
    tag: int = 0
    lane: int = NO_LANE
    after: tuple[int, ...] = ()
    begun: tuple[int, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Trace:
    """The ops of all ranks, and the groups of ranks that collectives run in. `files` has one name, or one for each rank."""

    files: tuple[str, ...]
    ranks: tuple[tuple[Op, ...], ...]
    groups: tuple[tuple[int, ...], ...] = ()
    algorithms: Mapping[str, str] = field(default_factory=dict)

    def file_of(self, rank: int) -> str:
        """Return the name of the file that a rank is from."""
        return self.files[rank] if len(self.files) > 1 else self.files[0]

    def fault(self, rank: int, position: int, message: str) -> Fault:
        """Return a fault at an op, with its file and line."""
        line = self.ranks[rank][position].line
        return Fault(self.file_of(rank), line, f"rank {rank}" if line else f"rank {rank}, op {position}", message)

    def check(self) -> Trace:
        """Return this trace; raise ExperimentError for impossible ranks, groups, sizes and dependencies."""
        whole = self.files[0]
        if not 1 <= len(self.ranks) <= MAX_RANKS:
            raise ExperimentError.at(whole, "", f"{len(self.ranks)} ranks; a trace has 1 to {MAX_RANKS}")
        if sum(map(len, self.ranks)) > MAX_OPS:
            raise ExperimentError.at(whole, "", f"more than {MAX_OPS} ops")
        for group in self.groups:
            if not group or len(set(group)) < len(group) or not all(0 <= rank < len(self.ranks) for rank in group):
                raise ExperimentError.at(
                    whole,
                    "",
                    f"the group {list(group)[:8]} is empty, or has a rank twice or one that is not of {len(self.ranks)}",
                )
        members = [frozenset(group) for group in self.groups]
        faults = []
        for rank, ops in enumerate(self.ranks):
            for position, op in enumerate(ops):
                message = self._wrong(rank, op, members, len(ops))
                if message:
                    faults.append(self.fault(rank, position, message))
                    if len(faults) == 10:
                        raise ExperimentError(faults)
        if faults:
            raise ExperimentError(faults)
        return self

    def _wrong(self, rank: int, op: Op, members: Sequence[frozenset[int]], ops: int) -> str | None:
        """Return what is wrong with an op taken by itself, or None."""
        if not 0 <= op.amount <= MAX_AMOUNT:
            return f"{op.amount} is not a whole number from 0 to {MAX_AMOUNT}"
        if not all(0 <= other < ops for other in (*op.after, *op.begun)):
            return f"it waits for an op that does not exist; the rank has {ops}"
        if op.kind in _TIMES:
            return None
        if op.kind in _MESSAGES:
            if not 0 <= op.peer < len(self.ranks) and not (op.kind == "recv" and op.peer == ANY):
                return f"rank {op.peer} is not one of {len(self.ranks)}, which count from 0"
            return None
        if op.kind not in traffic.COLLECTIVES:
            return f'no collective is called "{op.kind}"{nearest(op.kind, traffic.COLLECTIVES)}'
        if not 0 <= op.peer < len(members) or rank not in members[op.peer]:
            return f"{op.kind} in group {op.peer}, which the rank is not in"
        if not 0 <= op.tag < len(members[op.peer]):
            return f"root {op.tag} of a group of {len(members[op.peer])} ranks"
        return None

    def scaled(self, factor: float) -> Trace:
        """Return this trace with calcs that take `factor` times as long, rounded to whole ps."""
        ranks = tuple(
            tuple(op._replace(amount=round(op.amount * factor)) if op.kind == "calc" else op for op in ops)
            for ops in self.ranks
        )
        return replace(self, ranks=ranks).check()

    def by(self, chosen: Iterable[str]) -> Trace:
        """Return this trace with collectives carried out by algorithms: `ring`, or `all_reduce=ring` for one kind of them.

        Raises UsageError for an algorithm that no collective of the trace has.
        """
        kinds = {op.kind for ops in self.ranks for op in ops if op.kind not in (*_TIMES, *_MESSAGES)}
        algorithms = dict(self.algorithms)
        for text in chosen:
            kind, equals, name = text.rpartition("=")
            fitting = [
                each for each in ([kind] if equals else sorted(kinds)) if name in traffic.ALGORITHMS.get(each, {})
            ]
            if not fitting or (equals and kind not in kinds):
                there = ", ".join(sorted(kinds)) or "none"
                known = sorted({known for each in kinds for known in traffic.ALGORITHMS[each]})
                raise UsageError(
                    f'--algorithm "{text}": the trace has the collectives: {there}; their algorithms: {", ".join(known)}'
                )
            algorithms |= dict.fromkeys(fitting, name)
        return replace(self, algorithms=algorithms)

    def algorithm(self, kind: str) -> traffic.Collective:
        """Return how collectives of a kind are carried out: as was chosen, or as is usual."""
        known = traffic.ALGORITHMS[kind]
        name = self.algorithms.get(kind)
        return known[name] if name else next(iter(known.values()))

    def data(self) -> Json:
        """Return this trace as JSON data, for `trace_from`."""
        ops = [[[*op[:5], list(op.after), list(op.begun), op.line] for op in ops] for ops in self.ranks]
        return {
            "files": list(self.files),
            "groups": [list(group) for group in self.groups],
            "algorithms": dict(self.algorithms),
            "ranks": ops,
        }


NOTHING = Trace(("",), ((),))


def trace_from(data: object) -> Trace:
    """Read a trace from JSON data, checking all of it. Raises ValueError."""
    if isinstance(data, Trace):
        return data
    if not isinstance(data, dict) or data.keys() != {"files", "groups", "algorithms", "ranks"}:
        raise ValueError("a trace is the name of a file beside the experiment file")
    files, groups, algorithms, ranks = (data[key] for key in ("files", "groups", "algorithms", "ranks"))
    if not _list_of(files, lambda name: isinstance(name, str)) or not isinstance(ranks, list):
        raise ValueError("files and ranks: not lists")
    if not files or len(files) not in {1, len(ranks)}:
        raise ValueError("files: not a name, or one for each rank")
    if not _list_of(groups, lambda group: _list_of(group, _whole)):
        raise ValueError("groups: not lists of ranks")
    if not isinstance(algorithms, dict) or any(
        name not in traffic.ALGORITHMS.get(kind, {}) for kind, name in algorithms.items()
    ):
        raise ValueError("algorithms: not those of collectives")
    if not _list_of(ranks, lambda ops: _list_of(ops, _is_op)):
        raise ValueError("ranks: not lists of ops")
    read = tuple(tuple(Op._make([*op[:5], tuple(op[5]), tuple(op[6]), op[7]]) for op in ops) for ops in ranks)
    trace = Trace(tuple(files), read, tuple(map(tuple, groups)), algorithms)
    try:
        return trace.check()
    except ExperimentError as error:
        raise ValueError(str(error)) from None


def _list_of(value: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _whole(value: object) -> bool:
    return type(value) is int and -1 <= value <= MAX_AMOUNT


def _is_op(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 8
        and isinstance(value[0], str)
        and all(map(_whole, (*value[1:5], value[7])))
        and all(_list_of(each, _whole) for each in value[5:7])
    )


TraceField = Annotated[
    Trace,
    PlainValidator(trace_from),
    PlainSerializer(Trace.data),
    WithJsonSchema({"type": "string", "description": "name of a file beside the experiment file"}),
]
