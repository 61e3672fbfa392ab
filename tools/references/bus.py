"""What travels over MQTT, and what a command ends with."""

from __future__ import annotations

import inspect

from pydantic import BaseModel

from testbed import errors
from testbed.bus import messages, verbs
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
        "telemetry",
        "agent",
        "Counters of a port while they change, at most ten times a second; retained on a shared broker.",
    ),
    (messages.state_topic(LAB), "state", "agent", "The lab as a whole, likewise: progress, drops, fidelity."),
    (messages.events_topic(LAB), "event", "agent", "What was done to a lab, once each, never retained."),
    (messages.status_topic(AGENT), "`online` or `offline`", "agent", "Retained; `offline` is the agent's last will."),
)
ABOUT = """
Controllers, agents and readers speak MQTT 3.1.1. Payloads are JSON. Requests and replies are checked against the models
below; a message that does not fit is answered with an error and changes nothing.
"""
PUBLISHED = """
`telemetry` is the counters of one port as [run.json](result.md) has them under `ports`, and what the port holds now.
`state` has the state of the lab, its progress, `drops`, `deadlocks` and `fidelity`. `event` has `at` (UTC), `lab`, `event`
and details of it. On a shared broker each carries `agent`, the name of the agent that sent it.
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
    parts += ["## Published unasked", prose(PUBLISHED), "## Envelopes"]
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


def _model(model: type[BaseModel]) -> str:
    rows = (
        (code(key.path), key.holds, "required" if key.default is None else code(key.default), key.sentence)
        for key in keys_of(model)
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
