"""Text workloads of SimAI and ASTRA-sim 1: layers with what each computes and sends, forward, back and for its weights.

Read by: aliyun/SimAI, astra-sim-alibabacloud/astra-sim/workload/Workload.cc. Times are ns, and sizes those of the whole tensor,
as SimAI and AICB write them. One pass: layer by layer forward, then from the last back; what is sent for weights holds nothing
up. Ranks of a tensor group follow one another, data groups come next, with experts inside, pipeline stages are the outermost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.importers.draft import counted
from testbed.importers.text import shown
from testbed.replay.form import MAX_AMOUNT, MAX_OPS, MAX_RANKS, Op, Trace
from testbed.replay.lines import Lines, Reading

PS_PER_NS = 1000
TRANSFORMERS = ("HYBRID_TRANSFORMER", "HYBRID_TRANSFORMER_FWD_IN_BCKWD")
MICRO, DATA = "MICRO", "DATA"
POLICIES = (
    DATA,
    "MODEL",
    "HYBRID_DATA_MODEL",
    "HYBRID_MODEL_DATA",
    *TRANSFORMERS,
    "HYBRID_DLRM",
    "HYBRID_DLRM_ENHANCED",
    "HYBRID_CUSTOMIZED",
    MICRO,
    "DISTRIBUTED_INFERENCE",
)
_READ = (DATA, *TRANSFORMERS, MICRO)
_WHOLE_KEYS = ("model_parallel_NPU_group:", "ep:", "pp:", "vpp:", "ga:", "all_gpus:")
_LISTS = ("checkpoints:", "checkpoint_initiates:")
_COLLECTIVES = {
    "ALLREDUCE": ("all_reduce",),
    "ALLGATHER": ("all_gather",),
    "REDUCESCATTER": ("reduce_scatter",),
    "ALLTOALL": ("all_to_all",),
    "ALLREDUCEALLTOALL": ("all_reduce", "all_to_all"),
}
_SUFFIXES = {"_DP_EP": "dp_ep", "_EP": "ep"}
_FIELDS = 12
_LEAST_FORWARD_BYTES = 4096


@dataclass(frozen=True)
class _Pass:
    """What a layer does in one direction: computes, then sends by these collectives in a group of this kind."""

    compute_ps: int
    collectives: tuple[str, ...]
    group: str
    bytes: int


@dataclass(frozen=True)
class _Layer:
    line: int
    forward: _Pass
    back: _Pass
    weights: _Pass
    update_ps: int


@dataclass
class _Head:
    policy: str = ""
    values: dict[str, int] = field(default_factory=dict)

    def of(self, key: str) -> int:
        return self.values.get(key, 1)


def read_simai(path: Path, gpus: int | None = None) -> Reading:
    """Read a text workload; `gpus` says how many ranks take part where the file does not.

    Raises ExperimentError, with the line, for policies that are not read, counts that disagree, and groups that do not fit.
    """
    reader = _Reader(Lines(path))
    head, layers, first = reader.read()
    ranks = reader.ranks(head, gpus, first)
    groups = _Groups(reader.lines, head, ranks, first)
    if len(layers) * ranks * 6 > MAX_OPS:
        reader.lines.fail(first, f"{len(layers)} layers of {ranks} ranks come to more than {MAX_OPS} ops")
    draw = _micro if head.policy == MICRO else _step
    trace = Trace((str(path),), tuple(tuple(draw(layers, groups, rank)) for rank in range(ranks)), tuple(groups.all))
    sizes = [f"TP {groups.tp}", f"DP {groups.dp}", *([f"EP {groups.ep}"] if groups.ep > 1 else [])]
    took = (counted(ranks, "rank"), counted(len(layers), "layer"), ", ".join(sizes))
    return Reading(trace.check(), took, reader.lines.remainder.all(), ("sizes are of whole tensors",))


class _Reader:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def read(self) -> tuple[_Head, list[_Layer], int]:
        lines = ((number, text.split()) for number, text in self.lines.lines())
        filled = ((number, words) for number, words in lines if words)
        first, words = next(filled, (0, []))
        if not words:
            self.lines.fail(0, "no policy: the first line begins with one")
        head = self._head(first, words)
        line, words = next(filled, (first, []))
        if len(words) != 1:
            self.lines.fail(line, "the second line has the number of layers")
        stated = self._whole(line, "the number of layers", words[0], MAX_OPS)
        layers = []
        for number, fields in filled:
            self.lines.count(number)
            layers.append(self._layer(number, fields, head.policy))
        if stated != len(layers):
            self.lines.fail(line, f"{stated} layers, and there are {len(layers)}")
        return head, layers, first

    def _head(self, line: int, words: list[str]) -> _Head:
        head, at = _Head(words[0]), 1
        if head.policy not in _READ:
            known = f"read are {', '.join(_READ)}"
            what = "is not read" if head.policy in POLICIES else "is not a policy"
            self.lines.fail(line, f'"{shown(head.policy)}" {what}; {known}')
        while at < len(words):
            key, value = words[at], words[at + 1 : at + 2]
            at += 2
            if not value:
                self.lines.fail(line, f"{shown(key)} has no number")
            if key in _WHOLE_KEYS:
                head.values[key] = self._whole(line, key, value[0], MAX_RANKS)
                if not head.values[key]:
                    self.lines.fail(line, f"{key} 0; they count from 1")
            elif key in _LISTS:
                count = self._whole(line, key, value[0], MAX_OPS)
                if count:
                    self.lines.fail(line, f"{key} {count}: layers that are computed again are not read")
            elif key in ("pp_comm", "pp_comm:"):
                if value[0].strip("0.") and head.policy in TRANSFORMERS:
                    self.lines.leave("pp_comm: pipeline stages run beside each other", line)
            else:
                self.lines.leave(f"the key {shown(key)}", line)
        for key in ("vpp:", "ga:"):
            if head.of(key) > 1:
                self.lines.leave(f"{key} {head.of(key)}: one pass is run", line)
        return head

    def ranks(self, head: _Head, gpus: int | None, line: int) -> int:
        stated = head.values.get("all_gpus:")
        if stated is None and gpus is None:
            self.lines.fail(line, "the file does not say how many GPUs take part; give --gpus")
        if stated is not None and gpus not in (None, stated):
            self.lines.fail(line, f"all_gpus: is {stated}, but --gpus is {gpus}")
        return stated or gpus or 1

    def _layer(self, line: int, words: list[str], policy: str) -> _Layer:
        if len(words) != _FIELDS:
            self.lines.fail(line, f"{len(words)} fields; a layer has {_FIELDS}")
        if words[1] != "-1":
            self.lines.leave("the dependency of a layer", line)
        default = "tp" if policy in TRANSFORMERS else "dp"
        passes = [
            self._pass(line, words[at : at + 3], kind, least)
            for at, kind, least in ((2, default, _LEAST_FORWARD_BYTES), (5, default, 0), (8, "dp", 0))
        ]
        update_ps = PS_PER_NS * self._whole(line, "the update time", words[11], MAX_AMOUNT // PS_PER_NS)
        return _Layer(line, passes[0], passes[1], passes[2], update_ps)

    def _pass(self, line: int, words: list[str], group: str, least: int) -> _Pass:
        compute_ps = PS_PER_NS * self._whole(line, "the time", words[0], MAX_AMOUNT // PS_PER_NS)
        size = self._whole(line, "the size", words[2], MAX_AMOUNT)
        token = words[1]
        for suffix, kind in _SUFFIXES.items():
            if token.endswith(suffix):
                token, group = token.removesuffix(suffix), kind
                break
        if token in ("NONE", "BROADCAST") or not size:
            if token == "BROADCAST" and size:
                self.lines.leave("BROADCAST, as SimAI does", line)
            return _Pass(compute_ps, (), group, 0)
        if token not in _COLLECTIVES:
            self.lines.fail(
                line, f'"{shown(words[1])}" is not one of NONE, {", ".join(_COLLECTIVES)}, with _EP or _DP_EP'
            )
        return _Pass(compute_ps, _COLLECTIVES[token], group, max(size, least))

    def _whole(self, line: int, what: str, word: str, most: int) -> int:
        if not word.isascii() or not word.isdecimal() or len(word) > 19 or int(word) > most:
            self.lines.fail(line, f'{what} "{shown(word)}" is not a whole number from 0 to {most}')
        return int(word)


class _Groups:
    """The groups of ranks of each kind, by rank; a rank alone in its group sends nothing there."""

    def __init__(self, lines: Lines, head: _Head, ranks: int, line: int) -> None:
        keys = head.policy in TRANSFORMERS
        self.tp, pp, self.ep = (head.of(key) if keys else 1 for key in ("model_parallel_NPU_group:", "pp:", "ep:"))
        if ranks % (self.tp * pp):
            lines.fail(line, f"{ranks} GPUs do not divide into TP {self.tp} times PP {pp}")
        self.dp = dp = ranks // (self.tp * pp)
        if dp % self.ep:
            lines.fail(line, f"a data group of {dp} ranks does not divide into expert groups of {self.ep}")
        tp, ep = self.tp, self.ep
        self.all: list[tuple[int, ...]] = []
        self._of: dict[tuple[str, int], int] = {}
        kinds: dict[str, Callable[[int, int, int], object]] = {
            "tp": lambda stage, data, tensor: (stage, data),
            "dp": lambda stage, data, tensor: (stage, tensor),
            "ep": lambda stage, data, tensor: (stage, tensor, data // ep),
            "dp_ep": lambda stage, data, tensor: (stage, tensor, data % ep),
        }
        for kind, key in kinds.items():
            members: dict[object, list[int]] = {}
            for rank in range(ranks):
                members.setdefault(key(rank // (tp * dp), rank // tp % dp, rank % tp), []).append(rank)
            for group in members.values():
                self._of |= dict.fromkeys(((kind, rank) for rank in group), len(self.all))
                self.all.append(tuple(group))

    def of(self, kind: str, rank: int) -> int | None:
        """Return the number of the group that a rank is in; None if it is alone there."""
        number = self._of[kind, rank]
        return number if len(self.all[number]) > 1 else None


class _Line:
    """Writes the ops of a rank, one after another."""

    def __init__(self, groups: _Groups, rank: int) -> None:
        self.groups = groups
        self.rank = rank
        self.ops: list[Op] = []
        self.last: tuple[int, ...] = ()

    def add(self, does: _Pass, line: int, blocks: bool = True) -> tuple[int, ...]:
        """Write a pass behind all that blocks; return what it ends with."""
        if does.compute_ps:
            self.last = self.calc(does.compute_ps, line, self.last)
        last = self.last
        group = self.groups.of(does.group, self.rank)
        for kind in does.collectives if group is not None else ():
            self.ops.append(Op(kind, does.bytes, group or 0, after=last, line=line))
            last = (len(self.ops) - 1,)
        if blocks:
            self.last = last
        return last

    def calc(self, duration_ps: int, line: int, after: tuple[int, ...]) -> tuple[int, ...]:
        self.ops.append(Op("calc", duration_ps, lane=0, after=after, line=line))
        return (len(self.ops) - 1,)


def _step(layers: list[_Layer], groups: _Groups, rank: int) -> Iterator[Op]:
    """Yield one pass of training on a rank."""
    writer = _Line(groups, rank)
    for layer in layers:
        writer.add(layer.forward, layer.line)
    for layer in reversed(layers):
        writer.add(layer.back, layer.line)
        sent = writer.add(layer.weights, layer.line, blocks=False)
        if layer.update_ps:
            writer.calc(layer.update_ps, layer.line, sent)
    yield from writer.ops


def _micro(layers: list[_Layer], groups: _Groups, rank: int) -> Iterator[Op]:
    """Yield what a rank does of a file of single collectives, one after another."""
    writer = _Line(groups, rank)
    for layer in layers:
        writer.add(layer.weights, layer.line)
    yield from writer.ops
