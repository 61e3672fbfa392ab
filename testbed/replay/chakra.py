"""Execution traces of Chakra: a file a rank, `PREFIX.RANK.et`, or in JSON `PREFIX.RANK.json`, which may be compressed.

A file is messages of et_def.proto (mlcommons/chakra, schema/protobuf), each behind its length: the metadata, then nodes. Nodes
wait for their `data_deps`; `ctrl_deps` say in which order a program issued them, and are left out. Computing of the GPU goes
one after another, and so does that of the CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from testbed.errors import ExperimentError
from testbed.importers.draft import Remainder, counted
from testbed.replay.chakra_json import read_nodes
from testbed.replay.chakra_nodes import ATTRIBUTES, Malformed, Node
from testbed.replay.form import MAX_AMOUNT, MAX_OPS, MAX_RANKS, Op, Trace
from testbed.replay.lines import Reading, whole_bytes
from testbed.replay.protobuf import Value, fields, packed, signed, varint, zigzag

PS_PER_US = 10**6
FILE_NAME = re.compile(r"(.*)\.(\d{1,6})\.(?:et|json)(?:\.gz)?", re.S)
METADATA, COMPUTE, SEND, RECV, COLLECTIVE = 1, 4, 5, 6, 7
COLLECTIVES = {
    0: "all_reduce",
    1: "reduce",
    2: "all_gather",
    5: "broadcast",
    6: "all_to_all",
    7: "reduce_scatter",
    9: "barrier",
}
"""By the numbers of CollectiveCommType. For the others no document says what their size counts."""
_NODE = {1: "id", 3: "type", 7: "duration"}
_GPU, _CPU = 0, 1
_SIGNED, _ZIGZAG, _PLAIN, _TEXT = (7, 9), (15, 17), (11, 13, 19, 21, 23, 25, 27), 29
_ATTRIBUTES = frozenset(name.encode() for name in ATTRIBUTES)


def is_group(ranks: object) -> bool:
    """Return True if a value of a JSON file is a list of ranks."""
    return isinstance(ranks, list) and all(type(rank) is int and 0 <= rank < MAX_RANKS for rank in ranks)


def read_groups(path: Path) -> dict[str, list[int]]:
    """Read a file of process groups, a JSON object of names and lists of ranks. Raises ExperimentError."""
    try:
        groups = json.loads(whole_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ExperimentError.at(str(path), "", f"not JSON: {error}") from None
    if not isinstance(groups, dict) or not all(map(is_group, groups.values())):
        raise ExperimentError.at(str(path), "", 'not process groups: {"0": [0, 1], "1": [2, 3]}')
    return groups


def read_chakra(paths: Sequence[Path], groups: Mapping[str, Sequence[int]] | None = None) -> Reading:
    """Read the files of all ranks of one trace; `groups` has the process groups by their names, else all ranks are one.

    Raises ExperimentError, with file and node, for ranks that are missing and whatever cannot be read.
    """
    by_rank = _by_rank(paths)
    known = _Groups(len(by_rank), groups or {})
    remainder, ranks, count = Remainder(), list[tuple[Op, ...]](), 0
    for path in by_rank:
        reader = _Reader(path, known, remainder)
        ops = reader.ops()
        count += len(ops)
        if count > MAX_OPS:
            raise ExperimentError.at(str(path), "", f"more than {MAX_OPS} nodes; replay a part of the trace")
        ranks.append(ops)
    trace = Trace(tuple(map(str, by_rank)), tuple(ranks), tuple(known.members))
    groups_taken = [counted(len(known.members) - 1, "group")] if len(known.members) > 1 else []
    took = (counted(len(ranks), "rank"), counted(count, "node"), *groups_taken)
    return Reading(trace.check(), took, remainder.all())


def _by_rank(paths: Sequence[Path]) -> list[Path]:
    """Return the files in the order of their ranks, none of which is missing."""
    files: dict[int, Path] = {}
    for path in paths:
        named = FILE_NAME.fullmatch(str(path))
        if named is None:
            raise ExperimentError.at(
                str(path), "", "its name does not say its rank; write PREFIX.RANK.et or PREFIX.RANK.json"
            )
        if int(named[2]) in files:
            raise ExperimentError.at(str(path), "", f"rank {named[2]} is in {files[int(named[2])]} too")
        files[int(named[2])] = path
    missing = next(rank for rank in range(len(files) + 1) if rank not in files)
    if missing < len(files) or len(files) > MAX_RANKS:
        raise ExperimentError.at(str(paths[0]), "", f"rank {missing} is missing among {len(files)} files")
    return [files[rank] for rank in range(len(files))]


class _Groups:
    """Process groups by name: all ranks, those of a file, and those that metadata nodes name."""

    def __init__(self, ranks: int, groups: Mapping[str, Sequence[int]]) -> None:
        self.members: list[tuple[int, ...]] = [tuple(range(ranks))]
        self.names = {"": 0}
        for name, group in groups.items():
            self.add(name, group)

    def add(self, name: str, ranks: Sequence[int]) -> None:
        """Add a group unless one of this name is known; an empty list is all ranks."""
        if name not in self.names:
            self.names[name] = len(self.members) if ranks else 0
            self.members += [tuple(ranks)] if ranks else []


class _Reader:
    def __init__(self, path: Path, groups: _Groups, remainder: Remainder) -> None:
        self.file = str(path)
        self.raw = whole_bytes(path)
        self.groups, self.remainder = groups, remainder

    def _fail(self, node: Node | None, message: str) -> NoReturn:
        raise ExperimentError.at(self.file, "" if node is None else f"node {node.id}", message)

    def ops(self) -> tuple[Op, ...]:
        try:
            is_json = self.file.removesuffix(".gz").endswith(".json")
            nodes = read_nodes(self.raw, self.file, self.remainder) if is_json else self._nodes()
        except (Malformed, UnicodeDecodeError) as error:
            self._fail(None, f"not a Chakra trace: {error}")
        places: dict[int, int] = {}
        for node in nodes:
            if node.type == METADATA and node.values:
                self._read_groups(node)
        for position, node in enumerate(nodes):
            if node.id in places:
                self._fail(node, "two nodes have this id")
            places[node.id] = position
        return tuple(self._op(node, places) for node in nodes)

    def _nodes(self) -> list[Node]:
        nodes, at, first = list[Node](), 0, True
        while at < len(self.raw):
            length, at = varint(self.raw, at, len(self.raw))
            if length == 0 and not first:
                break
            if length > len(self.raw) - at:
                raise Malformed(f"byte {at}: a message of {length} bytes where {len(self.raw) - at} are left")
            if not first:
                if len(nodes) >= MAX_OPS:
                    raise Malformed(f"byte {at}: more than {MAX_OPS} nodes")
                nodes.append(_node(self.raw, at, at + length))
            elif any(number not in (1, 2) for number, _, _ in fields(self.raw, at, at + length)):
                raise Malformed(f"byte {at}: the first message is not metadata")
            first, at = False, at + length
        if first:
            raise Malformed("no metadata")
        return nodes

    def _read_groups(self, node: Node) -> None:
        """Read process groups from a metadata node: a list of JSON objects with two more characters at either end."""
        try:
            listed = json.loads(node.values[2:-2])
        except (ValueError, RecursionError):
            return  # metadata of another kind
        for group in listed if isinstance(listed, list) else ():
            if isinstance(group, dict) and isinstance(group.get("pg_name"), str) and is_group(group.get("ranks")):
                self.groups.add(group["pg_name"], group["ranks"])

    def _op(self, node: Node, places: Mapping[int, int]) -> Op:
        waits = list[int]()
        for dependency in dict.fromkeys(node.deps):
            if dependency not in places:
                self._fail(node, f"it waits for node {dependency}, which the file does not have")
            waits.append(places[dependency])
        after = tuple(waits)
        size = node.number("comm_size")
        is_traffic = size is not None and node.number("comm_type") is not None and not node.number("is_cpu_op")
        if node.type == COLLECTIVE and is_traffic:
            return self._collective(node, size or 0, after)
        if node.type in (SEND, RECV):
            peer = node.number("comm_dst" if node.type == SEND else "comm_src")
            if peer is None or size is None:
                self._fail(node, "a message has comm_size, and comm_dst or comm_src")
            kind = "send" if node.type == SEND else "recv"
            return Op(kind, size, peer, node.number("comm_tag") or 0, after=after)
        return self._compute(node, after)

    def _compute(self, node: Node, after: tuple[int, ...]) -> Op:
        if node.type == COLLECTIVE:
            self.remainder.add("traffic of collectives that the host calls; their time stays", self.file, 0)
        elif node.type == COMPUTE and not node.duration and node.number("num_ops"):
            self.remainder.add("num_ops of nodes without a duration; they take no time", self.file, 0)
        if node.duration > MAX_AMOUNT // PS_PER_US:
            self._fail(node, f"a duration of {node.duration} us")
        lane = _CPU if node.number("is_cpu_op") else _GPU
        return Op("calc", node.duration * PS_PER_US, lane=lane, after=after)

    def _collective(self, node: Node, size: int, after: tuple[int, ...]) -> Op:
        number = node.number("comm_type")
        kind = COLLECTIVES.get(-1 if number is None else number)
        if kind is None:
            self._fail(node, f"collectives of type {number} are not read")
        name, names = str(node.attributes.get("pg_name", "")), self.groups.names
        group = names.get(name, 0 if len(names) == 1 else None)
        if group is None:
            self._fail(node, f'no process group is called "{name}"; --groups has {", ".join(list(names)[1:9])}')
        if name and len(names) == 1:
            self.remainder.add(f"process group {name}, taken as all ranks; --groups FILE names them", self.file, 0)
        if kind == "all_gather":
            size *= len(self.groups.members[group])  # that of one rank's part
        if not 0 <= size <= MAX_AMOUNT:
            self._fail(node, f"a size of {size} bytes")
        return Op(kind, 0 if kind == "barrier" else size, group, after=after)


def _node(raw: bytes, at: int, end: int) -> Node:
    node = Node()
    for number, kind, value in fields(raw, at, end):
        if number == 5:
            node.deps += packed(kind, value)
        elif number == 10 and isinstance(value, bytes):
            _attribute(value, node)
        elif number == 8 and isinstance(value, bytes) and node.type == METADATA:
            texts = [text for name, _, text in fields(value, 0, len(value)) if name == 1 and isinstance(text, bytes)]
            node.values = b"".join(texts).decode()
        elif number in _NODE and isinstance(value, int):
            setattr(node, _NODE[number], value)
    return node


def _attribute(raw: bytes, node: Node) -> None:
    """Read an attribute that is used here; writers choose the type of its value."""
    name, values = b"", list[tuple[int, Value]]()
    for number, _, value in fields(raw, 0, len(raw)):
        if number == 1 and isinstance(value, bytes):
            name = value
        elif number > 2:
            values.append((number, value))
    if name not in _ATTRIBUTES or not values:
        return
    number, value = values[-1]
    if isinstance(value, bytes):
        if number == _TEXT:
            node.attributes[name.decode()] = value.decode()
    elif number in _SIGNED:
        node.attributes[name.decode()] = signed(value)
    elif number in _ZIGZAG:
        node.attributes[name.decode()] = zigzag(value)
    elif number in _PLAIN:
        node.attributes[name.decode()] = value
