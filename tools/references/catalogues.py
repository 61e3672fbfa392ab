"""What can be named in a lab or an experiment: generators, collectives, data types, profiles, media, switches, units."""

from __future__ import annotations

import inspect
from typing import Any

from testbed import traffic, units
from testbed.lab.switches import named_switches
from testbed.optics.catalogue import load_catalogue
from testbed.topologies import generators
from testbed.traffic.elements import DTYPES, item_bytes
from testbed.units import format_length, format_rate, format_size
from tools.references.markdown import code, page, prose, table

BANDWIDTHS = """
Sizes, counts and bandwidths are those of nccl-tests. The first algorithm of a collective is the usual one; `--set
workload.algorithm=NAME` takes another. A root is rank 0.
"""
PROFILES = """
A link that names a `profile` has its rate, delay and loss from it. Each figure has a source, which `testbed profiles
NAME` prints. A lab may override any of them in its section `profiles`. Rate `any` is that of the link. Latency is that
of FEC and signal processing at both ends together, without flight.
"""
SWITCHES = """
A switch that names a `profile` has these settings, and what it states itself wins. The source of each figure stands
behind it. Sizes and thresholds only: a chip's pipeline and its rounding are not modelled.
"""
UNITS = """
Quantities are read exactly, and kept as whole numbers of bit/s, picoseconds, millimetres and bytes. A quantity with a
unit that does not exist, or finer than the whole number, is refused.

**K is not KB.** A bare `K`, `M` or `G` of a size is binary, as the options `-b` and `-e` of nccl-tests read it: `64M` is
64 × 1024 × 1024 bytes. `KB`, `MB` and `GB` are decimal and `KiB`, `MiB` and `GiB` binary, as the IEC defines them. `64MB`
is 64,000,000 bytes and `64MiB` 67,108,864. Rates are always decimal: `100G` is 100,000,000,000 bit/s.

In results units stand last in names, and are never scaled: `time_us`, `rate_bps`, `buffer_bytes_max`. Bandwidths of
collectives are in GB/s of 10⁹ bytes.
"""
MEDIA = {
    "veth": "A pair of kernel interfaces under the real clock: `tcpdump` sees its frames. The usual medium.",
    "memory": "Frames stay in the data plane under the real clock: cheaper, and not to be captured with `tcpdump`.",
}


def catalogue_pages() -> dict[str, str]:
    """Return the pages of catalogues, by path."""
    return {
        "reference/generators.md": _generators(),
        "reference/collectives.md": _collectives(),
        "reference/profiles.md": _profiles(),
        "reference/switches.md": _switches(),
        "reference/media.md": page(
            "Media",
            prose(
                "`medium` of a link says what carries its frames under the real clock. The virtual clock makes no difference."
            ),
            table(("medium", "meaning"), ((code(name), text) for name, text in MEDIA.items())),
            prose(
                "A link between two machines is always VXLAN, whatever it asks for, except that a link of medium `memory` "
                "cannot have its ends on two machines."
            ),
        ),
        "reference/units.md": _units(),
    }


def _generators() -> str:
    parts = [
        prose(
            "`-t` and `topology:` take a lab file or the name of a generator with parameters: `two-dc:hosts=4,length=300km`. "
            "Every generator also takes `name`, to have the lab called otherwise. `testbed graph -t NAME` draws one."
        )
    ]
    for name, generator in generators().items():
        rows = (
            (code(key), code(item.default) or "not set", _bounds(item.default, item.low, item.high), item.help)
            for key, item in generator.parameters.items()
        )
        doc = prose(inspect.cleandoc(generator.make.__doc__ or ""))
        parts += [f"## {name}", doc, table(("parameter", "default", "range", "meaning"), rows)]
    return page("Generators of labs", *parts)


def _bounds(default: int | str, low: int, high: int) -> str:
    return "text" if isinstance(default, str) else f"{low} to {high}"


def _collectives() -> str:
    rows = (
        (code(name), code(algorithm), code(item.redop), "all" if item.root < 0 else item.root, _in_place(item.in_place))
        for name, algorithms in traffic.ALGORITHMS.items()
        for algorithm, item in algorithms.items()
    )
    types = ((code(name), f"{item_bytes(name)} bytes", kind) for name, kind in DTYPES.items())
    return page(
        "Collectives and data types",
        prose(BANDWIDTHS),
        table(("collective", "algorithm", "operation", "root", "in place too"), rows),
        "## Data types",
        prose("`workload.datatype` is one of these, little-endian."),
        table(("data type", "size of an element", "numpy"), types),
    )


def _in_place(possible: bool) -> str:
    return "yes" if possible else "no"


def _profiles() -> str:
    catalogue = load_catalogue()
    rows = (
        (
            code(name),
            item.about,
            "any" if item.rate is None else format_rate(item.rate),
            format_length(item.reach),
            item.cable,
            item.fec,
            f"{(item.fec_ps + 2 * item.dsp_latency) / 1000:g} ns",
            f"{item.power_w:g} W",
        )
        for name, item in catalogue.profiles.items()
    )
    cables = (
        (code(name), item.about, f"{item.ps_per_metre} ps/m", catalogue.sources.get(item.source, item.source))
        for name, item in catalogue.cables.items()
    )
    return page(
        "Optical profiles",
        prose(PROFILES),
        table(("profile", "what", "rate", "reach", "cable", "FEC", "latency", "power of an end"), rows),
        "## Cables",
        table(("cable", "what", "flight", "source"), cables),
    )


def _switches() -> str:
    parts = [prose(SWITCHES)]
    for name, switch in named_switches().items():
        flat = _flat(dict(switch.settings))
        rows = ((code(key), _figure(key, value), switch.sources.get(key, "")) for key, value in flat.items())
        parts += [
            f"## {name}",
            prose(switch.about[:1].upper() + switch.about[1:] + "."),
            table(("key", "value", "source"), rows),
        ]
    return page("Named switches", *parts)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = prefix + key.replace("_", "-")
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _figure(key: str, value: Any) -> str:
    if key.endswith("alpha"):
        return code(f"1/{2**-value}" if value < 0 else 2**value)
    return code(format_size(value) if isinstance(value, int) else value)


def _units() -> str:
    groups = {
        "Sizes, in bytes": (units.SIZE_UNITS, "no unit: bytes"),
        "Rates, in bit/s": (units.RATE_UNITS, f"no unit: bit/s, and at least {units.LEAST_BARE_RATE}"),
        "Times, in ps": (units.TIME_UNITS, "a unit is required, except of 0"),
        "Lengths, in mm": (units.LENGTH_UNITS, "a unit is required, except of 0"),
    }
    parts = [prose(UNITS)]
    for title, (known, bare) in groups.items():
        rows = (
            (code(unit) or "none", f"{factor:,}") for unit, factor in sorted(known.items(), key=lambda pair: pair[1])
        )
        parts += [f"## {title}", prose(f"{bare[0].upper()}{bare[1:]}."), table(("unit", "factor"), rows)]
    ratio = "Ratios are numbers from 0 to 1, or percentages: `1e-4`, `0.1%`. A loss of a bare `1` is asked back."
    return page("Units", *parts, "## Ratios", prose(ratio))
