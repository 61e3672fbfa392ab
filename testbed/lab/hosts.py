"""Hosts: their ports, each a NIC of its own, and the accelerators whose ranks use them.

A port is of one of two fabrics: scale-up ports carry traffic inside the domain of the host, scale-out ports all other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from testbed.lab.containers import DEFAULT_IMAGES, Container
from testbed.lab.resolved import Resolved
from testbed.lab.routes import PortNames
from testbed.schema.fields import FileModel, Rate, Size, Time
from testbed.schema.source import KeyPath, Source

DEFAULT_RATE_BPS = 100 * 10**9
# NVLink 4 of the H100: 900 GB/s a GPU, both ways together (NVIDIA H100 Tensor Core GPU Architecture, 2022). The latency
# is an estimate.
LOCAL_RATE_BPS = 3_600 * 10**9
LOCAL_LATENCY_PS = 10**6
MAX_ACCELERATORS = 1024

Fabric = Literal["scale-out", "scale-up"]


class Nic(FileModel):
    """The RDMA NIC of a host; of a host with several scale-out ports, that of each.

    With `drain` it takes in so many bits a second of what arrives, and holds the rest in a `buffer`. Without PFC it drops
    what finds no room there; with it, it asks its switch to stop above `xoff` and to go on at `xon`. What is not given
    follows from the link.
    """

    rate: Rate | None = None
    """Rate of the NIC in bit/s; left out, that of `defaults`, which is 100 Gb/s."""
    drain: Rate | None = None
    """Rate in bit/s at which the NIC takes packets in; left out, it takes in whatever comes."""
    buffer: Size | None = None
    """Bytes of the receive buffer behind `drain`; left out, as many as its thresholds and the link's headroom need."""
    xoff: Size | None = None
    """Bytes held above which the NIC asks its switch to stop; left out, what the buffer has beyond the headroom of the link."""
    xon: Size | None = None
    """Bytes held at which the NIC asks its switch to go on; left out, two frames below `xoff`."""


class LocalSettings(FileModel):
    """How ranks of one host reach each other by memory: copies that take their length at `rate`, and then `latency`."""

    rate: Rate | None = None
    """Rate in bit/s at which an accelerator copies to others of its host; left out, 3.6 Tb/s."""
    latency: Time | None = None
    """Time from the end of a copy to its arrival; left out, 1 us."""


class HostPorts(FileModel):
    """Which ports of a host belong to which fabric; where one list alone is given, the other has the rest."""

    scale_out: PortNames = ()
    """Ports that carry traffic between domains, the home port of each accelerator in its order."""
    scale_up: PortNames = ()
    """Ports that carry traffic inside the domain of the host, the home port of each accelerator in its order."""


class HostSettings(FileModel):
    """What a host can be given."""

    nic: Nic | None = None
    """The RDMA NIC; left out, one at the rate of `defaults` that takes in whatever comes."""
    accelerators: Annotated[int, Field(strict=True, ge=1, le=MAX_ACCELERATORS)] | None = None
    """Accelerators of a host, each of which can have a rank; left out, 1."""
    ports: HostPorts | None = None
    """Ports by fabric; left out, those that lead into the `domain` of the host are scale-up, all others scale-out."""
    kernel: Literal["lossless"] | None = None
    """Frames of the host's kernel: with `lossless` they wait while their priority is paused; left out, they go on a lossy one."""
    local: LocalSettings | None = None
    """Copies between ranks of one host; left out, by its scale-up ports if it has any, else 3.6 Tb/s after 1 us."""


class ReceiveSettings(Resolved):
    """How a NIC takes packets in that may come faster; what is None follows from its link."""

    drain_bps: int
    buffer_bytes: int | None = None
    xoff_bytes: int | None = None
    xon_bytes: int | None = None


class Local(Resolved):
    """Copies between ranks of one host: their length at a rate, and then a latency."""

    rate_bps: int = LOCAL_RATE_BPS
    latency_ps: int = LOCAL_LATENCY_PS


