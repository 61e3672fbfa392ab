"""The MQTT broker that a local agent carries inside itself: loopback only, one user, a random password.

A machine with a real broker (mosquitto) does not need this one; see `testbed agent --broker`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # type: ignore[import-untyped]
from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType  # type: ignore[import-untyped]
from amqtt.plugins.base import BaseAuthPlugin  # type: ignore[import-untyped]
from amqtt.session import Session  # type: ignore[import-untyped]

from testbed.bus import BrokerAddress

_USER = "testbed"
_LISTENER = "default"

Broadcast = Callable[[str, str], Awaitable[None]]


class OneUser(BaseAuthPlugin):  # type: ignore[misc]
    """Let in whoever knows the one password.

    The broker itself is given a digest only, so that it cannot log the secret.
    """

    @dataclass
    class Config:
        """Name the user and the SHA-256 of the password, in hex."""

        username: str = ""
        password_sha256: str = ""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Compare in constant time. A session without both name and password is refused."""
        if not session.username or not session.password or not self.config.password_sha256:
            return False
        digest = hashlib.sha256(session.password.encode()).hexdigest()
        right_name = hmac.compare_digest(session.username.encode(), self.config.username.encode())
        return hmac.compare_digest(digest, self.config.password_sha256) and right_name


@dataclass(frozen=True)
class EmbeddedBroker:
    """Where the broker of this process is, with which password, and how to tell its clients something without being one.

    `broadcast(topic, text)` costs a tenth of what it takes to publish as a client; nothing is retained.
    """

    address: BrokerAddress
    broadcast: Broadcast


@asynccontextmanager
async def embedded_broker() -> AsyncIterator[EmbeddedBroker]:
    """Serve MQTT on an ephemeral port of 127.0.0.1 for as long as the context lasts.

    The password has 256 random bits, so an unsalted digest of it tells nothing. It is only in the yielded value.
    """
    # The library reports every connection at INFO and whole packets, credentials included, at DEBUG.
    logging.getLogger("amqtt").setLevel(logging.WARNING)
    logging.getLogger("transitions").setLevel(logging.WARNING)
    password = secrets.token_urlsafe(32)
    digest = hashlib.sha256(password.encode()).hexdigest()
    config = BrokerConfig(
        listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL, bind="127.0.0.1:0")},
        plugins={f"{__name__}.{OneUser.__name__}": {"username": _USER, "password_sha256": digest}},
    )
    broker = Broker(config)
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker.external_connected(StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER)

    async def broadcast(topic: str, text: str) -> None:
        await broker.internal_message_broadcast(topic, text.encode())

    # The socket is ours, not the broker's: only so is an ephemeral port known without a race.
    listener = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(connected, sock=listener)
    try:
        port = int(listener.getsockname()[1])
        address = BrokerAddress(host="127.0.0.1", port=port, username=_USER, password=password)
        yield EmbeddedBroker(address, broadcast)
    finally:
        server.close()
        await broker.shutdown()
