"""What generators are made of: parameters that they may be asked for, and a lab under construction.

Rates and lengths pass through as text: whoever reads the lab reads its units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]

DEFAULT_RATE = "100G"
DEFAULT_LENGTH = "50m"


class ParameterError(ValueError):
    """A parameter that a generator does not have, or a value that it cannot use."""


@dataclass(frozen=True)
class Parameter:
    """What one parameter means; an integer has bounds, text has none."""

    default: int | str
    help: str
    low: int = 1
    high: int = 4096

    def read(self, name: str, text: str) -> int | str:
        """Return the value that `text` stands for."""
        if isinstance(self.default, str):
            return text
        try:
            value = int(text)
        except ValueError:
            raise ParameterError(f'{name} must be a whole number, not "{text}"') from None
        if not self.low <= value <= self.high:
            raise ParameterError(f"{name} must be between {self.low} and {self.high}, not {value}")
        return value


@dataclass(frozen=True)
class Generator:
    """A function that makes a lab, with what help text needs to know about it."""

    make: Callable[..., Data]
    summary: str
    parameters: Mapping[str, Parameter]


class LabBuilder:
    """A lab under construction: ports are handed out in the order of the links.

    An empty setting is one that was not given. Links with a profile have its rate, unless a rate was given, and so have
    the NICs where the hosts' links have one.
    """

    def __init__(self, rate: str, host_profile: str = "", **switch: Any) -> None:
        self.nodes: dict[str, Data] = {}
        self.links: list[Data] = []
        self.rate = rate
        host = {} if host_profile and not rate else {"nic": {"rate": rate or DEFAULT_RATE}}
        self.kinds: Data = {"switch": {"buffer": "auto", "lossless": [3], **switch}, "host": host}
        self.used: dict[str, int] = {}

    def add(self, kind: str, names: Iterable[str], **settings: Any) -> list[str]:
        added = list(names)
        self.nodes.update({name: {"kind": kind, **settings} for name in added})
        return added

    def link(self, a: str, b: str, profile: str = "", **settings: str) -> None:
        optics = {"profile": profile, "rate": self.rate} if profile else {}
        self.join(a, b, **{**optics, **{key: value for key, value in settings.items() if value}})

    def join(self, a: str, b: str, **settings: str) -> None:
        """Link two nodes by what is said of this link alone."""
        given = {key.replace("_", "-"): value for key, value in settings.items() if value}
        self.links.append({"endpoints": [self._port(a), self._port(b)], **given})

    def _port(self, node: str) -> str:
        self.used[node] = self.used.get(node, 0) + 1
        return f"{node}:eth{self.used[node]}"

    def data(self, name: str) -> Data:
        body = {
            "defaults": {"rate": self.rate or DEFAULT_RATE},
            "kinds": self.kinds,
            "nodes": self.nodes,
            "links": self.links,
        }
        return {"name": name, "topology": body}


def check_word(key: str, word: str, known: tuple[str, ...]) -> None:
    """Raise ParameterError unless a word is one of those that a parameter can have."""
    if word not in known:
        raise ParameterError(f'{key} must be {", ".join(known[:-1])} or {known[-1]}, not "{word}"')


RATE = Parameter("", f"rate of every link; {DEFAULT_RATE} where no profile says otherwise")
LENGTH = Parameter(DEFAULT_LENGTH, "length of every link")
PROFILE = Parameter("", "optical profile of every link")
