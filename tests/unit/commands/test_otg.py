"""testbed otg: what it listens on, and what it refuses before it begins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from testbed.errors import UsageError
from testbed.otg.server import parse_listen


def test_it_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "testbed.cli", "otg", "-t", "clos", "--http", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/capabilities/version", timeout=30) as answer:
            assert json.load(answer)["api_spec_version"] == "1.61.0"
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.mark.parametrize("text", ["8443", "localhost:8443", "127.0.0.1:99999", "127.0.0.1:x", ":1"])
def test_an_address_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no lab given"),
        (["-t", "clos", "--step", "0"], "--step 0: a time above 0"),
        (["-t", "clos", "--dilation", "3"], "--dilation has no effect under the virtual clock"),
    ],
)
def test_arguments_that_cannot_be_meant_end_with_code_2(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli", "otg", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr
