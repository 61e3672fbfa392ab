"""The catalogue of optical links: profiles and cables by name.

A lab may override any figure, or add profiles of its own, under `profiles:`

    profiles:
      400g-dr4: {power-w: 8}                       # the catalogue's profile, one figure changed
      campus: {like: 400g-fr4, reach: [3km, "our own fibre, measured"]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any

from pydantic import ValidationError

from testbed.data import DATA
from testbed.errors import TopologyError, nearest
from testbed.optics.profiles import Cable, Profile, ProfileError
from testbed.schema import fields
from testbed.schema.documented import LateJsonSchema
from testbed.schema.fields import FileModel
from testbed.schema.keys import EntriesOf
from testbed.schema.source import KeyPath, Source, read_yaml
from testbed.units import PS_PER_SECOND

CATALOGUE = DATA / "profiles.yaml"
OWN_SOURCE = "the lab's own figure"
_NAME = re.compile(r"[a-z0-9][a-z0-9+-]{0,62}")


def _own_schema() -> dict[str, Any]:
    """Return the JSON Schema of a lab file's profiles: any figure, each a value or a list of the value and its source."""
    figures = {
        key: {
            "anyOf": [
                schema,
                {"type": "array", "prefixItems": [schema, {"type": "string"}], "minItems": 2, "maxItems": 2},
            ]
        }
        for key, schema in Profile.model_json_schema(by_alias=True)["properties"].items()
        if key != "sources"
    }
    properties = {"like": {"type": "string", "description": "the profile whose figures hold where none are given"}}
    entry = {"type": "object", "properties": properties | figures, "additionalProperties": False}
    return {"type": "object", "additionalProperties": entry}


class OwnProfile(Profile):
    """A profile as a lab file writes it: what it must have may come from the one that it is like."""

    like: str | None = None
    """Profile whose figures hold where none are given; left out, its namesake in the catalogue, or every figure is given."""


# Profiles as a lab file writes them; `Catalogue.extended` reads them.
OwnProfiles = Annotated[dict[str, Any], LateJsonSchema(_own_schema), EntriesOf(OwnProfile)]


class CatalogueFile(FileModel):
    """The catalogue as written: what its source keys stand for, cables, and profiles."""

    sources: dict[str, str]
    """What the source keys of figures stand for."""
    cables: dict[str, Cable]
    """Cables by name."""
    profiles: dict[str, Profile]
    """Profiles by name."""


@dataclass(frozen=True)
class Catalogue:
    """Cables and profiles by name. `data` is what the profiles were read from, for lab files to build on."""

    sources: Mapping[str, str]
    cables: Mapping[str, Cable]
    profiles: Mapping[str, Profile]
    data: Mapping[str, Mapping[str, Any]]

    def profile(self, name: str) -> Profile:
        """Return a profile; raise ProfileError that suggests the nearest name."""
        if name not in self.profiles:
            raise ProfileError("profile", f'no profile is called "{name}"{nearest(name, self.profiles)}')
        return self.profiles[name]

    def cable(self, profile: Profile, name: str | None = None) -> Cable:
        """Return the cable of a profile, or another that may stand in for it; raise ProfileError if it may not."""
        name = name or profile.cable
        if name not in self.cables:
            raise ProfileError("cable", f'no cable is called "{name}"{nearest(name, self.cables)}')
        cable = self.cables[name]
        if name != profile.cable and cable.replaces != profile.cable:
            raise ProfileError("cable", f"{name} cannot stand in for {profile.cable}")
        return cable

    def with_profiles(self, own: Mapping[str, Profile]) -> Catalogue:
        """Return this catalogue with profiles that were read before."""
        return replace(self, profiles={**self.profiles, **own}) if own else self

    def extended(self, own: object, source: Source, path: KeyPath) -> Catalogue:
        """Return this catalogue with the profiles of a lab file, found at `path` of `source`.

        A profile may be like one of the catalogue's, or like one further up in the file.
        Raises TopologyError with every fault, each with its file, line and key.
        """
        faults = Source(source.file, lines=source.lines)
        if not isinstance(own, dict):
            raise TopologyError.at(source.file, ".".join(map(str, path)), "must be a mapping of names to profiles")
        data, profiles = dict(self.data), dict(self.profiles)
        for name, entry in own.items():
            here = (*path, name)
            if (merged := _merged(name, entry, data, faults, here)) is None:
                continue
            data[name] = merged
            if (profile := self._read(merged, faults, here)) is not None:
                profiles[name] = profile
        if faults.faults:
            raise TopologyError(faults.faults)
        return Catalogue(self.sources, self.cables, profiles, data)

    def _read(self, merged: Mapping[str, Any], source: Source, here: KeyPath) -> Profile | None:
        try:
            profile = Profile.model_validate(merged)
        except ValidationError as error:
            for fault in fields.model_faults(error, Profile, Source(source.file)):
                keys = tuple(filter(None, fault.key.split(".")))
                source.fault((*here, *keys), fault.message)
            return None
        if profile.cable not in self.cables:
            source.fault((*here, "cable"), f'no cable is called "{profile.cable}"{nearest(profile.cable, self.cables)}')
        return profile


