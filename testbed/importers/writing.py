"""A lab or an experiment as a YAML file that a person can read, and that the testbed reads again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from testbed.errors import TopologyError
from testbed.schema.source import MAX_BYTES, MAX_VALUES

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|[1-9][0-9]*(?:\.[0-9]+)?[A-Za-z]+")
# What YAML would take for something else than text.
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
_DEPTH = {"topology": 2}


def yaml_text(data: Mapping[str, Any], comment: str = "") -> str:
    """Return data as YAML, a line for each node and each link. Raises TopologyError if it is more than a file may hold."""
    values = sum(_values(data))
    if values > MAX_VALUES:
        message = f"comes to {values} keys and values, and a lab file holds {MAX_VALUES}"
        raise TopologyError.at(str(data.get("name", "lab")), "", message)
    lines = [f"# {line}" for line in comment.splitlines()]
    for key, value in data.items():
        lines += _block(_scalar(key), value, _DEPTH.get(key, 1), "")
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise TopologyError.at(str(data.get("name", "lab")), "", f"comes to more than {MAX_BYTES} bytes")
    return text


def _values(value: Any) -> Iterator[int]:
    yield 1
    if isinstance(value, Mapping):
        for entry in value.values():
            yield 1
            yield from _values(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _values(entry)


def _block(key: str, value: Any, depth: int, indent: str) -> Iterator[str]:
    """Yield the lines of one key; what is deeper than `depth` levels stands on one line."""
    if not depth or not value or not isinstance(value, Mapping | list | tuple):
        yield f"{indent}{key}: {_flow(value)}"
        return
    yield f"{indent}{key}:"
    if isinstance(value, Mapping):
        for inner, entry in value.items():
            yield from _block(_scalar(inner), entry, depth - 1 if inner != "defaults" else 0, indent + "  ")
    else:
        yield from (f"{indent}  - {_flow(entry)}" for entry in value)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(entry) for entry in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not re.fullmatch(r"[0-9.]+e[0-9]+", text.lower()):
        return text
    return json.dumps(text, ensure_ascii=False)
