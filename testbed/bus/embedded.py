"""The MQTT broker that a local agent carries inside itself: behind a socket of its owner's, one user, a random password.

A machine with a real broker (mosquitto) does not need this one; see `testbed agent --broker`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # type: ignore[import-untyped]
from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType  # type: ignore[import-untyped]
from amqtt.plugins.base import BaseAuthPlugin  # type: ignore[import-untyped]
from amqtt.session import Session  # type: ignore[import-untyped]

from testbed.bus.address import BrokerAddress
from testbed.bus.admission import listening

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


class _Broker(Broker):  # type: ignore[misc]
    """The library's broker, which tells a newcomer what is retained on the topics of all others.

    It goes through their subscriptions meanwhile, and breaks the connection off when one of them subscribes: of eight commands
    that began at once one or more failed.
    """

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(each is session for each, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class _Reader(StreamReaderAdapter):  # type: ignore[misc]
    """Read what has come already, then the stream."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._first = first

    async def read(self, n: int = -1) -> bytes:
        """Return `n` bytes; -1: all to the end."""
        count = len(self._first) if n < 0 else min(n, len(self._first))
        head, self._first = self._first[:count], self._first[count:]
        if count == n:
            return head
        rest: bytes = await super().read(n if n < 0 else n - count)
        return head + rest


class _Writer(StreamWriterAdapter):  # type: ignore[misc]
    def get_peer_info(self) -> tuple[str, int]:
        """Name the other end: a Unix socket has neither address nor port."""
        return "local", 0


@dataclass(frozen=True)
class EmbeddedBroker:
    """Where the broker of this process is, with which password, and how to tell its clients something without being one.

    `broadcast(topic, text)` costs a tenth of what it takes to publish as a client; nothing is retained.
    """

    address: BrokerAddress
    broadcast: Broadcast


@asynccontextmanager
async def embedded_broker(path: Path) -> AsyncIterator[EmbeddedBroker]:
    """Serve MQTT at a Unix socket, which no other user can reach, for as long as the context lasts.

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
    broker = _Broker(config)
    await broker.start()

    async def serve(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker.external_connected(_Reader(first, reader), _Writer(writer), _LISTENER)

    async def broadcast(topic: str, text: str) -> None:
        await broker.internal_message_broadcast(topic, text.encode())

    try:
        async with listening(path, serve):
            yield EmbeddedBroker(BrokerAddress(socket=path, username=_USER, password=password), broadcast)
    finally:
        await broker.shutdown()
