"""MQTT over websockets, for pages in a browser: where a broker listens for it, and whether it answers there.

A listener of its own beside that for TCP, with the same users, passwords and rights. It has TLS as that one, unless it is told
to be without on loopback, since a browser knows no authority but those that it was given.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from testbed.bus.address import read_listening, written
from testbed.errors import UsageError

OPTION = "--websockets"
DEFAULT = "127.0.0.1:9883"
_SETTINGS = "cafile {0}/ca.pem", "certfile {0}/server.pem", "keyfile {0}/server.key", "tls_version tlsv1.2"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# RFC 6455, 1.2. The key is the one of its example: it keeps nothing secret.
_REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
_SWITCHED = b"HTTP/1.1 101 "


@dataclass(frozen=True)
class Websockets:
    """An IP address and a port, and whether TLS is spoken there."""

    bind: str
    port: int
    tls: bool = True

    def url(self, name: str) -> str:
        """Return where a page finds it that knows this machine by a name."""
        # localhost may be IPv6 first, and this listens where it was told.
        host = name if self.tls else self.bind
        return f"{'wss' if self.tls else 'ws'}://{written(host, self.port)}/"

    def settings(self, directory: Path) -> str:
        """Return the lines of mosquitto's configuration."""
        family = f"ipv{ipaddress.ip_address(self.bind).version}"
        # Without a family mosquitto 2.0 takes IPv6 for granted, and listens at every address where this one is IPv4.
        lines = [f"listener {self.port} {self.bind}", "protocol websockets", f"socket_domain {family}"]
        lines += [line.format(directory) for line in _SETTINGS] if self.tls else []
        return "\n".join([*lines, ""])

    def answers(self, authority: Path) -> bool:
        """Return whether MQTT over websockets is spoken there, under our authority where it has TLS."""
        try:
            with socket.create_connection((_WILDCARDS.get(self.bind, self.bind), self.port), timeout=1) as plain:
                return _switches(plain, authority) if self.tls else _upgrades(plain)
        except OSError:
            return False


def read(text: str, plain: bool) -> Websockets:
    """Read `PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises UsageError for anything else, and without TLS off loopback."""
    bind, port = read_listening(text, OPTION, 9883)
    if plain and not ipaddress.ip_address(bind).is_loopback:
        raise UsageError(f"--plain-websockets: {bind} is not on loopback, where passwords go by TLS alone")
    return Websockets(bind, port, not plain)


def _switches(plain: socket.socket, authority: Path) -> bool:
    context = ssl.create_default_context(cafile=os.fspath(authority))
    context.check_hostname = False
    with context.wrap_socket(plain) as connection:
        return _upgrades(connection)


def _upgrades(connection: socket.socket) -> bool:
    connection.sendall(_REQUEST.encode())
    answer = b""
    while len(answer) < len(_SWITCHED):
        piece = connection.recv(len(_SWITCHED) - len(answer))
        if not piece:
            return False
        answer += piece
    return answer == _SWITCHED
