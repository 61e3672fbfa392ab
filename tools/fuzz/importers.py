"""Files of other tools, altered: each is a lab, or an error in words with the place of its fault."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from testbed.errors import InputError, TestbedError, TopologyError
from testbed.importers.clab import read_clab
from testbed.importers.draft import Imported
from testbed.importers.hpcc import read_hpcc
from testbed.importers.hpcc_config import read_config
from testbed.importers.htsim import read_htsim
from testbed.importers.onto import LabPort, LabSwitch, lookup_onto, sonic_onto
from testbed.importers.pg_profile import read_lookup
from testbed.importers.slurm import read_slurm
from testbed.importers.sonic import Configuration, join
from testbed.importers.sonic_fabric import read_sonic
from testbed.importers.text import Text, decoded
from testbed.importers.topohub import read_topohub
from testbed.importers.writing import yaml_text
from testbed.lab.topology import lab_from, lab_source
from testbed.schema.source import parse_yaml
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

Read = Callable[[Text], Imported]
FILE = "input"
_TOKENS = (
    *mutation.HOSTILE_TOKENS,
    *(
        "=",
        ",",
        "-",
        "\\",
        "\xa0",
        "\u2028",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "null",
        "[0-9999999]",
        "[0-9]" * 9,
        "*a",
        "&a ",
        "${x}",
        "#: node 0 a\n",
        "|",
    ),
)
PLAIN = "4 2 3\n2 3\n0 2 100Gbps 1us 0\n1 3 25Gbps 0.5ms 1e-6\n2 3 400Gbps 1us 0\n#: lab a\n#: node 0 a1\n"
BORDERS = "# c\n5 1 2 4\n2\n3 4\n0 2 1Gbps 1us 0\n1 2 1Gbps 1us 0\n2 3 1Gbps 1us 0\n3 4 1Gbps 9ms 0\n"
CONFIG = (
    "CC_MODE 1\nBUFFER_SIZE 32\nRP_TIMER 900\nRATE_AI 50Mb/s\nKMIN_MAP 1 100000000000 400\n\\\n"
    "KMAX_MAP 1 100000000000 1600\nPMAX_MAP 1 100000000000 0.2\nLINK_DOWN 0 0 0\nPACKET_PAYLOAD_SIZE 1000\n"
)
CLAB = """name: f
topology:
  groups: {leaf: {kind: bridge}}
  nodes:
    l1: {group: leaf}
    h1: {kind: linux, image: a}
    h2: {kind: linux}
  links:
    - endpoints: ["l1:e1-1", "h1:eth1"]
      vars: {rate: 25G, length: 3m}
    - {type: veth, endpoints: [{node: l1, interface: e1-2}, {node: h2, interface: eth1}], labels: {delay: 1us}}
    - endpoints: ["l1:e1-9", "macvlan:${x:=eth0}"]
"""
HTSIM = """# c
Nodes 8
Tiers 3
Podsize 4
Tier 0
Downlink_speed_Gbps 100
Radix_Down 2
Radix_Up 2
Downlink_Latency_ns 1000
Tier 1
Downlink_speed_Gbps 100
Radix_Down 2
Radix_Up 1
Oversubscribed 2
Downlink_Latency_ns 500
Queue_Up 100
Tier 2
Downlink_speed_Gbps 100
Radix_Down 2
Downlink_Latency_ns 1000
"""
SLURM = "SwitchName=s0 Nodes=n[0-2,07]\nSwitchName=s1 Nodes=r[1-2]c[01-02] LinkSpeed=100\nSwitchName=top \\\nSwitches=s[0-1]\n"
BLOCKS = "BlockName=b1 Nodes=n[0-3]\nBlockName=b2 Nodes=n[4-7]\nBlockSizes=4\n"
TOPOHUB = """{"graph": {"demands": {}}, "nodes": [{"id": 0, "name": "A b"}, {"id": 1, "name": "C", "type": "Seacable Waypoint"}],
"edges": [{"source": 0, "target": 1, "dist": 12.5}]}"""


SONIC = """{"DEVICE_METADATA": {"localhost": {"hostname": "leaf-a"}},
"PORT": {"Ethernet0": {"speed": "100000", "mtu": "9100"}, "Ethernet4": {"speed": "100000"}},
"CABLE_LENGTH": {"AZURE": {"Ethernet0": "40m", "Ethernet4": "2000m"}},
"BUFFER_POOL": {"in": {"type": "ingress", "mode": "dynamic", "size": "20000000", "xoff": "4000000"},
 "out": {"type": "egress", "mode": "dynamic", "size": "9000000"}},
"BUFFER_PROFILE": {"ll": {"pool": "in", "size": "1248", "dynamic_th": "-2", "xon": "1248", "xon_offset": "2288",
  "xoff": "180000"},
 "lossy": {"pool": "out", "size": "1664", "dynamic_th": "-1"}},
"BUFFER_PG": {"Ethernet0,Ethernet4|3-4": {"profile": "ll"}},
"BUFFER_QUEUE": {"Ethernet0,Ethernet4|0-2": {"profile": "lossy"}},
"WRED_PROFILE": {"w": {"ecn": "ecn_all", "wred_green_enable": "true", "green_min_threshold": "250000",
 "green_max_threshold": "1000000", "green_drop_probability": "5"}},
"QUEUE": {"Ethernet0|3": {"wred_profile": "w", "scheduler": "s"}, "Ethernet4|3": {"wred_profile": "w", "scheduler": "s"}},
"SCHEDULER": {"s": {"type": "DWRR", "weight": "15"}},
"PORT_QOS_MAP": {"Ethernet0": {"pfc_enable": "3,4"}, "Ethernet4": {"pfc_enable": "3,4"}},
"PFC_WD": {"GLOBAL": {"POLL_INTERVAL": "200"}, "Ethernet0": {"action": "drop", "detection_time": "200"}},
"DEVICE_NEIGHBOR": {"Ethernet0": {"name": "host-1", "port": "eth0"}, "Ethernet4": {"name": "host-2", "port": "eth0"}}}"""
LOOKUP = "# speed cable size xon xoff threshold xon_offset\n100000 5m 1248 1248 37000 -2 2288\n100000 40m 0 0 60000 0\n"
_PORTS = tuple(LabPort(f"eth{index}", f"h{index}", 100 * 10**9, 5_000) for index in range(1, 4))


def _onto(read: Callable[[Text, LabSwitch], Imported]) -> Read:
    return lambda text: read(text, LabSwitch("leaf", _PORTS[:2], (3,)))


def _of_switch(text: Text, switch: LabSwitch) -> Imported:
    return sonic_onto(
        lab_source("pair"), switch, Configuration(join("leaf", [text]), read_lookup(Text("t", LOOKUP))), {}
    )


FORMATS: dict[str, tuple[tuple[str, ...], Read]] = {
    "hpcc": ((PLAIN, BORDERS), read_hpcc),
    "hpcc-config": ((CONFIG,), lambda text: read_hpcc(Text(FILE, PLAIN), read_config(text))),
    "htsim": ((HTSIM,), read_htsim),
    "slurm": ((SLURM, BLOCKS), read_slurm),
    "topohub": ((TOPOHUB,), read_topohub),
    "clab": ((CLAB,), lambda text: read_clab(parse_yaml(text.text, text.file, TopologyError))),
    "sonic": ((SONIC,), lambda text: read_sonic([Configuration(join("leaf", [text]))], FILE)),
    "sonic-onto": ((SONIC,), _onto(_of_switch)),
    "pg-profile": (
        (LOOKUP,),
        lambda text: lookup_onto(lab_source("pair"), [LabSwitch("leaf", _PORTS[:2], (3,))], read_lookup(text)),
    ),
}
"""By name: files to begin with, which are labs, and what reads one."""


def attempt(kind: str, data: bytes) -> bool:
    """Read a file and tell whether it made a lab; raise Defect for an error without its place."""
    try:
        imported = FORMATS[kind][1](decoded(FILE, data))
        lab_from(imported.source)
        yaml_text(imported.source.data)
        require(len(imported.summary().encode()) < 2**16, "a summary without end")
    except InputError as error:
        require(len(str(error).encode()) < 2**20, f"{len(error.faults)} faults")
        require(all(fault.file for fault in error.faults), f"no place: {error}")
        return False
    except TestbedError:
        return False
    return True


def _target(kind: str) -> Target:
    def draw(random: Random) -> bytes:
        text = mutation.text(random, random.choice(FORMATS[kind][0]), _TOKENS)
        written = text.encode("utf-8", "surrogatepass")
        return mutation.octets(random, written) if random.random() < 0.2 else written

    def check(data: bytes) -> None:
        attempt(kind, data)

    return Target(kind, ".txt", draw, check)


IMPORTERS = tuple(map(_target, FORMATS))
