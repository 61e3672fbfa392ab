"""A run on a lab that is up: refused where the lab is not as planned, and not to be trusted where it ceased to be."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from testbed.agent.captures import Captures
from testbed.agent.lab import Document, Fabric, InterruptibleFabric, LabDriver, OwnedLab, deviations
from testbed.bus import messages
from testbed.contract.plan import Plan
from testbed.errors import HostError, UsageError
from testbed.plan.placement import agents_of, check_members

Progress = Callable[[Document], None]


class Executed(NamedTuple):
    """The outcome of a run as a document, and what tells how it ended once that is complete: a `told.RunEnded`."""

    document: Document
    ended: Callable[[Document], Document] | None = None


Execute = Callable[[InterruptibleFabric, Plan, Document, Progress], Executed]


def perform(
    engine: InterruptibleFabric,
    driver: LabDriver,
    present: OwnedLab,
    body: messages.RunBody,
    execute: Execute,
    captures: Captures | None,
    progress: Progress,
) -> Document:
    """Run what is asked on a lab whose lock is held, and return the outcome.

    Raises UsageError for a run that this agent cannot have alone, HostError for a lab that is not as planned.
    """
    party = body.party
    if agents_of(present.plan) and party is None:
        raise UsageError(
            f"lab {present.plan['lab']} spans several agents and runs only with all of them; name them with --agent a,b"
        )
    _require_as_planned(driver, present)
    if party is not None:
        check_members(present.plan, {member.name: member.address for member in party.agents})
        try:
            present.fabric.join(party.model_dump_json())
        except ValueError as error:
            raise UsageError(f"party: {error}") from None
    if body.capture:
        present.fabric.capture(_captured(captures, body.lab, progress))
    try:
        document, ended = execute(engine, present.plan, body.spec, progress)
    finally:
        if party is not None:
            present.fabric.leave()
        fault = _end_capture(present.fabric) if body.capture else None
        present.fabric.end_span()
        # What the run's timeline did not come to must not happen to the lab later.
        present.fabric.cancel_impairments()
        if present.links is not None:
            present.links.settle()
    if "report" in document:
        document["report"] = present.part.complete(document["report"])
        if wrong := deviations(driver, present):
            document["report"]["fidelity"]["altered"] = wrong
    if ended is not None:
        progress(ended(document))
    return document if fault is None else {**document, "capture_fault": fault}


def _require_as_planned(driver: LabDriver, present: OwnedLab) -> None:
    if wrong := deviations(driver, present):
        reasons = "; ".join(f"{node}: {reason}" for node, reason in sorted(wrong.items()))
        raise HostError(f"lab {present.plan['lab']} is not as planned: {reasons}; `testbed deploy` restores it")


def _captured(captures: Captures | None, lab: str, progress: Progress) -> str:
    """Make the file of a capture, say its name, and return its path."""
    if captures is None:
        raise HostError("this agent has no directory for captures")
    path = captures.make(lab)
    progress(messages.CaptureStep(capture=path.name).model_dump())
    return str(path)


def _end_capture(fabric: Fabric) -> str | None:
    """End a capture; return why it is not whole, if it is not."""
    try:
        fabric.capture(None)
    except OSError as error:
        return f"cannot write the capture: {os.strerror(error.errno) if error.errno else error}; it ends before the run"
    return None
