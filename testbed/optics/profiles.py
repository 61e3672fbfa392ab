"""What a kind of optical link is made of, each figure with its unit and its source.

A figure is written as a value, or as a list of the value and its source.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from testbed import units
from testbed.errors import UnitError, UsageError
from testbed.optics import fec
from testbed.schema.fields import FileModel, Length, Rate, Time

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
