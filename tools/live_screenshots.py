"""Take the pictures of the live page that the documentation shows: `python -m tools.live_screenshots`, as root, with Chromium.

A broker, an agent, a lab and a run on this machine, for some seconds; in light and in dark, below docs/reports.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.chromium import Page, browser
from tools.screenshots import TARGET, keep

WIDTH, HEIGHT = 1100, 1420
LAB = "two-dc:hosts=3,length=10km"
RUN = ("run", "permutation", "-b", "16M", "--name", "two-dc", "--set", "lossless.headroom=100%")
PORT, PAGES = "28883", "28884"
SEEN_S = 10


def main() -> int:
    """Take both pictures; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="tb-live-") as folder, browser() as page:
        place = Path(folder)
        place.chmod(0o755)
        broker = place / "broker"
        ours = ["--broker", f"mqtts://localhost:{PORT}", "--ca", str(broker / "ca.pem")]
        controller = [*ours, "--credentials", str(broker / "controller.credentials"), "--agent", "lab1"]
        listen = ["--dir", str(broker), "--port", PORT, "--agent", "lab1", "--websockets", f"127.0.0.1:{PAGES}"]
        try:
            run(place, "broker", "up", *listen, "--plain-websockets")
            agent = start(place, *ours, "--credentials", str(broker / "lab1.credentials"), "agent", "--name", "lab1")
            try:
                run(place, *controller, "deploy", "-t", LAB, "--name", "two-dc", "--dilation", "5000")
                going = start(place, "-q", *controller, *RUN)
                show(page, place, broker)
                going.wait()
                page.wait_for("document.querySelector('#run .badge').textContent !== 'RUNNING'")
                print(page.evaluate("document.querySelector('#run [role=status]').textContent"))
                run(place, *controller, "destroy", "--name", "two-dc")
            finally:
                agent.terminate()
                agent.wait()
        finally:
            run(place, "broker", "down", "--dir", str(broker))
    return 0


def show(page: Page, place: Path, broker: Path) -> None:
    """Open the page, look for some seconds, and take both pictures."""
    run(place, "dashboard", "--dir", str(broker), "-o", "live.html")
    password = (broker / "reader.credentials").read_text(encoding="utf-8").strip().partition(":")[2]
    page.open(place / "live.html", WIDTH, HEIGHT, fragment=f"password={password}&lab=two-dc")
    page.wait_for("document.querySelector('#run .badge')?.textContent === 'RUNNING'")
    time.sleep(SEEN_S)
    for theme in ("light", "dark"):
        page.colours(dark=theme == "dark")
        page.wait_for("document.querySelector('#topology') !== null")
        page.evaluate("scrollTo(0, document.querySelector('#run').getBoundingClientRect().top + scrollY - 12)")
        keep(page.screenshot(whole=False), TARGET / f"live-{theme}.png")


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "testbed.cli", *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def run(place: Path, *arguments: str) -> None:
    """Run the testbed in a directory; raise CalledProcessError if it fails."""
    subprocess.run(command(arguments), cwd=place, env=ENVIRONMENT, check=True)


def start(place: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the testbed in a directory."""
    return subprocess.Popen(command(arguments), cwd=place, env=ENVIRONMENT)


if __name__ == "__main__":
    sys.exit(main())
