"""Which reckoning of headroom is meant: by options, as `testbed headroom` has them, or by a port of a lab."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

from testbed.buffers.headroom_comparison import REALISTIC_PERCENT
from testbed.buffers.headroom_models import GUIDES_PS_PER_METRE, Ieee, LabPort, Model, Spectrum
from testbed.buffers.headroom_tables import Sonic
from testbed.errors import UsageError
from testbed.lab.topology import DEFAULT_MTU_BYTES, FRAME_OVERHEAD_BYTES, load_lab
from testbed.sizes import LONGEST_MTU_BYTES, LONGEST_PAUSE_QUANTA
from testbed.units import BITS_PER_QUANTUM, PS_PER_SECOND, fibre_delay_ps, format_time, parse_time

DEFAULT_FRAME_BYTES = LONGEST_MTU_BYTES
DEFAULT_LOSSLESS_BYTES = 4096
DEFAULT_LAB_FRAME_BYTES = DEFAULT_MTU_BYTES + FRAME_OVERHEAD_BYTES
LONGEST_RESPONSE_PS = PS_PER_SECOND // 1000

Choice = tuple[Model, LabPort, int]
"""A model, the port of a lab that is most like it, and a length in mm."""


class ModelName(enum.StrEnum):
    """Whose reckoning."""

    ieee = "ieee"
    spectrum = "spectrum"
    sonic = "sonic"
    lab = "lab"


class Switched(enum.StrEnum):
    """A term that counts or does not."""

    on = "on"
    off = "off"


_HEEDED = {
    ModelName.ieee: ("mtu", "cell", "small_share", "response", "interface", "delay_per_metre"),
    ModelName.spectrum: ("mtu", "lossless_mtu", "cell", "small_share", "lanes", "response", "gearbox"),
    ModelName.sonic: ("cell",),
    ModelName.lab: ("mtu", "cell", "small_share", "response"),
}


def model_of_options(name: ModelName, given: Mapping[str, Any]) -> Choice:
    """Make a model of what was given: `rate` in bit/s, `length` in mm, and the options that the model heeds.

    Raises UsageError for an option that the model would not heed, or a value that cannot be.
    """
    for key in ("rate", "length"):
        if key not in given:
            raise UsageError(f"--{key} is missing; or name a port of a lab with -t and --port")
    for key in given:
        if key not in ("rate", "length", *_HEEDED[name]):
            others = " and ".join(other for other, keys in _HEEDED.items() if key in keys)
            raise UsageError(f"--{key.replace('_', '-')} is for the model {others}; the model {name} has no use for it")
    if name in (ModelName.ieee, ModelName.lab) and "small_share" in given and given.get("cell", 1) == 1:
        raise UsageError("--small-share has no effect without --cell, which the model spectrum always has")
    rate_bps = given["rate"]
    time_ps, size = _response(given.get("response"), rate_bps)
    mtu = given.get("mtu", DEFAULT_FRAME_BYTES)
    lab_frame = given.get("mtu", DEFAULT_LAB_FRAME_BYTES)
    alike = LabPort(rate_bps, lab_frame, given.get("cell", 1), given.get("small_share"), time_ps)
    model: Model = alike
    if name is ModelName.ieee:
        interfaces = given.get("interface", Switched.on) is Switched.on
        per_metre = given.get("delay_per_metre", GUIDES_PS_PER_METRE)
        model = Ieee(rate_bps, mtu, interfaces, per_metre, time_ps, alike.cell_bytes, alike.small_percent)
    elif name is ModelName.sonic:
        model = Sonic(rate_bps, given.get("cell"))
        alike = replace(alike, cell_bytes=model.chip.cell_bytes)
    elif name is ModelName.spectrum:
        model = _spectrum(given, mtu, size)
        alike = replace(alike, cell_bytes=model.cell_bytes, small_percent=model.small_percent)
    return model, alike, given["length"]


def _spectrum(given: Mapping[str, Any], mtu: int, response: Fraction | None) -> Spectrum:
    lossless = given.get("lossless_mtu", min(DEFAULT_LOSSLESS_BYTES, mtu))
    if lossless > mtu:
        raise UsageError(f"--lossless-mtu {lossless} is more than the longest frame of the port, {mtu}")
    return Spectrum(
        given["rate"],
        mtu,
        lossless,
        given.get("cell", Spectrum.TILE_CELL_BYTES),
        given.get("small_share", REALISTIC_PERCENT),
        given.get("lanes", Spectrum.lanes),
        response,
        given.get("gearbox", 0),
    )


def model_of_lab(topology: str | None, port: str | None, name: ModelName | None, given: Mapping[str, Any]) -> Choice:
    """Return the model of a port of a lab's switch: what its `headroom: auto` comes to, over the length of its link.

    `given` may have another `small_share` or `response`. Raises UsageError for a port that is not there, and for options
    that the lab has decided; TopologyError for a lab with faults.
    """
    if topology is None or port is None:
        raise UsageError("a port of a lab takes both: -t LAB --port switch:port")
    if name not in (None, ModelName.lab):
        raise UsageError(f"-t and --port are for the model lab, not {name}")
    for key in given:
        if key not in ("small_share", "response"):
            raise UsageError(f"--{key.replace('_', '-')} is decided by the lab; leave it out, or leave out -t")
    lab = load_lab(topology)
    node, _, its_port = port.partition(":")
    names = [switch.name for switch in lab.switches]
    if node not in names:
        raise UsageError(f'--port {port}: lab {lab.name} has no switch "{node}", only {", ".join(names)}')
    if its_port not in lab.ports[node]:
        raise UsageError(f"--port {port}: the ports of {node} are {', '.join(lab.ports[node])}")
    switch = lab.switches[names.index(node)]
    link = lab.adjacent[node][lab.ports[node].index(its_port)].link
    # Priorities of a port differ only if the lab says so; the first lossless one stands for them.
    its_priority = next(iter(switch.lossless_groups), 0)
    small = given.get("small_share", switch.group(its_port, its_priority).small_percent)
    if small is not None and switch.cell_bytes == 1:
        raise UsageError(f"--small-share has no effect: {node} has no cells")
    time_ps, _ = _response(given.get("response"), link.rate_bps)
    length_mm = link.length_mm or 0
    beyond_ps = link.delay_ps - fibre_delay_ps(length_mm)
    model = LabPort(link.rate_bps, link.frame_bytes, switch.cell_bytes, small, time_ps, beyond_ps=beyond_ps)
    return model, model, length_mm


def _response(text: str | None, rate_bps: int) -> tuple[int | None, Fraction | None]:
    """Return a response as a time in ps, rounded up, and as the exact bytes that the line carries in it."""
    if text is None:
        return None, None
    if text.isdecimal():
        if int(text) > LONGEST_PAUSE_QUANTA:
            raise UsageError(f"--response {text}: {LONGEST_PAUSE_QUANTA} quanta at most")
        bits = Fraction(int(text) * BITS_PER_QUANTUM)
    else:
        time_ps = parse_time(text)
        if time_ps > LONGEST_RESPONSE_PS:
            raise UsageError(f"--response {text}: {format_time(LONGEST_RESPONSE_PS)} at most")
        bits = Fraction(time_ps * rate_bps, PS_PER_SECOND)
    return ceil(bits * PS_PER_SECOND / rate_bps), bits / 8
