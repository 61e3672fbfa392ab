"""A lab file as written, in containerlab's shape; `topology` resolves it into a graph."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from testbed.lab.circuits import CircuitSwitch
from testbed.lab.containers import ContainerSettings
from testbed.lab.convergence import Routing, RoutingSettings
from testbed.lab.endpoints import ENDPOINTS_SCHEMA, Endpoint, parse_endpoints
from testbed.lab.hosts import HostSettings
from testbed.lab.routes import PortNames, Target
from testbed.lab.switches import NamedSwitchSettings, SwitchSettings
from testbed.optics.behaviour import OpticalSettings
from testbed.optics.catalogue import OwnProfiles
from testbed.schema.fields import FileModel, FlowControl, Length, Loss, Mtu, Name, Rate, SizeOrAuto, Time


class LinkSettings(OpticalSettings):
    """What a link can be given: its delay, or the length of fibre that the delay follows from, not both.

    A profile gives rate, delay and loss; a delay or a loss given outright wins over it. `flow-control` keeps its lossless
    priorities from losing frames, `credits` is what each end then grants the other, by priority.
    """

    rate: Rate | None = None
    """Rate of the link in bit/s; left out, that of its profile, of its slower NIC or of `defaults`, in this order."""
    length: Length | None = None
    """Length of fibre, from which the delay follows; left out, 5 m, or the reach of the profile if that is less."""
    delay: Time | None = None
    """Time that a frame takes one way, in place of `length`; left out, it follows from the length and the profile."""
    loss: Loss | None = None
    """Probability that a frame is lost, one for both directions or a list of two; left out, what the profile gives, or 0."""
    medium: Literal["veth", "memory"] | None = None
    """What carries frames under the real clock: interfaces (`veth`), or the data plane (`memory`); left out, `veth`."""
    mtu: Mtu | None = None
    """Largest packet in bytes, without the Ethernet header; left out, 4200."""
    flow_control: FlowControl | None = None
    """What keeps lossless priorities from losing frames here; left out, `pfc`."""
    credits: SizeOrAuto | None = None
    """Bytes that each end of a link with credits grants the other, by priority; left out, or `auto`, what the link needs."""


class Defaults(SwitchSettings, HostSettings, LinkSettings, ContainerSettings):
    """Settings for all nodes and links that do not say otherwise."""


class SwitchKind(NamedSwitchSettings, ContainerSettings):
    """Settings of switches."""


class HostKind(HostSettings, ContainerSettings):
    """Settings of hosts."""


class Kinds(FileModel):
    """Settings for all nodes of a kind that do not say otherwise."""

    switch: SwitchKind = SwitchKind.model_construct()
    """Settings of all switches; each switch may replace them."""
    host: HostKind = HostKind.model_construct()
    """Settings of all hosts; each host may replace them."""


class NodeEntry(NamedSwitchSettings, HostSettings, ContainerSettings):
    """A node as written in the file. `routes` of a switch say, by host, the port or ports by which it forwards to it.

    `agent` names the one that has the node, where a lab is given to several. Hosts and switches of one `domain` are under
    one scale-up fabric.
    """

    kind: Literal["switch", "host"]
    """Whether the node is a switch or a host."""
    agent: Name | None = None
    """Name of the agent that has the node, where a lab is given to several; left out, `--placement` decides."""
    domain: Name | None = None
    """Scale-up domain of a host or a switch, by a name that its members share; left out, it is in none."""
    routes: dict[Target, PortNames] = Field(default_factory=dict)
    """Ports by which a switch forwards to a host, or to one port of it like `h1:eth2`; others are routed by `routing`."""


class LinkEntry(LinkSettings):
    """A link as written in the file."""

    endpoints: Annotated[tuple[Endpoint, Endpoint], BeforeValidator(parse_endpoints), WithJsonSchema(ENDPOINTS_SCHEMA)]
    """The two ports that the link joins, each written `node:ethN`."""


class TopologyBody(FileModel):
    """The `topology:` section of a lab file.

    `routing`: by shortest paths, or up and down the ranks of switches, which are their distances from `roots`. Left out,
    the roots are the switches farthest from hosts where these join all others, else the switch with the most links.
    """

    routing: Routing = RoutingSettings.model_construct()
    """How switches find paths, `shortest` or `up-down`, or its settings; left out, the shortest ones."""
    roots: tuple[Name, ...] = ()
    """Switches from which `up-down` counts; left out, those farthest from hosts, else the one with the most links."""
    defaults: Defaults = Defaults.model_construct()
    """Settings for all nodes and links that do not say otherwise."""
    kinds: Kinds = Kinds.model_construct()
    """Settings for all nodes of one kind that do not say otherwise; they win over `defaults`."""
    nodes: dict[Name, NodeEntry] = Field(min_length=1)
    """The nodes by name; ranks are on the accelerators of its hosts, in this order, unless the experiment names `ranks`."""
    links: tuple[LinkEntry, ...] = ()
    """The links between ports; left out, there are none."""


class LabFile(FileModel):
    """A lab file."""

    name: Name
    """Name of the lab, by which commands find it while it runs."""
    topology: TopologyBody
    """The graph: nodes, links, and the settings that they share."""
    profiles: OwnProfiles = Field(default_factory=dict)
    """Link profiles of the lab's own, by name, each perhaps `like` another; left out, the catalogue's alone."""
    circuits: dict[Name, CircuitSwitch] = Field(default_factory=dict)
    """Optical circuit switches by name, with the schedule of their port maps; left out, there are none."""
