"""What travels over MQTT, and what a command ends with."""

from __future__ import annotations

import inspect
from typing import get_type_hints

from pydantic import BaseModel

from testbed import errors
from testbed.bus import messages, told, verbs
from testbed.schema.keys import keys_of
from tools.references.markdown import code, page, prose, table

PORT, LAB, AGENT = "<port>", "<lab>", "<agent>"
TOPICS = (
    (
        messages.command_topic(LAB, AGENT),
        "Request",
        "controller",
        "A verb for an agent; lab `-` if it concerns no single lab.",
    ),
    (
        messages.reply_topic(LAB, AGENT, "<client>"),
        "Reply",
        "agent",
        "The answer; each client reads its own topic alone.",
    ),
    (
        messages.telemetry_topic(LAB, "<node>", PORT),
        "PortTelemetry",
        "agent",
        "Counters of a port while they change, at most ten times a second; retained on a shared broker.",
    ),
    (
        messages.live_topic(LAB, AGENT),
        "Live",
        "agent",
        "What changed at the ports of a lab, in one message a look; on a shared broker, never retained.",
    ),
    (messages.topology_topic(LAB), "Topology", "agent", "What a lab is made of; retained, on a shared broker."),
    (messages.state_topic(LAB), "State", "agent", "The lab as a whole: its runs, drops, fidelity; as telemetry."),
    (messages.events_topic(LAB), "an event", "agent", "What was done to a lab, once each, never retained."),
    (messages.status_topic(AGENT), "`online` or `offline`", "agent", "Retained; `offline` is the agent's last will."),
)
# Sections that have a table of their own.
ELSEWHERE = ("current.", "progress.", "last.")
TOLD = (told.Live, told.Topology, told.State, told.PortTelemetry, told.RunStarted, told.RunProgress, told.RunEnded)
ABOUT = """
Controllers, agents and readers speak MQTT 3.1.1. Payloads are JSON. Requests and replies are checked against the models
below; a message that does not fit is answered with an error and changes nothing.
"""
PUBLISHED = """
These are the models of what agents tell without being asked; `testbed schema telemetry` prints them as one JSON Schema.
Labs are looked at ten times a second, or as `testbed agent --telemetry` says, and less often where that would take more than
half a per cent of a data plane's time. What is retained of an agent that is `offline` is of the past: the agent takes it back
when it returns, as it does with a lab that is destroyed, by an empty payload. Figures are absolute, so a lost message does no
harm, and `seq` shows that one was lost.
"""
HEAD = """
Every message begins with these keys, and one for which a data plane was looked at has those of Seen too.
"""
EXIT_CODES = (
    (0, "Everything expected held."),
    (1, "An expectation failed, for example a lossless priority lost a frame."),
    (2, "The command or an input file is wrong; the message names file, line and key."),
    (3, "The machine lacks something, such as root or namespaces, or the testbed has a defect."),
    (4, "The emulation was not faithful enough for its figures to be trusted, or broke an invariant."),
    (130, "Interrupted, after cleaning up."),
    (141, "Nobody reads the output any more, as after `testbed … | head -1`."),
)


def bus_pages() -> dict[str, str]:
    """Return the pages of MQTT and of exit codes, by path."""
    return {"reference/mqtt.md": _mqtt(), "reference/exit-codes.md": _exit_codes()}


def _mqtt() -> str:
    topics = ((code(topic), payload, by, meaning) for topic, payload, by, meaning in TOPICS)
    parts = [prose(ABOUT), "## Topics", table(("topic", "payload", "published by", "meaning"), topics)]
    parts += ["## Published unasked", prose(PUBLISHED), prose(HEAD), _model(told.Told), _model(told.Seen, told.Told)]
    parts += [_model(model, told.Seen if issubclass(model, told.Told) else None) for model in TOLD]
    parts += [_positions(told.Figures), _model(told.DropsHappened), _model(told.PauseHappened)]
    parts += ["## Envelopes"]
    parts += [_model(messages.Request), _model(messages.Reply), "## Bodies of requests"]
    parts.append(prose("The verb of a request says which body it has."))
    rows = ((code(name), verb.body.__name__) for name, verb in verbs.TABLE.items())
    parts.append(table(("verb", "body"), rows))
    parts += [_model(body) for body in dict.fromkeys(verb.body for verb in verbs.TABLE.values())]
    parts += [
        "## Bodies of replies",
        prose("A `progress` has one of these, an `error` the last; a `result` is the verb's own document."),
    ]
    parts += [_model(body) for body in (messages.BuildStep, messages.RunStep, messages.CaptureStep, messages.ErrorBody)]
    return page("MQTT: topics and payloads", *parts)


def _positions(figures: type[told.Figures]) -> str:
    """Return the values of a list by their positions."""
    kinds = get_type_hints(figures, include_extras=True)
    meanings = (kinds[name].__metadata__[-1].description for name in figures._fields)
    rows = (
        (number, code(name), meaning)
        for number, (name, meaning) in enumerate(zip(figures._fields, meanings, strict=True))
    )
    about = inspect.cleandoc(figures.__doc__ or "")
    return "\n\n".join((f"### {figures.__name__}", prose(about), table(("position", "value", "meaning"), rows)))


def _model(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    known = set() if without is None else {key.path for key in keys_of(without)}
    rows = (
        (code(key.path), key.holds, "required" if key.default is None else code(key.default), key.sentence)
        for key in keys_of(model)
        if key.path not in known and not key.path.startswith(ELSEWHERE)
    )
    fields = table(("key", "type", "default", "meaning"), rows)
    return "\n\n".join(
        part for part in (f"### {model.__name__}", prose(inspect.cleandoc(model.__doc__ or "")), fields) if part
    )


def _exit_codes() -> str:
    classes = [
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.TestbedError)
    ]
    rows = (
        (code(item.__name__), item.exit_code, " ".join((item.__doc__ or "").split("\n\n")[0].split()))
        for item in classes
    )
    return page(
        "Exit codes",
        table(("exit code", "meaning"), EXIT_CODES),
        prose("An error is one of these classes, of which the Python API raises the same."),
        table(("class", "exit code", "meaning"), rows),
    )
