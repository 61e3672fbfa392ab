"""Random labs and experiments, each a pure function of a seed: what a campaign runs.

A drawn case is data as files hold it, so that it can be written down and run by hand. Each fault of its timeline has an end,
and nothing is drawn that would take more than a second or two.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed import traffic
from testbed.study.random_faults import timeline
from testbed.study.random_labs import SHAPES, Data, Luck, Wiring, equip, furnish, join_by_mirrors, route_ring

# Packets sent by all ranks of a case together; each costs some ten events, and is sent again where links lose.
PACKETS = 60_000
# Nominal time for one collective; where nothing keeps frames from being lost, some get nowhere.
LIMIT = "20s"
CLOCKWISE = "ring routed clockwise"


@dataclass(frozen=True)
class Case:
    """A lab and an experiment, as data; `traits` are the words for what was drawn, for counting."""

    seed: int
    lab: Data
    experiment: Data
    traits: tuple[str, ...]


_CONTROLS = ["dcqcn", "dcqcn", "timely", "swift", "dctcp", "hpcc", "nscc"]
_CONTROLLED_BY = {
    "timely": "delays",
    "swift": "delays",
    "dctcp": "echoed marks",
    "nscc": "echoed marks",
    "hpcc": "telemetry",
}


def draw(seed: int) -> Case:
    """Draw the case of a seed; the same seed gives the same case."""
    luck = Luck(seed)
    shape = luck.pick(list(SHAPES))
    wiring = Wiring()
    SHAPES[shape](luck, wiring)
    traits = [shape]
    furnish(luck, wiring, traits)
    circuits = join_by_mirrors(luck, wiring, traits)
    routing = route_ring(luck, wiring, traits) if shape == "ring" else {}
    switches = equip(luck, wiring, traits)
    body: Data = {"kinds": {"switch": switches}, "nodes": wiring.nodes, "links": wiring.links, **routing}
    experiment = _experiment(luck, wiring, traits)
    priority = experiment["lossless"]["priority"]
    body["kinds"]["switch"]["lossless"] = sorted({priority, luck.pick([3, 4, 5])})
    experiment["timeline"] = timeline(luck, wiring, experiment, traits)
    lab = {"name": f"drawn-{seed}", "topology": body, **({"circuits": circuits} if circuits else {})}
    return Case(seed, lab, experiment, tuple(traits))


def _experiment(luck: Luck, wiring: Wiring, traits: list[str]) -> Data:
    lossless: Data = {"pfc": luck.chance(0.85), "priority": luck.pick([3, 4])}
    transport: Data = {
        "recovery": luck.pick(["go-back-n", "selective-repeat", "erasure"]),
        "verb": luck.pick(["write", "send"]),
        "mtu": luck.pick([1024, 2048, 4096]),
        "ack-every": luck.pick([1, 4, 16, 64]),
    }
    if transport["recovery"] == "erasure":
        transport["erasure"] = {"data": luck.pick([4, 8, 16, 32]), "parity": luck.pick([1, 2, 4])}
    traits += ["PFC" if lossless["pfc"] else "no PFC", transport["recovery"]]
    _guard(luck, wiring, lossless, traits)
    if transport["verb"] == "send" and luck.chance(0.5):
        transport |= {"receive-queue": "posted", "rnr-timer": luck.whole(1, 14), "rnr-retries": luck.pick([3, 7])}
        traits.append("posted receives")
    if luck.chance(0.4):
        lossless["ecn"] = luck.pick(["sonic", "hpcc-ns3", {"kmin": "20KB", "kmax": "200KB", "pmax": 0.2}])
        traits.append("marking")
        if luck.chance(0.7):
            control = luck.pick(_CONTROLS) if transport["recovery"] != "erasure" else "dcqcn"
            transport["congestion-control"] = control
            if control == "dcqcn":
                transport["dcqcn"] = luck.pick(["paper", "hpcc-ns3"])
            traits.append(_CONTROLLED_BY.get(control, control))
    if luck.chance(0.2):
        # A window holds a block at least.
        block = transport.get("erasure", {"data": 0})["data"] * transport["mtu"] // 1024
        transport["window"] = f"{max(block, luck.whole(4, 400))}KiB"
    return {
        "topology": "lab.yaml",
        "clock": "virtual",
        "limit": LIMIT,
        "seed": luck.whole(0, 2**31),
        "lossless": lossless,
        "transport": transport,
        "workload": _workload(luck, wiring, transport["mtu"], traits),
    }


def _guard(luck: Luck, wiring: Wiring, lossless: Data, traits: list[str]) -> None:
    """Choose what an experiment says of flow control and thresholds, over the lab."""
    if lossless["pfc"] and luck.chance(0.15):
        lossless["flow-control"] = "credit"
        if luck.chance(0.5):
            lossless["credits"] = f"{luck.whole(64, 2048)}KiB"
        traits.append("credits")
    elif luck.chance(0.1):
        lossless["headroom"] = f"{luck.whole(20, 120)}%"
        traits.append("headroom of an experiment")
    if luck.chance(0.9 if CLOCKWISE in traits else 0.25):
        lossless |= {"xoff": f"{luck.whole(20, 60)}KB", "xon": "10KB"}
        traits.append("low XOFF")


def _workload(luck: Luck, wiring: Wiring, mtu: int, traits: list[str]) -> Data:
    hosts = wiring.hosts()
    largest = PACKETS * mtu // (2 * len(hosts))
    size = round(luck.spread(largest / 300, largest)) // 4 * 4
    workload: Data = {"size": size, "datatype": luck.pick(["float", "int32"])}
    if len(hosts) > 2 and luck.chance(0.3):
        luck.random.shuffle(hosts)
        workload["ranks"] = hosts[: luck.whole(2, len(hosts))]
    ranks = len(workload.get("ranks", hosts))
    known = [algorithm for algorithms in traffic.ALGORITHMS.values() for algorithm in algorithms.values()]
    chosen = luck.pick([algorithm for algorithm in known if _takes(algorithm, ranks)])
    if CLOCKWISE in traits and luck.chance(0.9):
        # Against the way of the ring: every message goes nearly all around it.
        workload |= {"ranks": wiring.hosts()[::-1], "size": largest // 4 * 4}
        ranks, chosen = len(hosts), traffic.COLLECTIVES["permutation"]
    workload |= {"collective": chosen.name, "algorithm": chosen.algorithm}
    traits.append(f"{chosen.name} {chosen.algorithm}")
    if luck.chance(0.3):
        workload["slice"] = max(mtu, size // luck.whole(4, 64) // 4 * 4)
    if luck.chance(0.6 if "posted receives" in traits else 0.1):
        names = workload.get("ranks", hosts)
        workload["late"] = {host: f"{round(luck.spread(1e6, 1e9))}ps" for host in luck.some(names)}
        traits.append("late ranks")
    if luck.chance(0.2):
        # As many packets as before, in several calls.
        del workload["size"]
        times = luck.whole(1, 3)
        smallest = max(4 * ranks, size // (3 * times) // 4 * 4)
        workload |= {"minbytes": smallest, "maxbytes": 2 * smallest, "iterations": times}
        traits.append("several collectives")
    if luck.chance(0.1):
        workload["payload"] = False
        traits.append("lengths alone")
    return workload


def _takes(collective: traffic.Collective, ranks: int) -> bool:
    """Return whether an algorithm works with so many ranks, on two sites if it asks for any."""
    try:
        collective.check(traffic.Shape(ranks, ranks, sites=2))
    except ValueError:
        return False
    return True
