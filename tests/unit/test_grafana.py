"""The dashboard for Grafana: it asks for nothing that agents do not tell, and is what Grafana takes."""

from __future__ import annotations

import itertools
import json
import re

from testbed.agent.metrics import metrics_of
from testbed.exports.grafana import dashboard
from testbed.openmetrics import FAMILIES
from tests.unit.agent.test_metrics import SEEN

DASHBOARD = json.loads(dashboard())
# What is written into a query besides metrics and their labels.
WORDS = {"sum", "min", "by", "rate", "topk", "label_values", "lab", "switch", "port", "priority", "cause", "comm_name"}


def expressions() -> list[str]:
    variables = [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return [*variables, *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])]


def test_every_metric_that_it_asks_for_is_one_that_an_agent_tells() -> None:
    told = set(re.findall(r"^(\w+)\{", metrics_of(SEEN), re.MULTILINE))
    asked = {
        word for text in expressions() for word in re.findall(r"\b[a-z_]{3,}\b", re.sub(r'"[^"]*"|\[[^]]*\]', "", text))
    }
    assert asked - WORDS <= told
    # And of what an agent tells nothing is left out.
    assert told <= asked


def test_every_label_that_it_names_is_one_that_the_metric_has() -> None:
    labels: dict[str, set[str]] = {}
    for name, given in re.findall(r"^(\w+)\{([^}]*)\}", metrics_of(SEEN), re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', given))
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            (metric,) = [name for name in labels if name in re.findall(r"\w+", target["expr"])]
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) | set(
                re.findall(r"(\w+)=~", target["expr"])
            )
            used |= {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
            assert used <= labels[metric], target["expr"]


def test_it_has_what_grafanas_classic_model_demands() -> None:
    """https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/"""
    demanded = {"id", "uid", "title", "tags", "timezone", "editable", "graphTooltip", "panels", "time", "timepicker"}
    assert demanded | {"templating", "annotations", "refresh", "schemaVersion", "version", "links"} == DASHBOARD.keys()
    assert DASHBOARD["id"] is None and 8 <= len(DASHBOARD["uid"]) <= 40
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        assert {"type", "title", "gridPos", "datasource", "fieldConfig", "options", "targets"} <= panel.keys()
        assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_panel_lies_on_another_or_outside() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for place in places
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def test_parentheses_and_braces_close() -> None:
    for text in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert text.count(opening) == text.count(closing), text
    assert set(FAMILIES) >= {"testbed_lab_running"}
