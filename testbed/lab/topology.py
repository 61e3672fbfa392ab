"""A lab as a graph: hosts and switches, and the links between their ports.

`LabFile` is the file as written, `Lab` the graph it stands for, with every setting
resolved: what a node does not say itself comes from its kind, and what the kind does not say from `defaults`.
What a link does follows from its profile, if it has one, and from its rate and length or delay if not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from testbed import topologies, units
from testbed.errors import TopologyError, UsageError, nearest
from testbed.lab import checks
from testbed.lab.circuits import CircuitSwitch, ordered
from testbed.lab.containers import DEFAULT_IMAGES, Container, container_of
from testbed.lab.convergence import CONVERGENCE_PS
from testbed.lab.endpoints import Endpoint, parse_endpoint, port_number
from testbed.lab.file import LabFile, LinkEntry, NodeEntry
from testbed.lab.hosts import DEFAULT_RATE_BPS, Far, Host, resolve_host
from testbed.lab.links import Reader, check_circuits, link_behaviour, link_layers, own_catalogue
from testbed.lab.paths import Policy, Stated
from testbed.lab.priorities import CLASS_SELECTORS, OWN_QUEUES, PriorityTable, QueueTable, lossless_queues
from testbed.lab.resolved import Resolved
from testbed.lab.routes import check_routes, stated_routes
from testbed.lab.spec import check_keys, is_file, is_key, parse_parameters, split_spec, with_keys
from testbed.lab.switches import Layer, switch_figures
from testbed.lab.thresholds import GroupFigures, OwnThresholds, group_figures
from testbed.lab.trust import confined
from testbed.lab.watchdog import Watchdog
from testbed.optics.behaviour import LinkBehaviour, OpticalSettings, behaviour_of
from testbed.optics.catalogue import Catalogue, load_catalogue
from testbed.optics.dwdm import Line
from testbed.optics.loss import Codewords
from testbed.optics.profiles import Profile
from testbed.schema import fields
from testbed.schema.fields import AUTO, FlowControl
from testbed.schema.source import Source, read_yaml
from testbed.sizes import ETHERNET_HEADER_BYTES, FCS_BYTES

DEFAULT_MTU_BYTES = 4200  # a 4096-byte RoCE payload with its headers, and room to spare
DEFAULT_LENGTH_MM = 5_000
FRAME_OVERHEAD_BYTES = ETHERNET_HEADER_BYTES + FCS_BYTES  # around the MTU


class Switch(Resolved):
    """A switch. Thresholds that are None are derived from each port's link, a buffer that is None from all of them.

    `thresholds` are those of all priority groups, `own_thresholds` what is said of single ones, the widest first. With
    `alpha_log2` they are dynamic: 2^alpha_log2 times what is left of the pool, whose size, if it is None, is what the rest
    leaves over. `headroom_pool_bytes` of 0: every group has its own headroom. `routes`, by host, are the ports by which the
    switch forwards to it whatever the lab's routing says. With `lossy_alpha_log2` the limits of lossy queues are dynamic
    likewise; `lossy_pool_bytes` of 0: they share what is left over.
    """

    name: str
    kind: Literal["switch"] = "switch"
    buffer_bytes: int | None
    lossless: tuple[int, ...]
    lossy_queue_bytes: int | None
    thresholds: GroupFigures = GroupFigures.model_construct()
    own_thresholds: tuple[OwnThresholds, ...] = ()
    cell_bytes: int = 1
    pool_bytes: int | None = None
    headroom_pool_bytes: int = 0
    routes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    lossy_alpha_log2: int | None = None
    lossy_reserve_bytes: int = 0
    lossy_pool_bytes: int = 0
    dscp_to_priority: PriorityTable = CLASS_SELECTORS
    priority_to_queue: QueueTable = OWN_QUEUES
    priority_to_group: QueueTable | None = None
    """None: each has the number of the queue."""
    weights: tuple[int, ...] = (0,) * 8
    watchdog: Watchdog | None = None
    domain: str | None = None
    container: Container = Container(image=DEFAULT_IMAGES["switch"])
    agent: str | None = None

    @property
    def lossless_queues(self) -> tuple[int, ...]:
        """The queues of lossless priorities."""
        return lossless_queues(self.lossless, self.priority_to_queue)

    @property
    def lossless_groups(self) -> tuple[int, ...]:
        """The priority groups of lossless priorities."""
        return lossless_queues(self.lossless, self.priority_to_group or self.priority_to_queue)

    def group(self, port: str, priority: int) -> GroupFigures:
        """Return the thresholds of one priority group."""
        return group_figures(self.thresholds, self.own_thresholds, port, priority)

    @cached_property
    def every_thresholds(self) -> tuple[GroupFigures, ...]:
        """The thresholds that any group of the switch can have."""
        own = {(each.port, each.priority) for each in self.own_thresholds}
        return (
            self.thresholds,
            *(self.group(port or "", -1 if priority is None else priority) for port, priority in own),
        )


class Link(Resolved):
    """A link; `loss` is per frame, from `a` to `b` and back. `length_mm` is None if the delay was given outright.

    `rate_bps` is what is usable, or of a link without `carrier` what it would be. `optics` is what the file said of a link
    with a profile, `line` what gnpy made of its length if it was asked, and `loss_process` what follows from it in both
    directions. Credits that are None are what the link needs; they count only where credits are the flow control.
    """

    a: Endpoint
    b: Endpoint
    rate_bps: int
    delay_ps: int
    length_mm: int | None
    loss: tuple[float, float]
    medium: Literal["veth", "memory"]
    mtu_bytes: int
    optics: OpticalSettings | None = None
    line: Line | None = None
    loss_process: Codewords | None = None
    carrier: bool = True
    flow_control: FlowControl = "pfc"
    credits_bytes: int | None = None

    @property
    def frame_bytes(self) -> int:
        """The longest frame on this link, with its FCS."""
        return self.mtu_bytes + FRAME_OVERHEAD_BYTES


def far_end(link: Link, node: str) -> Endpoint:
    """Return the end of a link that is not on `node`."""
    return link.b if link.a.node == node else link.a


class Adjacency(NamedTuple):
    """What lies behind one port: its number among the node's ports, the node at the far end, and the link."""

    port: int
    node: str
    link: Link


