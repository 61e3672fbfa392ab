"""From a profile, a length and an operating point to what a link does: its delay, its rate, how it loses frames.

Margin is counted from the profile's pre-FEC limit, in dB of what a receiver of its kind is short of: optical power for direct
detection (the decision's Q grows in proportion), OSNR for coherent receivers and SNR for copper (its square does).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from testbed.optics import dwdm, fec, lanes
from testbed.optics.catalogue import Catalogue, load_catalogue
from testbed.optics.loss import Codewords
from testbed.optics.profiles import Ber, Cable, Decibels, Profile, ProfileError
from testbed.schema.fields import AUTO, Auto, FileModel
from testbed.schema.source import KeyPath, Source
from testbed.units import format_length, format_rate

# A link whose blocks fail more often than this is no link: its receiver reports a fault and takes it down.
UNUSABLE_FAILURE = 0.5


@dataclass(frozen=True)
class OperatingPoint:
    """How good a link is: one of its pre-FEC BER, its OSNR or its margin; with none given, the profile's own margin."""

    ber: float | None = None
    osnr_db: float | None = None
    margin_db: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("ber", "osnr_db", "margin_db") if getattr(self, name) is not None]
        if len(given) > 1:
            names = " and ".join(name.replace("_", "-") for name in given)
            raise ProfileError(given[1].replace("_", "-"), f"{names} say the same thing; give one")
        if self.ber is not None and not 0 <= self.ber <= 0.5:
            raise ProfileError("ber", f"a bit error ratio is between 0 and 0.5, not {self.ber:g}")


def _decibels_or_auto() -> Any:
    decibels = TypeAdapter(Decibels)

    def read(value: object) -> object:
        if value == AUTO:
            return value
        try:
            return decibels.validate_python(value)
        except ValidationError:
            raise ValueError(f'"{value}" is not a number of dB from -100 to 100, nor auto') from None

    schema = {"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": AUTO}]}
    return BeforeValidator(read), WithJsonSchema(schema)


class OpticalSettings(FileModel):
    """What a lab file can say of a link's optics, beside its length and rate. `osnr-db: auto` asks gnpy."""

    profile: str | None = None
    """Profile of the catalogue, or of `profiles`, that the link has; left out, a plain link without optics."""
    cable: str | None = None
    """Another cable that may stand in for the profile's own; left out, that one."""
    ber: Ber | None = None
    """Bit error ratio before the FEC, from 0 to 0.5; left out, it follows from OSNR, margin or profile."""
    osnr_db: Annotated[float | Auto, *_decibels_or_auto()] | None = None
    """OSNR in dB in 0.1 nm, of coherent links, or `auto`, computed by gnpy; left out, it follows from the margin."""
    margin_db: Decibels | None = None
    """Margin in dB above the profile's limit before the FEC; left out, the profile's own."""
    lanes_down: Annotated[int, Field(strict=True, ge=0)] = 0
    """Number of lanes that have failed; left out, 0."""
    acceleration: Annotated[float, Field(ge=1)] = 1.0
    """Factor by which frames are lost more often, to see rare losses in short runs; left out, 1."""


