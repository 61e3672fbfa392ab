"""A report as one file: its document, its policy, and texts of a run that never become markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError, UsageError
from testbed.report.page.document import Run
from testbed.report.page.fabric import fabric, lab_of
from testbed.report.page.file import page
from testbed.report.page.reading import read_all
from testbed.run.result import RunResult

HOSTILE = "</script><img src=x onerror=alert(1)>"


def measured_link(a: str, b: str, length_m: float = 5.0) -> dict[str, Any]:
    return {
        "link": f"{a} - {b}",
        "rate_bps": 10**11,
        "carrier": True,
        "length_m": length_m,
        "delay_ns": 4.9 * length_m,
        "frame_bytes": 4218,
        "frame_loss": [0.0, 0.0],
        "optics": None,
    }


def result(**changes: Any) -> RunResult:
    """Return a run of two hosts at two switches, which are 80 km apart."""
    switch = {"buffer_bytes": 1, "groups": []}
    whole: dict[str, Any] = {
        "lab": "far",
        "seed": 1,
        "clock": "virtual",
        "dilation": 1,
        "versions": {},
        "replay": "testbed run sendrecv",
        "verdict": {
            **dict.fromkeys(("lossless", "trusted", "correct", "complete", "passed"), True),
            "deadlock": False,
            "reasons": [],
        },
        "event_log_hash": None,
        "collective": {"name": "sendrecv", "algorithm": "direct", "ranks": 2, "rows": []},
        "flows": [],
        "ports": {},
        "qps": [],
        "drops": {"lossless": 0, "lossy": 0, "link": 0},
        "fidelity": None,
        "ranks": [{"rank": number, "host": host, "port": "eth1"} for number, host in enumerate(("a1", "b1"))],
        "links": [
            measured_link("a1:eth1", "s1:eth1"),
            measured_link("s1:eth2", "s2:eth2", 80_000),
            measured_link("s2:eth1", "b1:eth1"),
        ],
        "in_force": {"switches": {"s1": switch, "s2": switch}},
    }
    return RunResult.model_validate({**whole, **changes})


def embedded(text: str) -> dict[str, Any]:
    match = re.search(r'id="data">([^<]*)<', text)
    assert match is not None
    document: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(match[1])))
    return document


def test_a_page_holds_the_result_that_it_was_made_of() -> None:
    one = result()
    document = embedded(page([Run("far", one)]))
    assert document["title"] == "sendrecv on far"
    assert document["runs"][0]["run"] == one.model_dump(mode="json")
    assert page([Run("far", one)]) == page([Run("far", one)])


def test_a_page_runs_and_fetches_nothing_but_its_own() -> None:
    """The policy names the one script and the one style by their hashes, and nothing in the page has a handler or an address."""
    text = page([Run("far", result())])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    for kind in ("script", "style"):
        inside = re.findall(rf"<{kind}>(.*?)</{kind}>", text, flags=re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1] and "unsafe" not in policy[1]
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\son\w+=|https?:|\bsrc=", markup)


def test_names_of_a_run_are_never_markup() -> None:
    text = page([Run(HOSTILE, result(lab=HOSTILE, replay=HOSTILE))])
    assert "<img" not in text and text.count("</script>") == 2
    assert embedded(text)["runs"][0]["run"]["lab"] == HOSTILE


def test_the_lab_of_a_run_is_drawn_from_its_result() -> None:
    drawn = fabric(result())
    assert drawn is not None
    assert {node["name"]: node["kind"] for node in drawn["nodes"]} == {
        "a1": "host", "b1": "host", "s1": "switch", "s2": "switch",
    }  # fmt: skip
    assert [frame["name"] for frame in drawn["frames"]] == ["site 1", "site 2"]
    # Each is drawn from an end of its own: hosts stand below, and a span is an arc from the left.
    assert [link["from"] for link in drawn["links"]] == ["a1:eth1", "s1:eth2", "b1:eth1"]


def test_switches_between_the_scale_up_ports_of_a_domain_are_of_it() -> None:
    places = [{"rank": n, "host": f"{h}/0", "port": "eth1", "domain": "d1"} for n, h in enumerate(("a1", "b1"))]
    up = [measured_link("a1:eth2", "u:eth1"), measured_link("b1:eth2", "u:eth2")]
    out = [measured_link("a1:eth1", "s1:eth1"), measured_link("b1:eth1", "s1:eth2")]
    switches = {name: {"buffer_bytes": 1, "groups": []} for name in ("s1", "u")}
    lab = lab_of(result(ranks=places, links=[*out, *up], in_force={"switches": switches}))
    assert {node.name: node.domain for node in lab.nodes} == {"a1": "d1", "b1": "d1", "s1": None, "u": "d1"}
    assert [host.scale_up for host in lab.hosts] == [("eth2",), ("eth2",)]


def test_a_result_without_links_has_no_picture() -> None:
    assert embedded(page([Run("old", result(links=[]))]))["runs"][0]["fabric"] is None


@pytest.mark.parametrize("link", ["a1:eth1", "a1 - s1", "a1:eth1 - s1:eth1 - s2:eth1"])
def test_links_that_are_none_are_refused(link: str) -> None:
    with pytest.raises(UsageError, match="far: links, ranks and switches do not make a lab"):
        page([Run("far", result(links=[{**measured_link("a1:eth1", "s1:eth1"), "link": link}]))])


def test_what_is_not_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_all([tmp_path / "none"])
    (tmp_path / "sweep.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match="rows"):
        read_all([tmp_path])
