"""A headless Chromium, driven over a pipe by the protocol of its developer tools."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
_TIMEOUT_S = 60.0
Json = dict[str, Any]


def executable() -> str | None:
    """Return where Chromium is, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(AssertionError):
    """The browser, or the script of a page, failed."""


class Page:
    """One tab. `faults` has what pages wrote to the console as warnings and errors, and their exceptions."""

    def __init__(self, send_to: int, read_from: int) -> None:
        self._to, self._from = send_to, read_from
        self._pending = b""
        self._last = 0
        self._session: str | None = None
        self._loaded = 0
        self.faults: list[str] = []

    def open(self, path: Path, width: int = 1440, height: int = 900, *, dark: bool = False, fragment: str = "") -> None:
        """Open a file at a width in pixels, and return once its script has put everything there.

        The `fragment` stands behind the # of its address.
        """
        if self._session is None:
            self._attach()
        self.size(width, height)
        self.colours(dark=dark)
        self.faults.clear()
        before = self._loaded
        self.call("Page.navigate", url=path.resolve().as_uri() + (f"#{fragment}" if fragment else ""))
        while self._loaded == before:
            self._take()
        self.wait_for(
            "document.documentElement.dataset.ready === 'yes' || document.querySelector('[role=alert]') !== null"
        )

    def size(self, width: int, height: int = 900) -> None:
        """Set the size of what is seen, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def colours(self, *, dark: bool) -> None:
        """Choose the colours that the system is said to have."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[feature, still])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, awaited if it is a promise. Raises BrowserError for what it throws."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise BrowserError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Return once an expression is true. Raises BrowserError if it is not in a minute."""
        until = time.monotonic() + _TIMEOUT_S
        while not self.evaluate(condition):
            if time.monotonic() > until:
                raise BrowserError(f"never true: {condition}")

    def key(self, name: str) -> None:
        """Press a key: Tab, Enter, ArrowRight …"""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
        fields = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **fields, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def screenshot(self, *, whole: bool = True) -> bytes:
        """Return what is seen, or the whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._area(whole=whole))
        return base64.b64decode(shot["data"])

    def _area(self, *, whole: bool) -> Json:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def call(self, method: str, **parameters: Any) -> Json:
        """Call a method of the protocol and return its result. Raises BrowserError for what it refuses."""
        self._last += 1
        number = self._last
        message: Json = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._take()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: Json = answer["result"]
                return result

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _take(self) -> Json:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._from], [], [], _TIMEOUT_S)
            if not ready:
                raise BrowserError("no answer from the browser in a minute")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._pending += part
        first, _, self._pending = self._pending.partition(b"\0")
        message: Json = json.loads(first)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, facts: Json) -> None:
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(facts["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.faults.append(json.dumps(facts["args"])[:2000])
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.faults.append(json.dumps(facts["entry"])[:2000])


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium and yield a tab; it ends with the block, and leaves nothing behind."""
    program = executable()
    if program is None:
        raise BrowserError(f"none of {', '.join(NAMES)} is installed")
    to_browser, send_to = os.pipe()
    read_from, from_browser = os.pipe()
    profile = tempfile.mkdtemp(prefix="testbed-browser-")
    # It reads messages from descriptor 3 and writes them to 4: those of ours may have just these numbers.
    shell = f'exec 8<&{to_browser} 9>&{from_browser}; exec 3<&8 4>&9 8<&- 9>&-; exec "$0" "$@"'
    command = ["bash", "-c", shell, program, *_FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command,
        pass_fds=(to_browser, from_browser),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(send_to, read_from)
    finally:
        os.close(send_to)
        os.close(read_from)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)
