"""When the priority groups of a switch pause their peers, and when its queues mark: for all, by port, by priority, by both.

A group has either a static threshold (`xoff`, `xon`) or a dynamic one (`alpha` and what goes with it). Whichever is said
later, in the order catalogue, defaults, kind, node, replaces the other with all its settings; likewise whichever is said
of fewer groups: of a priority, of a port, of a priority at a port.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from testbed.lab.endpoints import port_number
from testbed.lab.marking import Marking
from testbed.lab.resolved import Resolved
from testbed.lab.routes import PortName
from testbed.schema.fields import AUTO, FileModel, Percent, PriorityKey, Size, SizeOrAuto

# What switches can be set to, as SAI counts it: 2^-8 to 2^7, nothing of the pool, and all of it.
_ALPHAS = {Fraction(2) ** exponent: exponent for exponent in range(-8, 8)}
# A byte count has 64 bits: this share of one is nothing, and so many times one byte are more than there can be.
NOTHING_LOG2 = -64
UNLIMITED_LOG2 = 64
_STATIC = ("xoff", "xon")
_DYNAMIC = ("alpha", "reserve", "xon_offset")
_NESTED = ("priorities", "ports")


def parse_alpha(value: object) -> int:
    """Read the factor of a dynamic threshold ("1/8", 0.125, 2, 0, none) as its exponent of two, from -8 to 7.

    A factor of 0 is `NOTHING_LOG2`, and none, which leaves a group without a limit of its own, `UNLIMITED_LOG2`.
    """
    text = str(value).replace(" ", "")
    if text == "none":
        return UNLIMITED_LOG2
    try:
        factor = None if isinstance(value, bool) or value is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        factor = None
    if factor == 0:
        return NOTHING_LOG2
    if factor not in _ALPHAS:
        raise ValueError(f'"{str(value)[:40]}" is not 0, none, or a power of two from 1/256 to 128; write it like 1/8')
    return _ALPHAS[factor]


def alpha_text(alpha_log2: int) -> str:
    """Return a factor as a lab file writes it."""
    words = {NOTHING_LOG2: "0", UNLIMITED_LOG2: "none"}
    return words.get(alpha_log2) or str(Fraction(2) ** alpha_log2)


def settled(pool_bytes: int, alphas_log2: Sequence[int]) -> int:
    """Return what groups with these factors hold of a pool together when all of them are full.

    Each holds its factor times what is left, which is 1 / (1 + the sum of the factors) of the pool; one without a limit
    leaves nothing.
    """
    if UNLIMITED_LOG2 in alphas_log2:
        return pool_bytes
    total = sum((Fraction(2) ** alpha for alpha in alphas_log2), Fraction())
    return int(pool_bytes * total / (1 + total))


Alpha = Annotated[
    int,
    BeforeValidator(parse_alpha),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "power of two from 1/256 to 128, 0 or none",
            "examples": ["1/8", 2, "none"],
        }
    ),
]


class GroupThresholds(FileModel):
    """Thresholds of some priority groups, and marks of the queues of the same numbers and ports.

    Static: above `xoff` bytes, until `xon`. Dynamic: above `alpha` times what is left of the switch's pool, after a
    `reserve` of the group's own, until it is `xon-offset` bytes below that again. `small-share` is how many of a hundred
    frames a derived headroom takes for small ones, where the switch has cells; none given, it is made for the worst case.
    """

    xoff: SizeOrAuto | None = None
    """Bytes of a priority group above which it pauses its peer; left out, or `auto`, a round trip and two frames."""
    xon: SizeOrAuto | None = None
    """Bytes of a priority group at which its peer may go on; left out, or `auto`, two frames below `xoff`."""
    headroom: SizeOrAuto | None = None
    """Bytes above XOFF for what still arrives after the pause; left out, or `auto`, what the link needs."""
    small_share: Percent | None = None
    """Percent of frames that derived headroom takes for small ones, on a switch with cells; left out, all of them."""
    alpha: Alpha | None = None
    """Factor of a dynamic threshold: pause above `alpha` times what is left of the pool; left out, thresholds are static."""
    reserve: Size | None = None
    """Bytes of its own that a priority group fills before it draws on the pool; left out, 0."""
    xon_offset: Size | None = None
    """Bytes below the dynamic threshold at which the peer may go on; left out, two frames."""
    ecn: Marking | None = None
    """Marks of frames that leave long egress queues: a preset, or all three figures; left out, nothing is marked."""


class PortThresholds(GroupThresholds):
    """Thresholds of all groups of some ports, and of single priorities there."""

    priorities: dict[PriorityKey, GroupThresholds] | None = None
    """Thresholds of single priorities, by number, each laid over those of all; left out, they are all alike."""


class Thresholds(PortThresholds):
    """Thresholds of a switch: of all of its groups, of single priorities, of single ports, and of priorities of a port.

    What is said of fewer groups wins: `ports.eth1.priorities.3` over `ports.eth1`, and that over `priorities.3`.
    """

    ports: dict[PortName, PortThresholds] | None = None
    """Thresholds of single ports, by name, each laid over those of all; left out, they are all alike."""


class GroupFigures(Resolved):
    """The thresholds of one priority group as a lab gives them; what is None follows from its link."""

    xoff_bytes: int | None = None
    xon_bytes: int | None = None
    headroom_bytes: int | None = None
    small_percent: int | None = None
    alpha_log2: int | None = None
    reserve_bytes: int = 0
    xon_offset_bytes: int | None = None
    marking: Marking | None = None


_FIELDS = {
    "xoff": "xoff_bytes",
    "xon": "xon_bytes",
    "headroom": "headroom_bytes",
    "small_share": "small_percent",
    "alpha": "alpha_log2",
    "reserve": "reserve_bytes",
    "xon_offset": "xon_offset_bytes",
    "ecn": "marking",
}


def _known_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """Raise a ValidationError unless all of these are figures of a group."""
    GroupFigures.model_validate(figures)
    return figures


class OwnThresholds(Resolved):
    """What a switch says of single groups: of a priority, of a port, or of a priority at a port. `figures` are given ones."""

    port: str | None = None
    priority: int | None = None
    figures: Annotated[dict[str, Any], AfterValidator(_known_figures)]

    def concerns(self, port: str, priority: int) -> bool:
        """Return whether this is said of a priority group."""
        return self.port in (None, port) and self.priority in (None, priority)


def group_figures(base: GroupFigures, own: tuple[OwnThresholds, ...], port: str, priority: int) -> GroupFigures:
    """Return the thresholds of one group: those of the switch, with what is said of it alone laid over them in turn."""
    concerned = [each for each in own if each.concerns(port, priority)]
    if not concerned:
        return base
    figures = base.model_dump()
    for each in concerned:
        figures = {**figures, **_overruled(each.figures, _FIGURES_STATIC, _FIGURES_DYNAMIC), **each.figures}
    return GroupFigures.model_validate(figures)


_FIGURES_STATIC = ("xoff_bytes", "xon_bytes")
_FIGURES_DYNAMIC = ("alpha_log2", "reserve_bytes", "xon_offset_bytes")


def _overruled(figures: Mapping[str, Any], static: tuple[str, ...], dynamic: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures that others put out of force: thresholds are static or dynamic."""
    if any(isinstance(figures.get(key), int) for key in static):
        return {key: 0 if key.startswith("reserve") else None for key in dynamic}
    return dict.fromkeys(static) if figures.get(dynamic[0]) is not None else {}


