"""A dashboard for Grafana that shows the metrics of agents.

The JSON is Grafana's classic model, which all its versions import: https://grafana.com/docs/grafana/latest/dashboards/
build-dashboards/view-dashboard-json-model/. Version 39 of that model is Grafana 10.4's; newer ones bring it up to date.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from testbed.openmetrics import FAMILIES

SCHEMA_VERSION = 39
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${source}"}
Json = dict[str, Any]


class _Query(NamedTuple):
    """A query with the names of its curves."""

    expression: str
    legend: str


class _Panel(NamedTuple):
    """A panel with its place: `unit` is one of Grafana's, `about` is shown beside the title."""

    title: str
    about: str
    unit: str
    queries: Sequence[_Query]
    width: int = 12
    height: int = 8
    kind: str = "timeseries"


def _all(name: str) -> str:
    """Return the selector of a metric of the chosen labs."""
    return f'{sample(name)}{{lab=~"$lab"}}'


def _rate(name: str, by: str) -> str:
    return f"sum by ({by}) (rate({_all(name)}[$__rate_interval]))"


def sample(family: str) -> str:
    """Return the name under which samples of a family stand."""
    return f"{family}_total" if FAMILIES[family][0] == "counter" else family


_PORT = "lab, switch, port, priority"
_OF_PORT = "{{lab}} {{switch}}:{{port}} p{{priority}}"
# Collectives have the Inspector's labels, of which the lab is the name of the communicator.
_OF_CALL = '{comm_name=~"$lab"}'
_PANELS = (
    _Panel("Labs", "labs with a data plane", "none", [_Query(f"sum({_all('testbed_lab_running')})", "")], 4, 4, "stat"),
    _Panel("Busy", "labs that a run uses", "none", [_Query(f"sum({_all('testbed_lab_busy')})", "")], 4, 4, "stat"),
    _Panel(
        "Ranks finished",
        "ranks of the workloads that labs run, and those that have finished",
        "none",
        [
            _Query(f"sum({_all('testbed_ranks_finished')})", "finished"),
            _Query(f"sum({_all('testbed_ranks')})", "of"),
        ],
        *(6, 4, "stat"),
    ),
    _Panel(
        "Last verdict",
        "the run before the one under way: 1 if all held, and if it is to be trusted",
        "none",
        [
            _Query(f"min by (lab) ({_all('testbed_passed')})", "{{lab}} passed"),
            _Query(f"min by (lab) ({_all('testbed_trusted')})", "{{lab}} trusted"),
        ],
        *(10, 4, "stat"),
    ),
    _Panel(
        "Frames lost",
        "by cause, a second; lossless priorities must lose none",
        "pps",
        [_Query(_rate("testbed_drops", "lab, cause"), "{{lab}} {{cause}}")],
    ),
    _Panel(
        "Paused",
        "nominal seconds for which a port was paused, in a second of wall time",
        "percentunit",
        [_Query(f"{_rate('testbed_pfc_pause_seconds', _PORT)} > 0", _OF_PORT)],
    ),
    _Panel(
        "Sent", "bits of frames that ports sent", "bps", [_Query(f"8 * {_rate('testbed_link_bytes', _PORT)}", _OF_PORT)]
    ),
    _Panel(
        "PAUSE frames received",
        "each asks the port to stop, or to go on",
        "pps",
        [_Query(f"{_rate('testbed_pfc_pause_frames', _PORT)} > 0", _OF_PORT)],
    ),
    _Panel(
        "Queues, peak",
        "most that an egress queue held",
        "bytes",
        [_Query(f"topk(20, {_all('testbed_queue_peak_bytes')})", _OF_PORT)],
    ),
    _Panel(
        "Headroom, peak",
        "most headroom that an ingress priority used",
        "bytes",
        [_Query(f"topk(20, {_all('testbed_headroom_peak_bytes')} > 0)", _OF_PORT)],
    ),
    _Panel(
        "Frames marked",
        "marks of ECN",
        "pps",
        [_Query(f"{_rate('testbed_ecn_marked_frames', _PORT)} > 0", _OF_PORT)],
    ),
    _Panel(
        "Bus bandwidth of the last run",
        "of its largest row, as nccl-tests has it",
        "GBs",
        [_Query(f"nccl_bus_bandwidth_gbs{_OF_CALL}", "{{comm_name}} {{collective}} {{message_size}} B")],
        6,
    ),
    _Panel(
        "Time of its collective",
        "nominal time",
        "µs",
        [
            _Query(
                f"nccl_collective_exec_time_microseconds{_OF_CALL}", "{{comm_name}} {{collective}} {{message_size}} B"
            )
        ],
        6,
    ),
)


def dashboard() -> str:
    """Return the dashboard as Grafana imports it; its data source and labs are chosen there."""
    document: Json = {
        "id": None,
        "uid": "lossless-testbed",
        "title": "Lossless testbed",
        "tags": ["testbed", "pfc", "rdma"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {},
        "refresh": "5s",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": _placed(),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _variables() -> list[Json]:
    query = f"label_values({sample('testbed_lab_running')}, lab)"
    return [
        {"name": "source", "label": "source", "type": "datasource", "query": "prometheus", "hide": 0, "current": {}},
        {
            **{"name": "lab", "label": "lab", "type": "query", "datasource": _SOURCE, "hide": 0},
            **{"query": {"query": query, "refId": "labs"}, "definition": query, "refresh": 2, "sort": 1},
            **{"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}},
        },
    ]


def _placed() -> list[Json]:
    """Return the panels, row by row from the left."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(_PANELS, start=1):
        if x + panel.width > _WIDTH:
            x, y, height = 0, y + height, 0
        placed.append(_written(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return placed


def _written(panel: _Panel, number: int, place: Json) -> Json:
    targets = [
        {
            **{"refId": chr(ord("A") + index), "datasource": _SOURCE, "editorMode": "code", "range": True},
            **{"expr": query.expression, "legendFormat": query.legend or "__auto"},
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": targets,
    }


_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        **{"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"},
        **{"graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto"},
    },
}
