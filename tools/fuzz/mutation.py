"""Documents, texts and bytes with faults put into them, drawn at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

Path = tuple[str | int, ...]

# Words and signs at which readers of texts of any format go wrong.
HOSTILE_TOKENS = ("0", "-1", "4294967296", "9" * 30, "1e309", "nan", "\r\n", " ", "\t", "#", ":", "\ufeff")
# Numbers at which types end, and texts that some reader may take for more than text.
STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    8,
    255,
    2**16,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**18,
    10**400,
    0.5,
    -0.5,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    "0",
    "-1",
    "auto",
    "nan",
    "1e999",
    "400G",
    "1e30Tbps",
    "80km",
    "1ps",
    "100%",
    "0x" + "f" * 300,
    "9" * 400,
    "1" * 5000 + "m",
    "../../etc/passwd",
    "/dev/null",
    "a/b",
    "a\nb",
    "a\0b",
    "\ud800",
    "ａ１",
    "x" * 70,
    "x" * 5000,
    "$(id)",
    "{{7*7}}",
    "%s%n",
    [],
    {},
    [[]],
    [0, 99],
    {"": {}},
    {"x": None},
)
LONGEST_BYTES = 300_000
"""Of a mutated document; what is longer is not drawn."""


def document(random: Random, base: Any) -> Any:
    """Return a document of JSON with a few of its values replaced, removed, doubled, exchanged, or nested."""
    changed = copy.deepcopy(base)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        places = _places(changed)
        if not places:
            return random.choice(STRANGE)
        path = random.choice(places)
        holder = _at(changed, path[:-1])
        _MUTATIONS[random.randrange(len(_MUTATIONS))](random, changed, holder, path[-1], places)
    return changed


def dump(data: Any) -> str:
    """Write a document as JSON, with the halves of surrogate pairs and the numbers that JSON has no sign for."""
    return json.dumps(data)


def text(random: Random, base: str, tokens: Sequence[str]) -> str:
    """Return a text with a few of its lines and characters removed, doubled, exchanged, or with tokens put between."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at, way = random.randrange(len(base) + 1), random.randrange(7)
        lines = base.splitlines(keepends=True)
        line = random.randrange(len(lines)) if lines else 0
        if way == 0:
            base = base[:at] + random.choice(tokens) + base[at:]
        elif way == 1:
            base = base[:at] + base[at + random.choice((1, 2, 10, 100)) :]
        elif way == 2:
            base = base[:at] + base[at : at + 40] * random.choice((2, 3, 50)) + base[at:]
        elif way == 3:
            base = "".join([*lines[:line], *lines[line + 1 :]])
        elif way == 4:
            base = "".join([*lines[:line], *lines[line : line + 3] * random.choice((2, 3, 200)), *lines[line:]])
        elif way == 5 and base:
            at = min(at, len(base) - 1)
            base = base[:at] + chr(random.choice((0, 9, 10, 0x85, 0x2028, 0xFEFF, ord(base[at]) ^ 1))) + base[at + 1 :]
        else:
            indent = " " * random.randrange(9)
            base = "".join([*lines[:line], indent, *lines[line:]])
        base = base[:LONGEST_BYTES]
    return base


def octets(random: Random, base: bytes) -> bytes:
    """Return bytes with a few of them flipped, removed, set, or doubled."""
    data = bytearray(base)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at, way = random.randrange(len(data) + 1), random.randrange(5)
        if way == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif way == 1:
            del data[at : at + random.choice((1, 2, 4, 64))]
        elif way == 2:
            data[at : at + 4] = random.choice((b"\0" * 4, b"\xff" * 4, b"\x00\x00\x00\x80", random.randbytes(4)))
        elif way == 3:
            data[at:at] = data[at : at + random.choice((1, 4, 60))]
        else:
            del data[at:]
    return bytes(data[:LONGEST_BYTES])


def _places(data: Any, at: Path = ()) -> list[Path]:
    """Return the paths to all values; of long lists only those that come first and last, so that others are found, too."""
    places: list[Path] = []
    if isinstance(data, dict):
        for key, value in data.items():
            places += [(*at, key), *_places(value, (*at, key))]
    elif isinstance(data, list):
        chosen = range(len(data)) if len(data) < 8 else (0, 1, 2, len(data) - 1)
        for index in chosen:
            places += [(*at, index), *_places(data[index], (*at, index))]
    return places


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _replace(random: Random, _root: Any, holder: Any, key: Any, _places: list[Path]) -> None:
    holder[key] = copy.deepcopy(random.choice(STRANGE))


def _shift(random: Random, root: Any, holder: Any, key: Any, places: list[Path]) -> None:
    """Make a number a little or a lot larger or smaller; replace what is no number."""
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _replace(random, root, holder, key, places)
    holder[key] = random.choice((value + 1, value - 1, -value, value * 2, value * 1_000_003, value // 3))


def _remove(_random: Random, _root: Any, holder: Any, key: Any, _places: list[Path]) -> None:
    del holder[key]


def _misname(random: Random, _root: Any, holder: Any, key: Any, _places: list[Path]) -> None:
    if isinstance(holder, dict):
        # YAML has keys that are numbers, too.
        name = str(key)
        other = random.choice((name[:-1], name + "s", name.upper(), "<<", "x-" + name, "__class__", "\udfff"))
        holder[other] = holder.pop(key)
    else:
        holder.insert(key, copy.deepcopy(holder[key]))


def _repeat(random: Random, root: Any, holder: Any, key: Any, places: list[Path]) -> None:
    """Double an element of a list so many times; nest what is in none."""
    if isinstance(holder, list):
        times = random.choice((1, 2, 40))
        if len(json.dumps(holder[key])) * times < LONGEST_BYTES // 8:
            holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(times)]
        return
    value = holder[key]
    for _ in range(random.choice((1, 3, 30, 200))):
        value = [value] if random.random() < 0.5 else {key: value}
    holder[key] = value


def _exchange(random: Random, root: Any, holder: Any, key: Any, places: list[Path]) -> None:
    """Put in what stands elsewhere in the document."""
    taken = copy.deepcopy(_at(root, random.choice(places)))
    if len(json.dumps(taken)) < LONGEST_BYTES // 8:
        holder[key] = taken


_MUTATIONS = (_replace, _replace, _replace, _shift, _shift, _shift, _remove, _misname, _repeat, _exchange, _exchange)