class Lab(Resolved):
    """A lab: nodes in the order of the file, links in the order of the file, its own profiles and circuit switches."""

    name: str
    nodes: tuple[Switch | Host, ...]
    links: tuple[Link, ...]
    profiles: dict[str, Profile] = Field(default_factory=dict)
    circuits: dict[str, CircuitSwitch] = Field(default_factory=dict)
    routing: Policy = "shortest"
    convergence_ps: int | None = CONVERGENCE_PS
    roots: tuple[str, ...] = ()

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts, in the order of the file, which is that of the ranks unless the experiment names some."""
        return tuple(node for node in self.nodes if isinstance(node, Host))

    @cached_property
    def switches(self) -> tuple[Switch, ...]:
        """The switches, in the order of the file."""
        return tuple(node for node in self.nodes if isinstance(node, Switch))

    @cached_property
    def ports(self) -> Mapping[str, tuple[str, ...]]:
        """The ports of each node that have a link, by number."""
        ports_of: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for link in self.links:
            for end in (link.a, link.b):
                ports_of[end.node].append(end.port)
        return {name: tuple(sorted(ports, key=port_number)) for name, ports in ports_of.items()}

    @cached_property
    def nics(self) -> tuple[Endpoint, ...]:
        """The ports of hosts, each a NIC: in the order of the hosts, and of each by number of port."""
        return tuple(Endpoint(host.name, port) for host in self.hosts for port in self.ports[host.name])

    @cached_property
    def adjacent(self) -> Mapping[str, tuple[Adjacency, ...]]:
        """What lies behind the ports of each node, in the order of `ports`."""
        far: dict[Endpoint, tuple[str, Link]] = {}
        for link in self.links:
            far[link.a] = (link.b.node, link)
            far[link.b] = (link.a.node, link)
        return {
            node: tuple(Adjacency(index, *far[Endpoint(node, port)]) for index, port in enumerate(ports))
            for node, ports in self.ports.items()
        }

    @cached_property
    def stated_routes(self) -> Stated:
        """The routes that switches were given outright, by the port of a host that they lead to."""
        return stated_routes(self.switches, self.ports)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The profiles that links of this lab can have."""
        return load_catalogue().with_profiles(self.profiles)

    def behaviour(self, link: Link) -> LinkBehaviour | None:
        """Return all that is known of a link with a profile; None of any other."""
        if link.optics is None:
            return None
        rate = link.rate_bps if self.catalogue.profile(str(link.optics.profile)).rate is None else None
        return replace(behaviour_of(link.optics, link.length_mm or 0, rate, self.catalogue), line=link.line)


