"""From what is asked of one direction of a link to how the data plane shall have it: pure, and whole at every time.

Several settings of a link hang together: the rate on the lanes that are left, the loss on the rate. So what is asked is
kept as it was asked, and the state is worked out from all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.errors import nearest
from testbed.experiment.impairments import Impairment
from testbed.lab.endpoints import parse_endpoint
from testbed.lab.topology import Lab, Link
from testbed.optics.behaviour import LinkBehaviour, OperatingPoint, behaviour_of
from testbed.optics.loss import Bernoulli, LossError, random_loss
from testbed.optics.profiles import ProfileError
from testbed.schema.fields import all_weights
from testbed.units import format_rate, format_time

State = dict[str, Any]
"""delay_ps, jitter_ps, loss_process, rate_bps, up, drain, weights, storm: the changeable keys of a CHANGE, all of them."""

Alteration = dict[str, Any]
"""delay, jitter, rate, lanes_down, carrier, drain, weights, storm and losses (a `Losses`), as far as anything was asked."""


class SettingError(ProfileError):
    """A setting that a link cannot have; `key` names it."""


@dataclass(frozen=True)
class Losses:
    """How frames are lost: by a ratio and its bursts, or as the operating point of an optical link has it."""

    ratio: float | None = None
    burst: float | None = None
    point: OperatingPoint | None = None
    key: str = "loss"


def losses(field: str, value: float, burst: float | None) -> Losses:
    """Return the losses that one of `LOSSES` stands for."""
    if field == "loss":
        return Losses(ratio=value, burst=burst)
    return Losses(point=OperatingPoint(**{field: value}), key=field.replace("_", "-"))


def altered_by(impairment: Impairment) -> Alteration:
    """Return what an impairment asks for, by field."""
    altered: Alteration = {
        name: value
        for name in ("delay", "jitter", "rate", "lanes_down", "carrier", "drain", "weights")
        if (value := getattr(impairment, name)) is not None
    }
    for field in ("loss", "ber", "osnr_db", "margin_db"):
        value = getattr(impairment, field)
        if value is not None:
            altered["losses"] = losses(field, value, impairment.burst)
    return altered


def options_of(altered: Alteration) -> list[str]:
    """Return the options with which `testbed impair set` asks for this: the inverse of `altered_by`."""
    flags = {"carrier": ("--up", "--down"), "drain": ("--drain", "--no-drain")}
    written: dict[str, Callable[[Any], str]] = {
        "delay": format_time,
        "jitter": format_time,
        "rate": format_rate,
        "lanes_down": str,
    }
    options: list[str] = []
    for name, value in altered.items():
        if name in flags:
            options.append(flags[name][0 if value else 1])
        elif name in written:
            options += [f"--{name.replace('_', '-')}", written[name](value)]
        elif name == "losses":
            given = {"burst": value.burst, "loss": value.ratio} | (
                dataclasses.asdict(value.point) if value.point else {}
            )
            for key, figure in given.items():
                options += [] if figure is None else [f"--{key.replace('_', '-')}", repr(figure)]
    return options


def find_port(lab: Lab, text: str) -> tuple[int, int]:
    """Return the index of the link at `node:port`, and the way of what that port sends; raise SettingError."""
    ends = {str(end): (index, way) for index, link in enumerate(lab.links) for way, end in enumerate((link.a, link.b))}
    name = str(parse_endpoint(text))
    if name not in ends:
        raise SettingError("link", f'lab {lab.name} has no port "{name}" with a link{_near_port(name, ends)}')
    return ends[name]


def _near_port(name: str, ends: dict[str, tuple[int, int]]) -> str:
    """Name the nearest port, or the ports of the node that was meant; a lab has too many to list them all."""
    own = [end for end in ends if end.split(":")[0] == name.split(":")[0]]
    return nearest(name, own or ends) if own or len(ends) <= 16 else ""


def ways_of(way_out: int, direction: str) -> tuple[int, ...]:
    """Return the ways that a direction means, as seen from the port that sends on `way_out`."""
    return {"both": (0, 1), "out": (way_out,), "in": (1 - way_out,)}[direction]


def ends_of(link: Link, way: int) -> tuple[str, str]:
    """Return the ports from and to which a way leads."""
    return (str(link.a), str(link.b)) if way == 0 else (str(link.b), str(link.a))


def state_of(lab: Lab, link: Link, way: int, altered: Alteration) -> State:
    """Return how one direction of a link is when all of `asked` holds, and the lab for the rest; raise SettingError."""
    behaviour = _behaviour(lab, link, altered)
    rate_bps: int = altered.get("rate", link.rate_bps)
    if rate_bps > link.rate_bps:
        name = f"{link.a} - {link.b}"
        raise SettingError("rate", f"{format_rate(rate_bps)} is more than the {format_rate(link.rate_bps)} of {name}")
    if behaviour is not None and behaviour.rate_bps:
        rate_bps = min(altered.get("rate", behaviour.rate_bps), behaviour.rate_bps)
    return {
        "delay_ps": altered.get("delay", link.delay_ps),
        "jitter_ps": altered.get("jitter", 0),
        "loss_process": _process(link, way, altered.get("losses"), behaviour),
        "rate_bps": rate_bps,
        "up": altered.get("carrier", True) and (link.carrier if behaviour is None else behaviour.up),
        "drain": altered.get("drain", False),
        "storm": altered.get("storm"),
        **_weights(lab, link, way, altered.get("weights")),
    }


def _weights(lab: Lab, link: Link, way: int, altered: Mapping[int, int] | None) -> State:
    """Return the weights of the sending port if that is a switch's; raise SettingError where a host is asked for some."""
    sender = link.a.node if way == 0 else link.b.node
    switch = next((switch for switch in lab.switches if switch.name == sender), None)
    if switch is None:
        if altered is not None:
            raise SettingError(
                "weights", f"belong to ports of switches, and {sender} is a host; say direction: out, or in"
            )
        return {}
    return {"weights": list(switch.weights if altered is None else all_weights(altered))}


