"""Files of importers altered at random: each is an error with its place, or a lab; never a traceback, never a hang.

`python -m tests.importer_fuzz COUNT [KIND…]` tries so many of each kind.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed.errors import InputError, TestbedError, TopologyError
from testbed.importers.clab import read_clab
from testbed.importers.draft import Imported
from testbed.importers.hpcc import read_hpcc
from testbed.importers.hpcc_config import read_config
from testbed.importers.htsim import read_htsim
from testbed.importers.slurm import read_slurm
from testbed.importers.text import Text, decoded
from testbed.importers.topohub import read_topohub
from testbed.importers.writing import yaml_text
from testbed.lab.topology import lab_from
from testbed.schema.source import parse_yaml

LONGEST_S = 5.0
# What mutations put in: numbers at the edges of types, signs that formats live on, and bytes that are no text.
WORDS = (
    b"0",
    b"-1",
    b"4294967296",
    b"9" * 30,
    b"1e309",
    b"nan",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"#",
    b":",
    b"=",
    b"[",
    b"]",
)
WORDS += (
    b"{",
    b"}",
    b'"',
    b"'",
    b",",
    b"-",
    b"\\",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"null",
    b"[0-9999999]",
    b"*a",
)
PLAIN = b"4 2 3\n2 3\n0 2 100Gbps 1us 0\n1 3 25Gbps 0.5ms 1e-6\n2 3 400Gbps 1us 0\n#: lab a\n#: node 0 a1\n"
BORDERS = b"# c\n5 1 2 4\n2\n3 4\n0 2 1Gbps 1us 0\n1 2 1Gbps 1us 0\n2 3 1Gbps 1us 0\n3 4 1Gbps 9ms 0\n"
CONFIG = (
    b"CC_MODE 1\nBUFFER_SIZE 32\nRP_TIMER 900\nRATE_AI 50Mb/s\nKMIN_MAP 1 100000000000 400\n\\\n"
    b"KMAX_MAP 1 100000000000 1600\nPMAX_MAP 1 100000000000 0.2\nLINK_DOWN 0 0 0\nPACKET_PAYLOAD_SIZE 1000\n"
)
CLAB = b"""name: f
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
HTSIM = b"""# c
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
SLURM = b"SwitchName=s0 Nodes=n[0-2,07]\nSwitchName=s1 Nodes=r[1-2]c[01-02] LinkSpeed=100\nSwitchName=top \\\nSwitches=s[0-1]\n"
BLOCKS = b"BlockName=b1 Nodes=n[0-3]\nBlockName=b2 Nodes=n[4-7]\nBlockSizes=4\n"
TOPOHUB = b"""{"graph": {"demands": {}}, "nodes": [{"id": 0, "name": "A b"}, {"id": 1, "name": "C", "type": "Seacable Waypoint"}],
"edges": [{"source": 0, "target": 1, "dist": 12.5}]}"""


@dataclass(frozen=True)
class Format:
    """Small files to begin with, and what reads one of them."""

    seeds: tuple[bytes, ...]
    read: Callable[[Text], Imported]


FORMATS: Mapping[str, Format] = {
    "hpcc": Format((PLAIN, BORDERS), read_hpcc),
    "hpcc-config": Format((CONFIG,), lambda text: read_hpcc(decoded("t", PLAIN), read_config(text))),
    "htsim": Format((HTSIM,), read_htsim),
    "slurm": Format((SLURM, BLOCKS), read_slurm),
    "topohub": Format((TOPOHUB,), read_topohub),
    "clab": Format((CLAB,), lambda text: read_clab(parse_yaml(text.text, text.file, TopologyError))),
}


def altered(seeds: tuple[bytes, ...], draw: random.Random) -> bytes:
    """Return one of the files with a few alterations."""
    raw = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(raw) + 1)
        match draw.randrange(5):
            case 0:
                raw[at:at] = draw.choice(WORDS)
            case 1:
                del raw[at : at + draw.choice((1, 1, 2, 8, 40))]
            case 2:
                raw[at : at + 1] = bytes([draw.randrange(256)])
            case 3:
                other = draw.randrange(len(raw) + 1)
                raw[at:at] = raw[other : other + draw.choice((1, 8, 60))]
            case _:
                raw[at : at + draw.choice((1, 3, 9))] = draw.choice(WORDS)
    return bytes(raw)


def attempt(kind: str, raw: bytes) -> bool:
    """Read a file and tell whether it made a lab; raise AssertionError if an error has no place or time has run out."""
    began = time.process_time()
    try:
        found = FORMATS[kind].read(decoded("altered", raw))
        lab_from(found.source)
        yaml_text(found.source.data)
        found.summary().encode()
        is_lab = True
    except InputError as error:
        str(error).encode()
        assert all(fault.file for fault in error.faults)
        is_lab = False
    except TestbedError:
        is_lab = False
    assert time.process_time() - began < LONGEST_S
    return is_lab


def main() -> None:
    """Try as many altered files of each kind as the command says."""
    count = int(sys.argv[1])
    for kind in sys.argv[2:] or FORMATS:
        labs, began = 0, time.monotonic()
        for seed in range(count):
            raw = altered(FORMATS[kind].seeds, random.Random(f"{kind} {seed}"))
            try:
                labs += attempt(kind, raw)
            except BaseException:
                print(f"{kind}, seed {seed}: {raw!r}", flush=True)
                raise
        print(f"{kind}: {count} files, {labs} of them labs, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
