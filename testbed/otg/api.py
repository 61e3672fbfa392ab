"""The requests of the Open Traffic Generator API and their answers, whatever carries them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from testbed.contract.plan import Plan
from testbed.otg import dut, metrics
from testbed.otg.passing import Clock, Generator, OpenGenerator
from testbed.otg.requests import REQUESTS
from testbed.otg.schema import API_VERSION
from testbed.otg.session import Session
from testbed.otg.validation import Refused, checked

JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Answer:
    """An answer: status, type and body."""

    status: int
    type: str
    body: bytes

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Answer:
        """Return a document as JSON."""
        return cls(status, JSON, json.dumps(document).encode())


def error(status: int, kind: str, errors: list[str]) -> Answer:
    """Return an error in the API's own form."""
    return Answer.of({"code": status, "kind": kind, "errors": errors}, status)


class Api:
    """A generator that answers one request after the other. Close it to let go of its fabric."""

    def __init__(self, plan: Plan, clock: Clock, open_: OpenGenerator, step_ps: int | None, version: str) -> None:
        self.session = Session(plan, clock, step_ps)
        self._open = open_
        self._version = version
        self._opened = ExitStack()
        self._lock = threading.Lock()
        self._roads: Mapping[tuple[str, str], Callable[[Any], Answer]] = {
            ("POST", "/config"): self._set_config,
            ("GET", "/config"): self._get_config,
            ("PATCH", "/config"): self._update_config,
            ("PATCH", "/config/append"): self._append_config,
            ("PATCH", "/config/delete"): self._delete_config,
            ("POST", "/control/state"): self._control_state,
            ("POST", "/control/action"): self._control_action,
            ("POST", "/monitor/metrics"): self._metrics,
            ("POST", "/monitor/states"): self._states,
            ("POST", "/monitor/capture"): self._capture,
            ("GET", "/capabilities/version"): self._version_of,
            ("POST", "/testbed/show"): self._show,
        }

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return the answer to a request; an error in the API's own form for whatever is wrong with it."""
        road = self._roads.get((method, path.partition("?")[0]))
        if road is None:
            if any(path == known for _, known in self._roads):
                return error(405, "validation", [f"{path}: method {method} is not allowed"])
            return error(404, "validation", [f"{path[:200]}: there is no such resource"])
        try:
            document = _read(body) if method != "GET" else None
            with self._lock:
                return road(document)
        except Refused as refused:
            return error(400, "validation", refused.faults)

    def close(self) -> None:
        """Let go of the fabric and of captures."""
        with self._lock:
            self.session.captures.clear()
            self._opened.close()

    def _engine(self, plan: Plan) -> Generator:
        self._opened.close()
        return self._opened.enter_context(self._open(plan))

    # Configuration

    def _set_config(self, document: Any) -> Answer:
        return _warnings(self.session.configure(document if document is not None else {}, self._engine))

    def _get_config(self, document: Any) -> Answer:
        config = self.session.config
        return Answer.of(config.sent if config is not None else {})

    def _update_config(self, document: Any) -> Answer:
        update = checked("ConfigUpdate", document, REQUESTS)
        config, flows = self.session.configured(), dict(self._flows())
        for index, given in enumerate((document.get("flows") or {}).get("flows") or []):
            name = given["name"]
            if name not in config.flows:
                raise Refused([f"flows.flows[{index}].name: no flow is called {name[:80]}"])
            changed = {key: given[key] for key in update["flows"]["property_names"] if key in given}
            flows[name] = {**flows[name], **changed}
        return _warnings(self.session.replace_flows(list(flows.values())))

    def _append_config(self, document: Any) -> Answer:
        added: list[Any] = []
        for index, entry in enumerate(_entries(document, "config_append_list")):
            checked("ConfigAppendResources", entry, REQUESTS, f"[{index}]")
            added += entry.get("flows") or []
        return _warnings(self.session.replace_flows([*self._flows().values(), *added]))

    def _delete_config(self, document: Any) -> Answer:
        flows = dict(self._flows())
        for index, entry in enumerate(_entries(document, "config_delete_list")):
            names = checked("ConfigDeleteResources", entry, REQUESTS, f"[{index}]")["flows"]
            for place, name in enumerate(names):
                if flows.pop(name, None) is None:
                    raise Refused([f"[{index}].flows[{place}]: no flow is called {name[:80]}"])
        return _warnings(self.session.replace_flows(list(flows.values())))

    def _flows(self) -> Mapping[str, Any]:
        """Return the flows of the configuration as they were sent."""
        return {flow["name"]: flow for flow in self.session.configured().sent.get("flows") or []}

    # Control

    def _control_state(self, document: Any) -> Answer:
        state = checked("ControlState", document, REQUESTS)
        notes: list[str] = []
        match state["choice"]:
            case "traffic":
                transmit = state["traffic"]["flow_transmit"]
                notes = self.session.transmit(transmit["state"], transmit["flow_names"])
            case "port" if state["port"]["choice"] == "link":
                link = state["port"]["link"]
                self.session.set_links(link["port_names"], link["state"] == "up")
            case "port":
                capture = state["port"]["capture"]
                self.session.set_capture(capture["port_names"], capture["state"] == "start")
            case _:
                # Devices of a lab are there as soon as they are configured.
                self.session.configured()
        return _warnings(notes)

    def _control_action(self, document: Any) -> Answer:
        raise Refused(["action: not supported by this server"])

    # Monitor

    def _metrics(self, document: Any) -> Answer:
        request = checked("MetricsRequest", document if document is not None else {}, REQUESTS)
        if request["choice"] == "port":
            asked = request["port"]
            rows = metrics.port_metrics(self.session, asked["port_names"], asked["column_names"])
            return Answer.of({"choice": "port_metrics", "port_metrics": rows})
        if request["choice"] == "rocev2_ipv4":
            asked = request["rocev2_ipv4"]["per_peer"]
            rows = metrics.peer_metrics(self.session, asked["peer_names"], asked["column_names"])
            return Answer.of({"choice": "rocev2_ipv4_per_peer_metrics", "rocev2_ipv4_per_peer_metrics": rows})
        if request["choice"] == "rocev2_flow":
            rows = metrics.queue_pair_metrics(self.session, request["rocev2_flow"]["per_qp"]["column_names"])
            return Answer.of({"choice": "rocev2_flow_per_qp_metrics", "rocev2_flow_per_qp_metrics": rows})
        asked = request["flow"]
        rows = metrics.flow_metrics(self.session, asked["flow_names"], asked["metric_names"])
        return Answer.of({"choice": "flow_metrics", "flow_metrics": rows})

    def _states(self, document: Any) -> Answer:
        checked("StatesRequest", document if document is not None else {}, REQUESTS)
        return Answer.of({"choice": "ipv4_neighbors", "ipv4_neighbors": metrics.neighbours(self.session)})

    def _capture(self, document: Any) -> Answer:
        request = checked("CaptureRequest", document, REQUESTS)
        return Answer(200, BYTES, self.session.captured(request["port_name"]))

    def _show(self, document: Any) -> Answer:
        """Answer what a script would ask of a switch; the published API has no such request."""
        request = checked("Show", document, REQUESTS)
        words = request["command"].split()
        tables = dut.show(self.session.lab_plan, self.session.look().report, request["switch"], words)
        return Answer.of({"tables": [table.data() for table in tables]})

    def _version_of(self, document: Any) -> Answer:
        return Answer.of({"api_spec_version": API_VERSION, "sdk_version": "", "app_version": self._version})


def _warnings(notes: list[str]) -> Answer:
    return Answer.of({"warnings": notes})


def _entries(document: Any, name: str) -> list[Any]:
    """Return the entries of a list that is sent bare, or as the one field of an object."""
    entries = document.get(name) if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise Refused([f"{name}: must be a list"])
    return entries


def _read(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise Refused([f"the body is not JSON: {str(wrong)[:200]}"]) from None
