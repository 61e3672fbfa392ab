"""How switches find paths, and how soon they find others when links fail: the settings of `routing:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from testbed.lab.paths import Policy
from testbed.schema.documented import LateJsonSchema
from testbed.schema.fields import FileModel, Time

CONVERGENCE_PS = 10**9
"""1 ms: about what fast rerouting in a data centre takes from the loss of light to new tables."""


class RoutingSettings(FileModel):
    """How switches find paths; a policy by its name alone leaves the rest as it is by default.

    When a link between switches goes down, or comes up again, tables are those of the links that are up once `convergence`
    has passed. Until then frames that take it are lost.
    """

    policy: Policy = "shortest"
    """How switches find paths: the shortest ones, the default, or up and then down the distances from `roots`."""
    convergence: Time | Literal["never"] = CONVERGENCE_PS
    """Time from the failure of a link, or its return, to tables that know of it; `never`: tables stay as they are."""

    @property
    def convergence_ps(self) -> int | None:
        """The time, None if tables never change."""
        return self.convergence if isinstance(self.convergence, int) else None


def _by_name(value: object) -> object:
    return {"policy": value} if isinstance(value, str) else value


Routing = Annotated[
    RoutingSettings,
    BeforeValidator(_by_name),
    LateJsonSchema(
        lambda: {"anyOf": [{"enum": ["shortest", "up-down"]}, RoutingSettings.model_json_schema(by_alias=True)]}
    ),
]
"""The settings as a file has them: all of them, or the policy by its name."""
