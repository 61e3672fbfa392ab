"""Names of labs with what is changed in them: `two-dc:length=300km`, `mine.yaml:links[2].length=80km`.

What stands behind the colon are parameters of a generator, and keys of the lab: below `topology:`, or from `profiles` or
`circuits` on. A key is written as in messages, other names than words in quotes: `nodes.leaf.routes["h1:eth2"]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from testbed.errors import InputError, TopologyError, UsageError, nearest
from testbed.lab.file import LabFile
from testbed.schema import fields
from testbed.schema.listed import split_list
from testbed.schema.source import KeyPath, Source, dotted, parse_yaml

BODY = "topology"
_FILE = re.compile(r"(.+?\.ya?ml):(.*)", re.DOTALL)
_PART = re.compile(r'(?:^|\.)([\w-]+)|\[(\d+)\]|\["([^"]+)"\]')


def split_spec(spec: str) -> tuple[str, str]:
    """Return the file or name of a lab, and what is changed in it, empty if nothing is."""
    match = _FILE.fullmatch(spec)
    if match is not None and not os.path.isfile(spec):
        return match[1], match[2]
    if spec.endswith((".yaml", ".yml")) or os.path.isfile(spec):
        return spec, ""
    name, _, text = spec.partition(":")
    return name, text


def is_file(name: str, is_changed: bool = False) -> bool:
    """Return whether a lab is a file; by its name alone where something of it is changed."""
    return name.endswith((".yaml", ".yml")) or (not is_changed and ("/" in name or os.path.isfile(name)))


def is_key(parameter: str, generator: Collection[str] = ()) -> bool:
    """Return whether a parameter is a key of a lab rather than one of its generator."""
    first = re.split(r"[.\[]", parameter, maxsplit=1)[0]
    return parameter not in generator and first in (*_sections(), *fields.known_keys(LabFile, (BODY,)))


def check_keys(what: str, changed: Collection[str]) -> None:
    """Raise UsageError for a parameter of a lab that has none: `what` says why."""
    for key in changed:
        if not is_key(key):
            raise UsageError(f"{what} and takes no parameters; keys of it are changed as links[2].length=80km")


def with_keys(source: Source, changed: Mapping[str, str]) -> Source:
    """Return the data of a lab with the values of some keys replaced, each being read as YAML.

    Raises TopologyError for a key that is not there. What the values cannot be is found when the lab is made of it.
    """
    data = source.data
    for key, text in changed.items():
        value = parse_yaml(text, f"{source.file}: {key}", TopologyError)
        if value.faults:
            raise TopologyError(value.faults)
        data = _replaced(source, data, (), _path(source, key), value.data)
    return Source(source.file, data, source.lines, source.faults, source.notes) if changed else source


def _sections() -> list[str]:
    return [key for key in fields.known_keys(LabFile, ()) if key not in (BODY, "name")]


def _path(source: Source, key: str) -> KeyPath:
    parts: list[str | int] = []
    place = 0
    while place < len(key):
        match = _PART.match(key, place)
        if match is None:
            raise TopologyError.at(source.file, key, "not a key of a lab; write it like links[2].length")
        parts.append(int(match[2]) if match[2] else match[1] or match[3])
        place = match.end()
    return tuple(parts) if parts[0] in _sections() else (BODY, *parts)


def _replaced(source: Source, data: Any, place: KeyPath, path: KeyPath, value: Any) -> Any:
    """Return `data`, which stands at `place`, with what is at `path` replaced; it itself stays, since aliases share data."""
    if len(place) == len(path):
        return value
    part = path[len(place)]
    inner = (*place, part)
    if isinstance(data, list):
        if not isinstance(part, int) or part >= len(data):
            count = f"{dotted(place)} has {len(data)} entries, the first being {dotted(place)}[0]"
            raise _fault(source, inner, f"not in this lab: {count}")
        changed = _replaced(source, data[part], inner, path, value)
        return [changed if number == part else each for number, each in enumerate(data)]
    known = fields.known_keys(LabFile, place)
    if data is None and known:
        data = {}
    if not isinstance(data, dict):
        raise _fault(source, inner, f"not in this lab: {dotted(place)} is one value")
    names = known or list(data)
    if part not in names:
        raise _fault(source, inner, f"not in this lab{nearest(str(part), names)}")
    return {**data, part: _replaced(source, data.get(part), inner, path, value)}


def _fault(source: Source, path: KeyPath, message: str) -> InputError:
    return TopologyError.at(source.file, dotted(path), message, source.line(path))


def parse_parameters(text: str) -> dict[str, str]:
    """Read `key=value,key=value`; raise UsageError if it is not that."""
    parameters: dict[str, str] = {}
    for item in filter(None, map(str.strip, split_list(text))):
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise UsageError(f'"{item}" is not a parameter; write them like hosts=4,length=300km')
        if key in parameters:
            raise UsageError(f'the parameter "{key}" is given twice')
        parameters[key.strip()] = value.strip()
    return parameters
