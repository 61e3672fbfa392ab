"""What settings came to and what links do, in words: for `testbed validate --explain` and `testbed link`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.lab import watchdog
from testbed.lab.thresholds import NOTHING_LOG2, UNLIMITED_LOG2
from testbed.report.figures import format_bytes, format_ns
from testbed.report.tables import empty_table
from testbed.run.trial import Trial
from testbed.units import format_length, format_rate

Document = dict[str, Any]
MOST_ROWS = 64
_TEXTS = ("from", "why", "action", "value", "profile")


def document(trial: Trial) -> Document:
    """Return a trial's settings in force, its watchdogs and its links, as far as they can be known before it runs."""
    force = trial.in_force(1)
    if trial.experiment.clock == "real":
        # What `auto` comes to depends on the machine and its load.
        force["dilation"] = {"value": trial.experiment.dilation, "from": "decided when a run begins"}
    watchdogs = watchdog.settings_in_force(trial.plan)
    hints = [{"key": hint.key, "text": hint.text} for hint in trial.hints]
    return {"in_force": force, "links": trial.links(), "watchdog_settings": watchdogs, "hints": hints}


def render(document: Document) -> RenderableType:
    """Return tables: transport, buffers by port, credits, links."""
    force = document["in_force"]
    parts: list[RenderableType] = [_transport(force), Text(), _depths(force), Text(), _buffers(force)]
    if force["credits"]:
        parts += [Text(), _credits(force)]
    if document["watchdog_settings"]:
        parts += [Text(), _watchdogs(document["watchdog_settings"])]
    parts += [Text(), _links(document["links"])]
    optical = [link for link in document["links"] if link["optics"]]
    if optical:
        parts += [Text(), _optics(optical), Text(), _delays(optical)]
    if document["hints"]:
        table = _table("Settings without effect", "setting", "why")
        for hint in document["hints"]:
            table.add_row(Text(hint["key"]), Text(hint["text"]))
        parts += [Text(), table]
    return Group(*parts)


def _transport(force: Mapping[str, Any]) -> Table:
    table = _table("Transport", "setting", "value", "from")
    window, timeout, dilation = force["window_bytes"], force["timeout_ns"], force["dilation"]
    table.add_row("window", f"{window['value']:,} B", window["from"])
    table.add_row("timeout", format_ns(timeout["value"]), timeout["from"])
    table.add_row("dilation", str(dilation["value"]), dilation["from"])
    return table


def _buffers(force: Mapping[str, Any]) -> Table:
    columns = ("port", "prio", "XOFF", "from", "XON", "headroom", "from")
    return _filled(_table("Lossless buffers, in bytes", *columns), _groups(force))


def _depths(force: Mapping[str, Any]) -> Table:
    table = _table("Buffers", "switch", "bytes", "from")
    rows = ((name, f"{switch['buffer_bytes']:,}", switch["buffer_from"]) for name, switch in force["switches"].items())
    return _filled(table, rows)


