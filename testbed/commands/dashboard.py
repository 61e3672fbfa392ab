"""testbed dashboard: a page that follows the labs of a broker in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from testbed.bus import mosquitto
from testbed.bus.address import BrokerAddress
from testbed.commands.common import ForceOption, keep_existing, print_note, write_out
from testbed.errors import HostError, UsageError, cannot_write
from testbed.exports import grafana
from testbed.report.page.file import live_page

_DEFAULT = Path("results") / "dashboard.html"
_ADDRESS = re.compile(r"wss?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")


def dashboard(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="file to write", show_default="results/dashboard.html")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            help="where the broker takes websockets: wss://host:port", show_default="the broker of this machine"
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="directory of the broker of this machine, as of `testbed broker up`")
    ] = None,
    as_grafana: Annotated[
        bool,
        typer.Option("--grafana", help="a dashboard for Grafana instead, of what `testbed agent --metrics` serves"),
    ] = False,
    force: ForceOption = False,
) -> None:
    """Write a page that shows labs as they run: topology, pauses, queues, progress, events, losses.

    It is one file, needs no server, and reads from the broker with the reader's rights. It holds no password: it asks for one.
    """
    if as_grafana:
        if broker is not None or directory is not None:
            raise UsageError("--grafana takes metrics, not a broker: leave out --broker and --dir")
        _write_grafana(out, force)
        return
    place = (directory or mosquitto.default_directory()).absolute()
    address = _local(place) if broker is None else _checked(broker)
    keep_existing([out] if out else [], force)
    path = out or _DEFAULT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from None
    write_out(live_page(address), path)
    print(f"written: {path}, which reads from {address}")
    print(f"open {path.resolve().as_uri()} in a browser")
    credentials = place / f"{mosquitto.READER}.credentials"
    where = (
        f"what is behind the colon in {credentials}" if broker is None else "of reader.credentials beside the broker"
    )
    print(f"  user {mosquitto.READER}, password {where}")
    if address.startswith("wss:"):
        print("  a browser trusts the broker once it was given ca.pem from there as an authority")


def _write_grafana(out: Path | None, force: bool) -> None:
    keep_existing([out] if out else [], force)
    write_out(grafana.dashboard(), out)
    if out is not None:
        print_note(f"written: {out}; in Grafana: Dashboards, New, Import")


def _local(directory: Path) -> str:
    """Return where pages reach the broker of this machine. Raises HostError if they do not."""
    address = mosquitto.websockets_url(directory)
    if address is None:
        raise HostError(
            f"no broker of {directory} takes websockets: `testbed broker up --plain-websockets` starts one; "
            "--broker wss://HOST:PORT names another"
        )
    return address


def _checked(text: str) -> str:
    """Return an address that a page may have. Raises UsageError."""
    if not _ADDRESS.fullmatch(text):
        raise UsageError(
            f'--broker "{text}": expected ws://HOST:PORT or wss://HOST:PORT, where the broker takes websockets'
        )
    parts = urlsplit(text)
    try:
        host = BrokerAddress(parts.hostname or "", parts.port or 0)
    except ValueError:
        raise UsageError(f'--broker "{text}": the port is not a number from 1 to 65535') from None
    if parts.scheme == "ws" and not host.is_loopback:
        raise UsageError(f"--broker: {host.host} is not on this machine; only wss:// (TLS) may be used")
    return text
