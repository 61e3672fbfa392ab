"""Where a broker listens for pages: what the option takes, and what mosquitto is told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.bus import mosquitto, websockets
from testbed.bus.websockets import Websockets
from testbed.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bind", "port"),
    [("9001", "127.0.0.1", 9001), ("192.0.2.7:9883", "192.0.2.7", 9883), ("[::1]:443", "::1", 443)],
)
def test_an_address_and_a_port_are_read(text: str, bind: str, port: int) -> None:
    assert websockets.read(text, plain=False) == Websockets(bind, port, tls=True)


@pytest.mark.parametrize(
    "text", ["", "9883x", "localhost:9883", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:²"]
)
def test_what_is_no_address_and_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--websockets"):
        websockets.read(text, plain=False)


@pytest.mark.parametrize("text", ["0.0.0.0:9883", "192.0.2.7:9883", "[::]:9883"])
def test_without_tls_it_stays_on_loopback(text: str) -> None:
    with pytest.raises(UsageError, match="not on loopback"):
        websockets.read(text, plain=True)


@pytest.mark.parametrize(
    ("listener", "url"),
    [
        (
            mosquitto.Listener(websockets=Websockets("0.0.0.0", 9883), names=("lab1.example",)),
            "wss://lab1.example:9883/",
        ),
        (mosquitto.Listener(websockets=Websockets("127.0.0.1", 9883)), "wss://localhost:9883/"),
        (mosquitto.Listener(websockets=Websockets("::1", 9883, tls=False)), "ws://[::1]:9883/"),
        (mosquitto.Listener(), None),
    ],
)
def test_pages_are_told_where_to_come(listener: mosquitto.Listener, url: str | None) -> None:
    assert listener.page_url == url


@pytest.mark.parametrize(("bind", "family"), [("127.0.0.1", "ipv4"), ("0.0.0.0", "ipv4"), ("::1", "ipv6")])
def test_the_family_of_the_address_is_given(bind: str, family: str) -> None:
    """Without it mosquitto 2.0 listens at every address of the machine, whatever it was told."""
    lines = Websockets(bind, 9883).settings(Path("/b")).splitlines()
    assert lines[:3] == [f"listener 9883 {bind}", "protocol websockets", f"socket_domain {family}"]
    assert "certfile /b/server.pem" in lines
    assert not [line for line in Websockets(bind, 9883, tls=False).settings(Path("/b")).splitlines() if "file" in line]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--websockets", "9883x"], '--websockets "9883x": not a port'),
        (["--port", "9883", "--websockets"], "--websockets: port 9883 is that of the broker itself"),
        (["--websockets", "0.0.0.0:9883", "--plain-websockets"], "0.0.0.0 is not on loopback"),
    ],
)
def test_bad_addresses_end_with_2_before_anything_begins(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    call_testbed: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    place = tmp_path / "broker"
    done = call_testbed("broker", "up", "--dir", str(place), *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not place.exists()