def _groups(force: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, switch in force["switches"].items():
        for group in switch["groups"]:
            if "xoff_bytes" in group:
                xoff, xon = f"{group['xoff_bytes']:,}", f"{group['xon_bytes']:,}"
                source = group["xoff_from"]
            else:
                xoff, source = _share_of_pool(group["alpha_log2"]), "given"
                xon = f"{group['xon_offset_bytes']:,} below"
            yield (
                f"{name}:{group['port']}",
                str(group["priority"]),
                xoff,
                source,
                xon,
                f"{group['headroom_bytes']:,}",
                group["headroom_from"],
            )


def _share_of_pool(alpha_log2: int) -> str:
    words = {NOTHING_LOG2: "the reserve", UNLIMITED_LOG2: "the whole pool"}
    return words.get(alpha_log2, f"2^{alpha_log2} of what is left")


def _credits(force: Mapping[str, Any]) -> Table:
    table = _table("Credits", "granted by", "priority", "bytes", "from")
    for grant in _first(iter(force["credits"])):
        table.add_row(grant["granted_by"], str(grant["priority"]), f"{grant['value']:,}", grant["from"])
    return table


def _watchdogs(watchdogs: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Watchdogs", "switch", "detection", "restoration", "poll", "action")
    for name, entry in _first(iter(watchdogs.items())):
        times = (format_ns(entry[f"{key}_ns"]) for key in ("detection", "restoration", "poll"))
        table.add_row(name, *times, entry["action"])
    return table


def _links(links: list[Document]) -> Table:
    rows = (
        (
            link["link"],
            format_rate(link["rate_bps"]) if link["carrier"] else "down",
            "-" if link["length_m"] is None else format_length(round(link["length_m"] * 1000)),
            format_ns(link["delay_ns"]),
            " / ".join(dict.fromkeys(ratio(loss) for loss in link["frame_loss"])),
        )
        for link in links
    )
    return _filled(_table("Links", "link", "rate", "length", "delay", "frame loss"), rows)


def _optics(links: list[Document]) -> Table:
    """Return what links with a profile do; tables of their own, so that no figure is broken on 80 columns."""
    rows = (
        (
            link["link"],
            link["optics"]["profile"],
            ratio(link["optics"]["ber"]),
            ratio(link["optics"]["codeword_failure"]),
            decibels(link["optics"]["osnr_db"]),
        )
        for link in links
    )
    return _filled(_table("Optics", "link", "profile", "BER", "codeword failure", "OSNR"), rows)


def _delays(links: list[Document]) -> Table:
    rows = ((link["link"], *(format_ns(time) for time in link["optics"]["delay_terms_ns"].values())) for link in links)
    return _filled(_table("Delays of optics", "link", "flight", "FEC", "DSP"), rows)


def one_link(figures: Mapping[str, Any]) -> Table:
    """Return the figures of one link, as `testbed link` has them, one a line."""
    table = _table(f"{figures['profile']} over {format_length(round(figures['length_m'] * 1000))}", "figure", "value")
    terms, gnpy = figures["delay_terms_ns"], figures["gnpy"]
    rows = {
        "rate": format_rate(figures["rate_bps"]) if figures["up"] else "none, the link is down",
        "delay, one way": format_ns(figures["delay_ns"]),
        "  flight": format_ns(terms["flight"]),
        "  FEC": format_ns(terms["fec"]),
        "  signal processing, both ends": format_ns(terms["dsp"]),
        "bits in flight": format_bytes(round(figures["bandwidth_delay_bytes"])),
        "BER before the FEC": ratio(figures["ber"]),
        "margin": decibels(figures["margin_db"]),
        "OSNR in 0.1 nm": decibels(figures["osnr_db"]),
        "OSNR required": decibels(figures["required_osnr_db"]),
        "codeword failure": ratio(figures["codeword_failure"]),
        f"loss of a frame of {figures['frame_bytes']} B": ratio(figures["frame_loss"]),
        "power, an end": f"{figures['power_w']:g} W",
    }
    if gnpy is not None:
        rows["gnpy: GSNR"] = decibels(gnpy["gsnr_db"])
        rows["gnpy: OSNR of amplifier noise alone"] = decibels(gnpy["osnr_db"])
        rows["gnpy: channels"] = str(gnpy["channels"])
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def ratio(value: float | None) -> str:
    """Write a probability; "-" where there is none."""
    return "-" if value is None else "0" if value == 0 else f"{value:.3g}"


def decibels(value: float | None) -> str:
    """Write decibels; "-" where there are none."""
    return "-" if value is None else f"{value:.2f} dB"


def _first(rows: Iterator[Any]) -> list[Any]:
    """Return the rows that are shown; all of them are in the JSON document."""
    return [row for _, row in zip(range(MOST_ROWS), rows, strict=False)]


def _table(title: str, *columns: str) -> Table:
    table = empty_table(title)
    for index, name in enumerate(columns):
        # The first names the row; of the others words break, and figures do not.
        is_text = name in _TEXTS
        table.add_column(name, justify="left" if index == 0 or is_text else "right", ratio=1 if is_text else None)
    return table


def _filled(table: Table, rows: Iterable[Sequence[str]]) -> Table:
    for row in _first(iter(rows)):
        table.add_row(*row)
    return table
