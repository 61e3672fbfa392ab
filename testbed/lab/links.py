"""The optics of a link as a lab file has them: profiles of its own, settings in layers, and every fault at its line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from testbed.lab.circuits import CircuitSwitch, Pair, ordered
from testbed.optics.behaviour import LinkBehaviour, OpticalSettings, checked
from testbed.optics.catalogue import Catalogue, load_catalogue
from testbed.optics.profiles import ProfileError
from testbed.schema.fields import AUTO
from testbed.schema.source import KeyPath, Source

POINTS = ("ber", "osnr_db", "margin_db")
# What a profile decides unless the link itself says otherwise.
_DERIVED = ("rate", "delay", "loss")
_OPTICS = ("cable", *POINTS, "lanes_down", "acceleration")


class Light(NamedTuple):
    """The optics of one link: as said, with the BER that it comes to in the place of `osnr-db: auto`, and what follows."""

    settings: OpticalSettings
    behaviour: LinkBehaviour


Reader = Callable[[], Catalogue]


def own_catalogue(own: Mapping[str, Any], source: Source) -> Reader:
    """Return what reads the catalogue with a lab file's own profiles; raise TopologyError with every fault in them.

    A lab without optics never calls it: the catalogue is long, and reading it takes as much time as a small run.
    """
    if not own:
        return load_catalogue
    extended = load_catalogue().extended(own, source, ("profiles",))
    return lambda: extended


def link_layers(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a link's settings: its own over the defaults, without defaults that its own words exclude or decide."""
    out: set[str] = set()
    if "delay" in own or "length" in own:
        out |= {"delay", "length"}
    if "profile" in own:
        out |= {*_DERIVED}
    if any(point in own for point in POINTS):
        out |= {*POINTS}
    return {**{key: value for key, value in defaults.items() if key not in out}, **own}


def link_behaviour(
    settings: Mapping[str, Any],
    usual_length_mm: int,
    usual_rate_bps: int,
    read_catalogue: Reader,
    source: Source,
    path: KeyPath,
) -> Light | None:
    """Return the optics of the link at `path`, or None for a link without a profile or with faults, which are noted.

    A link that says no length has the usual one, or what its profile reaches if that is less; one that gives its delay
    has none. The usual rate is for profiles that carry any rate.
    """
    name = settings.get("profile")
    if name is None:
        return None
    named = ("profile", *_OPTICS)
    optical = OpticalSettings.model_validate({key.replace("_", "-"): settings[key] for key in named if key in settings})
    catalogue = read_catalogue()
    profile = catalogue.profiles.get(name)
    reach = profile.reach if profile else usual_length_mm
    length_mm = 0 if "delay" in settings else settings.get("length", min(usual_length_mm, reach))
    rate = settings.get("rate")
    if rate is None and profile is not None and profile.rate is None:
        rate = usual_rate_bps
    behaviour = checked(source, path, optical, length_mm, rate, catalogue)
    if behaviour is None:
        return None
    if optical.osnr_db == AUTO:
        # So that whoever reads the resolved lab again, on whatever machine, needs no gnpy.
        optical = optical.model_copy(update={"osnr_db": None, "ber": behaviour.ber})
    return Light(optical, behaviour)


def check_circuits(
    switches: Mapping[str, CircuitSwitch], links: Collection[Pair], read_catalogue: Reader, source: Source
) -> None:
    """Note what circuit switches cannot be: paths that are no links of the lab, profiles without mirrors."""
    taken: dict[Pair, str] = {}
    for name, switch in switches.items():
        path: KeyPath = ("circuits", name)
        try:
            if not read_catalogue().profile(switch.profile).outage_ps:
                source.fault((*path, "profile"), f"{switch.profile} has neither a mirror-time nor a bring-up")
        except ProfileError as error:
            source.fault((*path, "profile"), str(error))
        for number, step in enumerate(switch.steps):
            for place, circuit in enumerate(step.circuits):
                pair, here = ordered(*circuit), (*path, "steps", number, "circuits", place)
                if pair not in links:
                    source.fault(here, f"no link joins {circuit[0]} and {circuit[1]}")
                elif taken.setdefault(pair, name) != name:
                    source.fault(here, f"the link is a path of {taken[pair]} already")
