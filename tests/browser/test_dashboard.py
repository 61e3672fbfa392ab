"""The live page, by a real mosquitto and a real browser: what it shows, how fast, what it says when something is wrong."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from testbed.bus import mosquitto
from testbed.bus.websockets import Websockets
from testbed.errors import DriverError
from testbed.report.page.file import live_page
from tests.browser.checks import axe, count, empty_pictures, open_all, overflow, texts
from tests.browser.told import AGENT, Message, ToldLab
from tools.chromium import Page

FRAME_MS = 1000 / 60
LOOKS = 20
ATTEMPTS = 5
NUMBERS = itertools.count(1)
HOSTILE = "<img src=x onerror='document.title=1'>"


class Bus:
    """A broker that runs, and an agent that tells it things; what is retained goes with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listener = self._start()
        self._agent = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._agent.username_pw_set(AGENT, self.password(AGENT))
        self._agent.tls_set(str(directory / "ca.pem"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self._online = threading.Event()
        self._agent.on_connect = lambda *_: self._online.set()
        self._agent.reconnect_delay_set(1, 1)
        self._agent.connect("localhost", self.listener.port)
        self._agent.loop_start()
        self._retained: set[str] = set()

    def _start(self) -> mosquitto.Listener:
        """Start the broker on ports that are free; on others, where somebody takes one of them first."""
        for attempt in itertools.count(1):
            ports = free_ports(2)
            listener = mosquitto.Listener(port=ports[0], websockets=Websockets("127.0.0.1", ports[1], tls=False))
            try:
                mosquitto.up(self.directory, listener, [AGENT])
            except DriverError:
                if attempt == ATTEMPTS:
                    raise
            else:
                break
        return listener

    def up(self) -> None:
        mosquitto.up(self.directory, self.listener, [AGENT])

    def down(self) -> None:
        self._online.clear()
        mosquitto.down(self.directory)

    def password(self, user: str) -> str:
        return (self.directory / f"{user}.credentials").read_text().strip().partition(":")[2]

    def tell(self, messages: Iterable[Message]) -> None:
        """Publish messages, and return once the broker has them."""
        assert self._online.wait(30)
        sent = [self._agent.publish(topic, payload, qos=1, retain=retain) for topic, payload, retain in messages]
        for each in sent:
            each.wait_for_publish(30)

    def close(self) -> None:
        self._agent.disconnect()
        self._agent.loop_stop()
        mosquitto.remove(self.directory)

    def open(self, page: Page, path: Path, lab: ToldLab, *, width: int = 1440, dark: bool = False) -> None:
        """Write the page, open it as the reader, and return once it shows a lab."""
        path.write_text(live_page(str(self.listener.page_url)), encoding="utf-8")
        page.open(path, width, dark=dark, fragment=f"user=reader&password={self.password('reader')}&lab={lab.name}")
        page.wait_for("document.querySelector('#topology .fabric') !== null")


def free_ports(number: int) -> list[int]:
    """Return ports of this machine that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def bus() -> Iterator[Bus]:
    # Started by root, mosquitto becomes a user of its own, who cannot look into the folders that pytest makes.
    made = Bus(Path(tempfile.mkdtemp(prefix="tb-pages-")))
    yield made
    made.close()


@pytest.fixture
def lab(bus: Bus) -> Iterator[ToldLab]:
    made = ToldLab("two-dc:hosts=2", f"lab-{next(NUMBERS)}")
    bus.tell(made.online())
    yield made
    bus.tell(made.gone())


def shows(page: Page, selector: str, text: str) -> None:
    """Return once an element has a text."""
    page.wait_for(f"(document.querySelector({selector!r})?.textContent ?? '').includes({json.dumps(text)})")


def tile(page: Page, name: str, value: str) -> None:
    """Return once a figure of a name has a value."""
    page.wait_for(
        f"[...document.querySelectorAll('.tiles div')].some(each => each.querySelector('dt').textContent === {json.dumps(name)}"
        f" && each.querySelector('dd').textContent.startsWith({json.dumps(value)}))"
    )


def test_a_lab_of_100_ports_at_10_hz_leaves_the_browser_its_frames(page: Page, bus: Bus, tmp_path: Path) -> None:
    """All messages are read, and what a frame takes of the page's own work, by its own clock, fits a frame of 60 Hz."""
    large = ToldLab("clos:leaves=8,hosts=4,spines=2", "large")
    assert len(large.lab.links) * 2 >= 96
    bus.tell(large.online())
    bus.open(page, tmp_path / "live.html", large)
    page.evaluate("document.querySelector('#page').scrollIntoView()")
    bus.tell(large.live(full=True))
    page.wait_for("document.querySelectorAll('.gauge:not([hidden])').length === 12")
    before = int(page.evaluate("document.querySelector('#page').dataset.messages"))
    for _ in range(LOOKS):
        bus.tell(large.live())
        page.evaluate("new Promise(done => setTimeout(done, 100))")
    page.wait_for(f"Number(document.querySelector('#page').dataset.messages) >= {before + LOOKS}")
    facts: dict[str, str] = page.evaluate("({...document.querySelector('#page').dataset})")
    assert float(facts["medianMs"]) < FRAME_MS
    tile(page, "Lost, by their numbers", "0")
    assert count(page, ".fabric .link path:not(.touch):not(.u0)") > 48
    assert count(page, "#pauses .lane .p3, #pauses .lane .p4, #pauses .lane .p5") > 0
    assert page.faults == []
    bus.tell(large.gone())


def test_a_run_is_followed_from_its_start_to_its_verdict(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path) -> None:
    bus.open(page, tmp_path / "live.html", lab)
    bus.tell([*lab.live(full=True), *lab.started(), *lab.progress(0.25)])
    shows(page, "#run .badge", "RUNNING")
    tile(page, "Done", "25 %")
    tile(page, "Time left", "30 s")
    tile(page, "Nominal time in a wall second", "1 ms")
    bus.tell(lab.live(drops=[("b1:eth1", "headroom", 11), ("b1:eth1", "headroom", 1)]))
    shows(page, "#log tbody", "12 frames lost: headroomb1:eth1 · 3")
    shows(page, "#log [role=status]", "12 frames were lost, the last at b1:eth1 · 3: headroom.")
    bus.tell(lab.ended(passed=False))
    shows(page, "#run .badge", "FAILED")
    shows(page, "#run .failing", "not lossless: 12 frames dropped at b1:eth1")
    assert texts(page, "#run [role=status]") == ["FAILED 12 frames lost; correct, trusted"]
    shows(page, "#log tbody", "run ended")
    assert page.faults == []


def test_what_ended_before_the_page_looked_is_told(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path) -> None:
    """The verdict of the last run stands in the state, which is retained."""
    bus.tell([*lab.started(), *lab.ended()])
    bus.open(page, tmp_path / "live.html", lab)
    shows(page, "#run [role=status]", "PASSED lossless, correct, trusted")
    tile(page, "Result: busbw", "9.5")


def test_messages_that_are_missing_are_counted(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path) -> None:
    bus.open(page, tmp_path / "live.html", lab)
    bus.tell(lab.live(full=True))
    page.wait_for("document.querySelectorAll('.gauge:not([hidden])').length > 0")
    lab.live()
    lab.live()
    bus.tell(lab.live())
    tile(page, "Lost, by their numbers", "2")


def test_a_broker_that_restarts_is_found_again(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path) -> None:
    bus.open(page, tmp_path / "live.html", lab)
    bus.down()
    shows(page, ".connection", "Connection lost: the broker")
    bus.up()
    page.wait_for("document.querySelector('.connection').dataset.is === 'connected'")
    bus.tell([*lab.online(), *lab.started()])
    shows(page, "#run .badge", "RUNNING")
    bus.tell(lab.live(full=True))
    page.wait_for("document.querySelectorAll('.gauge:not([hidden])').length > 0")
    # The browser itself writes that nobody listened meanwhile.
    assert [fault for fault in page.faults if "WebSocket connection to" not in fault] == []


def test_a_wrong_password_is_said_and_a_right_one_may_follow(
    page: Page, bus: Bus, lab: ToldLab, tmp_path: Path
) -> None:
    path = tmp_path / "live.html"
    path.write_text(live_page(str(bus.listener.page_url)), encoding="utf-8")
    page.open(path, fragment=f"password=wrong&lab={lab.name}")
    shows(page, ".connection", "Refused: wrong user or password")
    assert page.evaluate("document.activeElement.id") == "password"
    assert page.evaluate("location.hash") == f"#lab={lab.name}"
    page.evaluate(f"document.activeElement.value = {bus.password('reader')!r}")
    page.key("Enter")
    shows(page, ".connection", "Connected to")
    page.wait_for("document.querySelector('#topology .fabric') !== null")
    assert page.faults == []


def test_what_is_malformed_is_counted_and_breaks_nothing(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path) -> None:
    """Whoever may write on the bus, the page shows no markup of it, and goes on."""
    bus.open(page, tmp_path / "live.html", lab)
    bus.tell(hostile(lab))
    tile(page, "Malformed", str(len(hostile(lab)) - WELL_FORMED))
    shows(page, "#log tbody", HOSTILE)
    assert count(page, "img") == 0
    bus.tell([*lab.live(full=True), *lab.started()])
    shows(page, "#run .badge", "RUNNING")
    page.wait_for("document.querySelectorAll('.gauge:not([hidden])').length > 0")
    assert page.faults == [] and page.evaluate("document.title") == f"{lab.name}, live"


WELL_FORMED = 2


def hostile(lab: ToldLab) -> list[Message]:
    """Return messages that no agent of ours sends; the last are well-formed, and of hostile texts."""
    live, state, topology = (f"testbed/{lab.name}/{what}" for what in (f"{AGENT}/live", "state", "topology"))
    head = {"v": 1, "agent": AGENT, "lab": lab.name, "at": HOSTILE, "session": "x", "seq": 1, "nominal_ns": 1}
    figures = [0] * 10

    def as_live(**changes: Any) -> Message:
        return live, json.dumps({**head, "ports": {}, "happened": [], **changes}).encode(), False

    picture = {"width": 1, "height": 1, "box": 1, "nodes": [], "frames": []}
    link = {"a": "a:eth1", "b": "b:eth1", "path": f"M0 0{HOSTILE}", "from": "a:eth1"}
    return [
        *((live, payload, False) for payload in (b"{", b"\xff\xfe", b"[]", b"null", b'"', b"1e999", b"[" * 100_000)),
        as_live(nominal_ns=-1),
        as_live(nominal_ns="1"),
        as_live(seq=None),
        as_live(agent=HOSTILE),
        as_live(ports=[]),
        as_live(ports={HOSTILE: {"3": figures}}),
        as_live(ports={"a:eth1": {"9": figures}}),
        as_live(ports={"a:eth1": {"3": figures[:4]}}),
        as_live(ports={"a:eth1": {"3": [None] * 10}}),
        as_live(ports={"__proto__": {"3": figures}}),
        as_live(happened=[{"what": "drops", "port": "a:eth1", "priority": 3, "cause": 1, "frames": "12"}]),
        (state, json.dumps({**head, "progress": {"share": 7}}).encode(), False),
        (topology, json.dumps({**head, "links": [], "picture": {**picture, "links": [link]}}).encode(), False),
        (topology, json.dumps({**head, "links": [{"a": "a", "b": "b"}]}).encode(), False),
        (
            f"testbed/{lab.name}/events",
            json.dumps({**head, "event": HOSTILE, "reason": HOSTILE * 1000}).encode(),
            False,
        ),
        (
            state,
            json.dumps({**head, "state": HOSTILE, "last": {"verdict": HOSTILE, "reasons": [HOSTILE]}}).encode(),
            False,
        ),
    ]


def test_a_lab_is_chosen_by_the_keyboard_and_what_moves_can_be_held(
    page: Page, bus: Bus, lab: ToldLab, tmp_path: Path
) -> None:
    other = ToldLab("incast:senders=2", "other")
    bus.tell(other.online())
    bus.open(page, tmp_path / "live.html", lab)
    page.wait_for("document.querySelector('[data-lab=other]') !== null")
    page.evaluate("document.querySelector('[data-lab=other]').focus()")
    page.key("Enter")
    page.wait_for("document.title === 'other, live' && document.activeElement.dataset.lab === 'other'")
    page.wait_for("document.querySelector('[data-lab=other]').getAttribute('aria-pressed') === 'true'")
    page.evaluate("document.querySelector('.hold').focus()")
    page.key("Enter")
    bus.tell(other.started())
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert texts(page, "#run .badge") == ["IDLE"]
    page.key("Enter")
    shows(page, "#run .badge", "RUNNING")
    bus.tell(other.gone())
    page.wait_for("document.querySelector('[data-lab=other]') === null")


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (800, True), (400, False)])
def test_the_page_fits_every_width(page: Page, bus: Bus, lab: ToldLab, tmp_path: Path, width: int, dark: bool) -> None:
    bus.tell(lab.started())
    bus.open(page, tmp_path / "live.html", lab, width=width, dark=dark)
    bus.tell([*lab.live(full=True), *lab.live(), *lab.live(drops=[("b1:eth1", "headroom", 3)]), *lab.progress(0.5)])
    shows(page, "#log tbody", "3 frames lost")
    page.wait_for("document.querySelectorAll('.chart canvas').length === 2")
    open_all(page)
    page.wait_for("document.querySelectorAll('#pauses .lane').length > 0")
    assert axe(page) == []
    assert overflow(page) == []
    assert empty_pictures(page) == []
    assert page.faults == []
