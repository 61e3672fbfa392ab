"""What is said of labs that are only looked at: one in full, where to listen to a port, and all of them at an instant."""

from __future__ import annotations

import json
from collections.abc import Mapping

from testbed.agent.lab import Document, LabDriver, Observation, OwnedLab, deviations, summary
from testbed.contract.plan import Plan
from testbed.contract.report import Telemetry
from testbed.errors import HostError, UsageError
from testbed.health import HEALTHY, Health
from testbed.plan.placement import is_here


def describe_running(row: Document, present: OwnedLab, agent: str) -> Document:
    """Return a row of the list with what is known of a lab that has a data plane. Raises HostError if that is lost."""
    plan = present.plan
    stations = []
    for station in plan["stations"]:
        node = plan["nodes"][station["node"]]
        port = node["ports"][station["port"]]["name"]
        stations.append(
            {"node": node["name"], "port": port, "kind": station["kind"], "mac": station["mac"], "ip": station["ip"]}
        )
    row["stations"] = [station for station in stations if is_here(plan, agent, station["node"])]
    row["links"] = [
        link
        for link in present.part.listing()
        if any(is_here(plan, agent, end.partition(":")[0]) for end in link["ends"])
    ]
    row["by_hand"] = [] if present.links is None else present.links.by_hand()
    try:
        seen: Telemetry = json.loads(present.fabric.telemetry())
    except OSError as error:
        raise HostError(f"lab {row['lab']}: {error}") from error
    # A lab that is broken stays so, whatever its data plane says.
    figures = {key: value for key, value in summary(present, seen).items() if key not in row}
    return {**row, **figures, "ports": seen["ports"]}


def health(driver: LabDriver, lab: str, present: OwnedLab | None, missing: str) -> dict[str, Health]:
    """Return how each node of a lab is, by node; `missing` says why none is healthy where its data plane is not here."""
    listed = driver.list_labs().get(lab, [])
    states = driver.health(lab) if listed else {}
    if present is not None:
        wrong = {node: Health("unhealthy", reason) for node, reason in deviations(driver, present).items()}
        states |= {node: sick for node, sick in wrong.items() if states.get(node, HEALTHY) == HEALTHY}
    if present is None or not _is_alive(present):
        states = dict.fromkeys(listed, Health("unhealthy", missing)) | {
            node: each for node, each in states.items() if each != HEALTHY
        }
    return states


def _is_alive(present: OwnedLab) -> bool:
    try:
        return bool(present.fabric.telemetry())
    except OSError:
        return False


def capture_points(driver: LabDriver, plan: Plan, agent: str, end: tuple[str, str]) -> list[Document]:
    """Return where to listen to a port: at both ends of its link, each for what arrives there.

    A frame that the data plane sends does not show at the end that it leaves by, only at the one where it arrives.
    """
    lab, (node, port) = plan["lab"], end
    for link in plan["links"]:
        ends = [(plan["nodes"][n]["name"], plan["nodes"][n]["ports"][p]["name"]) for n, p in (link["a"], link["b"])]
        if end not in ends:
            continue
        if link["medium"] == "memory":
            raise UsageError(f"{node}:{port} is on a link of medium {link['medium']}: no interface to listen on")
        own = [each for each in ends if is_here(plan, agent, each[0])]
        return [{"netns": driver.namespace_path(lab, n), "interface": p, "port": f"{n}:{p}"} for n, p in own]
    raise UsageError(f"lab {lab} has no port {node}:{port} with a link")


def observe(labs: Mapping[str, OwnedLab]) -> Observation:
    """Look at labs with a data plane: their ports, and each as a whole."""
    ports: dict[tuple[str, str, str], Document] = {}
    observations: dict[str, Document] = {}
    moments: dict[str, Document] = {}
    topologies: dict[str, Document] = {}
    stopped_ns = 0
    for lab, present in labs.items():
        try:
            seen: Telemetry = json.loads(present.fabric.telemetry())
        except OSError:
            continue  # closed since the labs were listed
        stopped_ns = max(stopped_ns, seen["stopped_ns"])
        for port, counters in seen["ports"].items():
            node, _, name = port.partition(":")
            ports[lab, node, name] = dict(counters)
        observations[lab] = summary(present, seen)
        run = present.current
        moments[lab] = {"nominal_ns": seen["now_ps"] // 1000, "run": None if run is None else run.run_id}
        if (made_of := present.topology) is not None:
            topologies[lab] = made_of
    return Observation(ports, observations, stopped_ns / 1e9, moments, topologies)
