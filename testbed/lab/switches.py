"""What a switch can be given, and how it follows from named switches, defaults, kinds and the switch's own words.

A priority group has either a static threshold (`xoff`, `xon`) or a dynamic one (`alpha` and what goes with it). Whichever
is said later, in the order catalogue, defaults, kind, node, replaces the other with all its settings. Likewise lossy
queues have a static limit (`lossy_queue`) or a dynamic one (`lossy_alpha`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError

from testbed.data import DATA
from testbed.errors import TopologyError, nearest
from testbed.lab import checks, priorities
from testbed.lab import thresholds as thresholds_of
from testbed.lab.priorities import DscpKey
from testbed.lab.thresholds import Alpha, Thresholds
from testbed.lab.watchdog import SwitchedWatchdog, Watchdog
from testbed.schema import fields as models
from testbed.schema.fields import (
    AUTO,
    FileModel,
    Priorities,
    Priority,
    PriorityKey,
    Size,
    SizeOrAuto,
    Weights,
    all_weights,
)
from testbed.schema.source import KeyPath, Source, read_yaml
from testbed.units import format_size

CATALOGUE = DATA / "switches.yaml"
DEFAULT_BUFFER_BYTES = 32 * 10**6
DEFAULT_LOSSLESS = (3,)

_POOLS = ("pool", "headroom_pool")
_LOSSY = ("lossy_queue", "lossy_alpha")


def _positive(size_bytes: int) -> int:
    if size_bytes < 1:
        raise ValueError("must be at least 1 byte")
    return size_bytes


PositiveSize = Annotated[Size, AfterValidator(_positive)]
PositiveSizeOrAuto = Annotated[
    SizeOrAuto, AfterValidator(lambda value: value if value == AUTO else _positive(int(value)))
]


class SwitchSettings(FileModel):
    """What a switch can be given. `buffer: auto` is as deep as its links need, `pool: auto` what the rest leaves over.

    Lossy priorities are limited at egress: each queue to `lossy-queue` bytes, or after a `lossy-reserve` of its own to
    `lossy-alpha` times what is left of their pool. `lossy-pool` is the size of that; where priority groups share a pool,
    lossy frames are then charged to both, and without it to memory of their own.

    `weights` by priority share every port by deficit round robin; a priority without one is strict and goes first.
    """

    buffer: SizeOrAuto | None = None
    """Bytes of packet memory, or `auto`, as deep as the links need; left out, 32 MB."""
    lossless: Priorities | None = None
    """Priorities that must not lose frames; left out, priority 3 alone."""
    dscp: dict[DscpKey, Priority] | None = None
    """Priorities by DSCP, from 0 to 63; a DSCP left out has that of its class selector, its upper three bits."""
    queues: dict[PriorityKey, Priority] | None = None
    """Egress queues by priority; a priority left out has the one of its own number."""
    groups: dict[PriorityKey, Priority] | None = None
    """Priority groups of ingress ports by priority; a priority left out has the one with the number of its queue."""
    lossy_queue: Size | None = None
    """Bytes that one lossy queue may hold at its egress port; left out, 1 MB, or its part of a quarter of the buffer."""
    lossy_alpha: Alpha | None = None
    """Factor of a dynamic limit of lossy queues, in place of `lossy-queue`; left out, the limit is static."""
    lossy_reserve: Size | None = None
    """Bytes of its own that a lossy queue fills before `lossy-alpha` limits it; left out, 0."""
    lossy_pool: PositiveSize | None = None
    """Bytes of the pool that lossy queues share; left out, memory of their own is set aside for them."""
    weights: Weights | None = None
    """Weights by priority, 0 to 255, for deficit round robin at every port; a priority left out, or of weight 0, is strict."""
    thresholds: Thresholds | None = None
    """When priority groups pause their peers; left out, derived from each port's link."""
    cell: PositiveSize | None = None
    """Bytes of a memory cell, of which each frame takes a whole number; left out, 1."""
    pool: PositiveSizeOrAuto | None = None
    """Bytes that priority groups with `alpha` share; left out, or `auto`, what the rest of the buffer leaves over."""
    headroom_pool: Size | None = None
    """Bytes of headroom that all priority groups share; left out, or 0, every group has its own."""
    watchdog: SwitchedWatchdog | None = None
    """The watchdog against pause storms: true, false, or its settings; left out, off."""


