"""What the fabric must do, under the virtual clock: no root, and the same result on every machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run(*options: str) -> dict[str, Any]:
    """Run the experiment with some settings changed, and return its result, the document that is kept as run.json."""
    program = Path(sys.executable).with_name("testbed")
    command = [str(program), "run", str(HERE / "experiment.yaml"), "--format", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_experiment_passes(tmp_path: Path) -> None:
    result = run("--out", str(tmp_path))
    assert result["verdict"]["passed"], result["verdict"]["reasons"]
    assert json.loads((tmp_path / "run.json").read_text()) == result


def test_incast_needs_flow_control(tmp_path: Path) -> None:
    burst = ("workload={collective: incast, size: 32MiB, payload: false}", "transport.window=16MB", "expect=[]")
    incast = [word for setting in burst for word in ("--set", setting)]
    assert run(*incast, "--out", str(tmp_path / "with"))["verdict"]["lossless"]
    without = run(*incast, "--set", "lossless.pfc=false", "--out", str(tmp_path / "without"))
    assert not without["verdict"]["lossless"]
