"""The testbed as an image: it holds the wheel and what the lock file names, and runs a lab without anything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engine import DockerEngine
from testbed.drivers.images import BASE

pytestmark = pytest.mark.timeout(900)


def test_the_image_runs_a_lab_and_holds_no_compiler(
    engine: DockerEngine, images: None, repo_root: Path, tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked", "--out", str(tmp_path))
    subprocess.run(command, cwd=repo_root, check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    known = engine.docker("images", "--quiet", BASE)
    base = [BASE] if known else []
    arguments = [str(Path(sys.prefix)), str(wheel), "lossless-testbed", *base]
    subprocess.run([str(repo_root / "tools" / "build-image"), *arguments], check=True, timeout=280)
    run = ("run", "--rm", "--network", "none", "lossless-testbed")
    text = engine.docker(*run, "run", "all_reduce", "-t", "pair", "-b", "64K", "--format", "json")
    verdict = json.loads(text)["verdict"]
    assert verdict["passed"] and verdict["lossless"] and verdict["correct"]
    shell = ("run", "--rm", "--network", "none", "--entrypoint", "sh", "lossless-testbed", "-c")
    assert engine.docker(*shell, "command -v cargo rustc gcc || echo none") == "none"