@dataclass(frozen=True)
class LinkBehaviour:
    """What a link does. `delay_ps` is one way, from the last bit sent to the frame received.

    `ber` is the error ratio before the FEC and `block_failure` the chance that one block of the FEC is lost (both None for
    a link without a receiver of its own). `osnr_db` (in 0.1 nm) is known of coherent receivers, `required_osnr_db` is that
    of their limit, and `line` what gnpy made of the line where it was asked. A link that is not `up` has a rate of 0 and
    carries nothing. `loss` includes the declared acceleration.
    """

    profile: str
    length_mm: int
    flight_ps: int
    fec_ps: int
    dsp_ps: int
    rate_bps: int
    nominal_rate_bps: int
    up: bool
    ber: float | None
    margin_db: float | None
    block_failure: float | None
    loss: Codewords | None
    lanes_down: int
    power_w: float
    osnr_db: float | None = None
    required_osnr_db: float | None = None
    line: dwdm.Line | None = None

    @property
    def delay_ps(self) -> int:
        """Flight, FEC and signal processing at both ends."""
        return self.flight_ps + self.fec_ps + self.dsp_ps

    @property
    def burst_ps(self) -> int:
        """How long the line is lost to one failure."""
        return self.loss.burst_ps if self.loss else 0

    def frame_loss(self, frame_bytes: int) -> float:
        """Return the chance that a frame (length with FCS) is lost, acceleration included."""
        if not self.up:
            return 1.0
        return self.loss.frame_loss(frame_bytes) if self.loss else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the figures for run.json; a margin without bounds is null."""
        figures = {**asdict(self), "delay_ps": self.delay_ps, "loss": self.loss.plan() if self.loss else None}
        for key in ("margin_db", "osnr_db"):
            if figures[key] is not None and math.isinf(figures[key]):
                figures[key] = None
        return figures


def behaviour(
    name: str,
    length_mm: int,
    point: OperatingPoint | None = None,
    *,
    rate_bps: int | None = None,
    cable: str | None = None,
    lanes_down: int = 0,
    acceleration: float = 1.0,
    catalogue: Catalogue | None = None,
) -> LinkBehaviour:
    """Return what a link of a profile does over a length at an operating point.

    `rate_bps` need only be given for transparent profiles, and must else be the profile's. Raises ProfileError, whose
    `key` is the setting at fault, for whatever the profile cannot be.
    """
    catalogue = catalogue or load_catalogue()
    profile = catalogue.profile(name)
    medium = catalogue.cable(profile, cable)
    _check_length(name, profile, length_mm)
    nominal = _rate(name, profile, rate_bps)
    rate = _lanes(name, profile, nominal, lanes_down)
    quiet = _quiet(name, profile, medium, length_mm, nominal, rate, lanes_down)
    if profile.modulation is None:
        if point not in (None, OperatingPoint()) or acceleration != 1:
            raise ProfileError("profile", f"{name} has no receiver of its own that could have a BER, OSNR or margin")
        return quiet
    ber, margin_db = operate(name, profile, point or OperatingPoint())
    failure, loss = _failures(profile, ber, margin_db, rate or nominal)
    up = quiet.up and not _hopeless(profile, ber, failure)
    required = required_osnr_db(name, profile) if profile.coherent else None
    return replace(
        quiet,
        osnr_db=None if required is None else required + margin_db,
        required_osnr_db=required,
        up=up,
        rate_bps=rate if up else 0,
        ber=ber,
        margin_db=margin_db,
        block_failure=failure,
        loss=loss.accelerated(acceleration) if up else None,
    )


def behaviour_of(
    settings: OpticalSettings, length_mm: int, rate_bps: int | None = None, catalogue: Catalogue | None = None
) -> LinkBehaviour:
    """Return what a link does that a lab file describes; raise ProfileError with the key at fault."""
    if settings.profile is None:
        raise ProfileError("profile", "missing: optical settings need a profile")
    catalogue = catalogue or load_catalogue()
    osnr_db, line = settings.osnr_db, None
    if osnr_db == AUTO:
        profile = catalogue.profile(settings.profile)
        _check_length(settings.profile, profile, length_mm)
        line = dwdm.profile_line(settings.profile, profile, length_mm)
        osnr_db = line.gsnr_db
    worked_out = behaviour(
        settings.profile,
        length_mm,
        OperatingPoint(settings.ber, osnr_db, settings.margin_db),
        rate_bps=rate_bps,
        cable=settings.cable,
        lanes_down=settings.lanes_down,
        acceleration=settings.acceleration,
        catalogue=catalogue,
    )
    return worked_out if line is None else replace(worked_out, line=line)


def checked(
    source: Source,
    path: KeyPath,
    settings: OpticalSettings,
    length_mm: int,
    rate_bps: int | None = None,
    catalogue: Catalogue | None = None,
) -> LinkBehaviour | None:
    """Return `behaviour_of` the link at `path` of a file, or None after noting the fault where it was written."""
    try:
        return behaviour_of(settings, length_mm, rate_bps, catalogue)
    except ProfileError as error:
        source.fault((*path, error.key), str(error))
        return None


def _check_length(name: str, profile: Profile, length_mm: int) -> None:
    if length_mm < 0:
        raise ProfileError("length", f"a length cannot be negative: {length_mm} mm")
    if length_mm > profile.reach:
        reach = format_length(profile.reach)
        raise ProfileError("length", f"{format_length(length_mm)} is beyond the reach of {name}, {reach}")


def _rate(name: str, profile: Profile, rate_bps: int | None) -> int:
    if profile.rate is None:
        if rate_bps is None:
            raise ProfileError("rate", f"{name} carries any rate; say which")
        return rate_bps
    if rate_bps is not None and rate_bps != profile.rate:
        raise ProfileError("rate", f"{name} has no {format_rate(rate_bps)}, only {format_rate(profile.rate)}")
    return profile.rate


def _lanes(name: str, profile: Profile, rate_bps: int, down: int) -> int:
    total = profile.lanes + profile.spares
    if not 0 <= down <= total:
        raise ProfileError("lanes-down", f"{down} lanes cannot be down: {name} has {total}, spares included")
    return lanes.rate_after(rate_bps, profile.lanes, profile.spares, down, profile.lane_failure == "degrade")


def _quiet(
    name: str, profile: Profile, cable: Cable, length_mm: int, nominal: int, rate: int, lanes_down: int
) -> LinkBehaviour:
    """Return the behaviour of a link that never errs."""
    return LinkBehaviour(
        profile=name,
        length_mm=length_mm,
        flight_ps=cable.flight_ps(length_mm),
        fec_ps=profile.fec_ps,
        dsp_ps=2 * profile.dsp_latency,
        rate_bps=rate,
        nominal_rate_bps=nominal,
        up=rate > 0,
        ber=None,
        margin_db=None,
        block_failure=None,
        loss=None,
        lanes_down=lanes_down,
        power_w=profile.power_w,
    )


def operate(name: str, profile: Profile, point: OperatingPoint) -> tuple[float, float]:
    """Return (pre-FEC BER, margin in dB) of a profile with a receiver at an operating point; raise ProfileError."""
    if profile.modulation is None or profile.ber_limit is None:
        raise ProfileError("profile", f"{name} has no receiver of its own")
    modulation = fec.MODULATIONS[profile.modulation]
    limit = modulation.snr(profile.ber_limit)
    # Optical power counts twice in the electrical SNR of direct detection.
    slope = 1 if profile.coherent or profile.cable == "twinax" else 2
    if point.ber is not None:
        snr = modulation.snr(point.ber)
        margin = math.inf if math.isinf(snr) else fec.decibels(snr / limit) / slope
        return point.ber, margin
    if point.osnr_db is not None:
        margin = point.osnr_db - required_osnr_db(name, profile)
    else:
        margin = profile.margin_db if point.margin_db is None else point.margin_db
    return modulation.ber(limit * fec.ratio(slope * margin)), margin


def required_osnr_db(name: str, profile: Profile) -> float:
    """Return the OSNR (0.1 nm) at which a coherent profile meets its limit: its own figure, or an ideal receiver's.

    What a real receiver needs beyond the ideal one is taken as a constant penalty on the SNR.
    """
    ideal = profile.ideal_osnr_db
    if ideal is None:
        raise ProfileError("osnr-db", f"{name} is not coherent and has no OSNR; give its ber or margin-db")
    return ideal if profile.required_osnr_db is None else profile.required_osnr_db


def _failures(profile: Profile, ber: float, margin_db: float, rate_bps: int) -> tuple[float, Codewords]:
    """Return the chance that one block of the FEC is lost, and the process that follows at a rate."""
    if hard := fec.REED_SOLOMON.get(profile.fec):
        failure, bits, burst = hard.codeword_failure(ber), hard.mac_bits, hard.burst_ps(rate_bps, profile.interleave)
    elif soft := fec.SOFT.get(profile.fec):
        failure, bits, burst = soft.block_failure(margin_db), soft.mac_bits, soft.burst_ps(rate_bps)
    else:
        failure, bits, burst = ber, 1, 0
    return failure, Codewords.from_failure(failure, bits, burst, rate_bps)


def _hopeless(profile: Profile, ber: float, failure: float) -> bool:
    return ber > fec.HIGH_BER if profile.fec == "none" else failure > UNUSABLE_FAILURE
