"""What an agent tells pages of its labs over a real broker's websockets: each message as the schema has it, and none missing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.bus import messages, mosquitto, told
from testbed.bus.websockets import Websockets
from tests.live.machine import Machine, private_machine
from tests.live.shared_broker import Broker, Listener
from tests.told import check

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

AGENT = "m1"
PORT, PAGES = 21896, 21897
PAIR = ("-t", "pair", "--dilation", "2000")
STATUS = messages.status_topic(AGENT)
Document = dict[str, Any]


@pytest.fixture(scope="module")
def broker(require_root: None) -> Iterator[Broker]:
    directory = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    pages = Websockets("127.0.0.1", PAGES, tls=False)
    mosquitto.up(directory, mosquitto.Listener(port=PORT, websockets=pages), [AGENT])
    yield Broker(directory, PORT, pages)
    mosquitto.remove(directory)


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path) -> Iterator[Machine]:
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


@pytest.fixture
def agent(machine: Machine, broker: Broker) -> Iterator[subprocess.Popen[str]]:
    process = machine.start(*broker.options(AGENT), "agent", "--name", AGENT, "--telemetry", "50ms")
    online = Listener(broker, "reader", STATUS)
    online.wait_for(STATUS, messages.ONLINE)
    online.close()
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def documents(heard: list[tuple[float, str, bytes]]) -> list[tuple[str, Document]]:
    return [(topic, json.loads(payload)) for _, topic, payload in heard if payload and topic != STATUS]


def retained(broker: Broker) -> dict[str, bytes]:
    """Return what the broker retains, by topic: all that a newcomer hears before a word that comes after it."""
    newcomer = Listener(broker, "controller", "testbed/#")
    after = messages.events_topic(messages.NO_LAB)
    sender = broker.client(AGENT)
    sender.on_connect = lambda *_: sender.publish(after, "{}", qos=1)
    sender.connect("localhost", PORT)
    sender.loop_start()
    newcomer.wait_for(after)
    sender.disconnect()
    sender.loop_stop()
    newcomer.close()
    return {topic: payload for _, topic, payload in newcomer.heard if topic != after}


@pytest.mark.usefixtures("agent")
def test_a_page_is_told_of_a_lab_from_its_topology_to_the_verdict_of_a_run(machine: Machine, broker: Broker) -> None:
    page = Listener(broker, "reader", "testbed/#", over_websockets=True)
    controller, out = [*broker.options("controller"), "--agent", AGENT], machine.directory / "result"
    sizes = ("-b", "8K", "-e", "16K", "-f", "2")
    run = machine.run(*controller, "run", "all_reduce", *PAIR, "--clock", "real", *sizes, "--out", str(out))
    page.wait_until(lambda heard: any(document.get("event") == "destroyed" for _, document in documents(heard)))
    gone = {messages.topology_topic("pair"), messages.state_topic("pair")}
    page.wait_until(lambda heard: gone <= {topic for _, topic, payload in heard if not payload})
    heard = documents(page.heard)
    page.close()
    numbers: dict[str, list[int]] = {}
    for topic, document in heard:
        check(topic, document)
        numbers.setdefault(topic, []).append(document["seq"])
    assert len({document["session"] for _, document in heard}) == 1
    assert {topic: each for topic, each in numbers.items() if each != list(range(1, 1 + len(each)))} == {}
    check_run([document for topic, document in heard if topic == messages.events_topic("pair")], run, out)
    check_figures(heard, json.loads((out / "run.json").read_text()))
    assert set(retained(broker)) == {STATUS}


def check_run(events: list[Document], run: subprocess.CompletedProcess[str], out: Path) -> None:
    began, *_, ended = [event for event in events if str(event["event"]).startswith("run ")]
    assert [began["event"], ended["event"]] == [told.RUN_STARTED, told.RUN_ENDED]
    assert (began["name"], began["ranks"], began["rows"], began["sizes"]) == ("all_reduce", 2, 2, [8192, 16384])
    assert began["experiment"]["workload"]["minbytes"] == 8192 and began["expected_ns"] > 0
    assert ended["run"] == began["run"] and ended["exit_code"] == run.returncode
    assert ended["verdict"] in run.stdout, run.stdout
    written = json.loads((out / "run.json").read_text())
    assert (ended["passed"], ended["reasons"]) == (written["verdict"]["passed"], written["verdict"]["reasons"])
    assert ended["result"] == {"host": socket.gethostname(), "path": str(out / "run.json")}
    assert ended["figures"]["busbw"] == written["collective"]["rows"][-1]["busbw_gbytes_per_s"]


def check_figures(heard: list[tuple[str, Document]], written: Document) -> None:
    """What was told last of each priority is what the run moved, and nominal time never goes back."""
    live = [document for topic, document in heard if topic == messages.live_topic("pair", AGENT)]
    times = [document["nominal_ns"] for document in live]
    assert live[0]["full"] and times == sorted(times)
    last: dict[tuple[str, str], list[int]] = {}
    for document in live:
        last |= {(port, key): each for port, figures in document["ports"].items() for key, each in figures.items()}
    sent = {
        (port, key): each["bytes_tx"]
        for port, figures in written["ports"].items()
        for key, each in figures["priorities"].items()
    }
    assert sent.keys() <= last.keys() and all(last[key][0] >= count for key, count in sent.items() if key in last)
    (topology,) = [document for topic, document in heard if topic == messages.topology_topic("pair")]
    ends = {(end, node["name"]) for node in topology["nodes"] for end in node["ports"]}
    assert {f"{node}:{port}" for port, node in ends} == {port for port, _ in last}
    assert len(topology["picture"]["nodes"]) == len(topology["nodes"]) and topology["dilation"] == 2000


def test_a_killed_agent_is_offline_at_once_and_its_words_go_when_it_is_back(machine: Machine, broker: Broker) -> None:
    controller = [*broker.options("controller"), "--agent", AGENT]
    page = Listener(broker, "reader", STATUS, messages.topology_topic("pair"), over_websockets=True)
    first = machine.start(*broker.options(AGENT), "agent", "--name", AGENT)
    page.wait_for(STATUS, messages.ONLINE)
    try:
        machine.ok(*controller, "deploy", *PAIR)
        page.wait_for(messages.topology_topic("pair"))
    finally:
        first.kill()
        first.communicate(timeout=60)
    page.wait_for(STATUS, messages.OFFLINE)
    # The lab is still up, and so is what was told of it: by an agent that is known to be gone.
    assert json.loads(retained(broker)[messages.topology_topic("pair")])["agent"] == AGENT
    page.close()
    machine.ok("destroy", "--name", "pair")
    page = Listener(broker, "reader", "testbed/#", over_websockets=True)
    second = machine.start(*broker.options(AGENT), "agent", "--name", AGENT)
    try:
        page.wait_for(messages.topology_topic("pair"), b"")
        page.wait_for(messages.state_topic("pair"), b"")
    finally:
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=60)
        page.close()
    assert set(retained(broker)) == {STATUS}
