"""YAML as plain data that remembers its lines, read within bounds.

A file from a stranger may not exhaust the machine: its size, its depth, the number of its keys and values, before and after
aliases are expanded, and the digits of a number are limited, each before what lies beyond is read; and only plain scalars,
lists and mappings with text keys are built.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from testbed.errors import Fault, InputError
from testbed.units import MAX_DIGITS

# A lab of a thousand nodes and two thousand links has 150 kB and 30,000 keys and values.
MAX_BYTES = 2**20
MAX_DEPTH = 24
MAX_VALUES = 50_000
"""Of keys and values in the text, and of values when aliases are expanded. Fifty thousand take about a second."""

KeyPath = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_MAPPING_TAGS = frozenset({_TAG + "map"})
_LIST_TAGS = frozenset({_TAG + "seq"})
# Longer ones take time that grows with the square of their length.
_LONG_TAG = re.compile(r"![^\s,\[\]{}]{1000}")
# Dates and the signs that YAML gives a meaning to are plain text here.
_NUMBER_TAGS = frozenset({_TAG + "int", _TAG + "float"})
_TEXT_TAGS = frozenset(_TAG + name for name in ("str", "timestamp", "merge", "value"))
_MERGE_TAG = _TAG + "merge"


@dataclass
class Source:
    """Data of one file, the line of each key path in it, the faults met while reading, and what its reader is to be told.

    `files`: of key paths whose data stood in another file that this one names, which; their lines are lines of that file.
    """

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    files: dict[KeyPath, str] = field(default_factory=dict)

    def line(self, path: Sequence[str | int]) -> int:
        """Return the line of `path`, or of the nearest enclosing key that the file has; 0 if it has none."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(tuple(path[:length]))) is not None:
                return line
        return 0

    def fault_at(self, path: Sequence[str | int], message: str) -> Fault:
        """Return a fault at `path`, with the file and line where that stands."""
        inside = (self.files.get(tuple(path[:length])) for length in range(len(path), 0, -1))
        return Fault(next(filter(None, inside), self.file), self.line(path), dotted(path), message)

    def fault(self, path: Sequence[str | int], message: str) -> None:
        """Note a fault at `path`."""
        self.faults.append(self.fault_at(path, message))


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path as `topology.links[2].rate`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_yaml(path: Path, error: type[InputError]) -> Source:
    """Read a YAML file; raise `error` if it cannot be opened or is not YAML at all."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error.at(str(path), "", problem.strerror or str(problem)) from None
    if len(raw) > MAX_BYTES:
        raise error.at(str(path), "", f"larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error.at(str(path), "", "not UTF-8 text", raw.count(b"\n", 0, problem.start) + 1) from None
    return parse_yaml(text, str(path), error)


def parse_yaml(text: str, file: str, error: type[InputError]) -> Source:
    """Read YAML text; raise `error` if it is not YAML at all. Lesser faults are left in the result."""
    source = Source(file)
    if len(text) > MAX_BYTES:
        raise error.at(file, "", f"larger than {MAX_BYTES} bytes")
    if (long := _LONG_TAG.search(text)) is not None:
        raise error.at(file, "", "a tag of more than 1000 characters", text.count("\n", 0, long.start()) + 1)
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _BoundedComposer
    reader.max_depth = MAX_DEPTH + 1
    try:
        root = reader.compose(StringIO(text))
    except _TooMany as problem:
        raise error.at(file, "", f"more than {MAX_VALUES} keys and values", problem.line) from None
    except MaxDepthExceededError as problem:
        mark = problem.problem_mark
        raise error.at(file, "", f"nested deeper than {MAX_DEPTH} levels", mark.line + 1 if mark else 0) from None
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        message = problem.problem or problem.context or "not YAML"
        raise error.at(file, "", f"not YAML: {message}", mark.line + 1 if mark else 0) from None
    except YAMLError as problem:
        raise error.at(file, "", f"not YAML: {str(problem).splitlines()[0]}") from None
    if root is None:
        raise error.at(file, "", "the file is empty", 1)
    source.data = _Builder(source, error).build(root, (), 0)
    return source


class _TooMany(Exception):
    """There are more keys and values than are read; the one too many stands on `line`."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _BoundedComposer(Composer):
    """Compose nodes as long as there are not too many: the text behind is not even scanned."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.count = 0
        # An anchor may be set anew (YAML 1.2, section 7.1): aliases below mean the later one.
        self.warn_double_anchors = False

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a key or a value."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise _TooMany(self.parser.peek_event().start_mark.line + 1)
        return super().compose_node(parent, index)


class _Builder:
    def __init__(self, source: Source, error: type[InputError]) -> None:
        self.source = source
        self.error = error
        self.values = 0

    def build(self, node: Node, path: KeyPath, depth: int) -> Any:
        """Return the plain data of a node; aliases are expanded, each expansion counting as values of its own."""
        line = node.start_mark.line + 1
        self.source.lines.setdefault(path, line)
        self.values += 1
        if depth > MAX_DEPTH:
            raise self.error.at(self.source.file, dotted(path), f"nested deeper than {MAX_DEPTH} levels", line)
        if self.values > MAX_VALUES:
            raise self.error.at(self.source.file, dotted(path), f"more than {MAX_VALUES} values", line)
        if isinstance(node, MappingNode):
            self._check_tag(str(node.tag), _MAPPING_TAGS, path)
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            self._check_tag(str(node.tag), _LIST_TAGS, path)
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self._entries(node, path, depth).items():
            inner = (*path, key)
            self.source.lines[inner] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, inner, depth + 1)
        return result

    def _entries(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, tuple[Node, Node]]:
        """Return the keys of a mapping with their nodes: those of `<<` first, and replaced by the mapping's own."""
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.source.faults.append(Fault(self.source.file, line, dotted(path), "a key must be plain text"))
                continue
            if str(key_node.tag) == _MERGE_TAG:
                merged = {**self._merged(value_node, path, depth, line), **merged}
                continue
            key = self._text(str(key_node.value), path, line)
            if key in own:
                first = own[key][0].start_mark.line + 1
                message = f"key given twice, first on line {first}"
                self.source.faults.append(Fault(self.source.file, line, dotted((*path, key)), message))
                continue
            own[key] = (key_node, value_node)
        return {**merged, **own}

    def _merged(self, node: Node, path: KeyPath, depth: int, line: int) -> dict[str, tuple[Node, Node]]:
        """Return what a merge key brings: a mapping, or a list of mappings of which the first wins (yaml.org/type/merge.html)."""
        mappings = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, tuple[Node, Node]] = {}
        for mapping in mappings:
            if not isinstance(mapping, MappingNode):
                message = "<< takes a mapping, or a list of mappings"
                self.source.faults.append(Fault(self.source.file, line, dotted((*path, "<<")), message))
                continue
            # Each use of an alias counts anew, as in `build`.
            self.values += 1 + len(mapping.value)
            if depth >= MAX_DEPTH:
                raise self.error.at(self.source.file, dotted(path), f"nested deeper than {MAX_DEPTH} levels", line)
            if self.values > MAX_VALUES:
                raise self.error.at(self.source.file, dotted(path), f"more than {MAX_VALUES} values", line)
            merged = {**self._entries(mapping, path, depth + 1), **merged}
        return merged

    def _scalar(self, node: Node, path: KeyPath) -> Any:
        text = self._text(node.value, path, node.start_mark.line + 1)
        tag = str(node.tag)
        if tag in _NUMBER_TAGS and len(text) > MAX_DIGITS:
            self.source.fault(path, f"a number of {len(text)} characters; {MAX_DIGITS} is the most")
            return 0
        try:
            if tag == _TAG + "null":
                return None
            if tag == _TAG + "bool":
                return text.lower() == "true"
            if tag == _TAG + "int":
                return int(text.replace("_", ""), 0) if not text.lstrip("+-").startswith("0o") else int(text, 8)
            if tag == _TAG + "float":
                return float(text.replace("_", ""))
        except ValueError:
            return text
        self._check_tag(tag, _TEXT_TAGS, path)
        return text

    def _text(self, text: str, path: KeyPath, line: int) -> str:
        """Return text that can be written anywhere: half of a surrogate pair is no character (Unicode, D71 to D75)."""
        if text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text):
            return text
        message = "half of a surrogate pair is not a character"
        self.source.faults.append(Fault(self.source.file, line, dotted(path), message))
        return text.encode(errors="replace").decode()

    def _check_tag(self, tag: str, allowed: frozenset[str], path: KeyPath) -> None:
        if tag not in allowed:
            self.source.fault(path, f"the tag {tag} is not allowed")
