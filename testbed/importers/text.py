"""Text of strangers, read within bounds and line by line, and words of it as numbers and names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from testbed.errors import TopologyError, UnitError
from testbed.units import MAX_DIGITS

MAX_BYTES = 8 * 2**20
"""Of one file. A topology of 8,192 hosts in three tiers has 1 MB, a full configuration of a switch of 512 ports 0.5 MB."""
MAX_NODES = 16_384
MAX_LINKS = 16_384
"""A lab file holds fewer than either (`schema.source.MAX_VALUES`), which is found when it is written."""

Read = TypeVar("Read")
_WHOLE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class Line:
    """The words of one line, split at blanks and tabs, and its number from 1."""

    number: int
    words: tuple[str, ...]


class Text:
    """The text of one file. Faults are raised as TopologyError, with the file and the line."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    def fail(self, line: int, message: str) -> NoReturn:
        """Raise TopologyError at a line; line 0 is the file as a whole."""
        raise TopologyError.at(self.file, "", message, line)

    def lines(self, comment: str = "#") -> Iterator[Line]:
        """Yield the lines that have words; a word that begins with `comment` ends its line."""
        for number, text in enumerate(self.text.split("\n"), start=1):
            words = text.split()
            if comment:
                words = words[: next((at for at, word in enumerate(words) if word.startswith(comment)), len(words))]
            if words:
                yield Line(number, tuple(words))

    def whole(self, line: int, text: str, what: str, low: int, high: int) -> int:
        """Return a whole number written in decimal digits."""
        if _WHOLE.fullmatch(text) is None or not low <= int(text) <= high:
            self.fail(line, f'{what} "{shown(text)}" is not a whole number from {low} to {high}')
        return int(text)

    def number(self, line: int, text: str, what: str, low: float, high: float) -> float:
        """Return a number with or without a decimal point."""
        try:
            value = float(text) if len(text) <= MAX_DIGITS and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            self.fail(line, f'{what} "{shown(text)}" is not a number from {low:g} to {high:g}')
        return value

    def quantity(self, line: int, text: str, what: str, parse: Callable[[object], Read]) -> Read:
        """Return what `parse` of the units makes of a word."""
        try:
            return parse(text)
        except UnitError as error:
            self.fail(line, f"{what}: {error}")


def shown(text: str) -> str:
    """Return the beginning of a word of a stranger, for a message: what cannot be printed is a question mark."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text[:40])
    return plain if len(text) <= 40 else f"{plain}…"


def read_text(path: Path) -> Text:
    """Read a UTF-8 file of at most MAX_BYTES; raise TopologyError for any other. A byte order mark is left out."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise TopologyError.at(str(path), "", problem.strerror or str(problem)) from None
    return decoded(str(path), raw)


def decoded(file: str, raw: bytes) -> Text:
    """Return bytes as text; raise TopologyError if they are too many, or no text."""
    if len(raw) > MAX_BYTES:
        raise TopologyError.at(file, "", f"larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise TopologyError.at(file, "", "not UTF-8 text", raw.count(b"\n", 0, problem.start) + 1) from None
    if "\0" in text:
        raise TopologyError.at(file, "", "not text: a zero byte", text.count("\n", 0, text.index("\0")) + 1)
    return Text(file, text.replace("\r\n", "\n"))


def read_json(text: Text) -> dict[str, Any]:
    """Return a JSON object; raise TopologyError for anything else, for keys given twice, and for one nested too deeply."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique = dict(pairs)
        if len(unique) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            text.fail(line_of(text, twice), f'the key "{shown(twice)}" is given twice')
        return unique

    try:
        document = json.loads(text.text, object_pairs_hook=unique, parse_int=_short, parse_constant=_no_number)
    except json.JSONDecodeError as problem:
        text.fail(problem.lineno, f"not JSON: {problem.msg}")
    except ValueError as problem:
        text.fail(0, f"not JSON: {problem}")
    except RecursionError:
        text.fail(0, "not JSON that can be read: nested too deeply")
    if not isinstance(document, dict):
        text.fail(1, "not a JSON object of tables")
    return document


def _short(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def line_of(text: Text, *keys: str) -> int:
    """Return the line on which the last of these keys of a JSON file first stands, each sought behind the one before it."""
    place = 0
    for key in keys:
        at = text.text.find(json.dumps(key, ensure_ascii=False), place)
        if at < 0:
            break
        place = at
    return text.text.count("\n", 0, place) + 1
