"""The watchdog against pause storms: its settings in layers, and the plan's keys for it.

A priority that has been paused for longer than the detection time is taken for stormed; the switch looks every poll time.
Then its pauses are ignored, and with the action `drop` its frames are dropped, until no pause has been asked for during
the restoration time. As in SONiC, each of the times grows with the ports: by one more time for every 32 of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from testbed.models import FileModel, Flag, Time
from testbed.units import PS_PER_SECOND

DEFAULT_TIME_PS = PS_PER_SECOND // 5
"""SONiC's default for all three times: 200 ms."""
PORTS_PER_TIME = 32


def _positive(time_ps: int) -> int:
    if time_ps <= 0:
        raise ValueError("must be longer than 0")
    return time_ps


class Watchdog(FileModel):
    """What a watchdog is given; what no layer says is SONiC's default: 200 ms each, and drop. `on: false` is `false`."""

    on: Flag | None = None
    detection: Annotated[Time, AfterValidator(_positive)] | None = None
    restoration: Time | None = None
    poll: Annotated[Time, AfterValidator(_positive)] | None = None
    action: Literal["drop", "forward"] | None = None


def _switched(value: object) -> object:
    return {"on": value} if isinstance(value, bool) else value


SwitchedWatchdog = Annotated[
    Watchdog,
    BeforeValidator(_switched),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, Watchdog.model_json_schema(by_alias=True)]}),
]
"""A watchdog as a file has it: its settings, or true or false."""


def plan_keys(lab: Watchdog | None, experiment: Watchdog | None, ports: int) -> dict[str, dict[str, int | str]]:
    """Return the plan's keys for the watchdog of a switch with so many ports; none where it is off.

    What the experiment says wins over the lab, setting by setting. Whoever gives a setting and says nothing else has it on.
    """
    said: dict[str, int | str | bool] = {}
    for layer in (lab, experiment):
        if layer is not None:
            said |= layer.model_dump(exclude_none=True)
    if not said.pop("on", bool(said)):
        return {}
    times = -(-max(1, ports) // PORTS_PER_TIME)
    keys: dict[str, int | str] = {
        f"{name}_ps": times * int(said.get(name, DEFAULT_TIME_PS)) for name in ("detection", "restoration", "poll")
    }
    return {"watchdog": {**keys, "action": str(said.get("action", "drop"))}}
