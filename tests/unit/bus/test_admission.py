"""The embedded broker's door: who may come in, how many may wait, and for how long; and what the log may grow to."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from testbed.bus import admission, client, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.embedded import embedded_broker
from testbed.errors import HostError
from testbed.system import bounded_log
from tests.unit.agent.bus_world import World, bus_test

CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x0f\x00\x04idle"


def place(w: World) -> Path:
    assert w.address.socket is not None
    return w.address.socket


async def closed(reader: asyncio.StreamReader) -> bool:
    """Return whether the broker closes a connection within ten seconds."""
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True


@contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@bus_test
async def test_the_socket_is_its_owners_alone(w: World) -> None:
    facts = place(w).lstat()
    assert stat.S_ISSOCK(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o600
    assert facts.st_uid == os.geteuid()


@bus_test
async def test_a_thousand_idle_connections_keep_nobody_out(w: World) -> None:
    with many_descriptors(), ExitStack() as idle:
        for _ in range(1000):
            _, writer = await asyncio.open_unix_connection(place(w))
            idle.callback(writer.close)
        async with client.connect(w.address, "local") as caller:
            assert await asyncio.wait_for(caller.request(verbs.PING), 5) == {}


@bus_test
async def test_who_sends_nothing_or_nonsense_is_shut_out(w: World) -> None:
    admission.CONNECT_S = 0.2
    try:
        # Nothing; half a packet; another packet; one that is too long; a length that does not end.
        for said in (b"", CONNECT[:8], b"\x30\x00", b"\x10\xff\xff\x03", b"\x10\xff\xff\xff\xff\x7f"):
            reader, writer = await asyncio.open_unix_connection(place(w))
            writer.write(said)
            assert await closed(reader), said
            writer.close()
    finally:
        admission.CONNECT_S = 5.0


@pytest.mark.usefixtures("require_root")
def test_another_user_is_shut_out_before_a_byte_is_read(tmp_path: Path) -> None:
    """Even where the way to the socket is open to all."""
    served: list[bytes] = []

    async def serve(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(first)

    def talk() -> bytes:
        talker = "import os, socket; os.setresuid(65534, 65534, 65534); s = socket.socket(socket.AF_UNIX)"
        talker += f"; s.settimeout(10); s.connect({str(path)!r}); s.sendall({CONNECT!r}); print(s.recv(9))"
        return subprocess.run([sys.executable, "-c", talker], capture_output=True, check=False).stdout

    async def work() -> None:
        async with admission.listening(path, serve):
            assert await asyncio.to_thread(talk) == b""  # may not connect at all
            path.chmod(0o777)
            assert await asyncio.to_thread(talk) in (b"b''\n", b"")
            assert served == []
            with socket.socket(socket.AF_UNIX) as mine:
                mine.setblocking(False)
                await asyncio.get_running_loop().sock_connect(mine, str(path))
                await asyncio.get_running_loop().sock_sendall(mine, CONNECT)
                assert await asyncio.get_running_loop().sock_recv(mine, 9) == b""
            assert served == [CONNECT]

    with open_to_all() as directory:
        path = directory / "s"
        asyncio.run(work())
        assert not path.exists()


@contextmanager
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tb-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def test_a_path_that_no_socket_can_have_is_reported(tmp_path: Path) -> None:
    admission.check_path(Path("/" + "x" * 106))
    with pytest.raises(HostError, match="107 bytes"):
        admission.check_path(Path("/" + "x" * 107))


def test_a_log_stays_within_its_bounds(tmp_path: Path) -> None:
    script = """if True:
        import logging, sys
        from pathlib import Path
        from testbed.system import bounded_log
        logging.basicConfig(handlers=[bounded_log.Handler(Path(sys.argv[1]))])
        for number in range(30000):
            logging.warning("connection %d refused %s", number, "x" * 100)
        print("the end", flush=True)
    """
    path = tmp_path / "agent.log"
    log = bounded_log.open_log(path)
    subprocess.run([sys.executable, "-c", script, str(path)], stdout=log, stderr=log, check=True)
    os.close(log)
    older = path.with_name("agent.log.1")
    assert sorted(tmp_path.iterdir()) == [path, older]
    for file in (path, older):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size < bounded_log.LIMIT_BYTES + 1000
    lines = path.read_text().splitlines()
    assert "connection 29999 refused" in lines[-2]
    assert lines[-1] == "the end"


def test_a_log_that_is_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "agent.log", tmp_path / "other"
    path.write_text("x" * 100)
    with other.open("a") as file:
        file.write("y" * 100)
        file.flush()
        bounded_log.rotate(path, file.fileno(), limit_bytes=10)
    assert (path.read_text(), other.read_text()) == ("x" * 100, "y" * 100)


def test_a_log_of_another_program_stays_within_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    lines = b"".join(b"%08d connection refused\n" % number for number in range(100_000))
    command = [sys.executable, bounded_log.__file__, str(path)]
    subprocess.run(command, input=lines, cwd="/", env={}, check=True)
    older = path.with_name("broker.log.1")
    assert sorted(tmp_path.iterdir()) == [path, older]
    kept = older.read_bytes() + path.read_bytes()
    assert lines.endswith(kept) and len(kept) > bounded_log.LIMIT_BYTES
    for file in (path, older):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size <= bounded_log.LIMIT_BYTES + (1 << 16)


def test_many_clients_that_come_at_once_are_all_served(tmp_path: Path) -> None:
    """As commands do when an agent has just started, whose status is retained and followed by each of them."""

    async def come(address: BrokerAddress, number: int) -> None:
        async with client.client(address, client.new_identifier("c")) as mqtt:
            await mqtt.subscribe([(f"testbed/-/local/reply/{number}", 1), ("testbed/agents/local/status", 1)])
            await mqtt.publish(f"testbed/-/local/reply/{number}", b"", qos=1)

    async def work() -> None:
        async with embedded_broker(tmp_path / "s") as broker, client.client(broker.address, "agent") as agent:
            for topic in ("testbed/agents/local/status", *(f"testbed/lab{number}/state" for number in range(20))):
                await agent.subscribe(topic, qos=1)
                await agent.publish(topic, b"online", qos=1, retain=True)
            async with asyncio.timeout(20):
                for _ in range(3):
                    await asyncio.gather(*(come(broker.address, number) for number in range(10)))

    asyncio.run(work())


def test_a_newcomer_receives_nothing_of_topics_that_it_did_not_subscribe_to(tmp_path: Path) -> None:
    async def work() -> list[str]:
        async with embedded_broker(tmp_path / "s") as broker, client.client(broker.address, "teller") as teller:
            for topic in ("mine", "theirs"):
                await teller.subscribe(topic, qos=1)
                await teller.publish(topic, b"kept", qos=1, retain=True)
            async with client.client(broker.address, "newcomer") as newcomer:
                await newcomer.subscribe([("mine", 1), ("end", 1)])
                await newcomer.publish("end", b"", qos=1)
                heard = []
                async with asyncio.timeout(10):
                    async for message in newcomer.messages:
                        if str(message.topic) == "end":
                            return heard
                        heard.append(str(message.topic))
        raise AssertionError

    assert asyncio.run(work()) == ["mine"]
