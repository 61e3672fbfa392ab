"""What agents tell, held against its models."""

from __future__ import annotations

import json
from typing import Any

from testbed.bus import told

_RUNS: dict[str, type[told.Told]] = {
    told.RUN_STARTED: told.StartedEvent,
    told.RUN_PROGRESS: told.ProgressEvent,
    told.RUN_ENDED: told.EndedEvent,
}
_OTHERS: dict[str, type[told.Told]] = {
    "live": told.Live,
    "topology": told.Topology,
    "state": told.State,
    "telemetry": told.PortTelemetry,
}


def check(topic: str, document: dict[str, Any]) -> None:
    """Insist that a message is what its topic promises."""
    kind = topic.rpartition("/")[2]
    model = _RUNS.get(str(document.get("event")), told.LabEvent) if kind == "events" else _OTHERS[kind]
    model.model_validate_json(json.dumps(document))