class NamedSwitchSettings(SwitchSettings):
    """Settings that may begin from a named switch. (Under `defaults`, `profile` is that of the links.)"""

    profile: str | None = None
    """Named switch of the catalogue whose settings hold where none are given; left out, none."""


@dataclass(frozen=True)
class NamedSwitch:
    """A switch of the catalogue: its settings as data, and where each figure is from, by its dotted key."""

    about: str
    settings: Mapping[str, Any]
    sources: Mapping[str, str]


@cache
def named_switches() -> Mapping[str, NamedSwitch]:
    """Read the named switches that ship with the testbed; raise TopologyError with every fault in them."""
    source = read_yaml(CATALOGUE, TopologyError)
    named_switches = {name: _named(name, entry, source) for name, entry in source.data["switches"].items()}
    if source.faults:
        raise TopologyError(source.faults)
    return named_switches


def _named(name: str, entry: Mapping[str, Any], source: Source) -> NamedSwitch:
    """Take the figures of an entry apart into values and sources, and note what is wrong with them."""
    sources: dict[str, str] = {}
    path: KeyPath = ("switches", name)

    def values(section: Mapping[str, Any], inner: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, figure in section.items():
            if isinstance(figure, dict):
                result[key] = values(figure, (*inner, key))
            elif not isinstance(figure, list) or len(figure) != 2 or figure[1] not in source.data["sources"]:
                source.fault((*path, *inner, key), "is not a list of a value and one of the file's sources")
            else:
                result[key] = figure[0]
                sources[".".join(map(str, (*inner, key)))] = source.data["sources"][figure[1]]
        return result

    figures = values({key: value for key, value in entry.items() if key != "about"}, ())
    try:
        settings = SwitchSettings.model_validate(figures).model_dump(exclude_none=True)
    except ValidationError as error:
        for fault in models.model_faults(error, SwitchSettings, Source(source.file)):
            source.fault((*path, *fault.key.split(".")), fault.message)
        settings = {}
    return NamedSwitch(str(entry.get("about", "")), settings, sources)


@dataclass(frozen=True)
class Layer:
    """What one place of a lab file says of switches, and the key path of that place."""

    path: KeyPath
    settings: SwitchSettings


def switch_figures(name: str, layers: tuple[Layer, ...], ports: Collection[str], source: Source) -> dict[str, Any]:
    """Return what a switch is given by layers, the later ones winning, as the fields of `topology.Switch`.

    `ports` are those that links lead to.

    What cannot be is noted in `source`, at the place that said it last.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        profile = layer.settings.profile if isinstance(layer.settings, NamedSwitchSettings) else None
        if profile is not None:
            if profile not in named_switches():
                message = f'no switch profile is called "{profile}"{nearest(profile, named_switches())}'
                source.fault((*layer.path, "profile"), message)
            else:
                merged = _over(merged, named_switches()[profile].settings)
        # Of the defaults only what is said of switches; `nic`, `rate` and the like are others' business.
        own = layer.settings.model_dump(exclude_none=True, include=set(SwitchSettings.model_fields))
        merged = _over(merged, own)
    _check(merged, layers, source)
    lossless, queues = merged.get("lossless", DEFAULT_LOSSLESS), priorities.all_queues(merged.get("queues", {}))
    for message in priorities.mixed_queues(lossless, queues):
        source.fault(_place(layers, (("queues",), ("lossless",))), message)
    groups = priorities.all_groups(merged.get("groups", {}), queues)
    for message in priorities.mixed_queues(lossless, groups, "group") if groups != queues else ():
        source.fault(_place(layers, (("groups",), ("lossless",))), message)
    kept = priorities.lossless_queues(lossless, groups)
    for path, message in thresholds_of.faults(merged["thresholds"], kept, ports):
        source.fault(_place(layers, (path,)), message)
    return _resolved(name, merged)


def _over(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a layer over those below it; a threshold of one kind takes away one of the other kind."""
    thresholds = own.get("thresholds", {})
    kept = dict(below)
    laid = thresholds_of.lay_over(below.get("thresholds", {}), thresholds)
    if thresholds_of.is_static(thresholds) and not thresholds_of.dynamic_somewhere(laid):
        kept = {key: value for key, value in kept.items() if key not in _POOLS}
    for key, other in zip(_LOSSY, reversed(_LOSSY), strict=True):
        if key in own:
            kept.pop(other, None)
    return {**checks.merge(kept, own), "thresholds": laid}


def _check(merged: Mapping[str, Any], layers: tuple[Layer, ...], source: Source) -> None:
    """Note settings that need a dynamic threshold where there is none, and pools that the buffer cannot hold."""
    thresholds = merged["thresholds"]
    buffer = merged.get("buffer", DEFAULT_BUFFER_BYTES)
    dynamic = thresholds_of.dynamic_somewhere(thresholds)
    if not dynamic:
        idle = [(key,) for key in _POOLS if merged.get(key) not in (None, AUTO, 0)]
        for field in [*idle, *thresholds_of.needing_alpha(thresholds)]:
            source.fault(_place(layers, (field,)), "needs a dynamic threshold: give thresholds.alpha too")
    pools = {key: merged[key] for key in _POOLS if isinstance(merged.get(key), int)}
    if dynamic and pools and buffer != AUTO and sum(pools.values()) > buffer:
        sizes = " and ".join(f"{key.replace('_', '-')} {format_size(size)}" for key, size in pools.items())
        path = _place(layers, (("pool",), ("headroom_pool",), ("buffer",), ("profile",)))
        verb = "is" if len(pools) == 1 else "are"
        source.fault(path, f"{sizes} {verb} more than the buffer, {format_size(buffer)}")
    elif buffer != AUTO and (lossy := merged.get("lossy_pool", 0)) > buffer:
        path = _place(layers, (("lossy_pool",), ("buffer",), ("profile",)))
        source.fault(path, f"lossy-pool {format_size(lossy)} is more than the buffer, {format_size(buffer)}")


def _place(layers: tuple[Layer, ...], fields: tuple[tuple[str, ...], ...]) -> KeyPath:
    """Return the key path of the last layer that says one of these fields, the first of them that it says."""
    for layer in reversed(layers):
        for field in fields:
            value: Any = layer.settings
            for part in field:
                entries = {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else {}
                value = entries.get(part) if entries else getattr(value, part, None)
            if value not in (None, AUTO):
                return (*layer.path, *(part.replace("_", "-") for part in field))
    return layers[-1].path


def _resolved(name: str, merged: Mapping[str, Any]) -> dict[str, Any]:
    base, own = thresholds_of.resolve(merged["thresholds"])
    queues = priorities.all_queues(merged.get("queues", {}))
    groups = priorities.all_groups(merged.get("groups", {}), queues)

    def given(value: Any) -> int | None:
        return None if value in (None, AUTO) else int(value)

    return {
        "name": name,
        "buffer_bytes": given(merged.get("buffer", DEFAULT_BUFFER_BYTES)),
        "lossless": merged.get("lossless", DEFAULT_LOSSLESS),
        "dscp_to_priority": priorities.all_dscps(merged.get("dscp", {})),
        "priority_to_queue": queues,
        "priority_to_group": groups if groups != queues else None,
        "lossy_queue_bytes": merged.get("lossy_queue"),
        "lossy_alpha_log2": merged.get("lossy_alpha"),
        "lossy_reserve_bytes": merged.get("lossy_reserve", 0),
        "lossy_pool_bytes": merged.get("lossy_pool", 0),
        "watchdog": Watchdog.model_construct(**merged["watchdog"]) if "watchdog" in merged else None,
        "thresholds": base,
        "own_thresholds": own,
        "cell_bytes": merged.get("cell", 1),
        "pool_bytes": given(merged.get("pool")),
        "headroom_pool_bytes": merged.get("headroom_pool", 0),
        "weights": all_weights(merged.get("weights", {})),
    }
