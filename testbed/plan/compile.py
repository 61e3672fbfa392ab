"""Compile a lab and an experiment into the plan of a fabric: plain data, integers only, the same for the same input.

The plan's shape is a contract with the data plane; docs/internals/plan.md states it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from testbed.buffers import credits, lossy_queues, receive
from testbed.buffers.headroom import response_ps
from testbed.buffers.thresholds import DynamicGroup, Group, divide_buffer
from testbed.contract import plan as contract
from testbed.contract.plan import Plan
from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.congestion import ACTING_ON_MARKS
from testbed.experiment.file import Experiment
from testbed.lab import circuits, watchdog
from testbed.lab.endpoints import Endpoint
from testbed.lab.hosts import Host
from testbed.lab.priorities import CLASS_SELECTORS, DSCPS, OWN_QUEUES
from testbed.lab.ranks import Rank, select
from testbed.lab.topology import DEFAULT_MTU_BYTES, Lab, Link, Switch
from testbed.plan import addressing, marking
from testbed.plan.addressing import stable_hash
from testbed.plan.dilation import LATE_FRAMES
from testbed.plan.jobs import all_ranks, ranks_of_jobs
from testbed.plan.makings import add_makings
from testbed.plan.packets import credited_bytes
from testbed.plan.routing import routing_of
from testbed.schema.fields import AUTO
from testbed.schema.source import KeyPath, dotted

SCHEMA: Literal[1] = 1
PRIORITIES = 8


def dscp_of(lab: Lab, priority: int) -> int:
    """Return the DSCP whose frames travel on a priority at every switch: its class selector, else the first that does.

    Raises TopologyError if the switches agree on none.
    """
    selector = CLASS_SELECTORS.index(priority)
    tables = [switch.dscp_to_priority for switch in lab.switches]
    for dscp in (selector, *range(DSCPS)):
        if all(table[dscp] == priority for table in tables):
            return int(dscp)
    message = f"no DSCP is priority {priority} at every switch; give the switches the same `dscp`"
    raise TopologyError.at(f"lab {lab.name}", "topology.nodes", message)


def dscp_of_data(lab: Lab, experiment: Experiment) -> int:
    """Return the DSCP of data: the one that is asked for, else that of the priority of the run.

    Raises ExperimentError for one that some switch gives another priority, and TopologyError if no DSCP leads to it.
    """
    dscp, priority = experiment.transport.dscp, experiment.lossless.priority
    if dscp == AUTO:
        return dscp_of(lab, priority)
    other = next((switch for switch in lab.switches if switch.dscp_to_priority[dscp] != priority), None)
    if other is not None:
        message = f"DSCP {dscp} is priority {other.dscp_to_priority[dscp]} at {other.name}, and lossless.priority is"
        raise ExperimentError([experiment.fault(("transport", "dscp"), f"{message} {priority}")])
    return int(dscp)


def compile_fabric(lab: Lab, experiment: Experiment) -> Plan:
    """Compile the plan of a fabric.

    Raises TopologyError where a buffer cannot hold what must not be dropped, ExperimentError where lab and experiment
    contradict each other. Cost: a second or so for a thousand nodes.
    """
    _check_priority(lab, experiment)
    _check_queues(lab, experiment)
    _check_marking(lab, experiment)
    return _Compiler(lab, experiment).plan()


def circuit_changes(lab: Lab) -> list[dict[str, Any]]:
    """Return what the circuit switches of a lab change on its links, in the order of time (docs/internals/engine.md)."""
    links = {circuits.ordered(str(link.a), str(link.b)): index for index, link in enumerate(lab.links)}
    changes = []
    for name, switch in lab.circuits.items():
        changes += circuits.changes(name, switch, lab.catalogue.profile(switch.profile).outage_ps, links)
    return sorted(changes, key=lambda change: (change["at_ps"], change["link"], change["way"]))


def chosen_ranks(lab: Lab, experiment: Experiment) -> tuple[Rank, ...]:
    """Return the accelerators that the ranks run on; raise ExperimentError if they are not of the lab, or too few."""
    if experiment.jobs:
        return all_ranks(ranks_of_jobs(lab, experiment))
    hosts = {host.name: host for host in lab.hosts}
    named, faults = select(experiment.workload.ranks or list(hosts), hosts)
    if faults:
        raise ExperimentError(experiment.fault(("workload", "ranks"), f"lab {lab.name} has {text}") for text in faults)
    chosen = tuple(named)
    twice = next((rank for rank in chosen if chosen.count(rank) > 1), None) if len(set(chosen)) < len(chosen) else None
    if twice is not None:
        raise ExperimentError([experiment.fault(("workload", "ranks"), f"{twice} is listed twice")])
    least = experiment.workload.definition.least
    if len(chosen) < least:
        needed = f"{least} rank{'s' if least > 1 else ''}"
        count = f"{experiment.workload.collective} needs {needed}, and there are {len(chosen)}"
        if experiment.workload.ranks:
            raise ExperimentError([experiment.fault(("workload", "ranks"), count)])
        raise TopologyError.at(f"lab {lab.name}", "topology.nodes", count)
    return chosen


def ideal_busbw(lab: Lab) -> float:
    """Return the rate of the slowest host in GB/s, headers included: the bound that no busbw of a ring can reach.

    That is of all its scale-out ports together, or of its scale-up ports where it has no others.
    """
    rates = {str(end): link.rate_bps for link in lab.links for end in (link.a, link.b)}
    totals = [
        sum(rates[f"{host.name}:{port}"] for port in host.scale_out or host.scale_up)
        for host in lab.hosts
        if lab.ports[host.name]
    ]
    if not totals:
        raise TopologyError.at(f"lab {lab.name}", "topology.nodes", "no hosts")
    return min(totals) / 8e9


def _check_priority(lab: Lab, experiment: Experiment) -> None:
    priorities: list[tuple[KeyPath, int]] = [(("lossless", "priority"), experiment.lossless.priority)]
    for number, job in enumerate(experiment.jobs):
        if job.priority is not None:
            priorities.append((("jobs", number, "priority"), job.priority))
    for number, flow in enumerate((experiment.flows and experiment.flows.list) or ()):
        if flow.priority is not None:
            priorities.append((("flows", "list", number, "priority"), flow.priority))
    faults = []
    for path, priority in priorities:
        if priority in experiment.lossless.background and path != ("lossless", "priority"):
            continue
        lossy = [switch.name for switch in lab.switches if priority not in switch.lossless]
        if lossy:
            message = f"priority {priority} is not lossless on {', '.join(lossy[:4])}{' ...' if len(lossy) > 4 else ''}"
            kept = set(range(PRIORITIES)).intersection(*(switch.lossless for switch in lab.switches))
            if kept:
                message += f"; all switches keep {', '.join(map(str, sorted(kept)))}: set {dotted(path)}"
            if path != ("lossless", "priority"):
                message += ", or name it in lossless.background"
            faults.append(experiment.fault(path, message))
    if faults:
        raise ExperimentError(faults)


def _check_queues(lab: Lab, experiment: Experiment) -> None:
    """Raise where credits meet a map of queues: a peer grants credits by the priorities that it knows itself."""
    mapped = {
        switch.name
        for switch in lab.switches
        if switch.priority_to_queue != OWN_QUEUES or switch.priority_to_group is not None
    }
    for index, link in enumerate(lab.links):
        if {link.a.node, link.b.node} & mapped and credits.flow_control(link, experiment.lossless) == "credit":
            message = "credits go by priority, and a switch at this link maps them; leave out `queues` and `groups`"
            raise TopologyError.at(f"lab {lab.name}", f"topology.links[{index}].flow-control", message)


def _check_marking(lab: Lab, experiment: Experiment) -> None:
    controlled = experiment.transport.congestion_control in ACTING_ON_MARKS
    if controlled and not marking.marks_somewhere(lab.switches, experiment.lossless):
        message = (
            f"{experiment.transport.congestion_control} acts on marks, and lossless.ecn is off; set it, say to sonic"
        )
        raise ExperimentError([experiment.fault(("transport", "congestion-control"), message)])


class _Compiler:
    def __init__(self, lab: Lab, experiment: Experiment) -> None:
        self.lab = lab
        self.experiment = experiment
        self.routing = routing_of(lab)
        self.node_index = {node.name: index for index, node in enumerate(lab.nodes)}
        self.nodes = {node.name: node for node in lab.nodes}
        self.nic_index = {end: index for index, end in enumerate(lab.nics)}
        self.late_frames = LATE_FRAMES if experiment.clock == "real" else 0
        self.packet = credited_bytes(experiment.transport)
        # Two addresses for each port of a host, then one for each port of a switch.
        self.next_address = 2 * len(lab.nics)
        self.response: Mapping[int, int] = {link.rate_bps: self._response(link.rate_bps) for link in lab.links}
        addresses = self.next_address + sum(len(lab.ports[switch.name]) for switch in lab.switches)
        if addresses > addressing.MAX_MACS:
            raise TopologyError.at(f"lab {lab.name}", "topology.nodes", f"more than {addressing.MAX_MACS} addresses")
        if experiment.clock == "real" and len(lab.nics) > addressing.MAX_HOSTS:
            message = f"more than {addressing.MAX_HOSTS} ports of hosts, which the real clock has addresses for"
            raise TopologyError.at(f"lab {lab.name}", "topology.nodes", message)

    def plan(self) -> Plan:
        # Who imposes the links is for the driver to read, and only where there is one.
        emulation = self.experiment.emulation if self.experiment.clock == "real" else "auto"
        contained = self.experiment.clock == "real" and self.experiment.driver == "docker"
        options: contract.PlanOptions = {}
        if emulation != "auto":
            options["emulation"] = emulation
        if contained:
            options["driver"] = "docker"
        plan: Plan = {
            "schema": SCHEMA,
            "lab": self.lab.name,
            "seed": self.experiment.seed,
            **options,
            "stations": [*self._stations("nic"), *self._stations("kernel")],
            "nodes": [self._node(node) for node in self.lab.nodes],
            "links": [self._link(index, link) for index, link in enumerate(self.lab.links)],
        }
        if self.experiment.clock == "real":
            add_makings(plan, self.lab, contained)
        return plan

    def _node(self, node: Host | Switch) -> contract.Host | contract.Switch:
        return self._host(node) if isinstance(node, Host) else self._switch(node)

    def _response(self, rate_bps: int) -> int:
        given = self.experiment.lossless.response
        return response_ps(rate_bps) if given == AUTO else given

    def _stations(self, kind: Literal["nic", "kernel"]) -> list[contract.Station]:
        """Return one station for each port of a host: NICs from 0 on, kernels in the same order behind them."""
        base, ip = (0, addressing.nic_ip) if kind == "nic" else (len(self.lab.nics), addressing.kernel_ip)
        return [
            {
                "name": end.node,
                "kind": kind,
                "mac": addressing.mac_address(self.lab.name, base + index),
                "ip": ip(index),
                "node": self.node_index[end.node],
                "port": self._place(end)[1],
            }
            for index, end in enumerate(self.lab.nics)
        ]

    def _port(self, name: str, mac_index: int, link: Link, weights: Sequence[int] = (0,) * PRIORITIES) -> contract.Port:
        return {
            "name": name,
            "mac": addressing.mac_address(self.lab.name, mac_index),
            "rate_bps": link.rate_bps,
            "response_ps": self.response[link.rate_bps],
            "weights": list(weights),
        }

    def _host(self, host: Host) -> contract.Host:
        links = self._links(host.name)
        first = self.nic_index[Endpoint(host.name, links[0][0])]
        # The port is the kernel's interface, so it has the kernel's address.
        kernels = len(self.lab.nics) + first
        planned: contract.Host = {
            "name": host.name,
            "kind": "host",
            "ports": [self._port(name, kernels + number, link) for number, (name, link) in enumerate(links)],
            "station": first,
        }
        if host.receive:
            received = [
                self._receive_keys(host, name, link)["receive"] if name in host.scale_out else None
                for name, link in links
            ]
            if len(links) > 1:
                planned["receives"] = received
            elif received[0] is not None:
                planned["receive"] = received[0]
        if host.accelerators > 1 and host.local is not None:
            planned["local"] = {"rate_bps": host.local.rate_bps, "latency_ps": host.local.latency_ps}
        if host.kernel == "lossless" and self._pfc_ports(links):
            planned["kernel_lossless"] = [self.experiment.lossless.priority]
        tables = [self._table_beyond(host.name, link) for _, link in links]
        if any(table != CLASS_SELECTORS for table in tables):
            planned["dscp_to_priority"] = [[] if table == CLASS_SELECTORS else list(table) for table in tables]
        return planned

    def _table_beyond(self, host: str, link: Link) -> tuple[int, ...]:
        """Return the priorities of DSCPs at the NIC behind a port: those of the switch at the far end."""
        peer = self.nodes[link.b.node if link.a.node == host else link.a.node]
        return peer.dscp_to_priority if isinstance(peer, Switch) else CLASS_SELECTORS

    def _receive_keys(self, host: Host, port: str, link: Link) -> dict[str, Any]:
        """Return the keys of a NIC that takes in what comes at a rate of its own."""
        settings = self.experiment.lossless
        control = credits.flow_control(link, settings)
        if control == "credit":
            sender = self.nodes[link.b.node if link.a.node == host.name else link.a.node]
            grants = credits.grants(link, host, sender, settings, self.late_frames, self.packet)
            return receive.credited(host, sum(grant.buffer_bytes for grant in grants))
        priority = settings.priority if control == "pfc" else None
        response = None if settings.response == AUTO else settings.response
        return receive.plan_keys(self.lab.name, host, port, link, priority, response, self.late_frames)

    def _switch(self, switch: Switch) -> contract.Switch:
        links = self._links(switch.name)
        first = self.next_address
        self.next_address += len(links)
        settings = self.experiment.lossless
        memory = divide_buffer(self.lab.name, switch, links, settings, self.late_frames, self.packet)
        pauses = watchdog.plan_keys(switch.watchdog, settings.watchdog, self._pfc_ports(links))
        # Made by packages that come before the plan, and so do not know its types.
        options = cast(contract.SwitchOptions, memory.sharing() | lossy_queues.plan_keys(switch) | pauses)
        planned: contract.Switch = {
            "name": switch.name,
            "kind": "switch",
            "ports": [
                self._port(name, first + index, link, switch.weights) for index, (name, link) in enumerate(links)
            ],
            "pfc": self._pauses(links),
            "lossless": list(switch.lossless_queues),
            "buffer_bytes": memory.buffer_bytes,
            "lossy_queue_bytes": memory.lossy_queue_bytes,
            **options,
            "hash_seed": stable_hash("ecmp", self.lab.name, self.experiment.seed, switch.name) >> 32,
            "dscp_to_priority": list(switch.dscp_to_priority),
            "priority_groups": [_group(group) for group in memory.groups],
            **self.routing.planned(switch.name),
        }
        if switch.priority_to_queue != OWN_QUEUES:
            planned["priority_to_queue"] = list(switch.priority_to_queue)
        if switch.priority_to_group is not None:
            planned["priority_to_group"] = list(switch.priority_to_group)
        return {**planned, **marking.plan_keys(switch, links, settings)}

    def _pauses(self, links: Sequence[tuple[str, Link]]) -> bool:
        """Return whether a switch sends PAUSE frames by any of its ports."""
        return self.experiment.lossless.pfc and (not links or self._pfc_ports(links) > 0)

    def _pfc_ports(self, links: Sequence[tuple[str, Link]]) -> int:
        settings = self.experiment.lossless
        return sum(credits.flow_control(link, settings) == "pfc" for _, link in links)

    def _links(self, node: str) -> list[tuple[str, Link]]:
        """Return the ports of a node with their links, in the order of the plan."""
        ways = self.routing.adjacent[node]
        return [(name, way.link) for name, way in zip(self.lab.ports[node], ways, strict=True)]

    def _link(self, index: int, link: Link) -> contract.Link:
        planned: contract.Link = {
            "a": self._place(link.a),
            "b": self._place(link.b),
            "delay_ps": link.delay_ps,
            "loss": list(link.loss),
            "medium": link.medium,
        }
        if link.loss_process is not None:
            process = cast(contract.LossProcess, link.loss_process.plan())
            planned["loss_process"] = [process, process]
        if not link.carrier:
            planned["carrier"] = False
        if link.mtu_bytes != DEFAULT_MTU_BYTES:
            planned["mtu_bytes"] = link.mtu_bytes
        control = credits.flow_control(link, self.experiment.lossless)
        if control != "pfc":
            planned["flow_control"] = control
        if control == "credit":
            planned["credits"] = self._credits(index, link)
        return planned

    def _credits(self, index: int, link: Link) -> list[list[contract.Grant]]:
        """Return the credits of a link, by direction; raise if they hold no frame, and so would never carry one."""
        settings = self.experiment.lossless
        ends = (self.nodes[link.a.node], self.nodes[link.b.node])
        ways = [
            credits.grants(link, receiver, sender, settings, self.late_frames, self.packet)
            for sender, receiver in (ends, ends[::-1])
        ]
        for grant in (grant for way in ways for grant in way):
            least = grant.least_bytes(link)
            if grant.buffer_bytes < least:
                message = (
                    f"credits of {grant.buffer_bytes} bytes, and a frame on {link.a} - {link.b} takes up to {least}"
                )
                if settings.credits != AUTO:
                    raise ExperimentError([self.experiment.fault(("lossless", "credits"), message)])
                raise TopologyError.at(f"lab {self.lab.name}", f"topology.links[{index}].credits", message)
        return [[_grant(grant) for grant in way] for way in ways]

    def _place(self, end: Endpoint) -> list[int]:
        return [self.node_index[end.node], self.lab.ports[end.node].index(end.port)]


def _group(group: Group | DynamicGroup) -> contract.PriorityGroup:
    return cast(contract.PriorityGroup, dict(vars(group)))


def _grant(grant: credits.Grant) -> contract.Grant:
    return {
        "priority": grant.priority,
        "block_bytes": grant.block_bytes,
        "blocks": grant.blocks,
        "update_blocks": grant.update_blocks,
    }
