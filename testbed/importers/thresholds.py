"""Thresholds of single priority groups, said of as many of them at once as have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def hoisted(groups: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[str, Any]:
    """Return thresholds said of as many groups at once as have them: of all, of a port, of a priority at a port.

    What not all of them say is not said of all, since nothing takes it back.
    """
    if not groups:
        return {}
    base = _shared(list(groups.values()))
    ports: dict[str, Any] = {}
    for port in dict.fromkeys(port for port, _ in groups):
        own = {priority: each for (there, priority), each in groups.items() if there == port}
        most = _shared(list(own.values()))
        of_port: dict[str, Any] = _other(most, base)
        single = {priority: other for priority, each in own.items() if (other := _other(each, {**base, **most}))}
        if single:
            of_port["priorities"] = single
        if of_port:
            ports[port] = of_port
    return {**base, "ports": ports} if ports else base


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what most say, of that which all of them say."""
    key: Callable[[Mapping[str, Any]], str] = repr
    usual = Counter(map(key, settings)).most_common(1)[0][0]
    most = next(each for each in settings if key(each) == usual)
    return {name: value for name, value in most.items() if all(name in each for each in settings)}


def _other(settings: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in below or below[name] != value}
