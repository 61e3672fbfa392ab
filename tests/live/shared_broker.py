"""A real broker that runs, and its clients, for tests."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import paho.mqtt.client as paho

from testbed.bus.websockets import Websockets

Transport = Literal["tcp", "websockets"]


class Broker:
    """A broker that runs, and clients of it; `pages` is where it takes websockets, if it does."""

    def __init__(self, directory: Path, port: int, pages: Websockets | None = None) -> None:
        self.directory = directory
        self.port = port
        self.pages = pages

    def options(self, user: str) -> list[str]:
        """Return the global options of a command that acts as a user."""
        credentials = self.directory / f"{user}.credentials"
        url = f"mqtts://localhost:{self.port}"
        return ["--broker", url, "--credentials", str(credentials), "--ca", str(self.directory / "ca.pem")]

    def client(self, user: str, password: str | None = None, client_id: str = "") -> paho.Client:
        """Return a client that is not connected yet."""
        name, _, secret = (self.directory / f"{user}.credentials").read_text().strip().partition(":")
        return self._made(name, password or secret, client_id, "tcp")

    def page(self, user: str) -> paho.Client:
        """Return a client over websockets that is not connected yet."""
        name, _, secret = (self.directory / f"{user}.credentials").read_text().strip().partition(":")
        return self._made(name, secret, "", "websockets")

    def _made(self, name: str, secret: str, client_id: str, transport: Transport) -> paho.Client:
        version = paho.CallbackAPIVersion.VERSION2
        made = paho.Client(version, client_id, protocol=paho.MQTTv311, transport=transport)
        made.username_pw_set(name, secret)
        if transport == "websockets":
            made.ws_set_options("/")
        if transport == "tcp" or (self.pages is not None and self.pages.tls):
            made.tls_set(str(self.directory / "ca.pem"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        return made


class Listener:
    """All that a user is told on some topics, with the time of each message."""

    def __init__(self, broker: Broker, user: str, *topics: str, over_websockets: bool = False) -> None:
        self.heard: list[tuple[float, str, bytes]] = []
        self._changed = threading.Condition()
        self.granted: list[int] = []
        self._client = broker.page(user) if over_websockets else broker.client(user)
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._heard
        port = broker.pages.port if over_websockets and broker.pages is not None else broker.port
        self._client.connect("localhost", port)
        self._client.loop_start()
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.granted), 30)

    def _subscribed(
        self, client: paho.Client, data: object, mid: int, codes: list[paho.ReasonCode], *_: object
    ) -> None:
        with self._changed:
            self.granted = [code.value for code in codes]
            self._changed.notify_all()

    def _heard(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.heard.append((time.monotonic(), message.topic, message.payload))
            self._changed.notify_all()

    def wait_for(self, topic: str, payload: bytes | None = None, timeout_s: float = 60) -> float:
        """Wait for a message on a topic; return when it came."""

        def messages() -> list[float]:
            return [at for at, where, what in self.heard if where == topic and payload in (None, what)]

        with self._changed:
            assert self._changed.wait_for(lambda: bool(messages()), timeout_s), self.heard
            return messages()[-1]

    def wait_until(self, is_heard: Callable[[list[tuple[float, str, bytes]]], bool], timeout_s: float = 60) -> None:
        """Wait until what was heard is as wanted."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_heard(self.heard), timeout_s), self.heard

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