class Host(Resolved):
    """A host with an RDMA NIC behind each port; without `receive` NICs take in whatever comes.

    `scale_out` and `scale_up` have its ports. Without `local` its ranks reach each other by its scale-up ports.
    """

    name: str
    kind: Literal["host"] = "host"
    nic_rate_bps: int
    receive: ReceiveSettings | None = None
    accelerators: int = 1
    domain: str | None = None
    scale_out: tuple[str, ...] = ()
    scale_up: tuple[str, ...] = ()
    kernel: Literal["lossless"] | None = None
    local: Local | None = Local.model_construct()
    container: Container = Container(image=DEFAULT_IMAGES["host"])
    agent: str | None = None

    def ports(self, fabric: Fabric) -> tuple[str, ...]:
        """Return the ports of one fabric, in the order of the accelerators whose home they are."""
        return self.scale_up if fabric == "scale-up" else self.scale_out

    def home(self, accelerator: int, fabric: Fabric) -> str:
        """Return the port of a fabric that an accelerator is at home on: neighbours share where there are fewer ports."""
        ports = self.ports(fabric)
        return ports[accelerator * len(ports) // self.accelerators]


class Far(NamedTuple):
    """What a link of a host leads to: the port it leaves by, and the domain of the node at the far end, if it has one."""

    port: str
    domain: str | None


def resolve_host(
    name: str, settings: Mapping[str, Any], container: Container, domain: str | None, far: Sequence[Far], source: Source
) -> Host:
    """Return a host with every setting resolved; what cannot be is noted. `far` has its links, by number of port."""
    nic = settings.get("nic") or {}
    rate = nic.get("rate") or settings.get("rate") or DEFAULT_RATE_BPS
    sizes = {key: nic[key] for key in ("buffer", "xoff", "xon") if key in nic}
    path: KeyPath = ("topology", "nodes", name)
    receive = None
    if sizes and "drain" not in nic:
        message = f"{next(iter(sizes))} is of no use to a NIC that takes in whatever comes; give a drain rate"
        source.fault((*path, "nic"), message)
    elif "drain" in nic:
        for above, below in (("buffer", "xoff"), ("xoff", "xon"), ("buffer", "xon")):
            if above in sizes and below in sizes and sizes[below] > sizes[above]:
                message = f"{below}, {sizes[below]} bytes, is above {above}, {sizes[above]} bytes"
                source.fault((*path, "nic"), message)
        receive = ReceiveSettings(drain_bps=nic["drain"], **{f"{key}_bytes": size for key, size in sizes.items()})
    scale_out, scale_up = _fabrics(settings.get("ports") or {}, domain, far, (*path, "ports"), source)
    return Host(
        name=name,
        nic_rate_bps=rate,
        receive=receive,
        accelerators=settings.get("accelerators", 1),
        domain=domain,
        scale_out=scale_out,
        scale_up=scale_up,
        kernel=settings.get("kernel"),
        local=_local(settings.get("local"), scale_up),
        container=container,
    )


def _local(settings: Mapping[str, Any] | None, scale_up: Sequence[str]) -> Local | None:
    if settings is None:
        return None if scale_up else Local.model_construct()
    return Local(rate_bps=settings.get("rate", LOCAL_RATE_BPS), latency_ps=settings.get("latency", LOCAL_LATENCY_PS))


def _fabrics(
    stated: Mapping[str, Sequence[str]], domain: str | None, far: Sequence[Far], path: KeyPath, source: Source
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the scale-out and the scale-up ports of a host: as its file says, or by where their links lead."""
    there = tuple(end.port for end in far)
    out, up = (tuple(stated.get(key, ())) for key in ("scale_out", "scale_up"))
    if not out and not up:
        up = tuple(end.port for end in far if domain is not None and end.domain == domain)
        return tuple(port for port in there if port not in up), up
    for key, named in (("scale-out", out), ("scale-up", up)):
        for number, port in enumerate(named):
            if port not in there:
                source.fault((*path, key), f"no link on {port}; there are links on {', '.join(there)}")
            elif port in named[:number]:
                source.fault((*path, key), f"{port} is listed twice")
    for port in up:
        if port in out:
            source.fault((*path, "scale-up"), f"{port} is a scale-out port already")
    rest = tuple(port for port in there if port not in out and port not in up)
    if out and up and rest:
        source.fault(path, f"{rest[0]} is neither a scale-out nor a scale-up port")
    out, up = out or rest, up or rest
    if up and domain is None:
        source.fault((*path, "scale-up"), "scale-up ports carry traffic inside a domain; name the domain of the host")
    return out, up
