"""`testbed headroom` as scripts and people see it."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FAR = ("headroom", "--rate", "400G", "--length", "80km")


def document(run_testbed: Cli, *arguments: str) -> Any:
    done = run_testbed(*arguments, "--format", "json")
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["fits"] else 1)
    return answer


def test_the_sum_of_ieee_as_one_document(run_testbed: Cli) -> None:
    answer = document(run_testbed, *FAR, "--interface", "off")
    # Frames of 9216 bytes at 5 ns/m, as in the guides of switch vendors.
    assert answer["total_bytes"] == sum(answer["terms"].values()) == 40_076_476
    assert answer["terms"]["round_trip"] == 40_000_000
    assert answer["sources"].keys() == answer["terms"].keys()
    assert (answer["model"], answer["buffer_bytes"], answer["ports"], answer["fits"]) == ("ieee", 32_000_000, 1, False)
    assert answer["round_trip_share"] == pytest.approx(40_000_000 / 40_076_476, abs=1e-6)
    # 500 bytes for each metre.
    assert answer["largest_length_mm"] == pytest.approx((32_000_000 - 76_476) / 500 * 1000, abs=2)


def test_hardware_and_the_fibre_of_labs(run_testbed: Cli) -> None:
    answer = document(run_testbed, *FAR, "--delay-per-metre", "4.897ns")
    assert answer["terms"]["interfaces"] == 15_360
    assert answer["terms"]["round_trip"] == 2 * 80_000 * 4897 * 4 // 80


def test_ports_share_the_buffer(run_testbed: Cli) -> None:
    one = document(run_testbed, *FAR, "--buffer", "60MB")
    two = document(run_testbed, *FAR, "--buffer", "120MB", "--ports", "2")
    assert one["fits"] and two["fits"]
    assert one["largest_length_mm"] == two["largest_length_mm"] > 80_000_000
    assert not document(run_testbed, *FAR, "--buffer", "60MB", "--ports", "2")["fits"]


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        # Mellanox-SN5640-C512X2, DellEMC-Z9332f-O32 and a Tomahawk 2, from SONiC's pg_profile_lookup.ini.
        (
            ("--rate", "400G", "--length", "200m", "--model", "spectrum", "--cell", "192", "--small-share", "50"),
            190_464,
        ),
        (("--rate", "400G", "--length", "1km", "--model", "sonic"), 836_676),
        (("--rate", "100G", "--length", "300m", "--model", "sonic"), 101_088),
        (("--rate", "100G", "--length", "300m", "--model", "sonic", "--cell", "254"), 117_348),
    ],
)
def test_rows_of_deployed_switches(run_testbed: Cli, arguments: tuple[str, ...], total: int) -> None:
    answer = document(run_testbed, "headroom", *arguments)
    assert answer["total_bytes"] == sum(answer["terms"].values()) == total
    row = run_testbed("headroom", *arguments, "--format", "sonic").stdout.splitlines()
    assert row[0].split()[:6] == ["#", "speed", "cable", "size", "xon", "xoff"]
    assert row[1].split()[4] == str(total)


def test_settings_of_spectrum_count(run_testbed: Cli) -> None:
    def total(*arguments: str) -> int:
        return int(document(run_testbed, *FAR, "--model", "spectrum", *arguments)["total_bytes"])

    assert total("--small-share", "0") < total() < total("--small-share", "90")
    assert total("--cell", "144") == pytest.approx(total() - 6000 * 1.06, abs=1024)
    assert total("--lossless-mtu", "1024") > total() > total("--mtu", "4096")
    # A port of small frames has no larger lossless ones.
    assert document(run_testbed, *FAR, "--model", "spectrum", "--mtu", "1500")["terms"]["lossless_frame"] == 1500


def test_the_table_has_terms_sum_share_and_reach(run_testbed: Cli) -> None:
    done = run_testbed(*FAR, "--interface", "off")
    assert done.returncode == 1, "40 MB are more than the 32 MB of a switch"
    figures = dict(re.findall(r"^(\w+) +([\d,]+) +[\d.]+%", done.stdout, re.MULTILINE))
    assert (figures.pop("total"), figures["round_trip"], len(figures)) == ("40,076,476", "40,000,000", 6)
    assert sum(int(figure.replace(",", "")) for figure in figures.values()) == 40_076_476
    assert "everything but the round trip is 0.19% of it" in done.stdout
    assert "32MB for 1 port: short by 8,076,476 bytes; reaches 63.847km\n" in done.stdout
    assert "2 ports: enough; reaches" in run_testbed(*FAR, "--buffer", "1GB", "--ports", "2").stdout


def test_the_table_says_when_nothing_fits_or_everything(run_testbed: Cli) -> None:
    assert "too small for any length" in run_testbed(*FAR, "--buffer", "10KB").stdout
    assert document(run_testbed, *FAR, "--buffer", "10KB")["largest_length_mm"] is None
    slow = run_testbed("headroom", "--rate", "1M", "--length", "1m")
    assert "reaches 100000km or more" in slow.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("headroom", "--length", "80km"), "--rate"),
        (("headroom", "--rate", "400G"), "--length"),
        (("headroom", "--rate", "fast", "--length", "80km"), "fast"),
        (("headroom", "--rate", "0", "--length", "80km"), "greater than 0"),
        (("headroom", "--rate", "400G", "--length", "80"), "unit"),
        (("headroom", "--rate", "400G", "--length=-1km"), "negative"),
        (("headroom", "--rate", "400G", "--length", "200000km"), "100000km"),
        ((*FAR, "--model", "guess"), "guess"),
        ((*FAR, "--mtu", "9"), "--mtu"),
        ((*FAR, "--mtu", "1MB"), "--mtu"),
        ((*FAR, "--interface", "maybe"), "maybe"),
        ((*FAR, "--delay-per-metre", "1ns"), "3.336"),
        ((*FAR, "--delay-per-metre", "1ms"), "--delay-per-metre"),
        ((*FAR, "--buffer", "deep"), "deep"),
        ((*FAR, "--ports", "0"), "--ports"),
        ((*FAR, "--format", "yaml"), "yaml"),
        ((*FAR, "--lanes", "8"), "spectrum"),
        ((*FAR, "--gearbox", "155ns"), "spectrum"),
        ((*FAR, "--model", "sonic", "--response", "1us"), "ieee and spectrum"),
        ((*FAR, "--response", "65536"), "65535 quanta"),
        ((*FAR, "--response", "2s"), "1ms at most"),
        ((*FAR, "-t", "two-dc", "--port", "border-a:eth2"), "decided by the lab"),
        (("headroom", "-t", "two-dc"), "--port"),
        (("headroom", "-t", "two-dc", "--port", "border-x:eth2"), "border-a"),
        (("headroom", "-t", "two-dc", "--port", "border-a:eth9"), "eth2"),
        (("headroom", "-t", "two-dc", "--port", "border-a:eth2", "--small-share", "50"), "no cells"),
        ((*FAR, "--small-share", "50"), "spectrum"),
        ((*FAR, "--model", "spectrum", "--small-share", "101"), "--small-share"),
        ((*FAR, "--model", "spectrum", "--cell", "0"), "--cell"),
        ((*FAR, "--model", "spectrum", "--interface", "on"), "ieee"),
        ((*FAR, "--model", "spectrum", "--mtu", "1500", "--lossless-mtu", "4096"), "--lossless-mtu"),
        ((*FAR, "--model", "sonic", "--mtu", "9216"), "ieee and spectrum"),
        ((*FAR, "--model", "sonic", "--cell", "208"), "Tomahawk 2"),
        (("headroom", "--rate", "60G", "--length", "1m", "--model", "spectrum"), "60G"),
        (("headroom", "--rate", "200G", "--length", "1m", "--model", "sonic"), "200G"),
        (("headroom", "--rate", "400G", "--length", "1.5m", "--format", "sonic"), "whole metres"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what(run_testbed: Cli, arguments: tuple[str, ...], word: str) -> None:
    done = run_testbed(*arguments)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


EIGHT_HUNDRED = ("--model", "spectrum", "--rate", "800G", "--length", "300m", "--mtu", "9100", "--lossless-mtu", "1024")


@pytest.mark.parametrize(("lanes", "size", "xon"), [((), 493_568, 19_456), (("--lanes", "8"), 522_240, 38_912)])
def test_ports_of_eight_lanes_have_another_row(call_testbed: Cli, lanes: tuple[str, ...], size: int, xon: int) -> None:
    """Mellanox-SN5640: a port of eight lanes has twice the XON, and a frame of the port more, up to 1 KiB."""
    options = (*EIGHT_HUNDRED, "--cell", "192", "--small-share", "50", *lanes, "--format", "sonic")
    assert call_testbed("headroom", *options).stdout.splitlines()[1].split() == [
        "800000",
        "300m",
        str(size),
        str(xon),
        "474112",
        "0",
    ]


def test_spectrum_6_responds_later_and_so_does_whoever_is_told_to(call_testbed: Cli) -> None:
    """Rows at 800G in cells of 256 fit 1810 quanta: 63,488 B more than 905 come to."""
    far = ("headroom", "--model", "spectrum", "--rate", "800G", "--length", "300m", "--cell", "256")
    usual = document(call_testbed, *far)["total_bytes"]
    assert usual - document(call_testbed, *far, "--response", "905")["total_bytes"] == 63_488
    assert usual == document(call_testbed, *far, "--response", "1810")["total_bytes"]
    # A quantum at 800G is 0.64 ns.
    assert usual == document(call_testbed, *far, "--response", "1158.4ns")["total_bytes"]
    ieee = document(call_testbed, *FAR, "--response", "1us")["terms"]["response"]
    assert ieee == 400 * 1000 // 8


def test_a_gearbox_is_passed_twice(call_testbed: Cli) -> None:
    terms = document(call_testbed, *FAR, "--model", "spectrum", "--gearbox", "155ns")["terms"]
    assert terms["gearbox"] == 2 * 155 * 400 // 8


HALF_A_KILOMETRE = ("headroom", "--rate", "800G", "--length", "500m")


def test_the_sum_and_a_lab_say_by_which_terms_they_differ(call_testbed: Cli) -> None:
    assert document(call_testbed, *HALF_A_KILOMETRE)["total_bytes"] == 591_836
    answer = document(call_testbed, *HALF_A_KILOMETRE, "--model", "lab", "--cell", "420")
    assert (answer["total_bytes"], answer["assumption"].partition(":")[0]) == (2_802_660, "worst case")
    (share,) = answer["beside"]
    assert share["assumption"] == "small-frame share: 50 of 100 frames have 64 B"
    assert share["differs_by"].keys() == {"cells"}
    # Frames of 64 B and of 4218 B, as many of each: 420 + 4620 bytes of cells for 84 + 4238 of the line.
    assert share["total_bytes"] == pytest.approx(560_398 * 5040 / 4322, abs=840)
    by_bytes = document(call_testbed, *HALF_A_KILOMETRE, "--cell", "420")
    worst = by_bytes["beside"][0]
    assert worst["total_bytes"] == 2_802_660
    assert sum(worst["differs_by"].values()) == 2_802_660 - by_bytes["total_bytes"]
    assert set(worst["differs_by"]) == {
        "frame_before_pause",
        "round_trip",
        "interfaces",
        "frame_leaving",
        "crossing_frame",
        "cells",
    }
    text = call_testbed(*HALF_A_KILOMETRE, "--model", "lab", "--cell", "420").stdout
    assert "worst case: every frame" in text and "small-frame share: 50 of 100 frames have 64 B" in text


LAB = """
name: far
topology:
  nodes:
    a: {kind: host}
    b: {kind: host}
    s: {kind: switch, cell: 420, buffer: auto THRESHOLDS}
  links:
    - {endpoints: ["a:eth1", "s:eth1"], rate: 800G, length: 500m}
    - {endpoints: ["b:eth1", "s:eth2"], rate: 400G, delay: 3us}
"""


@pytest.mark.parametrize(
    ("thresholds", "options"),
    [("", ()), (", thresholds: {small-share: 50}", ()), (", thresholds: {small-share: 50%}", ("--small-share", "50"))],
)
def test_a_port_of_a_lab_is_what_its_plan_reserves(
    call_testbed: Cli, tmp_path: Path, thresholds: str, options: tuple[str, ...]
) -> None:
    file = tmp_path / "far.yaml"
    file.write_text(LAB.replace(" THRESHOLDS", thresholds))
    lab = load_lab(str(file))
    groups = compile_fabric(lab, new_experiment(str(file), "incast"))["nodes"][2]["priority_groups"]
    for port, group in enumerate(groups, 1):
        answer = document(call_testbed, "headroom", "-t", str(file), "--port", f"s:eth{port}", *options)
        assert answer["total_bytes"] == group["headroom_bytes"]
    assert (groups[0]["headroom_bytes"] == 2_802_660) == (not thresholds)
