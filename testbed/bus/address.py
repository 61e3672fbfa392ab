"""Where a broker is, and who we are to it: read from a URL and a file of credentials."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from testbed.errors import UsageError

LOCAL_AGENT = "local"
"""Name of the agent that commands start on their own machine."""
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class BrokerAddress:
    """Say where a broker is, by host and port or by a Unix socket, and who we are to it. The password never shows in `repr`."""

    host: str = ""
    port: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    socket: Path | None = None

    def __str__(self) -> str:
        """Write where it is: `host:port`, or the path of its socket."""
        return str(self.socket) if self.socket else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Return whether the traffic to this broker stays on the machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def broker_address(url: str, credentials: Path | None = None, ca_file: Path | None = None) -> BrokerAddress:
    """Read `mqtt://host[:port]` or `mqtts://host[:port]`, and `user:password` from a file that only its owner can read.

    Raises `UsageError` when the URL is malformed or carries a password (argument lists are public), when the file is
    readable by others, and when a broker off loopback is to be used without TLS or without credentials.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError(f"--broker {parts.scheme}://…: expected mqtt://host[:port] or mqtts://host[:port]")
    if parts.username or parts.password:
        raise UsageError(
            "--broker: leave credentials out of the URL, which every user of the machine can see; use --credentials FILE"
        )
    try:
        port = parts.port
    except ValueError:
        raise UsageError("--broker: the port is not a number from 1 to 65535") from None
    if ca_file is not None and not os.path.isfile(ca_file):
        raise UsageError(f"--ca {ca_file}: no such file")
    tls = parts.scheme == "mqtts"
    username, password = _read_credentials(credentials) if credentials else (None, None)
    address = BrokerAddress(parts.hostname, port or (8883 if tls else 1883), username, password, tls, ca_file)
    if not address.is_loopback and not tls:
        raise UsageError(f"--broker: {address.host} is not on this machine; only mqtts:// (TLS) may be used")
    if not address.is_loopback and password is None:
        raise UsageError(f"--broker: {address.host} is not on this machine; --credentials FILE is needed")
    return address


def read_listening(text: str, option: str, port: int) -> tuple[str, int]:
    """Return the IP address and the port of `PORT`, which is on loopback, `ADDRESS:PORT` or `[ADDRESS]:PORT`.

    Raises UsageError for anything else, naming the option and a port as an example; names of hosts are not looked up.
    """
    host, _, number = text.rpartition(":")
    try:
        address = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if host else _LOOPBACK))
    except ValueError:
        address = ""
    if not address or not number.isascii() or not number.isdecimal() or not 0 < int(number) < 2**16:
        raise UsageError(f'{option} "{text}": not a port, as {port}, or an address and a port, as 127.0.0.1:{port}')
    return address, int(number)


def written(host: str, port: int) -> str:
    """Return a host and a port as URLs have them, and `read_listening` takes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_credentials(path: Path) -> tuple[str, str]:
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"{path}: readable by others than its owner; chmod 600 it")
            line = file.readline().rstrip("\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    username, colon, password = line.partition(":")
    if not colon or not username or not password:
        raise UsageError(f"{path}: expected one line, user:password")
    return username, password
