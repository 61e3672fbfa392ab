"""Whole labs whose links the kernel imposes, inside user-mode Linux, beside the same labs native on this kernel."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from testbed.run import fidelity, perform
from testbed.run.fidelity import FidelityBounds
from tests.chance import is_plausible
from tests.live.machine import CODE, private_machine
from tests.netem import labs, uml
from tests.netem.labs import DELAY_DILATION, DELAYS_NS, DILATION, LOSS

TOLERANCE = 0.05  # between one clock or kernel and another, of the time of a collective

# A collective over netem at a dilation that makes a machine of one processor, itself a program, trustworthy.
ALL_REDUCE = ["run", "all_reduce", "-t", "two-dc:length=8km", "--clock", "real", "--dilation", "20000",
              "-b", "64K", "-e", "64K", "--set", "workload.in-place=false", "--format", "json"]  # fmt: skip

Json = dict[str, Any]


@cache
def by_netem(*names: str) -> Json:
    """Run scenarios inside user-mode Linux, in one boot."""
    outcome = uml.run([sys.executable, "-m", "tests.netem.labs", "netem", *names], timeout_s=110)
    assert outcome.status == 0, outcome.stderr or outcome.console
    figures: Json = json.loads(outcome.stdout)
    return figures


@cache
def by_data_plane(*names: str) -> Json:
    """Run scenarios on this kernel, links native, with a /run of their own."""
    command = [sys.executable, "-m", "tests.netem.labs", "native", *names]
    script = 'mount -t tmpfs tmpfs /run && exec "$@"'
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]
    done = subprocess.run(private, cwd=uml.ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    figures: Json = json.loads(done.stdout)
    return figures


def figures(mode: str, name: str) -> Json:
    """Return what a scenario found, or fail with the traceback that it left."""
    boots = {"netem": [("profiles", "changes"), ("delay", "overflow", "loss")], "native": [("delay", "loss")]}
    run = by_netem if mode == "netem" else by_data_plane
    scenario: Json = run(*next(names for names in boots[mode] if name in names))[name]
    assert "error" not in scenario, scenario["error"]
    return scenario


@pytest.fixture
def measured(require_root: None) -> Callable[[str, str], Json]:
    """Return a function that gives the figures of a scenario by who imposes the links."""
    return figures


Measured = Callable[[str, str], Json]
MODES = ["netem", "native"]


# What the kernel was told


@pytest.mark.parametrize("number", range(len(labs.PROFILES)), ids=lambda n: "-".join(map(str, labs.PROFILES[n])))
def test_profiles_are_read_back_as_netem_attributes(measured: Measured, number: int) -> None:
    link = measured("netem", "profiles")["profiles"][number]
    assert link["differences"] == [[], []]
    for end in link["configured"]:
        assert end["delay_ns"] == link["delay_ps"] * DILATION // 1000 > 0
        # All that a 100 Gb/s link can hold, in frames of 64 bytes.
        assert end["limit"] > link["delay_ps"] * 100 // 1000 // (8 * 64)


def test_a_loss_that_netem_cannot_do_leaves_the_link_to_the_data_plane(measured: Measured) -> None:
    assert measured("netem", "profiles")["too_lossy"] == [
        {"mode": "native", "reason": "netem has no loss process codewords"},
        {"mode": "netem", "reason": ""},
    ]


def test_links_change_in_place_and_the_next_deploy_puts_them_right(measured: Measured) -> None:
    figures = measured("netem", "changes")
    made, delayed, bursty, shaped, slower, native = figures["steps"]
    loss = made[0]["loss_process"]
    assert loss["probability"] == pytest.approx(0.001, abs=2**-32)
    planned = {"delay_ps": 20_000_000, "jitter_ps": 0, "loss_process": loss}
    assert made == [planned, planned]
    assert delayed == [planned, {"delay_ps": 30_000_000, "jitter_ps": 4_000_000, "loss_process": loss}]
    burst = {"kind": "gilbert-elliott", "enter": 0.0625, "leave": 0.25, "loss_good": 0.0, "loss_bad": 1.0}
    assert bursty == shaped == [planned, {**delayed[1], "loss_process": burst}]
    # Seen at the old dilation, twice the delay.
    assert slower == [{**planned, "delay_ps": 40_000_000}] * 2
    assert native == [None, None]
    assert (figures["shaped_bps"], figures["shaped_again_bps"], figures["kinds"]) == (
        1_000_000,
        50_000_000,
        ["netem", "htb"],
    )


# What frames saw


def expected_time_us(delay_ns: int) -> float:
    """Return what the virtual clock, which is exact, says."""
    subject = labs.trial_on(labs.make_lab("wire", delay=f"{delay_ns}ns"), "auto", 4096).under("virtual")
    return float(perform.run_virtual(subject, None, lambda where: None).rows[0]["time_us"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delay_ns", DELAYS_NS[1:])
def test_a_message_takes_as_long_as_the_exact_clock_says(measured: Measured, delay_ns: int, mode: str) -> None:
    delayed = measured(mode, "delay")[str(delay_ns)]
    assert delayed["complete"] and {link["emulation"] for link in delayed["links"]} == {mode}
    # A machine busy with other things makes frames late, so the quickest run says what was imposed; and what the nodes
    # themselves take shows in runs without delay.
    without = measured(mode, "delay")["0"]
    taken = min(delayed["time_us"]) - min(without["time_us"])
    expected = expected_time_us(delay_ns) - expected_time_us(0)
    # There and back: twice half a millisecond of the wall, and a fiftieth of what the delays are.
    assert abs(taken - expected) <= 2 * 500 / DELAY_DILATION + expected / 50, (delayed, without)


@pytest.mark.parametrize("mode", MODES)
def test_losses_are_as_many_as_asked_and_stand_where_they_happened(measured: Measured, mode: str) -> None:
    figures = measured(mode, "loss")
    report = figures["report"]
    sent, received = (report["ports"][port]["priorities"]["3"] for port in ("a:eth1", "s:eth1"))
    lost = sent["drops"]["link"]
    assert lost == sent["frames_tx"] - received["frames_rx"] == report["drops"]["link"]
    if mode == "netem":
        assert lost == figures["kernel_dropped"] and report["fidelity"]["netem_overflow"] == 0
    frames = sent["frames_tx"]
    assert frames > 2_000
    assert is_plausible(lost, frames, LOSS)
    tally = report["conservation"]
    assert tally["sent"] == tally["delivered"] + tally["dropped"] + tally["in_flight"]
    assert tally["dropped"] == lost and report["complete"]


def test_a_netem_that_overflows_loses_nothing_and_the_trust(measured: Measured) -> None:
    figures = measured("netem", "overflow")
    report = figures["report"]
    assert report["complete"] and report["drops"]["link"] == 0
    refused = report["fidelity"]["turned_away"]
    assert set(refused) == {"s:eth1"} and refused["s:eth1"] == figures["kernel_dropped"] > 0
    reasons = fidelity.judge_fidelity(report["fidelity"], FidelityBounds())
    assert any("netem lost unasked" in reason for reason in reasons)
    assert "limit: asked 32250, configured 20" in report["fidelity"]["altered"]["s"]


# A complete run


def all_reduce_by_netem() -> Json:
    """Run the collective through the command line inside user-mode Linux."""
    argv = [sys.executable, "-c", CODE, *ALL_REDUCE, "--emulation", "netem", "--out", "/run/tmp/out"]
    outcome = uml.run(argv, timeout_s=100)
    # 4 is untrusted, which is no matter of chance here: at this dilation the guest keeps up.
    assert outcome.status == 0, outcome.stdout[-4000:] + outcome.stderr
    result: Json = json.loads(outcome.stdout)
    return result


def test_an_all_reduce_between_data_centres_over_netem(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    document = all_reduce_by_netem()
    with private_machine(repo_root, tmp_path) as machine:
        done = machine.run_carried(*ALL_REDUCE, "--emulation", "native")
    assert done.stdout, done.stderr
    native = json.loads(done.stdout)
    assert {link["emulation"] for link in document["fidelity"]["links"]} == {"netem"}
    assert {link["emulation"] for link in native["fidelity"]["links"]} == {"native"}
    for result in (document, native):
        assert result["verdict"]["lossless"] and result["verdict"]["trusted"] and result["verdict"]["passed"]
        assert [row["wrong"] for row in result["collective"]["rows"]] == [0]
        assert result["drops"]["lossless"] == result["drops"]["link"] == 0
    ours, theirs = (result["collective"]["rows"][0]["time_us"] for result in (document, native))
    assert ours == pytest.approx(theirs, rel=TOLERANCE)
    assert data_frames(document) == data_frames(native)


def data_frames(document: Json) -> dict[str, int]:
    """Return the data frames that each port sent on the lossless priority."""
    return {port: state["priorities"]["3"]["data_frames_tx"] for port, state in document["ports"].items()}
