"""One NIC that takes in too little, and its eight senders: sentence, report and Perfetto file name the same root and victims."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from testbed import topologies
from tests.browser.checks import open_all, texts
from tests.virtual.test_perfetto import read
from tools.chromium import Page

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SENDERS = [f"h{number}" for number in range(1, 9)]
BYSTANDERS = [("h1", "h15"), ("h4", "h14"), ("h7", "h15")]


def test_all_name_the_same_root_and_the_same_victims(call_testbed: Cli, tmp_path: Path, page: Page) -> None:
    lab = topologies.generate("clos", {"tiers": "3", "rate": "100G", "delay": "1us"})
    lab["topology"]["nodes"]["h16"]["nic"] = {"drain": "20G"}
    flows = [*((sender, "h16") for sender in SENDERS), *BYSTANDERS]
    listed = [{"from": source, "to": target, "bytes": "1MiB"} for source, target in flows]
    experiment = {"topology": "lab.yaml", "clock": "virtual", "flows": {"list": listed}}
    for name, document in (("lab", lab), ("eight", experiment)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    done = call_testbed("run", "eight.yaml", "--out", "r", "--trace", "run.pftrace")
    assert done.returncode == 0, done.stderr
    pauses = json.loads((tmp_path / "r" / "run.json").read_text())["pauses"]
    root = pauses["roots"][0]
    assert (root["reason"], root["at"]) == ("slow receiver", "h16:eth1")
    assert {(victim["src"], victim["dst"]) for victim in root["victims"]["listed"]} == set(BYSTANDERS)
    sentence = root["sentence"]
    assert sentence.startswith("h16's NIC takes in 20 Gb/s: it paused leaf8:eth2, which ")
    assert sentence.endswith("victims: 3 flows that never went to h16")
    assert f"pauses: {sentence}" in " ".join(done.stdout.split())
    slices, _ = read(tmp_path / "run.pftrace")
    told = [each for each in slices if each.notes.get("root") == sentence]
    follow = [row for row in pauses["intervals"] if row["root"] == 0]
    assert len(told) == len(follow) > 10
    assert {f"{each.process}:{each.track.split()[0]}" for each in told} == {row["port"] for row in follow}
    page.open(tmp_path / "r" / "report.html")
    open_all(page)
    shown = next(row for row in texts(page, "#pauses tbody tr") if "h16:eth1" in row and "slow receiver" in row)
    assert sentence in shown and page.faults == []
