"""Which agent has which node of a lab, and what a plan looks like to one of them: pure.

Links between nodes of one agent are as ever. One between two agents crosses as VXLAN (RFC 7348): each has its own end, and what
leaves it there is the frame as it is due at the far end, so that delay and loss are imposed once, by the sender.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from testbed.contract.plan import Link, Plan
from testbed.errors import TopologyError, UsageError
from testbed.lab.topology import Lab
from testbed.plan.addressing import stable_hash

Document = dict[str, Any]
How = Literal["spread", "pack"]

VNI_BITS = 24


class Placement(BaseModel):
    """`machines`: by agent, the address at which the others' machines reach its own. `nodes`: by node, the agent that has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    machines: dict[str, str]
    nodes: dict[str, str]

    def nodes_of(self, agent: str) -> set[str]:
        """Return the nodes that an agent has."""
        return {node for node, owner in self.nodes.items() if owner == agent}


def place(lab: Lab, machines: Mapping[str, str], how: How = "spread") -> Placement:
    """Give every node of a lab to an agent: to the one that it names, and the others as `how` says.

    spread: as many to each agent, with the longest links between them. pack: with the neighbours that have one, and where
    nobody names any, all with the first. Raises UsageError for an agent that is not among `machines`.
    """
    named = {node.name: node.agent for node in lab.nodes if node.agent is not None}
    for node, agent in named.items():
        if agent not in machines:
            raise UsageError(f"node {node} is for agent {agent}, and the lab is given to {', '.join(machines)}")
    agents = list(machines)
    size = -(-len(lab.nodes) // len(agents)) if how == "spread" else len(lab.nodes)
    load = dict.fromkeys(agents, 0)
    nodes: dict[str, str] = {}
    # The largest first, those that have no choice before all.
    for group in sorted(_groups(lab, named, size), key=lambda group: (group[0] is None, -len(group[1]))):
        owner, members = group
        chosen = owner or (min(agents, key=lambda agent: load[agent]) if how == "spread" else agents[0])
        nodes |= dict.fromkeys(members, chosen)
        load[chosen] += len(members)
    return Placement(machines=dict(machines), nodes={node.name: nodes[node.name] for node in lab.nodes})


def _groups(lab: Lab, named: Mapping[str, str], size: int) -> Iterator[tuple[str | None, list[str]]]:
    """Yield nodes that stay together, and whom they are for: joined by the shortest links, at most `size` to a group."""
    group = {node.name: [node.name] for node in lab.nodes}
    owner: dict[int, str | None] = {id(members): named.get(name) for name, members in group.items()}
    for link in sorted(lab.links, key=lambda link: link.delay_ps):
        one, two = group[link.a.node], group[link.b.node]
        owners = {owner[id(members)] for members in (one, two)} - {None}
        # A link that has no interface can only join nodes of one agent.
        bound = link.medium == "memory"
        if one is two or len(owners) > 1 or (len(one) + len(two) > size and not bound):
            continue
        one += two
        owner[id(one)] = next(iter(owners), None)
        group |= dict.fromkeys(two, one)
    seen: set[int] = set()
    for members in group.values():
        if id(members) not in seen:
            seen.add(id(members))
            yield owner[id(members)], members


def placed(plan: Plan, placement: Placement, lab: Lab) -> Plan:
    """Return a plan with who has which node, and with its links between two agents as VXLAN.

    Raises TopologyError for a link that has no interface and would have to cross.
    """
    nodes = [node.copy() for node in plan["nodes"]]
    for node in nodes:
        node["agent"] = placement.nodes[node["name"]]
    taken: set[int] = set()
    links: list[Link] = []
    for index, link in enumerate(plan["links"]):
        owners = [nodes[end[0]]["agent"] for end in (link["a"], link["b"])]
        if owners[0] == owners[1]:
            links.append(link.copy())
            continue
        if link["medium"] == "memory":
            message = f"medium memory, and its ends are with agents {owners[0]} and {owners[1]}"
            raise TopologyError.at(f"lab {lab.name}", f"topology.links[{index}].medium", message)
        links.append({**link, "medium": "vxlan", "vni": _vni(lab, index, taken)})
    return {**plan, "nodes": nodes, "links": links, "machines": dict(placement.machines)}


def _vni(lab: Lab, index: int, taken: set[int]) -> int:
    """Return a network identifier that follows from the lab's name and the link's ends, and is no other link's of the lab."""
    link = lab.links[index]
    number: int = stable_hash("vni", lab.name, *sorted((str(link.a), str(link.b)))) % 2**VNI_BITS
    while number in taken or number == 0:
        number = (number + 1) % 2**VNI_BITS
    taken.add(number)
    return number


def agents_of(plan: Plan) -> list[str]:
    """Return the agents that have a part of a lab, in the order in which they were named; none of a lab of one agent."""
    return list(plan.get("machines", ()))


def part_of(plan: Plan, agent: str) -> Plan:
    """Return what a plan is to one agent: other agents' nodes are `elsewhere`, and links that cross say from and to where.

    A plan that names no agents is all here. Raises UsageError if it leaves this one out.
    """
    machines = plan.get("machines")
    if machines is None:
        return plan.copy()
    if agent not in machines:
        raise UsageError(f"lab {plan['lab']} is for agents {', '.join(machines)}, and this is {agent}")
    nodes = [node.copy() for node in plan["nodes"]]
    for node in nodes:
        if node["agent"] != agent:
            node["elsewhere"] = True
    return {**plan, "nodes": nodes, "links": [_link_of(plan, link, agent) for link in plan["links"]]}


def _link_of(plan: Plan, link: Link, agent: str) -> Link:
    owners = [plan["nodes"][end[0]]["agent"] for end in (link["a"], link["b"])]
    if agent not in owners:
        # Nobody here sends on it, or hears what is sent.
        return {**link, "medium": "memory"}
    if owners[0] == owners[1]:
        return link.copy()
    other = owners[1] if owners[0] == agent else owners[0]
    return {**link, "local": plan["machines"][agent], "remote": plan["machines"][other]}


def check_underlay(address: str) -> str:
    """Return an address at which other machines reach this one, as it is written commonly. Raises UsageError."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(f"--underlay {address}: not an IP address of this machine") from None
    if parsed.is_multicast or parsed.is_unspecified:
        raise UsageError(f"--underlay {address}: an address of one machine is needed")
    return str(parsed)


def require_underlay(plan: Plan, agent: str, underlay: str | None) -> None:
    """Raise UsageError if an agent has a part of a plan and is not reached where the others will look for it."""
    if agents_of(plan) and plan["machines"].get(agent) != underlay:
        own = underlay or "none"
        raise UsageError(f"agent {agent}: the lab has another underlay address for it than its own, {own}")


def check_members(plan: Plan, members: Mapping[str, str]) -> None:
    """Raise UsageError unless `members`, `address:port` by name, are the agents of a plan in their order, on their machines."""
    machines = plan.get("machines", {})
    if list(members) != list(machines):
        raise UsageError(f"party: the lab is of agents {', '.join(machines) or '-'}")
    for name, address in members.items():
        host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
        if host != machines[name]:
            raise UsageError(f"party: agent {name} is at {machines[name]}, not at {host}")


def owner_of(plan: Plan, node: str) -> str | None:
    """Return the agent that has a node; None if the plan names none."""
    if "machines" not in plan:
        return None
    return next((entry["agent"] for entry in plan["nodes"] if entry["name"] == node), None)


def is_here(plan: Plan, agent: str, node: str) -> bool:
    """Return whether an agent has a node of a plan."""
    return owner_of(plan, node) in (None, agent)


def order(agents: Sequence[str]) -> list[str]:
    """Return the names of agents, each once, in the order given. Raises UsageError for one that is there twice."""
    if len(set(agents)) != len(agents):
        raise UsageError(f"--agent {','.join(agents)}: an agent is named twice")
    return list(agents)
