"""Options that say nothing to a command are refused or noted; names and dilations of labs that are up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.agent import owner
from testbed.bus import messages
from testbed.control import inspection, verbs
from testbed.errors import UsageError
from testbed.run.trial import Trial
from tests.unit.agent.bus_world import PLAN, MemoryDriver, MemoryFabric, execute

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
VIRTUAL = ("run", "all_reduce", "-t", "pair", "-b", "4K", "--clock", "virtual")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((*VIRTUAL, "--dilation", "5"), "--dilation"),
        ((*VIRTUAL, "--driver", "netns"), "--driver"),
        ((*VIRTUAL, "--placement", "pack"), "--placement"),
        (("deploy", "-t", "pair", "--placement", "spread"), "--placement has no effect with one agent"),
        (("--broker", "mqtt://127.0.0.1:1", "redeploy", "-t", "pair", "--placement", "pack"), "--placement"),
        (("--broker", "mqtt://127.0.0.1:1", "sweep", "incast", "-t", "pair", "--over", "seed=1,2"), "--broker"),
        (("--agent", "m1", "exec", "--name", "pair", "a1", "--", "true"), "--agent"),
        (("--credentials", "x", "profiles"), "--credentials"),
        (("--ca", "x", "headroom", "--rate", "1G", "--length", "1m"), "--ca"),
        (("deploy", "pair", "-t", "two-dc"), "two labs"),
        (("deploy", "-t", "pair", "--name", "Upper"), "not a safe name"),
    ],
)
def test_an_option_without_effect_is_refused(call_testbed: Cli, arguments: tuple[str, ...], word: str) -> None:
    done = call_testbed(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr


def test_a_broker_in_the_environment_is_there_for_all_commands(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_BROKER", "mqtt://127.0.0.1:1")
    assert call_testbed("profiles", "400g-zr").returncode == 0


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Trial, int]]:
    """Return what is deployed, where a lab two-dc is up at dilation 500; nothing is measured."""
    trials: list[tuple[Trial, int]] = []

    async def dilation_of(_: object, lab: str) -> int | None:
        return 500 if lab == "two-dc" else None

    async def deploy(_: object, trial: Trial, dilation: int, *__: object) -> dict[str, Any]:
        trials.append((trial, dilation))
        return {"lab": trial.lab.name, "changed": True}

    monkeypatch.setattr(verbs, "dilation_of", dilation_of)
    monkeypatch.setattr(verbs, "deploy", deploy)
    monkeypatch.setattr(verbs, "redeploy", deploy)
    return trials


@pytest.mark.parametrize(("option", "dilation"), [((), 500), (("--dilation", "7"), 7), (("--set", "dilation=7"), 7)])
def test_a_lab_that_is_up_keeps_its_dilation(
    call_testbed: Cli, deployed: list[tuple[Trial, int]], option: tuple[str, ...], dilation: int
) -> None:
    done = call_testbed("deploy", "-t", "two-dc:hosts=3", *option)
    assert done.returncode == 0, done.stderr
    assert [factor for _, factor in deployed] == [dilation]
    assert done.stdout == f"lab two-dc is up, dilation {dilation}\n"


def test_a_lab_is_deployed_from_a_file_by_another_name(
    call_testbed: Cli, deployed: list[tuple[Trial, int]], tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: two-dc\ntopology:\n  nodes: {a1: {kind: host}, b1: {kind: host}}\n"
        '  links: [{endpoints: ["a1:eth1", "b1:eth1"]}]\n'
    )
    for verb in ("deploy", "redeploy"):
        done = call_testbed(verb, "lab.yaml", "--name", "mine", "--dilation", "9")
        assert done.returncode == 0, done.stderr
    trial, _ = deployed[0]
    assert (trial.lab.name, trial.plan["lab"], trial.written["name"] if trial.written else "") == ("mine",) * 3
    named = call_testbed(
        "run", "incast", "-t", "pair", "--name", "mine", "-b", "4K", "--clock", "virtual", "--format", "json"
    )
    assert (named.returncode, json.loads(named.stdout)["lab"]) == (0, "mine")
    again = call_testbed("run", "incast", "-t", "lab.yaml", "--name", "other", "-b", "4K", "--format", "json")
    assert json.loads(again.stdout)["lab"] == "other" and "--name other" in json.loads(again.stdout)["replay"]


def test_without_a_topology_the_running_lab_is_meant(
    call_testbed: Cli, deployed: list[tuple[Trial, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def describe(_: object, name: str) -> dict[str, Any]:
        nodes = {"a1": {"kind": "host"}, "b1": {"kind": "host"}}
        lab = {"name": name, "topology": {"nodes": nodes, "links": [{"endpoints": ["a1:eth1", "b1:eth1"]}]}}
        return {"written": {"lab": lab, "experiment": {"topology": "gone.yaml", "lossless": {"pfc": False}}}}

    monkeypatch.setattr(inspection, "describe", describe)
    assert call_testbed("redeploy", "--name", "mine", "--dilation", "3").returncode == 0
    ((trial, _),) = deployed
    assert (trial.lab.name, trial.experiment.lossless.pfc, len(trial.lab.hosts)) == ("mine", False, 2)
    done = call_testbed("run", "incast", "--name", "mine", "-b", "4K", "--clock", "virtual", "--format", "json")
    assert json.loads(done.stdout)["lab"] == "mine", done.stderr


def test_a_dry_run_tells_what_would_be_made_from_what_would_be_changed(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "state"))
    new = call_testbed("deploy", "-t", "pair:name=nowhere", "--dry-run")
    assert (new.returncode, new.stdout.splitlines()[-1]) == (0, "lab nowhere would be made")

    async def plan(*_: object) -> dict[str, Any]:
        return {"lab": "pair", "changed": True, "changes": [], "stands": True}

    monkeypatch.setattr(verbs, "plan_deploy", plan)
    assert call_testbed("deploy", "-t", "pair", "--dry-run").stdout == "lab pair would be changed\n"


def test_a_dry_run_refuses_another_dilation_as_deploy_does() -> None:
    labs = owner.LabOwner(cast(Any, MemoryDriver()), lambda *_: cast(Any, MemoryFabric()), execute)
    first = labs.deploy(messages.DeployBody(plan=PLAN, dilation=500, dry_run=True))
    assert first["stands"] is False
    labs.deploy(messages.DeployBody(plan=PLAN, dilation=500))
    other = messages.DeployBody(plan={**PLAN, "seed": 2}, dilation=7, reconcile=True, dry_run=True)
    with pytest.raises(UsageError, match=r"another dilation \(500\)"):
        labs.deploy(other)
    assert labs.deploy(other.model_copy(update={"dilation": 500}))["changed"]
