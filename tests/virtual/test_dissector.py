"""The script for Wireshark and tshark: what it shows of credit frames and parity packets is what their bytes say."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.captures import read_capture, tshark

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
PARITY = ("first", "va", "left", "data", "parity", "index", "starts")
CREDIT = ("version", "request", "priority", "sent", "limit")
# Of a frame, where its BTH and the body of a credit frame begin.
BTH_AT, BODY_AT = 42, 14


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_testbed: Cli) -> Path:
    """A home in which the script is installed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    done = call_testbed("capture", "--dissector")
    plugin = tmp_path / ".local/lib/wireshark/plugins/testbed.lua"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{plugin}: Wireshark and tshark show credit frames and parity packets\n"
    return tmp_path


def captured(call_testbed: Cli, *settings: str) -> Path:
    """Run two hosts that exchange 20 KiB and return the capture."""
    options = [word for setting in settings for word in ("--set", setting)]
    done = call_testbed(
        "run", "permutation", "-t", "pair", "-b", "20K", "-e", "20K", "--pcap", "--out", "result", *options
    )
    assert done.returncode == 0, done.stderr
    return Path("result/capture.pcapng").absolute()


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def test_parity_packets_are_shown_with_their_block(home: Path, call_testbed: Cli) -> None:
    path = captured(call_testbed, "transport.recovery=erasure", "transport.erasure={data: 4, parity: 2}")
    rows = tshark(path, *(f"testbed_parity.{field}" for field in PARITY), "_ws.col.Info", "_ws.malformed")
    expected = []
    for _, frame in read_capture(path):
        bth = frame[BTH_AT:]
        reth, peth = bth[12:28], bth[28:32]
        if bth[0] != 0xC0:
            expected.append([])
            continue
        first, left = number(bth[9:12]), number(reth[12:])
        expected.append([first, number(reth[:8]), left, *peth[:3], peth[3] >> 7])
    shown = [[int(field, 0) for field in row[: len(PARITY)]] if row[0] else [] for row in rows]
    assert shown == expected and all(row[-1] == "" for row in rows)
    packets = [(fields, row[-2]) for fields, row in zip(shown, rows, strict=True) if fields]
    # Two blocks of a message each way, of four packets and of one, over two links: two parity packets of each.
    assert len(packets) == 2 * 2 * 2 * 2
    assert packets[0] == ([0, 0, 20_480, 4, 2, 0, 1], "RC Parity 1 of 2 over 4 packets from PSN 0")
    assert {tuple(fields[3:]) for fields, _ in packets} == {(4, 2, 0, 1), (4, 2, 1, 1), (1, 2, 0, 0), (1, 2, 1, 0)}


def test_credit_frames_are_shown_with_their_counts(home: Path, call_testbed: Cli) -> None:
    path = captured(call_testbed, "lossless.flow-control=credit")
    rows = tshark(path, *(f"testbed_credit.{field}" for field in CREDIT), "_ws.col.Protocol", "_ws.malformed")
    frames = [frame[BODY_AT:] for _, frame in read_capture(path)]
    expected = [
        [body[2], body[3] & 1, body[4], number(body[5:9]), number(body[9:13])] if body[:2] == b"FC" else []
        for body in frames
    ]
    shown = [[int(field, 0) for field in row[: len(CREDIT)]] if row[0] else [] for row in rows]
    assert shown == expected and sum(map(bool, shown)) > 3
    assert {row[-2] for row, fields in zip(rows, shown, strict=True) if fields} == {"CREDIT"}
    assert {row[-1] for row in rows} == {""}
    requested = [fields for fields in shown if fields and fields[1]]
    assert requested and all(fields[2] == 3 for fields in requested)


def test_other_frames_of_the_experimental_ethertype_are_left_alone(home: Path) -> None:
    script = home / ".local/lib/wireshark/plugins/testbed.lua"
    assert "return 0" in script.read_text()
    stray = home / "stray.txt"
    stray.write_text("000000 01 80 c2 00 00 01 02 00 00 00 00 01 88 b5 46 44 01 00 03" + " 00" * 41 + "\n")
    path = home / "stray.pcapng"
    subprocess.run(["text2pcap", "-q", str(stray), str(path)], check=True, capture_output=True)
    (row,) = tshark(path, "testbed_credit.version", "frame.protocols", "_ws.malformed")
    assert row == ["", "eth:ethertype:data", ""]


def test_a_home_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_testbed: Cli
) -> None:
    (tmp_path / ".local").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path))
    done = call_testbed("capture", "--dissector")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"testbed: cannot write {tmp_path}/.local/lib/wireshark/plugins/testbed.lua: ")
