"""Files of SONiC that complete a lab that is there: thresholds measured to the cell, ports, look-up tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import TopologyError, UsageError
from testbed.importers.onto import port_map
from testbed.importers.pg_profile import read_lookup
from testbed.importers.text import Text
from testbed.lab.topology import load_lab
from tests.unit.importers.sonic_tables import LEAF

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_thresholds_measured_to_the_cell_are_those_of_the_file(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: onto\ntopology:\n  defaults: {rate: 100G, length: 40m}\n  nodes:\n"
        "    a1: {kind: host}\n    b1: {kind: host}\n    leaf1: {kind: switch, cell: 208}\n"
        '  links:\n    - {endpoints: ["a1:eth1", "leaf1:eth1"]}\n    - {endpoints: ["b1:eth1", "leaf1:eth2"]}\n'
    )
    for name, first in (("buffer.json", True), ("qos.json", False)):
        part = {key: LEAF[key] for key in LEAF if key.startswith("BUFFER") is first and not key.startswith("DEVICE")}
        (tmp_path / name).write_text(json.dumps(part))
    done = call_testbed(
        "import", "sonic", "buffer.json", "qos.json", "--onto", "lab.yaml", "--switch", "leaf1", "-o", "done.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        "took 10 settings of switch leaf1 from 2 files; eth1 is Ethernet0, eth2 is Ethernet4; 1 cable"
    )
    cases = ("--only", "xoff-threshold", "--only", "drop-threshold", "--only", "xon-threshold")
    measured = call_testbed("conformance", "-t", "done.yaml", *cases, "--format", "json")
    assert measured.returncode == 0, measured.stdout
    by_name = {case["name"]: case["measured"] for case in json.loads(measured.stdout)["cases"]}
    # Alone in a pool of 2,000,000 bytes a group with alpha 1/4 settles at a fifth of it, above a reserve of 1,248 = 6 cells.
    threshold = 6 * 208 + 2_000_000 // 5 // 208 * 208
    assert by_name["xoff-threshold"]["held_at_most_bytes"] == threshold
    assert by_name["xoff-threshold"]["crossed_at_bytes"] == threshold + 208
    assert by_name["drop-threshold"]["held_at_most_bytes"] == threshold + 90_000 // 208 * 208


def test_ports_are_matched_as_said_by_neighbour_and_then_in_order(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(LEAF))
    said = ["testbed", "import", "sonic", "all.json", "--onto", "two-dc", "--switch"][1:]
    done = call_testbed(*said, "leaf-a", "--port", "eth3=Ethernet4")
    assert done.returncode == 2
    assert (
        "all.json: leaf-a has 3 ports, and no port with pfc_enable is left for eth2; name one with --port"
        in done.stderr
    )
    done = call_testbed(*said, "border-a", "--port", "eth2=Ethernet0", "-o", "lab.yaml")
    assert done.returncode == 0 and "eth1 is Ethernet4, eth2 is Ethernet0" in done.stderr
    assert load_lab(str(tmp_path / "lab.yaml")).switches[2].thresholds.alpha_log2 == -2
    for options, said_of in (
        (("leaf-x",), 'two-dc has no switch "leaf-x"'),
        (("leaf-a", "--port", "eth9=Ethernet0"), 'leaf-a has no link on "eth9"'),
        (("leaf-a", "--port", "eth1=Ethernet9"), 'no file speaks of "Ethernet9"'),
        (("leaf-a", "--rate", "25G"), "the lab that is completed says what its links are like"),
    ):
        done = call_testbed(*said, *options)
        assert done.returncode == 2 and said_of in done.stderr
    with pytest.raises(UsageError, match="write it like eth1=Ethernet48, each port once"):
        port_map(["eth1=Ethernet0,eth1=Ethernet4"])


def test_a_look_up_table_alone_completes_a_lab(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "pg.ini").write_text(
        "# speed cable size xon xoff threshold xon_offset\r\n100000 50m 4608 4608 160000 0 4608\r\n"
    )
    done = call_testbed("import", "pg-profile", "pg.ini", "--onto", "two-dc:length=80km", "-o", "lab.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "took thresholds of 8 ports of 4 switches; left out: border-a:eth2, of which no row speaks: 100G, 80km (pg.ini), "
        "border-b:eth2, of which no row speaks: 100G, 80km (pg.ini)"
    ]
    assert {switch.thresholds.headroom_bytes for switch in load_lab(str(tmp_path / "lab.yaml")).switches} == {160_000}
    strict = call_testbed(
        "import", "pg-profile", "pg.ini", "--onto", "two-dc:length=80km", "--switch", "leaf-a", "--strict"
    )
    assert strict.returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100000 5m 0 0 1", "pg.ini:1: a row has 6 or 7 columns, not 5"),
        ("\n100000 5 0 0 1 0", "pg.ini:2: cable: "),
        ("fast 5m 0 0 1 0", 'pg.ini:1: speed "fast"'),
        ("100000 5m -1 0 1 0", 'a size "-1" is not a whole number'),
        ("100000 5m 0 0 1 0\n100000 500cm 0 0 1 0", "pg.ini:2: a second row for 100000 500cm, first on line 1"),
    ],
)
def test_faults_of_a_look_up_table_have_their_line(text: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read_lookup(Text("pg.ini", text))
    assert said in str(caught.value)
