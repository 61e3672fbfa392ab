"""Running labs as files: what is saved makes the same plan, and its commands say the rest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from testbed.commands.common import read_trial
from testbed.control.saved import lab_file
from testbed.errors import UsageError
from testbed.experiment.impairments import Impairment
from testbed.run.link_state import altered_by, options_of

SETTINGS = [
    "lossless.headroom=auto",
    "lossless.ecn={kmin: 5KB, kmax: 200KB, pmax: 1%}",
    "lossless.watchdog={detection: 1ms, restoration: 1ms, poll: 500us}",
    "transport.mtu=1024",
    "driver=docker",
    "emulation=native",
    "seed=7",
    "workload.size=4M",
]
LABS = Path(__file__).resolve().parents[3] / "topologies" / "labs"


def describe(topology: str, settings: list[str], by_hand: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    trial = read_trial(None, topology, settings).under("real")
    written = {"lab": trial.written, "experiment": trial.spec()["experiment"]}
    return trial, {"lab": trial.lab.name, "dilation": 2000, "written": written, "by_hand": by_hand}


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line[1:]) for line in text.splitlines() if line.startswith("#     ")]


@pytest.mark.parametrize(
    "topology", ["two-dc:hosts=1,length=300km", "ring:routing=clockwise", *map(str, LABS.iterdir())]
)
@pytest.mark.parametrize("settings", [[], SETTINGS], ids=["plain", "with settings"])
def test_what_is_saved_gives_the_same_plan(topology: str, settings: list[str], tmp_path: Path) -> None:
    trial, description = describe(topology, settings, [])
    file = tmp_path / "saved.yaml"
    file.write_text(lab_file(description, str(file)))
    (deploy,) = commands(file.read_text())
    assert deploy[:6] == ["testbed", "deploy", "-t", str(file), "--dilation", "2000"]
    options = deploy[6:]
    assert set(options[::2]) <= {"--set"}
    again = read_trial(None, str(file), options[1::2]).under("real")
    assert again.plan == trial.plan
    assert (again.experiment.driver, again.experiment.seed) == (trial.experiment.driver, trial.experiment.seed)


def test_what_was_changed_by_hand_stands_there_as_commands() -> None:
    rows = [{"link": 0, "port": "leaf:eth1", "options": ["--delay", "2ms", "--down"]}]
    _, description = describe("pair", [], rows)
    _, second = commands(lab_file(description, "pair.yaml"))
    assert second == [
        "testbed",
        "impair",
        "set",
        "--name",
        "pair",
        "leaf:eth1",
        "--direction",
        "out",
        "--delay",
        "2ms",
        "--down",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": "2ms", "jitter": "1us", "rate": "50G"},
        {"loss": "1%", "burst": 3.0},
        {"loss": "1e-4", "down": True},
        {"ber": "1e-5", "lanes-down": 2, "drain": True},
        {"osnr-db": 21.5, "up": True},
        {"margin-db": -0.25, "drain": False},
    ],
)
def test_options_repeat_what_was_requested(options: dict[str, Any]) -> None:
    asked = altered_by(Impairment.model_validate(options))
    said = options_of(asked)
    read: dict[str, Any] = {}
    while said:
        key = said.pop(0).removeprefix("--")
        if key in ("up", "down", "drain", "no-drain"):
            read[key.removeprefix("no-")] = not key.startswith("no-")
        else:
            read[key] = type(options[key])(said.pop(0))
    assert altered_by(Impairment.model_validate(read)) == asked


def test_a_lab_without_a_file_cannot_be_saved() -> None:
    with pytest.raises(UsageError, match="nothing to save"):
        lab_file({"lab": "x", "written": None}, "x.yaml")