def _behaviour(lab: Lab, link: Link, altered: Alteration) -> LinkBehaviour | None:
    """Return what the link's optics come to if anything is asked of them."""
    wanted: Losses | None = altered.get("losses")
    point = wanted.point if wanted is not None else None
    if point is None and "lanes_down" not in altered:
        return None
    key = wanted.key if wanted is not None and point is not None else "lanes-down"
    settings = link.optics
    if settings is None:
        raise SettingError(key, f"belongs to links with a profile; {link.a} - {link.b} has none")
    if point is not None:
        settings = settings.model_copy(
            update={"ber": point.ber, "osnr_db": point.osnr_db, "margin_db": point.margin_db}
        )
    if "lanes_down" in altered:
        settings = settings.model_copy(update={"lanes_down": altered["lanes_down"]})
    carries_any = lab.catalogue.profile(str(settings.profile)).rate is None
    try:
        return behaviour_of(settings, link.length_mm or 0, link.rate_bps if carries_any else None, lab.catalogue)
    except ProfileError as error:
        raise SettingError(key if error.key == "profile" else error.key, str(error)) from None


def _process(link: Link, way: int, wanted: Losses | None, behaviour: LinkBehaviour | None) -> dict[str, Any] | None:
    """Return the loss process, None if nothing is lost."""
    if wanted is not None and wanted.ratio is not None:
        try:
            return random_loss(wanted.ratio, wanted.burst).plan() if wanted.ratio else None
        except LossError as error:
            raise SettingError("loss", str(error)) from None
    given = link.loss[way]
    if wanted is None and given:
        return Bernoulli(given).plan()
    process = link.loss_process if behaviour is None else behaviour.loss
    return process.plan() if process is not None else None
