"""What `auto` came to and what links do, in run.json, in `validate --explain` and in `testbed link`."""

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.optics.behaviour import OpticalSettings, behaviour_of
from testbed.run.trial import Trial
from testbed.units import fibre_delay_ps

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
KM = 10**6

METRO = """
name: metro
topology:
  nodes:
    a1: {kind: host}
    b1: {kind: host, nic: {drain: 50G}}
    s: {kind: switch, buffer: auto}
    t: {kind: switch, buffer: auto}
  links:
    - {endpoints: ["a1:eth1", "s:eth1"], profile: 800g-dr8, length: 450m, ber: 1e-4}
    - {endpoints: ["s:eth2", "t:eth2"], PROFILE}
    - {endpoints: ["b1:eth1", "t:eth1"], profile: 800g-dr8, length: 20m}
"""
needs_gnpy = pytest.mark.skipif(
    importlib.util.find_spec("gnpy") is None, reason="needs gnpy, from the extra lossless-testbed[optics]"
)


def document(run: Cli, *arguments: str) -> Any:
    done = run(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def metro(folder: Path, span: str = "profile: 400g-zr, length: 80km") -> str:
    file = folder / "metro.yaml"
    file.write_text(METRO.replace("PROFILE", span))
    return str(file)


def test_a_run_says_what_auto_came_to(call_testbed: Cli, tmp_path: Path) -> None:
    result = document(call_testbed, "run", "all_reduce", "-t", "two-dc", "--clock", "virtual", "-b", "64K")
    force = result["in_force"]
    trial = Trial(new_experiment("two-dc", "all_reduce"), load_lab("two-dc"))
    # Twice what a round trip of 160 km carries, and its timeout four times that and what a window takes.
    assert force["window_bytes"] == {"value": trial.transport["window_bytes"], "from": "auto"}
    assert force["timeout_ns"] == {"value": trial.transport["timeout_ps"] / 1000, "from": "auto"}
    assert force["dilation"] == {"value": 1, "from": "virtual clock"}
    groups = {(name, group["port"]): group for name, switch in force["switches"].items() for group in switch["groups"]}
    span = groups["border-a", "eth2"]
    planned = next(node for node in trial.plan["nodes"] if node["name"] == "border-a")["priority_groups"][1]
    assert {key: span[key] for key in ("xoff_bytes", "xon_bytes", "headroom_bytes")} == {
        key: planned[key] for key in ("xoff_bytes", "xon_bytes", "headroom_bytes")
    }
    assert (span["xoff_from"], span["headroom_from"]) == ("auto", "auto")
    assert result["links"][6]["delay_ns"] == fibre_delay_ps(80 * KM) / 1000
    assert result["links"][6]["optics"] is None


def test_what_was_given_is_told_from_what_was_derived() -> None:
    settings = [
        "transport.window=1MB",
        "transport.timeout=14",
        "lossless.xoff=200KB",
        "lossless.headroom=50%",
    ]
    experiment = new_experiment("pair", "all_reduce").with_overrides(settings)
    force = Trial(experiment, load_lab("pair")).in_force(1)
    assert (force["window_bytes"], force["timeout_ns"]["from"]) == ({"value": 10**6, "from": "given"}, "given")
    (switch,) = force["switches"].values()
    assert {(group["xoff_from"], group["headroom_from"]) for group in switch["groups"]} == {("given", "share")}


@pytest.mark.parametrize(("settings", "source"), [((), "auto"), (("lossless.credits=128KiB",), "given")])
def test_credits_of_each_end(settings: tuple[str, ...], source: str) -> None:
    experiment = new_experiment("pair", "all_reduce").with_overrides(["lossless.flow-control=credit", *settings])
    lab = load_lab("pair")
    trial = Trial(experiment, lab)
    grants = trial.in_force(1)["credits"]
    assert {grant["granted_by"] for grant in grants} == {str(end) for link in lab.links for end in (link.a, link.b)}
    assert {grant["from"] for grant in grants} == {source}
    first = trial.plan["links"][0]["credits"][0][0]
    assert grants[0]["value"] == first["blocks"] * first["block_bytes"]


def test_a_run_has_the_optics_of_each_link(call_testbed: Cli, tmp_path: Path) -> None:
    result = document(
        call_testbed, "run", "broadcast", "-t", metro(tmp_path), "--clock", "virtual", "-b", "64K", "--out", "r"
    )
    near, span, _ = result["links"]
    same = behaviour_of(OpticalSettings(profile="800g-dr8", ber=1e-4), 450_000)
    assert near["optics"]["ber"] == 1e-4
    assert near["optics"]["codeword_failure"] == same.block_failure
    assert near["frame_loss"] == [near["optics"]["frame_loss"]] * 2 == [same.frame_loss(4218)] * 2
    terms = near["optics"]["delay_terms_ns"]
    assert sum(terms.values()) == pytest.approx(near["delay_ns"]) and terms["fec"] == same.fec_ps / 1000
    assert span["optics"]["osnr_db"] == pytest.approx(span["optics"]["required_osnr_db"] + span["optics"]["margin_db"])
    assert result["in_force"]["receivers"]["b1"]["drain_bps"] == 50 * 10**9


@needs_gnpy
def test_the_osnr_of_gnpy_is_kept(call_testbed: Cli, tmp_path: Path) -> None:
    file = metro(tmp_path, "profile: 400g-dwdm, length: 160km, osnr-db: auto")
    shown = document(call_testbed, "validate", "--explain", file)["files"][0]
    optics = shown["links"][1]["optics"]
    alone = document(call_testbed, "link", "400g-dwdm", "--length", "160km", "--osnr-db", "auto")
    assert optics["gnpy"] == alone["gnpy"] and alone["osnr_db"] == alone["gnpy"]["gsnr_db"]
    assert optics["osnr_db"] == pytest.approx(alone["gnpy"]["gsnr_db"], abs=1e-6)


def test_validate_explains_labs_and_experiments(call_testbed: Cli, tmp_path: Path) -> None:
    file = metro(tmp_path)
    text = call_testbed("validate", "--explain", file).stdout
    assert "window" in text and "s:eth2" in text and "400g-zr" in text
    experiment = tmp_path / "slow.yaml"
    experiment.write_text(
        f"topology: {file}\nworkload: {{collective: incast}}\ntransport: {{window: 1MB}}\n"
        "lossless: {watchdog: {detection: 5ms}}\n"
    )
    shown = document(call_testbed, "validate", "--explain", str(experiment))["files"][0]
    assert shown["in_force"]["window_bytes"] == {"value": 10**6, "from": "given"}
    assert shown["watchdog_settings"]["s"]["detection_ns"] == 5_000_000
    assert "in_force" not in document(call_testbed, "validate", file)["files"][0]


def test_a_link_alone(call_testbed: Cli) -> None:
    link = document(call_testbed, "link", "400g-zr", "--length", "80km", "--ber", "1e-2", "--frame", "1518")
    same = behaviour_of(OpticalSettings(profile="400g-zr", ber=1e-2), 80 * KM)
    assert (link["delay_ns"], link["ber"], link["rate_bps"]) == (same.delay_ps / 1000, 1e-2, 400 * 10**9)
    assert link["codeword_failure"] == same.block_failure
    assert link["frame_loss"] == same.frame_loss(1518) and link["frame_bytes"] == 1518
    text = call_testbed("link", "400g-zr", "--length", "80km").stdout
    assert "BER before the FEC" in text and "codeword failure" in text and "loss of a frame of 4218 B" in text


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("400g-zt", "--length", "80km"), "400g-zr"),
        (("400g-zr", "--length", "800km"), "120km"),
        (("400g-zr", "--length", "80"), "unit"),
        (("400g-zr", "--length", "80km", "--ber", "2"), "between 0 and 1"),
        (("400g-zr", "--length", "80km", "--osnr-db", "good"), "--osnr-db good"),
        (("400g-zr", "--length", "80km", "--osnr-db", "20", "--ber", "1e-3"), "same thing"),
        (("400g-zr", "--length", "80km", "--rate", "100G"), "only 400G"),
        (("400g-zr", "--length", "80km", "--lanes-down", "9"), "--lanes-down"),
        (("400g-zr", "--length", "80km", "--acceleration", "nan"), "acceleration"),
    ],
)
def test_links_that_cannot_be(call_testbed: Cli, options: tuple[str, ...], word: str) -> None:
    done = call_testbed("link", *options)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert done.stdout == ""
