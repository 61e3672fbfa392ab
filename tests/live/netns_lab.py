"""What the tests of the netns driver share: small plans, a look at the machine, and a child process to be destructive in."""

import ctypes
import functools
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from testbed.system import namespaces

T = TypeVar("T")
libc = ctypes.CDLL(None, use_errno=True)


def isolated(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a child process with a private /run; its traceback becomes the failure of the test."""

    @functools.wraps(test)
    def run() -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())
                assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # recursively private
                while libc.umount2(b"/run/netns", 2) == 0:
                    pass  # what others unmount there meanwhile must not look like our doing
                assert libc.mount(b"test", b"/run", b"tmpfs", 0, None) == 0
                test()
                status = 0
            except BaseException:  # noqa: BLE001  reported by the parent
                os.write(writing, traceback.format_exc().encode()[-60_000:])
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            report = pipe.read()
        _pid, status = os.waitpid(child, 0)
        if status != 0:
            pytest.fail(report or f"the child ended with status {status}", pytrace=False)

    return run


def make_plan(lab: str, hosts: int = 2, switches: int = 1, **link: Any) -> dict[str, Any]:
    """Return a plan: `hosts` hosts shared out to `switches` switches in a row, all links alike."""
    nodes: list[dict[str, Any]] = [{"name": f"h{n}", "kind": "host", "ports": []} for n in range(hosts)]
    nodes += [{"name": f"s{n}", "kind": "switch", "ports": []} for n in range(switches)]

    def port(node: int) -> list[int]:
        number = len(nodes[node]["ports"])
        mac = f"02:00:00:00:{node:02x}:{number:02x}"
        nodes[node]["ports"].append({"name": f"eth{number + 1}", "mac": mac, "rate_bps": 100_000_000_000})
        return [node, number]

    pairs = [(n, hosts + n % switches) for n in range(hosts)] if switches else [(0, 1)]
    pairs += [(hosts + n, hosts + n + 1) for n in range(switches - 1)]
    links = [{"a": port(a), "b": port(b), "medium": "veth", **link} for a, b in pairs]
    stations = []
    for n in range(hosts):
        place = {"node": n, "port": 0}
        stations.append({"name": f"h{n}", "kind": "nic", "mac": nodes[n]["ports"][0]["mac"], "ip": f"198.18.0.{n + 1}"})
        stations.append(
            {"name": f"h{n}", "kind": "kernel", "mac": f"02:00:01:00:00:{n:02x}", "ip": f"198.19.0.{n + 1}"}
        )
        stations[-2].update(place)
        stations[-1].update(place)
    for node in nodes[hosts:]:
        node["routes"] = [[0]] * len(stations)  # all reach each other, which is what a driver asks of routes
    return {"schema": 1, "lab": lab, "seed": 1, "stations": stations, "nodes": nodes, "links": links}


def snapshot() -> dict[str, Any]:
    """Return what a lab could leave behind: names, mounts, interfaces of this namespace, and the namespace itself."""
    names = sorted(os.listdir("/run/netns")) if os.path.exists("/run/netns") else []
    mounts = sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    interfaces = sorted(name for _index, name in socket.if_nameindex())
    return {"names": names, "mounts": mounts, "interfaces": interfaces, "home": os.readlink("/proc/thread-self/ns/net")}


def inside(lab: str, node: str, work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread inside a node."""

    def entered() -> T:
        namespaces.enter(namespaces.namespace_path(lab, node))
        return work()

    return namespaces.in_thread(entered)
