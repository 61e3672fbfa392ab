"""A lab file as written, in containerlab's shape; `topology` resolves it into a graph."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from testbed.lab.circuits import CircuitSwitch
from testbed.lab.containers import ContainerSettings
from testbed.lab.endpoints import ENDPOINTS_SCHEMA, Endpoint, parse_endpoints
from testbed.lab.paths import Policy
from testbed.lab.routes import PortNames
from testbed.lab.switches import NamedSwitchSettings, SwitchSettings
from testbed.optics.behaviour import OpticalSettings
from testbed.optics.profiles import OwnProfiles
from testbed.schema.fields import FileModel, FlowControl, Length, Loss, Mtu, Name, Rate, Size, SizeOrAuto, Time


class Nic(FileModel):
    """The RDMA NIC of a host.

    With `drain` it takes in so many bits a second of what arrives, and holds the rest in a `buffer`. Without PFC it drops
    what finds no room there; with it, it asks its switch to stop above `xoff` and to go on at `xon`. What is not given
    follows from the link.
    """

    rate: Rate | None = None
    drain: Rate | None = None
    buffer: Size | None = None
    xoff: Size | None = None
    xon: Size | None = None


class HostSettings(FileModel):
    """What a host can be given."""

    nic: Nic | None = None


class LinkSettings(OpticalSettings):
    """What a link can be given: its delay, or the length of fibre that the delay follows from, not both.

    A profile gives rate, delay and loss; a delay or a loss given outright wins over it. `flow-control` keeps its lossless
    priorities from losing frames, `credits` is what each end then grants the other, by priority.
    """

    rate: Rate | None = None
    length: Length | None = None
    delay: Time | None = None
    loss: Loss | None = None
    medium: Literal["veth", "memory"] | None = None
    mtu: Mtu | None = None
    flow_control: FlowControl | None = None
    credits: SizeOrAuto | None = None


class Defaults(SwitchSettings, HostSettings, LinkSettings, ContainerSettings):
    """Settings for all nodes and links that do not say otherwise."""


class SwitchKind(NamedSwitchSettings, ContainerSettings):
    """Settings of switches."""


class HostKind(HostSettings, ContainerSettings):
    """Settings of hosts."""


class Kinds(FileModel):
    """Settings for all nodes of a kind that do not say otherwise."""

    switch: SwitchKind = SwitchKind()
    host: HostKind = HostKind()


class NodeEntry(NamedSwitchSettings, HostSettings, ContainerSettings):
    """A node as written in the file. `routes` of a switch say, by host, the port or ports by which it forwards to it.

    `agent` names the one that has the node, where a lab is given to several.
    """

    kind: Literal["switch", "host"]
    agent: Name | None = None
    routes: dict[Name, PortNames] = Field(default_factory=dict)


class LinkEntry(LinkSettings):
    """A link as written in the file."""

    endpoints: Annotated[tuple[Endpoint, Endpoint], BeforeValidator(parse_endpoints), WithJsonSchema(ENDPOINTS_SCHEMA)]


class TopologyBody(FileModel):
    """The `topology:` section of a lab file.

    `routing`: by shortest paths, or up and down the ranks of switches, which are their distances from `roots`. Left out,
    the roots are the switches farthest from hosts where these join all others, else the switch with the most links.
    """

    routing: Policy = "shortest"
    roots: tuple[Name, ...] = ()
    defaults: Defaults = Defaults()
    kinds: Kinds = Kinds()
    nodes: dict[Name, NodeEntry] = Field(min_length=1)
    links: tuple[LinkEntry, ...] = ()


class LabFile(FileModel):
    """A lab file."""

    name: Name
    topology: TopologyBody
    profiles: OwnProfiles = Field(default_factory=dict)
    circuits: dict[Name, CircuitSwitch] = Field(default_factory=dict)
