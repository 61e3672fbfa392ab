"""The catalogue of optical links: one entry a profile, each figure with its unit and its source.

A lab may override any figure, or add profiles of its own, under `profiles:`

    profiles:
      400g-dr4: {power-w: 8}                       # the catalogue's profile, one figure changed
      campus: {like: 400g-fr4, reach: [3km, "our own fibre, measured"]}

A figure is written as a value, or as a list of the value and its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from testbed import units
from testbed.data import DATA
from testbed.errors import TopologyError, UnitError, UsageError, nearest
from testbed.optics import fec
from testbed.schema import fields
from testbed.schema.fields import FileModel, Length, Rate, Time
from testbed.schema.keys import EntriesOf
from testbed.schema.source import KeyPath, Source, read_yaml
from testbed.units import PS_PER_SECOND

CATALOGUE = DATA / "profiles.yaml"
OWN_SOURCE = "the lab's own figure"

Technology = Literal[
    "passive-copper",
    "active-copper",
    "vcsel",
    "silicon-photonics",
    "linear-pluggable",
    "co-packaged",
    "microled",
    "optical-circuit-switch",
    "coherent",
    "dwdm-line",
]
_NAME = re.compile(r"[a-z0-9][a-z0-9+-]{0,62}")


class ProfileError(UsageError, ValueError):
    """A profile used outside what it is; `key` names the setting at fault, for whoever knows its file and line."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


def parse_ber(value: object) -> float:
    """Read a bit error ratio, from 0 to 0.5: beyond that a receiver would do better to invert every bit."""
    ber = units.parse_ratio(value)
    if ber > 0.5:
        raise UnitError(f'"{value}": a bit error ratio is at most 0.5')
    return ber


Ber = Annotated[
    float,
    BeforeValidator(parse_ber),
    WithJsonSchema({"type": ["number", "string"], "description": "bit error ratio before the FEC", "examples": [1e-5]}),
]
Decibels = Annotated[float, Field(ge=-100, le=100)]


class Cable(FileModel):
    """What the light or the signal travels in. `replaces` names the cable whose links may run over this one instead."""

    about: str
    """What the cable is, in a few words."""
    ps_per_metre: Annotated[int, Field(strict=True, gt=0)]
    """Flight time over a metre, in picoseconds."""
    replaces: str | None = None
    """Cable whose links may run over this one instead; left out, none."""
    source: str
    """Where the figures are from."""

    def flight_ps(self, length_mm: int) -> int:
        """Return the flight time over a length, to the nearest picosecond."""
        return (length_mm * self.ps_per_metre + 500) // 1000


