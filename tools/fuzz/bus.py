"""Messages of the bus as an agent gets them: a lab is up, in a dictionary for a system, on a fabric under the virtual clock."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, cast

from testbed._dataplane import VirtualFabric
from testbed.agent import process
from testbed.agent.captures import Captures
from testbed.agent.lab import LabDriver
from testbed.agent.owner import LabOwner
from testbed.bus import messages, verbs
from testbed.bus.verbs import Document
from testbed.drivers import NOTHING_BY_HAND
from testbed.errors import TestbedError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.run.trial import Trial, with_settings
from testbed.system.netem import Netem
from tests.unit.agent.bus_world import MemoryDriver
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

LAB = "pair"
_REPLY = f"testbed/{LAB}/agent/reply/client"
_STEPS = 2_000


class Enough(BaseException):
    """A run goes on; it has been looked at for long enough."""


class DataPlane:
    """A fabric under the virtual clock in the place of one under the real clock."""

    def __init__(self, plan: str, _dilation: int, _attachments: str) -> None:
        self._fabric = VirtualFabric(plan)
        self._left = _STEPS

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fabric, name)

    def advance(self, _budget: int) -> bool:
        """Run on for some events, so many times."""
        self._left -= 1
        if self._left < 0:
            raise Enough
        return self._fabric.advance(1_000)

    def telemetry(self) -> str:
        """Return the report."""
        return json.dumps({**json.loads(self._fabric.report()), "stopped_ns": 0})

    def listen(self, _address: str) -> int:
        """Hear nobody."""
        return 4000

    def quiesce(self, _leaving: str, _budget: int) -> bool:
        """Nothing is under way."""
        return True

    def replace(self, plan: str, _attachments: str) -> None:
        """Become another."""
        self._fabric = VirtualFabric(plan)

    def resume(self) -> str:
        """Nothing was lost."""
        return "[]"

    def join(self, participants: str) -> None:
        """Refuse to run with others, of whom there are none."""
        raise ValueError(f"nobody is there of {len(participants)} bytes")

    def end_span(self) -> None:
        """Go on."""

    def leave(self) -> None:
        """Go on alone."""

    def close(self) -> None:
        """Nothing is open."""


class Machine(MemoryDriver):
    """A system of labs in a dictionary that can be changed, too."""

    def reconcile(
        self, plan: Document, _before: Any, dilation: int, progress: Any, traffic: Any = None
    ) -> Sequence[Document]:
        """Put the lab in the place of what was there."""
        if traffic is not None:
            traffic.quiesce([])
            traffic.replace([{} for _ in plan["nodes"]])
        return self.deploy(plan, dilation, progress)

    def set_carrier(self, _plan: Document, _link: tuple[str, str], _up: bool, _dilation: int) -> None:
        """There is none."""

    def impair(self, _lab: str, _endpoint: str, _change: Mapping[str, Any], _dilation: int) -> Netem:
        """No link is netem's."""
        raise AssertionError

    def configured(self, _lab: str, _endpoint: str) -> Netem | None:
        """No link is netem's."""
        return None


@cache
def _sound() -> list[Document]:
    """Return requests that an agent obeys, one of each verb and more."""
    trial = Trial(with_settings(new_experiment(LAB, "all_reduce"), ["workload.size=4KB"]), load_lab(LAB)).under("real")
    deploy = {
        "plan": trial.plan,
        "dilation": 100,
        "topology": trial.lab.model_dump(mode="json", by_alias=True),
        "written": {"lab": {"name": LAB}, "experiment": {}},
        "native": [0],
        "reconcile": True,
    }
    hosts = [node for node in trial.plan["nodes"] if node["kind"] == "host"]
    port = {"lab": LAB, "node": hosts[0]["name"], "port": hosts[0]["ports"][0]["name"]}
    impair = {**port, "action": "set", "direction": "both", "settings": {"loss": 0.1, "delay": "3us", "down": False}}
    run = {"lab": LAB, "spec": trial.spec(), "capture": True, "run_id": "r-1"}
    party = {
        "key": 5,
        "number": 0,
        "agents": [{"name": "a", "address": "127.0.0.1:9"}, {"name": "b", "address": "::1:9"}],
    }
    calls: list[tuple[str, Document]] = [
        ("deploy", deploy),
        ("deploy", {**deploy, "dry_run": True}),
        ("run", run),
        ("run", {**run, "party": party, "capture": False}),
        ("impair", impair),
        ("impair", {**port, "action": "show"}),
        ("impair", {**port, "action": "reset", "direction": "in"}),
        ("cancel", {"lab": LAB, "run_id": "r-1"}),
        ("capture_points", port),
        *((verb, {"lab": LAB}) for verb in ("destroy", "inspect", "describe", "health")),
        *((verb, {}) for verb in ("ping", "list", "shutdown")),
    ]
    requests = [
        {"version": 1, "correlation_id": "c-1", "reply_to": _REPLY, "verb": verb, "body": body} for verb, body in calls
    ]
    return cast(list[Document], json.loads(json.dumps(requests)))


def draw(random: Random) -> bytes:
    """Draw the payload of a message: what a verb takes is changed more often than what stands around it."""
    sound = _sound()
    request = random.choice(sound[:5] if random.random() < 0.7 else sound)
    if request["body"] and random.random() < 0.9:
        changed = {**request, "body": mutation.document(random, request["body"])}
    else:
        changed = mutation.document(random, request)
    payload = mutation.dump(changed).encode()
    return mutation.octets(random, payload) if random.random() < 0.1 else payload


def check(payload: bytes) -> None:
    """Have an owner of labs obey a message: what is refused is refused in words, and changes nothing."""
    messages.decode_told(payload)
    with suppress(messages.InvalidMessage):
        messages.decode_reply(payload)
    try:
        request = messages.decode_request(payload)
        verb, body = verbs.decode(request)
    except messages.InvalidMessage as error:
        require(0 < len(str(error)) < 10_000, f"refused with {len(str(error))} characters")
        return
    if not body.about:
        return
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        _obey(verb, body, Path(folder))


def _obey(verb: verbs.Verb[Any], body: messages.Body, folder: Path) -> None:
    driver = Machine()
    execute = partial(process._execute, "")
    captures = Captures(folder)
    owner = LabOwner(
        cast(LabDriver, driver),
        cast(Any, DataPlane),
        execute,
        captures=captures,
        check_fabric=process.check_fabric,
    )
    owner.deploy(messages.DeployBody.model_validate(_sound()[0]["body"]))
    before = owner.list(), dict(driver.system)
    steps: list[Document] = []
    try:
        answer = verb.perform(owner, body, steps.append)
        messages.encode(messages.Reply(correlation_id="c-1", kind="result", body=json.loads(json.dumps(answer))))
    except TestbedError as error:
        require(bool(str(error)) and "internal error" not in str(error), f"{verb}: {error!r}")
        require((owner.list(), driver.system) == before, f"{verb} was refused ({error}) and changed the labs")
    except Enough:
        return
    for step in steps:
        require(
            messages.decode_step(json.loads(json.dumps(step))) is not None, f"{verb}: a step that nobody reads: {step}"
        )
    for lab in driver.system:
        require(owner.inspect(lab)["state"] == "running", f"{verb}: {lab} is not running any more")
        require(not driver.deviations({}, 1, NOTHING_BY_HAND), "the lab is not as planned")


BUS = Target("bus", ".json", draw, check)
