"""Ports of a lab as commands name them: one by one, or by patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from testbed.errors import UsageError
from testbed.lab.endpoints import Endpoint, parse_endpoint

_WILD = frozenset("*?[")
_PIECE = re.compile(r"\[([0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*)\]|([*?])|([^*?\[\]]+)")
MOST_CHARACTERS = 200
MOST_STARS = 8


def is_pattern(text: str) -> bool:
    """Tell whether a text names ports by a pattern."""
    return not _WILD.isdisjoint(text)


def check(patterns: Sequence[str]) -> None:
    """Raise UsageError for what is neither a port nor a pattern of ports."""
    for text in patterns:
        if is_pattern(text):
            _matcher(text)
        else:
            _endpoint(text)


def chosen_ports(patterns: Sequence[str], known: Sequence[str]) -> list[Endpoint]:
    """Return the ports that names and patterns stand for, each once; `known` are those of the lab that have a link.

    In patterns `*` is any text, `?` a character, `[1-16,20]` a number; none of them reaches over the colon. Raises
    UsageError for what is no port, and for a pattern that fits none.
    """
    chosen: dict[Endpoint, None] = {}
    for text in patterns:
        names: Sequence[str] = [text]
        if is_pattern(text):
            fits = _matcher(text)
            names = [port for port in known if fits(port)]
            if not names:
                raise UsageError(f"no port of the lab that has a link fits {text}")
        chosen |= dict.fromkeys(map(_endpoint, names))
    return list(chosen)


def _endpoint(text: str) -> Endpoint:
    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from None


def _matcher(pattern: str) -> Callable[[str], bool]:
    pieces, at, written, ranges = [], 0, "", []
    while at < len(pattern) <= MOST_CHARACTERS and (piece := _PIECE.match(pattern, at)) is not None:
        pieces.append(piece)
        at = piece.end()
    if at < len(pattern) or pattern.count("*") > MOST_STARS:
        raise UsageError(f'"{pattern[:MOST_CHARACTERS]}" is not a pattern of ports; write leaf[1-4]:eth1 or border-*:*')
    for piece in pieces:
        if piece[1]:
            written += "([0-9]{1,9})"
            ends = [part.partition("-") for part in piece[1].split(",")]
            ranges.append([(int(low), int(high or low)) for low, _, high in ends])
        else:
            written += {"*": "[^:]*", "?": "[^:]"}.get(piece[2] or "", re.escape(piece[3] or ""))
    compiled = re.compile(written)

    def fits(port: str) -> bool:
        match = compiled.fullmatch(port)
        return match is not None and all(
            any(low <= int(number) <= high for low, high in allowed)
            for number, allowed in zip(match.groups(), ranges, strict=True)
        )

    return fits
