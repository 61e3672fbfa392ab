"""The verbs that agents take, a row each: how it is called, its body, what the owner of labs does, what is told of it.

The bus reads bodies by this table, the owner performs by it, the agent tells of events by it, and the controller asks by
it. A verb is added here, and its method on the owner; mypy finds a row and a method that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from testbed.bus import messages
from testbed.bus.messages import (
    Body,
    CancelBody,
    DeployBody,
    ImpairBody,
    InvalidMessage,
    LabBody,
    NoBody,
    PortBody,
    Request,
    RunBody,
)
from testbed.errors import nearest

Document = dict[str, Any]
Progress = Callable[[Document], None]
_Body = TypeVar("_Body", bound=Body)


class Owner(Protocol):
    """Who owns labs and performs the verbs on them."""

    def ping(self) -> Document:
        """Answer; say where other machines reach this one."""

    def listed(self) -> Document:
        """List the labs in the system."""

    def deploy(self, body: DeployBody, progress: Progress) -> Document:
        """Bring a lab up."""

    def destroy(self, lab: str) -> Document:
        """Take a lab down."""

    def inspect(self, lab: str) -> Document:
        """Describe a lab as it is."""

    def describe(self, lab: str) -> Document:
        """Return what a lab was made of."""

    def health(self, lab: str) -> Document:
        """Return how each node of a lab is."""

    def run(self, body: RunBody, progress: Progress) -> Document:
        """Run a trial on a lab."""

    def cancel(self, body: CancelBody) -> Document:
        """End the run on a lab."""

    def capture_points(self, lab: str, node: str, port: str) -> Document:
        """Return where to listen to a port."""

    def impair(self, lab: str, body: ImpairBody) -> Document:
        """Change or show a link."""


@dataclass(frozen=True)
class Verb(Generic[_Body]):
    """One verb. `event` is what is told to everybody when it has changed a lab, if anything; the owner may tell it itself."""

    name: str
    body: type[_Body]
    perform: Callable[[Owner, _Body, Progress], Document]
    event: str | None = None
    is_told: bool = False

    def __str__(self) -> str:
        return self.name


PING = Verb("ping", NoBody, lambda owner, _, __: owner.ping())
LIST = Verb("list", NoBody, lambda owner, _, __: owner.listed())
DEPLOY = Verb("deploy", DeployBody, lambda owner, body, progress: owner.deploy(body, progress), "deployed")
DESTROY = Verb("destroy", LabBody, lambda owner, body, _: owner.destroy(body.lab), "destroyed")
INSPECT = Verb("inspect", LabBody, lambda owner, body, _: owner.inspect(body.lab))
DESCRIBE = Verb("describe", LabBody, lambda owner, body, _: owner.describe(body.lab))
HEALTH = Verb("health", LabBody, lambda owner, body, _: owner.health(body.lab))
RUN = Verb("run", RunBody, lambda owner, body, progress: owner.run(body, progress), "run ended", is_told=True)
CANCEL = Verb("cancel", CancelBody, lambda owner, body, _: owner.cancel(body), "run cancelled")
CAPTURE_POINTS = Verb(
    "capture_points", PortBody, lambda owner, body, _: owner.capture_points(body.lab, body.node, body.port)
)
IMPAIR = Verb("impair", ImpairBody, lambda owner, body, _: owner.impair(body.lab, body), "impaired")
# The owner has nothing to do for it: the agent ends once it has answered.
SHUTDOWN = Verb("shutdown", NoBody, lambda _, __, ___: {})

TABLE: dict[str, Verb[Any]] = {
    verb.name: verb
    for verb in (
        PING,
        LIST,
        DEPLOY,
        DESTROY,
        INSPECT,
        DESCRIBE,
        HEALTH,
        RUN,
        CANCEL,
        CAPTURE_POINTS,
        IMPAIR,
        SHUTDOWN,
    )
}


def decode(request: Request) -> tuple[Verb[Any], Body]:
    """Find the verb of a request and read the body that it demands. Raise `InvalidMessage`."""
    sender = request.reply_to, request.correlation_id
    verb = TABLE.get(request.verb)
    if verb is None:
        raise InvalidMessage(f'no verb is called "{request.verb}"{nearest(request.verb, list(TABLE))}', *sender)
    try:
        return verb, verb.body.model_validate(request.body)
    except ValidationError as error:
        raise InvalidMessage(messages.explain(error), *sender) from None
