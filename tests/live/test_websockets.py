"""A real mosquitto that listens for websockets too: the same users and rights, nowhere but where it was told."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from testbed.bus import messages, mosquitto
from testbed.bus.websockets import Websockets
from testbed.errors import DriverError
from tests.live.shared_broker import Broker, Listener

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(120)]

AGENT = "m1"
PORT, PAGES = 21893, 21894


@pytest.fixture(scope="module", params=[True, False], ids=["tls", "plain"])
def broker(require_root: None, request: pytest.FixtureRequest) -> Iterator[Broker]:
    directory = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    pages = Websockets("127.0.0.1", PAGES, tls=request.param)
    mosquitto.up(directory, mosquitto.Listener(port=PORT, websockets=pages), [AGENT])
    yield Broker(directory, PORT, pages)
    assert mosquitto.remove(directory)
    assert not directory.exists()


def _publish(broker: Broker, user: str, topic: str, over_websockets: bool, retain: bool = False) -> None:
    """Publish a word as a user, and return once the broker has taken note of it."""
    client = broker.page(user) if over_websockets else broker.client(user)
    noted = threading.Event()
    client.on_connect = lambda *_: client.publish(topic, json.dumps({"by": user}), qos=1, retain=retain)
    client.on_publish = lambda *_: noted.set()
    client.connect("localhost", PAGES if over_websockets else PORT)
    client.loop_start()
    assert noted.wait(30)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize(
    "topic",
    [
        messages.command_topic("pair", AGENT),
        messages.state_topic("pair"),
        f"testbed/pair/{AGENT}/live",
        "testbed/pair/topology",
        messages.events_topic("pair"),
        messages.status_topic(AGENT),
    ],
)
def test_a_page_with_the_readers_rights_hears_and_publishes_nothing(broker: Broker, topic: str) -> None:
    told = Listener(broker, "controller", "testbed/#")
    last = messages.events_topic(messages.NO_LAB)
    _publish(broker, "reader", topic, over_websockets=True)
    _publish(broker, "reader", topic, over_websockets=True, retain=True)
    _publish(broker, AGENT, last, over_websockets=False)
    told.wait_for(last)
    assert {where for _, where, _ in told.heard} == {last}
    told.close()


def test_a_page_hears_what_agents_tell_and_no_command(broker: Broker) -> None:
    page = Listener(broker, "reader", "testbed/#", over_websockets=True)
    told = [f"testbed/pair/{AGENT}/live", "testbed/pair/topology", messages.state_topic("pair")]
    _publish(broker, "controller", messages.command_topic("pair", AGENT), over_websockets=False)
    for topic in told:
        _publish(broker, AGENT, topic, over_websockets=False)
    page.wait_for(told[-1])
    assert [topic for _, topic, _ in page.heard] == told
    page.close()


def test_a_page_with_a_wrong_password_is_refused(broker: Broker) -> None:
    done = threading.Event()
    codes: list[paho.ReasonCode] = []
    client = broker.page("reader")
    client.username_pw_set("reader", "guess")
    client.on_connect = lambda *said: (codes.append(said[3]), done.set())
    client.connect("localhost", PAGES)
    client.loop_start()
    assert done.wait(30)
    client.loop_stop()
    assert codes[0].is_failure


def test_it_listens_nowhere_else(broker: Broker) -> None:
    for elsewhere in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match="refused"), closing(socket.create_connection((elsewhere, PAGES), 5)):
            pass
    assert mosquitto.websockets_url(broker.directory) == mosquitto.Listener(websockets=broker.pages).page_url


def test_a_port_that_is_taken_keeps_it_from_starting() -> None:
    other = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    taken = socket.create_server(("127.0.0.1", 0))
    pages = Websockets("127.0.0.1", taken.getsockname()[1])
    try:
        with pytest.raises(DriverError, match=f"start mosquitto on 127.0.0.1:21895 and 127.0.0.1:{pages.port}"):
            mosquitto.up(other, mosquitto.Listener(port=21895, websockets=pages), [AGENT])
        assert (mosquitto.running(other), mosquitto.websockets_url(other)) == (None, None)
    finally:
        taken.close()
        mosquitto.remove(other)