def resolve(merged: Mapping[str, Any]) -> tuple[GroupFigures, tuple[OwnThresholds, ...]]:
    """Return the thresholds of a switch whose layers are merged: of all groups, and of single ones, the widest first."""
    own = [OwnThresholds(priority=number, figures=_figures(entry)) for number, entry in _entries(merged, "priorities")]
    for port, entry in _entries(merged, "ports"):
        own.append(OwnThresholds(port=port, figures=_figures(entry)))
    for port, entry in _entries(merged, "ports"):
        for number, inner in _entries(entry, "priorities"):
            own.append(OwnThresholds(port=port, priority=number, figures=_figures(inner)))
    return GroupFigures.model_validate(_figures(merged)), tuple(each for each in own if each.figures)


def _entries(settings: Mapping[str, Any], key: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    yield from settings.get(key, {}).items()


def _figures(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: None if settings[key] == AUTO else settings[key] for key, field in _FIELDS.items() if key in settings
    }


def lay_over(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay thresholds over others that were said before, at every depth; one kind takes away the other."""
    kept = dict(below)
    if is_static(own):
        kept = {key: value for key, value in kept.items() if key not in _DYNAMIC}
    if "alpha" in own:
        kept = {key: value for key, value in kept.items() if key not in _STATIC}
    for key, value in own.items():
        if key in _NESTED:
            inner = kept.get(key, {})
            kept[key] = {**inner, **{name: lay_over(inner.get(name, {}), entry) for name, entry in value.items()}}
        else:
            kept[key] = value
    return kept


def is_static(thresholds: Mapping[str, Any]) -> bool:
    """Return whether static thresholds are said of all groups."""
    return any(isinstance(thresholds.get(key), int) for key in _STATIC)


def dynamic_somewhere(thresholds: Mapping[str, Any]) -> bool:
    """Return whether any group of a switch has a dynamic threshold."""
    inner = [entry for key in _NESTED for _, entry in _entries(thresholds, key)]
    return "alpha" in thresholds or any(map(dynamic_somewhere, inner))


def needing_alpha(thresholds: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the places of keys that have no effect unless some group has a dynamic threshold."""
    places: list[tuple[str, ...]] = []

    def collect(settings: Mapping[str, Any], path: tuple[str, ...]) -> None:
        places.extend((*path, key) for key in _DYNAMIC if settings.get(key) not in (None, AUTO, 0))
        for key in _NESTED:
            for name, entry in _entries(settings, key):
                collect(entry, (*path, key, str(name)))

    collect(thresholds, ("thresholds",))
    return places


def faults(
    thresholds: Mapping[str, Any], lossless: Collection[int], ports: Collection[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what single groups of a switch cannot be given, each with its place: lossy ones have marks alone."""
    for port, entry in _entries(thresholds, "ports"):
        if port not in ports:
            known = f"; there are links on {', '.join(sorted(ports, key=port_number))}" if ports else ""
            yield ("thresholds", "ports", port), f"no link on {port}{known}"
        yield from _of_lossy(entry, lossless, ("thresholds", "ports", port))
    yield from _of_lossy(thresholds, lossless, ("thresholds",))


def _of_lossy(
    settings: Mapping[str, Any], lossless: Collection[int], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for priority, entry in _entries(settings, "priorities"):
        key = next((key for key in entry if key != "ecn"), None)
        if priority not in lossless and key is not None:
            message = f"priority {priority} is lossy here, and its queues are limited by lossy-queue or lossy-alpha"
            yield (*path, "priorities", str(priority), key), message
