"""Plans, workloads, changes of links and raw frames as JSON, for the fabric under the virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from testbed._dataplane import VirtualFabric
from testbed.errors import TestbedError, UsageError
from testbed.plan.check import check_plan
from testbed.plan.workload import compile_workload
from testbed.study import campaign, random_cases
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

Json = dict[str, Any]

EVENTS = 20_000
"""Of a run; a plan that was changed may go on for ever."""
_CASES = 24
_LARGEST_BYTES = 60_000


@cache
def bases() -> list[Json]:
    """Return documents that are sound: plans of drawn cases with a workload, changes, and a train of frames."""
    documents = []
    for seed in range(_CASES):
        case = random_cases.draw(seed)
        try:
            trial = campaign.trial_of(case)
            schedule = trial.collective.schedule(trial.series.shapes()[0])
            workload = compile_workload(trial.lab, trial.experiment, schedule)
        except TestbedError:
            continue
        host = next(node for node in trial.plan["nodes"] if node["kind"] == "host")
        train = {"node": host["name"], "port": host["ports"][0]["name"], "at_ps": 10, "every_ps": 1000, "count": 3}
        document = {
            "plan": trial.plan,
            "workload": workload,
            "changes": trial.changes,
            "frames": [
                {**train, "priority": 3, "sequence": False, "hex": "02000000000302000000000108060000" + "00" * 44}
            ],
            "span": {"warmup_ps": 0, "window_ps": None},
            "cores": 1 + seed % 2,
        }
        if len(json.dumps(document)) < _LARGEST_BYTES:
            documents.append(json.loads(json.dumps(document)))
    return documents


def draw(random: Random) -> bytes:
    """Draw a document."""
    document = random.choice(bases())
    part = random.choice(("plan", "plan", "plan", "workload", "workload", "changes", "frames", "span"))
    return mutation.dump({**document, part: mutation.document(random, document[part])}).encode()


def check(data: bytes) -> None:
    """Run a document as far as it is accepted; what is not is refused in words, before anything begins."""
    document = json.loads(data)
    if isinstance(plan := document["plan"], dict):
        refused(lambda: check_plan(plan), UsageError)
    fabric: VirtualFabric | None = None

    def open_fabric() -> None:
        nonlocal fabric
        fabric = VirtualFabric(mutation.dump(plan), document["cores"])

    # A plan that takes more memory than there is says so.
    if refused(open_fabric, ValueError, MemoryError) or fabric is None:
        return
    for step in (
        lambda: fabric.begin_span(mutation.dump(document["span"])),
        lambda: fabric.load(mutation.dump(document["workload"])),
        lambda: fabric.impair(mutation.dump(document["changes"])),
        lambda: fabric.inject(mutation.dump(document["frames"])),
    ):
        refused(step, ValueError, MemoryError)
    fabric.advance(EVENTS)
    fabric.run_until(10**9, EVENTS)
    report = json.loads(fabric.report())
    require(report["now_ps"] >= 0 and isinstance(report["violations"], list), "a report without its keys")
    fabric.cancel_impairments()


def refused(step: Callable[[], object], *errors: type[Exception]) -> bool:
    """Take a step; return whether it was refused, in a line of words that is not longer than a screen."""
    try:
        step()
    except errors as error:
        message = str(error)
        require(bool(message) or isinstance(error, MemoryError), f"{type(error).__name__} without a word")
        require(len(message) < 4000, f"{type(error).__name__} of {len(message)} characters")
        return True
    return False


PLANS = Target("plans", ".json", draw, check)