# Keys that are words, not figures: they need no source.
_WORDS = frozenset({"about", "technology", "sources"})


def _merged(
    name: str, entry: object, data: Mapping[str, Mapping[str, Any]], source: Source, here: KeyPath
) -> dict[str, Any] | None:
    """Return an entry laid over the profile that it is like, or over its namesake."""
    if _NAME.fullmatch(name) is None:
        source.fault(here, f'"{name}" is not a name for a profile: lower-case letters, digits, hyphens and +')
        return None
    if not isinstance(entry, dict):
        source.fault(here, "must be a mapping of keys to values")
        return None
    like = entry.get("like", name if name in data else None)
    if like is not None and (not isinstance(like, str) or like not in data):
        source.fault((*here, "like"), f'no profile is called "{like}"{nearest(str(like), data)}')
        return None
    own = {
        key: value if isinstance(value, list) or key in _WORDS else [value, OWN_SOURCE]
        for key, value in entry.items()
        if key != "like"
    }
    return {**(data[like] if like else {}), **own}


@cache
def load_catalogue() -> Catalogue:
    """Read the catalogue that ships with the testbed; raise TopologyError with every fault in it."""
    source = read_yaml(CATALOGUE, TopologyError)
    try:
        parsed = CatalogueFile.model_validate(source.data)
    except ValidationError as error:
        raise TopologyError(fields.model_faults(error, CatalogueFile, source)) from None
    if source.faults:
        raise TopologyError(source.faults)
    return Catalogue(parsed.sources, parsed.cables, parsed.profiles, source.data["profiles"])


def catalogue_table(name: str | None = None, catalogue: Catalogue | None = None) -> list[dict[str, Any]]:
    """Return what `testbed profiles` prints: a row a profile, or with a name that one row and all of its figures.

    Raises ProfileError for a name that does not exist.
    """
    catalogue = catalogue or load_catalogue()
    if name is None:
        return [_row(key, profile) for key, profile in catalogue.profiles.items()]
    profile = catalogue.profile(name)
    figures = profile.figures()
    for figure in figures.values():
        figure["source"] = catalogue.sources.get(figure["source"], figure["source"])
    cable = catalogue.cables[profile.cable]
    return [{**_row(name, profile), "ps_per_metre": cable.ps_per_metre, "figures": figures}]


def _row(name: str, profile: Profile) -> dict[str, Any]:
    return {
        "name": name,
        "about": profile.about,
        "technology": profile.technology,
        "cable": profile.cable,
        "rate_bps": profile.rate,
        "reach_m": profile.reach / 1000,
        "lanes": profile.lanes,
        "spares": profile.spares,
        "modulation": profile.modulation,
        "fec": profile.fec,
        "ber_limit": profile.ber_limit,
        "latency_ns": (profile.fec_ps + 2 * profile.dsp_latency) * 10**9 / PS_PER_SECOND,
        "power_w_per_end": profile.power_w,
        "pj_per_bit_per_end": profile.pj_per_bit,
    }