class Profile(FileModel):
    """What a kind of link is made of. A rate of None carries any rate: the profile has no transceiver of its own."""

    about: str
    """What the link is, in a few words."""
    technology: Technology
    """Kind of transceiver or medium."""
    cable: str
    """Cable of the catalogue that the signal travels in."""
    rate: Rate | None = None
    """Rate in bit/s; left out, the profile carries any rate and has no transceiver of its own."""
    reach: Length
    """Longest length that the link is made for."""
    lanes: Annotated[int, Field(strict=True, ge=1)] = 1
    """Number of lanes that share the rate; left out, 1."""
    spares: Annotated[int, Field(strict=True, ge=0)] = 0
    """Number of spare lanes, each of which can replace one that has failed; left out, 0."""
    lane_failure: Literal["down", "degrade"] = "down"
    """What a failed lane without a spare does: take the link down, the default, or degrade its rate."""
    lane_fit: Annotated[float, Field(ge=0)] | None = None
    """Failures of one lane in 10^9 hours; left out, not known."""
    modulation: Literal["nrz", "pam4", "dp-qpsk", "dp-16qam"] | None = None
    """Modulation of the signal; left out, the link makes no bit errors."""
    baud: Rate | None = None
    """Symbol rate of a coherent link, written like a rate; left out, the link is not coherent."""
    fec: Literal["none", "kr4", "kp4", "staircase", "cfec", "ofec"] = "none"
    """Forward error correction; left out, none."""
    interleave: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    """Number of codewords that are interleaved, from 1 to 64; left out, 1."""
    ber_limit: Ber | None = None
    """Largest bit error ratio before the FEC at which the link is specified; left out, as without a modulation, none."""
    required_osnr_db: Decibels | None = None
    """OSNR in dB in 0.1 nm at the limit, of coherent links; left out, that of an ideal receiver."""
    margin_db: Decibels = 0.0
    """Margin in dB above the limit that a link has unless it says otherwise; left out, 0."""
    fec_latency: Time | None = None
    """Time that encoder and decoder take together; left out, it follows from the FEC and the rate."""
    dsp_latency: Time = 0
    """Time that signal processing takes at each end; left out, 0."""
    power_w: Annotated[float, Field(ge=0)] = 0.0
    """Power of one end in watts; left out, 0."""
    span_length: Length | None = None
    """Length of fibre between two amplifiers of the line; left out, the line has none."""
    insertion_loss_db: Decibels | None = None
    """Loss of a circuit switch in dB; left out, not known."""
    mirror_time: Time | None = None
    """Time that the mirrors of a circuit switch take to move; left out, 0."""
    bring_up: Time | None = None
    """Time that a link takes to come up once it has light again; left out, 0."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Where each figure is from, by key; a list of a figure and its source says the same."""

    @model_validator(mode="before")
    @classmethod
    def _split_figures(cls, data: Any) -> Any:
        """Take `[value, source]` apart; pydantic's own messages then speak of the value."""
        if not isinstance(data, dict) or not isinstance(data.get("sources", {}), dict):
            return data
        values, sources = dict(data), dict(data.get("sources", {}))
        for key, value in data.items():
            if isinstance(value, list):
                if len(value) != 2 or not isinstance(value[1], str):
                    raise ValueError(f"{key} is a value, or a list of the value and its source")
                values[key], sources[key] = value
        return {**values, "sources": sources}

    @model_validator(mode="after")
    def _whole(self) -> Profile:
        """Hold together what belongs together."""
        if self.modulation is None:
            if self.fec != "none" or self.ber_limit is not None:
                raise ValueError("a FEC or a ber-limit needs a modulation")
            return self
        if self.rate is None or self.ber_limit is None:
            raise ValueError("a modulation needs a rate and a ber-limit")
        if not 0 < self.ber_limit < fec.MODULATIONS[self.modulation].share / 2:
            raise ValueError(f"ber-limit must be above 0 and below what {self.modulation} gives in noise alone")
        if self.coherent and self.baud is None:
            raise ValueError(f"{self.modulation} needs a baud")
        if not self.coherent and (self.baud is not None or self.required_osnr_db is not None):
            raise ValueError("baud and required-osnr-db belong to coherent modulations")
        ideal = self.ideal_osnr_db
        if self.required_osnr_db is not None and ideal is not None and self.required_osnr_db < ideal:
            raise ValueError(f"required-osnr-db is below the {ideal:.1f} dB that an ideal receiver needs")
        if self.fec in fec.SOFT and self.fec_latency is None:
            raise ValueError(f"{self.fec} needs a fec-latency")
        return self

    @property
    def coherent(self) -> bool:
        """Whether the receiver is coherent, so that its quality is an OSNR."""
        return self.modulation is not None and fec.MODULATIONS[self.modulation].coherent

    @property
    def ideal_osnr_db(self) -> float | None:
        """The OSNR (0.1 nm) at which an ideal receiver meets the limit; None for a receiver that is not coherent."""
        if not self.coherent or self.modulation is None or self.ber_limit is None or self.baud is None:
            return None
        return fec.osnr_of_snr(fec.MODULATIONS[self.modulation].snr(self.ber_limit), self.baud)

    @property
    def pj_per_bit(self) -> float | None:
        """The energy that one end spends on a bit at full rate."""
        return self.power_w * 1e12 / self.rate if self.rate else None

    @property
    def fec_ps(self) -> int:
        """The delay of encoder and decoder together."""
        if self.fec_latency is not None:
            return self.fec_latency
        code = fec.REED_SOLOMON.get(self.fec)
        return code.latency_ps(self.rate, self.interleave) if code and self.rate else 0

    @property
    def outage_ps(self) -> int:
        """How long a path is dark when a circuit switch changes it: mirrors, then the link's bring-up."""
        return (self.mirror_time or 0) + (self.bring_up or 0)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return each figure that is set, with its source: `{"reach": {"value": "500m", "source": "…"}}`."""
        result = {}
        for name in type(self).model_fields:
            key = name.replace("_", "-")
            value = getattr(self, name)
            if name in ("about", "technology", "sources") or (value is None or name not in self.model_fields_set):
                continue
            result[key] = {"value": _shown(name, value), "source": self.sources.get(key)}
        return result


def _shown(name: str, value: Any) -> Any:
    if name in ("rate", "baud"):
        return units.format_rate(value)
    if name in ("reach", "span_length"):
        return units.format_length(value)
    if name in ("fec_latency", "dsp_latency", "mirror_time", "bring_up"):
        return units.format_time(value)
    return value


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
OwnProfiles = Annotated[dict[str, Any], WithJsonSchema(_own_schema()), EntriesOf(OwnProfile)]


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
        found = self.cables[name]
        if name != profile.cable and found.replaces != profile.cable:
            raise ProfileError("cable", f"{name} cannot stand in for {profile.cable}")
        return found

    def with_profiles(self, own: Mapping[str, Profile]) -> Catalogue:
        """Return this catalogue with profiles that were read before."""
        return replace(self, profiles={**self.profiles, **own}) if own else self

    def extended(self, own: object, source: Source, path: KeyPath) -> Catalogue:
        """Return this catalogue with the profiles of a lab file, found at `path` of `source`.

        A profile may be like one of the catalogue's, or like one further up in the file.
        Raises TopologyError with every fault, each with its file, line and key.
        """
        found = Source(source.file, lines=source.lines)
        if not isinstance(own, dict):
            raise TopologyError.at(source.file, ".".join(map(str, path)), "must be a mapping of names to profiles")
        data, profiles = dict(self.data), dict(self.profiles)
        for name, entry in own.items():
            here = (*path, name)
            if (merged := _merged(name, entry, data, found, here)) is None:
                continue
            data[name] = merged
            if (profile := self._read(merged, found, here)) is not None:
                profiles[name] = profile
        if found.faults:
            raise TopologyError(found.faults)
        return Catalogue(self.sources, self.cables, profiles, data)

    def _read(self, merged: Mapping[str, Any], found: Source, here: KeyPath) -> Profile | None:
        try:
            profile = Profile.model_validate(merged)
        except ValidationError as error:
            for fault in fields.model_faults(error, Profile, Source(found.file)):
                keys = tuple(filter(None, fault.key.split(".")))
                found.fault((*here, *keys), fault.message)
            return None
        if profile.cable not in self.cables:
            found.fault((*here, "cable"), f'no cable is called "{profile.cable}"{nearest(profile.cable, self.cables)}')
        return profile


# Keys that are words, not figures: they need no source.
_WORDS = frozenset({"about", "technology", "sources"})


def _merged(
    name: str, entry: object, data: Mapping[str, Mapping[str, Any]], found: Source, here: KeyPath
) -> dict[str, Any] | None:
    """Return an entry laid over the profile that it is like, or over its namesake."""
    if _NAME.fullmatch(name) is None:
        found.fault(here, f'"{name}" is not a name for a profile: lower-case letters, digits, hyphens and +')
        return None
    if not isinstance(entry, dict):
        found.fault(here, "must be a mapping of keys to values")
        return None
    like = entry.get("like", name if name in data else None)
    if like is not None and (not isinstance(like, str) or like not in data):
        found.fault((*here, "like"), f'no profile is called "{like}"{nearest(str(like), data)}')
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