def lab_from(source: Source) -> Lab:
    """Build a lab from the data of a file; raise TopologyError with every fault in it."""
    faults = list(source.faults)
    parsed: LabFile | None = None
    try:
        parsed = LabFile.model_validate(source.data)
    except ValidationError as error:
        faults += fields.model_faults(error, LabFile, source)
    faults += checks.graph_faults(source, parse_endpoint)
    faults += checks.setting_faults(source)
    if parsed is None or faults:
        raise TopologyError(faults)
    return _resolve(parsed, source)


def _resolve(parsed: LabFile, source: Source) -> Lab:
    body = parsed.topology
    faults = Source(source.file, source.data, source.lines)
    read_catalogue = own_catalogue(parsed.profiles, faults)
    defaults = body.defaults.model_dump(exclude_none=True, exclude_unset=True)
    nodes: dict[str, Switch | Host] = {}
    far = _far_ends(body.links, body.nodes)
    for name, entry in body.nodes.items():
        if entry.kind == "switch":
            layers = (
                Layer(("topology", "defaults"), body.defaults),
                Layer(("topology", "kinds", "switch"), body.kinds.switch),
                Layer(("topology", "nodes", name), entry),
            )
            container = container_of("switch", body.defaults, body.kinds.switch, entry)
            figures = switch_figures(name, layers, [end.port for end in far[name]], faults)
            own: dict[str, Any] = {"routes": entry.routes, "agent": entry.agent, "domain": entry.domain}
            nodes[name] = Switch(**figures, **own, container=container)
        else:
            layers_below = (defaults, body.kinds.host.model_dump(exclude_none=True))
            settings = checks.merge(*layers_below, entry.model_dump(exclude_none=True))
            container = container_of("host", body.defaults, body.kinds.host, entry)
            host = resolve_host(name, settings, container, entry.domain, far[name], faults)
            nodes[name] = host.model_copy(update={"agent": entry.agent})
    links = [_link(index, entry, nodes, defaults, read_catalogue, faults) for index, entry in enumerate(body.links)]
    check_circuits(parsed.circuits, {ordered(*map(str, link.endpoints)) for link in body.links}, read_catalogue, faults)
    lab = Lab(
        name=parsed.name,
        nodes=tuple(nodes.values()),
        links=tuple(link for link in links if link is not None),
        profiles={name: read_catalogue().profiles[name] for name in parsed.profiles},
        circuits=parsed.circuits,
        routing=body.routing.policy,
        convergence_ps=body.routing.convergence_ps,
        roots=body.roots,
    )
    if not faults.faults and (body.roots or any(switch.routes for switch in lab.switches)):
        check_routes(lab.adjacent, lab.ports, lab.switches, lab.routing, lab.roots, faults)
    if faults.faults:
        raise TopologyError(faults.faults)
    return lab


def _far_ends(links: Sequence[LinkEntry], entries: Mapping[str, NodeEntry]) -> Mapping[str, list[Far]]:
    """Return what the links of each node lead to, by number of port."""
    far: dict[str, list[Far]] = {name: [] for name in entries}
    for link in links:
        for end, other in (link.endpoints, link.endpoints[::-1]):
            far[end.node].append(Far(end.port, entries[other.node].domain))
    return {name: sorted(ends, key=lambda end: port_number(end.port)) for name, ends in far.items()}


