"""testbed dashboard: the page is for one broker, holds no password, and addresses that would not do are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from testbed.bus import mosquitto
from testbed.cli import app
from testbed.errors import HostError, UsageError

LOCAL = "ws://127.0.0.1:9883/"


def dashboard(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dashboard", *arguments])


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a broker that takes websockets, as far as the command can see."""
    directory = tmp_path / "broker"
    directory.mkdir()
    (directory / "reader.credentials").write_text("reader:geheim-7\n", encoding="utf-8")
    monkeypatch.setattr(mosquitto, "websockets_url", {directory: LOCAL}.get)
    monkeypatch.chdir(tmp_path)
    return directory


def test_the_page_is_for_the_broker_of_this_machine_and_holds_no_password(broker: Path) -> None:
    done = dashboard("--dir", str(broker))
    assert done.exit_code == 0, done.output
    text = Path("results/dashboard.html").read_text(encoding="utf-8")
    assert "geheim-7" not in text + done.output
    assert Path("results/dashboard.html").resolve().as_uri() in done.output
    assert str(broker / "reader.credentials") in done.output
    data = re.search(r'type="application/json" id="data">([^<]*)<', text)
    assert data is not None and json.loads(data[1]) == {"address": LOCAL}


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("wss://lab1.example:9883/mqtt", "wss://lab1.example:9883/mqtt"),
        ("ws://localhost:1", "ws://localhost:1"),
        ("ws://[::1]:9883/", "ws:"),
    ],
)
def test_the_page_may_connect_to_its_broker_alone(broker: Path, address: str, allowed: str) -> None:
    """A policy cannot name an IPv6 address, so there it holds the page to the scheme."""
    assert dashboard("--broker", address, "-o", "page.html").exit_code == 0
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', Path("page.html").read_text(encoding="utf-8"))
    assert policy is not None
    assert policy[1].split("; ")[0] == "default-src 'none'"
    assert policy[1].split("; ")[-1] == f"connect-src {allowed}"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mqtts://localhost:8883", "expected ws://HOST:PORT or wss://HOST:PORT"),
        ("wss://reader:geheim@localhost", "expected ws://HOST:PORT or wss://HOST:PORT"),
        ("wss://localhost; script-src *", "expected ws://HOST:PORT or wss://HOST:PORT"),
        ("wss://localhost:99999", "not a number from 1 to 65535"),
        ("ws://lab1.example:9883", "lab1.example is not on this machine; only wss:// (TLS) may be used"),
    ],
)
def test_an_address_that_would_not_do_is_refused(broker: Path, address: str, message: str) -> None:
    done = dashboard("--broker", address)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert not Path("results").exists()


def test_without_a_broker_for_pages_it_says_how_to_start_one(broker: Path, tmp_path: Path) -> None:
    done = dashboard("--dir", str(tmp_path / "none"))
    assert isinstance(done.exception, HostError)
    assert "`testbed broker up --plain-websockets` starts one" in str(done.exception)


def test_a_file_that_was_named_is_not_replaced_unasked(broker: Path) -> None:
    Path("page.html").write_text("mine", encoding="utf-8")
    assert isinstance(dashboard("--dir", str(broker), "-o", "page.html").exception, UsageError)
    assert Path("page.html").read_text(encoding="utf-8") == "mine"
    assert dashboard("--dir", str(broker), "-o", "page.html", "--force").exit_code == 0
    assert [dashboard("--dir", str(broker)).exit_code for _ in range(2)] == [0, 0]


def test_grafana_has_its_dashboard_on_standard_output_or_in_a_file(broker: Path) -> None:
    printed = dashboard("--grafana")
    assert printed.exit_code == 0 and "testbed_" in printed.output
    assert dashboard("--grafana", "-o", "grafana.json").exit_code == 0
    assert json.loads(Path("grafana.json").read_text(encoding="utf-8")) == json.loads(printed.output)
    assert isinstance(dashboard("--grafana", "--broker", LOCAL).exception, UsageError)
