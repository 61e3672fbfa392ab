"""testbed otg: a traffic generator of the Open Traffic Generator API whose ports are the hosts of a lab."""

from __future__ import annotations

import enum
import os
import signal
import sys
import threading
from typing import Annotated

import typer

from testbed.commands.common import (
    DilationOption,
    SeedOption,
    SetOption,
    TopologyOption,
    read_experiment,
)

DEFAULT_LISTEN = "127.0.0.1:8443"


class OtgClock(enum.StrEnum):
    """What the lab runs under."""

    virtual = "virtual"
    real = "real"


def otg(
    topology: TopologyOption = None,
    listen: Annotated[str, typer.Option(help="address and port to listen on")] = DEFAULT_LISTEN,
    clock: Annotated[OtgClock, typer.Option(help="virtual, or real in namespaces of this machine (root)")] = (
        OtgClock.virtual
    ),
    plain: Annotated[bool, typer.Option("--http", help="HTTP without TLS")] = False,
    step: Annotated[
        str | None,
        typer.Option(
            help="nominal time that passes with every look under the virtual clock; without it flows that end are run to"
            " their end"
        ),
    ] = None,
    dilation: DilationOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Serve the Open Traffic Generator API: scripts of snappi configure and run traffic on a lab's hosts.

    A port of a script is a host of the lab: its location is `host` or `host:port`. It ends with an interrupt.
    """
    from testbed.otg import serving

    experiment = read_experiment(None, topology, set_ or [], seed)
    name = f"otg-{os.getpid()}"
    with serving.serving(experiment, name, clock.value, listen, plain, step, dilation) as server:
        over = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: over.set())
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        while not over.wait(0.5):
            pass
