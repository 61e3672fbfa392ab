"""Metrics of running labs over HTTP: what is said, to whom, how often, and what is refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from testbed.agent import local, process
from testbed.agent.lab import Observation
from testbed.agent.metrics import MAX_CONNECTIONS, MAX_HEAD_BYTES, metrics_of, read_address, served
from testbed.errors import HostError, UsageError
from testbed.openmetrics import FAMILIES

COUNTERS = {
    "paused_ns": 2_500_000_000,
    "pause_rx": 7,
    "bytes_tx": 10**15 + 1,
    "ecn_marked": 3,
    "queue_bytes_max": 9000,
    "headroom_bytes_max": 64,
}
STATE = {"driver": "netns", "dilation": 1000, "busy": True, "ranks": 4, "ranks_finished": 1}
LAST = {
    **{"name": "all_reduce", "verdict": "UNTRUSTED: not trusted", "passed": True, "exit_code": 4},
    "figures": {"size_bytes": 65536, "time_us": 12.5, "algbw": 2.0, "busbw": 3.5},
}
SEEN = Observation(
    {("pair", "a1", "eth1"): {"priorities": {"3": COUNTERS}}, ("pair", "b1", "eth1"): {}},
    {"pair": {**STATE, "drops": {"lossless": 0, "link": 5}, "last": LAST}},
    0.0,
)


async def ask(where: str, request: bytes) -> bytes:
    """Send bytes to where metrics are served; return all that comes."""
    host, _, port = where.removeprefix("http://").removesuffix("/metrics").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def scene(play: Callable[[str], Awaitable[None]], observe: Callable[[], Observation] = lambda: SEEN) -> None:
    async def all_of_it() -> None:
        async with asyncio.timeout(20), served(("127.0.0.1", 0), observe) as where:
            assert where is not None
            await play(where)

    asyncio.run(all_of_it())


GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


def test_what_a_lab_counts_is_read_by_the_parser_of_prometheus() -> None:
    families = {family.name: family for family in text_string_to_metric_families(metrics_of(SEEN))}
    assert {name: family.type for name, family in families.items()} == {
        name: FAMILIES[name][0] for name in families
    } and "testbed_lab_running" in families
    samples = {
        (each.name, *sorted(each.labels.values())): each.value
        for family in families.values()
        for each in family.samples
    }
    assert samples["testbed_lab_running", "1000", "netns", "pair"] == 1
    assert samples["testbed_ranks_finished", "pair"] == samples["testbed_lab_busy", "pair"] == 1
    assert samples["testbed_drops_total", "link", "pair"] == 5
    assert (samples["testbed_passed", "pair"], samples["testbed_trusted", "pair"]) == (1, 0)
    call = ("65536", "AllReduce", "pair")
    assert samples["nccl_bus_bandwidth_gbs", *call] == 3.5
    assert samples["nccl_collective_exec_time_microseconds", *call] == 12.5
    port = ("3", "a1", "eth1", "pair")
    assert samples["testbed_pfc_pause_seconds_total", *port] == 2.5
    assert samples["testbed_link_bytes_total", *port] == 10**15 + 1
    assert samples["testbed_queue_peak_bytes", *port] == 9000
    assert not any("b1" in key for key in samples)


def test_an_agent_without_labs_says_nothing_and_that_well() -> None:
    assert metrics_of(Observation({}, {}, 0.0)) == "# EOF\n"
    assert list(text_string_to_metric_families("# EOF\n")) == []


def test_metrics_are_served_and_nothing_else() -> None:
    async def play(where: str) -> None:
        head, _, body = (await ask(where, GET)).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 200 OK" and f"Content-Length: {len(body)}" in lines
        assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in lines
        assert body.decode() == metrics_of(SEEN)
        same, _, nothing = (await ask(where, GET.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
        assert (same, nothing) == (head, b"")
        for request, status in (
            (b"GET /metrics?name[]=x HTTP/1.0\r\n\r\n", b"200"),
            (b"GET / HTTP/1.1\r\n\r\n", b"404"),
            (b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"405"),
            (b"GET /metrics SPDY/3\r\n\r\n", b"400"),
            (b"\r\n\r\n", b"400"),
            (b"\x16\x03\x01\x02\x00 \r\n\r\n", b"400"),
        ):
            assert (await ask(where, request)).split(b" ")[1] == status, request
        assert await ask(where, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES) == b""

    scene(play)


def test_data_planes_are_looked_at_once_for_many_who_ask() -> None:
    looks = []

    def observe() -> Observation:
        looks.append(1)
        return SEEN

    async def play(where: str) -> None:
        answers = await asyncio.gather(*(ask(where, GET) for _ in range(MAX_CONNECTIONS)))
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)

    scene(play, observe)
    # Once a second; a machine that stands still in between may need another.
    assert len(looks) < MAX_CONNECTIONS / 2


def test_a_look_that_fails_ends_nothing() -> None:
    def observe() -> Observation:
        raise OSError("closed")

    async def play(where: str) -> None:
        for _ in range(2):
            assert (await ask(where, GET)).startswith(b"HTTP/1.1 500")

    scene(play, observe)


def test_connections_beyond_those_that_wait_get_no_answer() -> None:
    async def play(where: str) -> None:
        host, _, port = where.removeprefix("http://").removesuffix("/metrics").rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_CONNECTIONS)]
        assert await ask(where, GET) == b""
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while not (answer := await ask(where, GET)):
            await asyncio.sleep(0)
        assert answer.startswith(b"HTTP/1.1 200")

    scene(play)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_addresses_are_on_loopback_unless_they_say_otherwise(text: str, address: tuple[str, int]) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "localhost:80", "127.0.0.1", "0", "65536", "1.2.3.4:", "1.2.3:5", "٣"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a port, as 9464"):
        read_address(text)


def test_an_address_that_is_taken_is_an_error_of_the_machine() -> None:
    async def play(where: str) -> None:
        port = int(where.removesuffix("/metrics").rpartition(":")[2])
        with pytest.raises(HostError, match=f"--metrics 127.0.0.1:{port}: Address already in use"):
            async with served(("127.0.0.1", port), lambda: SEEN):
                raise AssertionError("served")

    scene(play)


def test_one_local_agent_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs keeps its labs; else the process becomes the local agent, that ends only when it is told to."""
    become: list[tuple[str, list[str]]] = []
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(local, "find", lambda directory: object())
    with pytest.raises(UsageError, match="a local agent runs already, without metrics"):
        process.become_local(("127.0.0.1", 9464))
    monkeypatch.setattr(local, "find", lambda directory: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(os, "execv", lambda program, arguments: become.append((program, arguments)))
    process.become_local(("::1", 9464))
    assert become[0][1] == local.command_line(local.state_dir())
    assert (os.environ[local.METRICS_VARIABLE], os.environ[local.IDLE_VARIABLE]) == ("[::1]:9464", "inf")
