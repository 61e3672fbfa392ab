"""The recipe for Slurm, as the guide has it, on a real Slurm of one node."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import blocks, marked
from tests.live.slurm import run_in_slurm

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
GUIDE = ROOT / "docs" / "guides" / "sweeps-on-a-cluster.md"
SWEEP = ("sweep", "incast", "-t", "two-dc", "--set", "workload.size=64KiB")
OVER = ("--over", "topology.length=1km,40km,80km", "--over", "transport.mtu=1024,4096")


@pytest.mark.timeout(700)
def test_the_array_of_the_guide_makes_the_table_of_one_process(
    require_root: None, call_testbed: Cli, tmp_path: Path
) -> None:
    work, slurm = tmp_path / "work", tmp_path / "slurm"
    work.mkdir()
    slurm.mkdir()
    for block in blocks(GUIDE):
        if block.language == "bash":
            (work / block.title).write_text(block.text)
    (recipe,) = marked("needs slurm")
    commands = [command for command, _ in recipe.commands()]
    assert commands[0].startswith("sbatch") and " --collect" in commands[1]
    done = run_in_slurm("\n".join(commands), work, slurm, timeout_s=600)
    logs = "\n".join(path.read_text() for path in (*slurm.glob("*.log"), *work.glob("share-*.txt")))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
    alone = call_testbed(*SWEEP, *OVER, "--no-cache", "--jobs", "1")
    assert alone.returncode == 0 and alone.stdout in done.stdout
    assert "0 run, 6 from shared" in done.stderr
    heads = [json.loads(gzip.decompress(path.read_bytes()).splitlines()[0]) for path in work.glob("shared/*.json.gz")]
    assert [len(head["computed"]) for head in heads] == [1] * 6
    assert {head["computed"][0]["host"] for head in heads} == {"node1"}
    assert len({head["computed"][0]["process"] for head in heads}) == 4
    shares = [work.joinpath(f"share-{number}.txt").read_text() for number in (1, 2, 3, 4)]
    assert [text.split(",")[0] for text in shares] == [
        "share 1/4: 2 run",
        "share 2/4: 2 run",
        "share 3/4: 1 run",
        "share 4/4: 1 run",
    ]