def _link(
    index: int,
    entry: LinkEntry,
    nodes: Mapping[str, Switch | Host],
    defaults: Mapping[str, Any],
    read_catalogue: Reader,
    source: Source,
) -> Link | None:
    """Return a link, or None after noting what its profile cannot be."""
    own = entry.model_dump(exclude_none=True, exclude_unset=True)
    settings = link_layers(defaults, own)
    ends = entry.endpoints
    nics = [
        node.nic_rate_bps for end in ends if isinstance(node := nodes[end.node], Host) and end.port not in node.scale_up
    ]
    rate = entry.rate or (min(nics) if nics else defaults.get("rate", DEFAULT_RATE_BPS))
    path = ("topology", "links", index)
    light = link_behaviour(settings, DEFAULT_LENGTH_MM, rate, read_catalogue, source, path)
    if "profile" in settings and light is None:
        return None
    length = None if "delay" in settings else settings.get("length", DEFAULT_LENGTH_MM)
    delay = settings["delay"] if length is None else units.fibre_delay_ps(length)
    if light is not None:
        checks.profile_above_nic(source, index, light.behaviour.nominal_rate_bps)
        rate = light.behaviour.rate_bps or light.behaviour.nominal_rate_bps
        length = None if length is None else light.behaviour.length_mm
        delay = delay if length is None else light.behaviour.delay_ps
    if delay > units.LARGEST:
        source.fault((*path, "length"), f"light takes {delay} ps, and times end at {units.LARGEST}")
        return None
    return Link(
        a=ends[0],
        b=ends[1],
        rate_bps=rate,
        delay_ps=delay,
        length_mm=length,
        loss=settings.get("loss", (0.0, 0.0)),
        medium=settings.get("medium", "veth"),
        mtu_bytes=settings.get("mtu", DEFAULT_MTU_BYTES),
        optics=light.settings if light else None,
        line=light.behaviour.line if light else None,
        loss_process=light.behaviour.loss if light and "loss" not in settings else None,
        carrier=light is None or light.behaviour.up,
        flow_control=settings.get("flow_control", "pfc"),
        credits_bytes=None if settings.get("credits") == AUTO else settings.get("credits"),
    )


def load_lab(spec: str) -> Lab:
    """Load a lab from a path, or from the name of one in topologies/: `two-dc`, `two-dc:hosts=4,length=300km`.

    Behind a colon stand parameters of its generator, and keys of the lab with other values: `mine.yaml:links[2].length=80km`.

    Raises TopologyError for faults in the lab, UsageError for a name or parameter that does not exist.
    """
    return lab_from(lab_source(spec))


def lab_source(spec: str) -> Source:
    """Return the data of a lab, with the lines of its file if it is one; raises what `load_lab` does.

    A file of containerlab is taken as well where every kind in it is known; notes say what is left out of it.
    """
    name, text = split_spec(spec)
    changed = parse_parameters(text)
    stored, generators = topologies.files(), topologies.generators()
    if is_file(name, bool(text)) or name in stored:
        # A lab that is made needs none of it.
        from testbed.importers.clab import is_clab, read_clab

        source = read_yaml(Path(stored.get(name, name)), TopologyError)
        foreign = is_clab(source)
        source = confined(read_clab(source).noted() if foreign else source, foreign)
        parameters: dict[str, str] = {}
        check_keys(f'the lab "{name}" is a file', changed)
    elif name not in generators:
        raise UsageError(f'no lab is called "{name}"{nearest(name, [*stored, *generators])}')
    else:
        parameters = {key: value for key, value in changed.items() if not is_key(key, generators[name].parameters)}
        try:
            source = Source(spec, topologies.generate(name, parameters))
        except topologies.ParameterError as error:
            raise UsageError(f"{spec}: {error}") from None
    return with_keys(source, {key: value for key, value in changed.items() if key not in parameters})


def renamed(source: Source, name: str) -> Source:
    """Return the data of the same lab under another name."""
    data = {**source.data, "name": name} if isinstance(source.data, dict) else source.data
    return Source(source.file, data, source.lines, source.faults, source.notes)


def with_parameters(spec: str, changed: Mapping[str, str]) -> str:
    """Return the name of the same lab with other parameters, or other values of keys.

    Raises UsageError if it has no such parameters; whether it has such keys shows when it is loaded.
    """
    if not changed:
        return spec
    name, text = split_spec(spec)
    generator = topologies.generators().get(name)
    own = generator.parameters if generator is not None else ()
    if generator is None:
        check_keys(f'the lab "{spec}" is not made by a generator', changed)
    for key in changed:
        if generator is not None and key not in own and not is_key(key):
            raise UsageError(f'{name} has no parameter "{key}"{nearest(key, own)}')
    merged = {**parse_parameters(text), **changed}
    return f"{name}:{','.join(f'{key}={value}' for key, value in merged.items())}"


def lab_schema() -> dict[str, Any]:
    """Return the JSON Schema of a lab file."""
    return LabFile.model_json_schema(by_alias=True)
