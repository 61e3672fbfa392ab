"""The quality of an amplified DWDM line, by gnpy: spans of fibre with an amplifier behind each, noise and nonlinearity.

gnpy comes with the extra `optics`. It is imported only here, and only when a line is asked for.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed.errors import HostError, UsageError
from testbed.optics.profiles import Profile, ProfileError

FIBRE_LOSS_DB_PER_KM = 0.2
CONNECTOR_LOSS_DB = 0.5
REFERENCE_BAUD = 32 * 10**9  # 0 dBm a channel at 32 GBd; other symbol rates are launched with the same power density
GRID_HZ = 12_500_000_000  # ITU-T G.694.1, flexible grid
ROLL_OFF = 0.15


@dataclass(frozen=True)
class Line:
    """What light meets along a line, averaged over the channels, in dB and stated in 0.1 nm.

    `gsnr_db` counts amplifier noise and nonlinearity, `osnr_db` amplifier noise alone; both the transmitter's own.
    """

    gsnr_db: float
    osnr_db: float
    channels: int


def even_spans(length_mm: int, span_mm: int) -> tuple[int, ...]:
    """Return a length as the fewest spans, as equal as whole millimetres allow, none longer than `span_mm`."""
    if length_mm <= 0 or span_mm <= 0:
        raise UsageError("a line and its spans have a length above 0")
    count = -(-length_mm // span_mm)
    short, longer = divmod(length_mm, count)
    return (short + 1,) * longer + (short,) * (count - longer)


def _gnpy(module: str = "") -> Any:
    """Import a module of gnpy; raise HostError that says what to install."""
    try:
        return importlib.import_module(f"gnpy{module}")
    except ModuleNotFoundError as error:
        raise HostError(
            f"the quality of a DWDM line is computed by gnpy, and there is no {error.name} here; "
            'install it with: pip install "lossless-testbed[optics]"'
        ) from None


def line(spans_mm: Sequence[int], baud: int = REFERENCE_BAUD, spacing_hz: int | None = None) -> Line:
    """Propagate a full C band through spans of standard single-mode fibre, each with an EDFA that makes up for its loss.

    `spacing_hz` is that of the channels; None takes the narrowest of the 12.5 GHz grid that holds the symbol rate and half
    as much again, as 32 GBd in 50 GHz. Raises HostError without gnpy. Cost: about a millisecond a span.
    """
    if not spans_mm or min(spans_mm) <= 0 or max(spans_mm) > 150 * 10**6:
        raise UsageError("a line has at least one span, each above 0 and at most 150 km")
    workers = _gnpy(".tools.worker_utils")
    equipment = _equipment(baud, spacing_hz or channel_spacing(baud))
    network = _gnpy(".tools.json_io").network_from_json(_topology(spans_mm), equipment)
    network, request, reference = workers.designed_network(equipment, network, "a", "b", no_insert_edfas=True)
    path, *_ = workers.transmission_simulation(equipment, network, request, reference)
    receiver = path[-1]
    return Line(
        gsnr_db=float(receiver.snr_01nm.mean()),
        osnr_db=float(receiver.osnr_ase_01nm.mean()),
        channels=len(receiver.snr_01nm),
    )


def profile_line(name: str, profile: Profile, length_mm: int) -> Line:
    """Return the line that a coherent profile runs over a length, in equal spans no longer than the profile's.

    Raises ProfileError for a profile that is not for such lines, HostError without gnpy.
    """
    if profile.span_length is None or profile.baud is None:
        raise ProfileError("osnr-db", f"{name} is not for amplified lines; give its osnr-db as a number")
    if length_mm <= 0:
        raise ProfileError("length", "an amplified line needs a length above 0")
    return line(even_spans(length_mm, profile.span_length), profile.baud)


def channel_spacing(baud: int) -> int:
    """Return the narrowest slot of the grid for a symbol rate."""
    return -(-3 * baud // (2 * GRID_HZ)) * GRID_HZ


def _equipment(baud: int, spacing_hz: int) -> Any:
    """Return gnpy's example equipment with our channels: its SSMF, its default EDFAs."""
    log = logging.getLogger("gnpy")
    level = log.level
    # It warns of a ROADM without a name in its own example; our lines have no ROADM.
    log.setLevel(logging.ERROR)
    try:
        example = Path(_gnpy().__file__).parent / "example-data" / "eqpt_config.json"
        equipment = _gnpy(".tools.json_io").load_equipment(example)
    finally:
        log.setLevel(level)
    channels = equipment["SI"]["default"]
    channels.baud_rate, channels.spacing, channels.roll_off = float(baud), float(spacing_hz), ROLL_OFF
    channels.power_dbm = channels.tx_power_dbm = 10 * math.log10(baud / REFERENCE_BAUD)
    return equipment


def _topology(spans_mm: Sequence[int]) -> dict[str, Any]:
    elements: list[dict[str, Any]] = [{"uid": "a", "type": "Transceiver"}]
    for index, span in enumerate(spans_mm):
        params = {
            "length": span / 10**6,
            "length_units": "km",
            "loss_coef": FIBRE_LOSS_DB_PER_KM,
            "con_in": CONNECTOR_LOSS_DB,
            "con_out": CONNECTOR_LOSS_DB,
        }
        elements.append({"uid": f"fibre {index}", "type": "Fiber", "type_variety": "SSMF", "params": params})
        elements.append({"uid": f"amplifier {index}", "type": "Edfa"})
    elements.append({"uid": "b", "type": "Transceiver"})
    chain = [element["uid"] for element in elements]
    connections = [{"from_node": a, "to_node": b} for a, b in pairwise(chain)]
    return {"elements": elements, "connections": connections}
