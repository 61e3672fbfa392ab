"""Raw frames on the links of hosts, whatever their bytes, beside a collective that runs meanwhile."""

from __future__ import annotations

import itertools
import json
import struct
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from testbed import pcapng
from testbed._dataplane import VirtualFabric
from testbed.conformance import frames
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.workload import compile_workload
from testbed.run.trial import Trial, with_settings
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

_GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden" / "frames"
_SHORTEST_BYTES, _LONGEST_BYTES = 14, 9_216
_SETTINGS: tuple[list[str], ...] = (
    [],
    ["lossless.flow-control=credit"],
    ["transport.recovery=selective-repeat", "transport.verb=send"],
    ["transport.recovery=erasure", "lossless.pfc=false"],
)
_MOST = 60
_EVENTS = 40_000
_UNTIL_PS = 10**9
# What a stranger who obeys no pause and claims to be somebody can bring about in any network.
_OF_STRANGERS = ("lost on a lossless priority", "deadlock", "credit")


@cache
def _trials() -> list[tuple[str, str]]:
    """Return plan and workload of three hosts, by settings."""
    trials = []
    for settings in _SETTINGS:
        experiment = with_settings(new_experiment("incast:senders=3", "all_reduce"), ["workload.size=48KB", *settings])
        trial = Trial(experiment, load_lab("incast:senders=3"))
        schedule = trial.collective.schedule(trial.series.shapes()[0])
        workload = compile_workload(trial.lab, trial.experiment, schedule)
        trials.append((json.dumps(trial.plan), json.dumps(workload)))
    return trials


@cache
def _goldens() -> list[bytes]:
    """Return the frames of the standards."""
    texts = [path.read_text().splitlines() for path in sorted(_GOLDEN.glob("*.hex"))]
    return [bytes.fromhex("".join(line.partition("#")[0] for line in lines)) for lines in texts]


def draw(random: Random) -> bytes:
    """Draw trains of frames, and which of the labs gets them."""
    lab = random.randrange(len(_SETTINGS))
    stations = json.loads(_trials()[lab][0])["stations"]
    hosts = [node for node in json.loads(_trials()[lab][0])["nodes"] if node["kind"] == "host"]
    trains = []
    for _ in range(random.randrange(1, _MOST)):
        host = random.choice(hosts)
        train: dict[str, Any] = {
            "node": host["name"],
            "port": host["ports"][0]["name"],
            "hex": _frame(random, stations).hex(),
            "count": random.choice((1, 1, 1, 2, 20)),
            "every_ps": random.choice((0, 1, 10_000, 10**7)),
        }
        if random.random() < 0.5:
            train["at_ps"] = random.randrange(_UNTIL_PS // 10)
        if random.random() < 0.3:
            train["priority"] = random.randrange(8)
        trains.append(train)
    return json.dumps({"lab": lab, "trains": trains}).encode()


def _frame(random: Random, stations: list[dict[str, Any]]) -> bytes:
    """Draw a frame that began as a sound one more often than not."""
    source, to = (frames.address(random.choice(stations)) for _ in range(2))
    way, dscp = random.randrange(8), random.randrange(64)
    if way == 0:
        data = random.randbytes(random.randrange(_SHORTEST_BYTES, 400))
    elif way == 1:
        times = {random.randrange(8): random.choice((0, 1, 0xFFFF, random.randrange(2**16))) for _ in range(3)}
        data = frames.pfc(times, source.mac, random.choice((None, random.randrange(2**16))))
    elif way == 2:
        data = frames.global_pause(random.randrange(2**16), source.mac)
    elif way == 3:
        data = frames.udp(source, to, dscp, random.randrange(64, _LONGEST_BYTES))
    elif way == 4:
        golden = bytearray(random.choice(_goldens()))
        golden[:12] = to.mac + source.mac
        data = bytes(golden)
    else:
        # Packets of the connections that there are, near to what they expect.
        data = frames.roce(source, to, dscp, random.randrange(64, 4200), random.randrange(40))
        opcode, pair, number = (
            random.randrange(256),
            random.randrange(40),
            random.choice((random.randrange(40), 2**24 - 1)),
        )
        data = data[:42] + struct.pack(">BBHII", opcode, random.randrange(256), 0xFFFF, pair, number) + data[54:]
    if random.random() < 0.3:
        data = mutation.octets(random, data)
    return data[:_LONGEST_BYTES].ljust(_SHORTEST_BYTES, b"\0")


def check(data: bytes) -> None:
    """Put the frames on the links: nothing panics, every frame is counted, and the capture has each that crossed a link."""
    document = json.loads(data)
    plan, workload = _trials()[document["lab"]]
    fabric = VirtualFabric(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.pcapng"
        fabric.capture(str(path))
        fabric.load(workload)
        for train in document["trains"]:
            try:
                fabric.inject(json.dumps([train]))
            except ValueError as error:
                require("no frame" in str(error), f"refused: {error}")
        fabric.advance(_EVENTS)
        fabric.run_until(_UNTIL_PS, _EVENTS)
        report = json.loads(fabric.report())
        fabric.capture(None)
        seen = list(pcapng.frames(path.read_bytes()))
    for violation in report["violations"]:
        require(any(words in violation for words in _OF_STRANGERS), violation)
    require(all(a.time_ns <= b.time_ns for a, b in itertools.pairwise(seen)), "a capture out of order")
    sent = Counter(frame.interface for frame in seen if frame.way == pcapng.OUTBOUND)
    require(bool(seen) or not report["frame_hops"], f"{report['frame_hops']} hops, and none captured: {sent}")


FRAMES = Target("frames", ".json", draw, check)
