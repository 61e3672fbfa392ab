"""The watchdog against pause storms: its settings in layers, and the plan's keys for it.

A priority that has been paused for longer than the detection time is taken for stormed; the switch looks every poll time.
Then its pauses are ignored, and with the action `drop` its frames are dropped, until no pause has been asked for during
the restoration time. As in SONiC, each default time grows with the ports that run PFC: by one more time for every 32 of
them. A time that somebody gives is taken as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from testbed.contract.plan import Plan, switches_of
from testbed.schema.documented import LateJsonSchema
from testbed.schema.fields import FileModel, Flag, Time
from testbed.units import PS_PER_NS, PS_PER_SECOND

DEFAULT_TIME_PS = PS_PER_SECOND // 5
"""SONiC's default for all three times: 200 ms."""
PORTS_PER_TIME = 32
_TIMES = ("detection", "restoration", "poll")


def _positive(time_ps: int) -> int:
    if time_ps <= 0:
        raise ValueError("must be longer than 0")
    return time_ps


class Watchdog(FileModel):
    """What a watchdog is given; `on: false` is `false`.

    What no layer says is SONiC's default: 200 ms for every 32 ports with PFC, and drop.
    """

    on: Flag | None = None
    """Whether the watchdog is on; left out, it is on if any other of its settings is given."""
    detection: Annotated[Time, AfterValidator(_positive)] | None = None
    """Time for which a priority must be paused to be taken for stormed; left out, 200 ms for every 32 ports with PFC."""
    restoration: Time | None = None
    """Time without a pause after which a stormed priority is restored; left out, 200 ms for every 32 ports with PFC."""
    poll: Annotated[Time, AfterValidator(_positive)] | None = None
    """Time between two looks of the watchdog; left out, 200 ms for every 32 ports with PFC."""
    action: Literal["drop", "forward"] | None = None
    """What happens to frames of a stormed priority; left out, `drop`."""


def _switched(value: object) -> object:
    return {"on": value} if isinstance(value, bool) else value


SwitchedWatchdog = Annotated[
    Watchdog,
    BeforeValidator(_switched),
    LateJsonSchema(lambda: {"anyOf": [{"type": "boolean"}, Watchdog.model_json_schema(by_alias=True)]}),
]
"""A watchdog as a file has it: its settings, or true or false."""


def plan_keys(lab: Watchdog | None, experiment: Watchdog | None, pfc_ports: int) -> dict[str, dict[str, int | str]]:
    """Return the plan's keys for the watchdog of a switch with so many ports that run PFC; none where it is off.

    What the experiment says wins over the lab, setting by setting. Whoever gives a setting and says nothing else has it on.
    """
    settings: dict[str, int | str | bool] = {}
    for layer in (lab, experiment):
        if layer is not None:
            settings |= layer.model_dump(exclude_none=True)
    if not settings.pop("on", bool(settings)):
        return {}
    default_ps = DEFAULT_TIME_PS * -(-max(1, pfc_ports) // PORTS_PER_TIME)
    keys: dict[str, int | str] = {f"{name}_ps": int(settings.get(name, default_ps)) for name in _TIMES}
    return {"watchdog": {**keys, "action": str(settings.get("action", "drop"))}}


def settings_in_force(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what the watchdog of each switch of a plan goes by: times in nominal ns, and its action."""
    return {
        node["name"]: {
            "detection_ns": settings["detection_ps"] / PS_PER_NS,
            "restoration_ns": settings["restoration_ps"] / PS_PER_NS,
            "poll_ns": settings["poll_ps"] / PS_PER_NS,
            "action": settings["action"],
        }
        for node in switches_of(plan)
        if (settings := node.get("watchdog"))
    }
