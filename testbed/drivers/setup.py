"""What a container is given beside an image and limits: what the engine is told when it makes it, and what follows once it is up.

No shell is run: commands come as words.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from testbed.contract.container import Healthcheck, Published, Setup
from testbed.errors import DriverError, HostError
from testbed.system import namespaces, relay

CONFIG_LABEL = "testbed.startup-config"
"""The label by which an image says where it reads its configuration."""
CONFIG_PATH = "/startup-config"
"""Where it is put in an image that does not say."""

_NS_PER_S = 10**9
_SHOWN = 300


def creation(setup: Setup | None, labels: dict[str, str]) -> dict[str, Any]:
    """Return the arguments by which the engine is told of it; `labels` are those of the image."""
    if setup is None:
        return {}
    from docker.types import Mount

    binds = [(bind["source"], bind["target"], bind["read_only"]) for bind in setup["binds"]]
    if setup["startup_config"] is not None:
        binds.append((setup["startup_config"], labels.get(CONFIG_LABEL, CONFIG_PATH), True))
    # Unlike a volume, a mount does not make a directory where its source is missing.
    given: dict[str, Any] = {
        "mounts": [Mount(target, source, type="bind", read_only=only) for source, target, only in binds],
        "environment": dict(setup["env"]),
        "command": setup["cmd"],
        "entrypoint": setup["entrypoint"],
        "healthcheck": None if setup["healthcheck"] is None else _healthcheck(setup["healthcheck"]),
    }
    return {key: value for key, value in given.items() if value}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    times = {key: check[f"{key}_s"] * _NS_PER_S for key in ("interval", "timeout", "start_period")}  # type: ignore[literal-required]
    return {"test": check["test"], "retries": check["retries"], **times}


def run_commands(container: Any, node: str, commands: Sequence[Sequence[str]]) -> None:
    """Run commands in a container, one after the other. Raises HostError for the first that fails, with what it said."""
    for words in commands:
        status, output = container.exec_run(list(words), tty=False)
        if status != 0:
            said = output.decode(errors="replace").strip()[-_SHOWN:] or "it said nothing"
            raise HostError(f"exec of node {node}: {shlex.join(words)!r} ended with status {status}: {said}")


def publish(path: str, node: str, ports: Sequence[Published]) -> None:
    """Let ports of the machine lead to those of a node whose network namespace is bound at `path`.

    A process of ours in that namespace carries the bytes; it ends with the lab. Raises DriverError for a port that is taken.
    """
    if not ports:
        return
    with ExitStack() as stack:
        pairs = [(stack.enter_context(_listener(node, each)), each["target"]) for each in ports]
        words = [f"{listener.fileno()}:{target}" for listener, target in pairs]

        def start() -> None:
            namespaces.enter(path)
            # It outlives this process; what it is given is all that it has of it.
            subprocess.Popen(
                [sys.executable, "-I", relay.__file__, *words],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno() for listener, _ in pairs],
                start_new_session=True,
            )

        namespaces.in_thread(start)


def _listener(node: str, port: Published) -> socket.socket:
    family = socket.AF_INET6 if ":" in port["address"] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((port["address"], port["port"]))
        listener.listen()
    except OSError as error:
        listener.close()
        where = f"{port['address']}:{port['port']}"
        detail = os.strerror(error.errno or 0)
        raise DriverError(f"publish a port of node {node} at {where}", error.errno or errno.EIO, detail) from None
    return listener
