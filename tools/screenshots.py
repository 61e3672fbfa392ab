"""Take the pictures of reports that the documentation shows: `python -m tools.screenshots`, which needs Chromium.

Four runs by the command line, each in light and in dark, as PNG of a palette each below docs/reports.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tools.chromium import browser

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reports"
WIDTH, HEIGHT = 1100, 1300
COLOURS = 255

# What is run, and what of its page stands at the top of the picture.
EXAMPLES = {
    "span": (["run", "span-headroom", "--set", "lossless.headroom=50%"], "#verdict"),
    "storm": (["run", "examples/pause-storm/experiment.yaml"], "#topology"),
    "super-node": (["run", "job.yaml"], "#topology"),
    "sweep": (
        [
            *("sweep", "incast", "-t", "two-dc", "--set", "workload.size=4M"),
            *("--over", "topology.length=1km,80km,300km", "--over", "lossless.flow-control=pfc,credit,none"),
        ],
        "#verdict",
    ),
}
JOB = """\
topology: super-node:domains=2,size=8,accelerators=4,spines=2,up-profile=1600g-cpo
clock: virtual
seed: 2
jobs: [{name: train, ranks: 16, repeat: 3, program: [{compute: 100us}, {all_reduce: 4MiB}]}]
"""
POINTED = "(() => { const lane = [...document.querySelectorAll('.strip')].at(-1); if (lane) lane.focus(); })()"


def main() -> int:
    """Take every picture; return the exit code."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as page:
        (Path(folder) / "job.yaml").write_text(JOB, encoding="utf-8")
        for name, (arguments, top) in EXAMPLES.items():
            out = Path(folder) / name
            words = [str(ROOT / word) if word.startswith("examples/") else word for word in arguments]
            command = [sys.executable, "-m", "testbed.cli", "-q", *words, "--out", str(out)]
            subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
            for theme in ("light", "dark"):
                page.open(out / "report.html", WIDTH, HEIGHT, dark=theme == "dark")
                page.evaluate(POINTED)
                page.evaluate(
                    f"scrollTo(0, document.querySelector('{top}').getBoundingClientRect().top + scrollY - 12)"
                )
                keep(page.screenshot(whole=False), TARGET / f"{name}-{theme}.png")
    return 0


def keep(shot: bytes, path: Path) -> None:
    """Write a picture with a palette of its own, which takes a third."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
