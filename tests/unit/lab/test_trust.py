"""What of the machine a lab file may have: what lies beside it, and what its user has named."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import TopologyError
from testbed.lab.topology import lab_from, lab_source
from testbed.lab.trust import BINDS, CAPABILITIES

LAB = """\
name: mine
topology:
  nodes:
    a1: {{kind: {kind}, {settings}}}
    b1: {{kind: {kind}}}
  links: [{{endpoints: ["a1:eth1", "b1:eth1"]}}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a directory for a lab, and one beside it; nobody has named anything."""
    monkeypatch.delenv(BINDS, raising=False)
    monkeypatch.delenv(CAPABILITIES, raising=False)
    for name in ("lab/conf", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lab" / "link").symlink_to(tmp_path / "other")
    return tmp_path


def write(home: Path, settings: str, kind: str = "host", name: str = "lab.yaml") -> str:
    path = home / "lab" / name
    path.write_text(LAB.format(settings=settings, kind=kind))
    return str(path)


def test_a_path_is_that_beside_the_file_wherever_the_command_is_given(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    file = write(home, 'binds: ["conf:/c:ro", "./conf/../conf/x:/d"], startup-config: conf/frr.conf')
    setup = lab_from(lab_source(file)).hosts[0].container.setup
    assert setup is not None
    assert [bind.source for bind in setup.binds] == [str(home / "lab/conf"), str(home / "lab/conf/x")]
    assert setup.startup_config == str(home / "lab/conf/frr.conf")


@pytest.mark.parametrize("path", ["/etc", "../other", "conf/../../other", "link/x", "/", "~/.ssh"])
def test_a_path_that_leads_out_is_a_fault_until_its_directory_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for settings in (f'binds: ["{path}:/x"]', f'startup-config: "{path}"'):
        file = write(home, settings)
        with pytest.raises(TopologyError) as caught:
            lab_from(lab_source(file))
        (fault,) = caught.value.faults
        assert fault.line == 4 and fault.key.startswith("topology.nodes.a1.")
        assert f'"{path}" leads out of {home / "lab"}, the directory of the lab file' in str(caught.value)
        assert "name it in TESTBED_BINDS" in str(caught.value)
        with monkeypatch.context() as named:
            named.setenv(BINDS, f"/nowhere:{Path(path).expanduser() if path[0] in '/~' else home / 'other'}")
            lab_from(lab_source(file))


def test_a_path_that_no_file_can_have_is_a_fault(home: Path) -> None:
    for settings in (r'binds: ["a\0b:/x"]', r'startup-config: "a\0b"'):
        with pytest.raises(TopologyError, match="leads out of"):
            lab_from(lab_source(write(home, settings)))


def test_power_over_the_machine_is_for_who_allows_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home, "cap-add: [NET_ADMIN, CAP_SYS_ADMIN]")
    with pytest.raises(
        TopologyError, match="SYS_ADMIN gives a container power over the machine; name it in TESTBED_CAP"
    ):
        lab_from(lab_source(file))
    monkeypatch.setenv(CAPABILITIES, "SYS_TIME, SYS_ADMIN")
    setup = lab_from(lab_source(file)).hosts[0].container.setup
    assert setup is not None and setup.cap_add == ("NET_ADMIN", "SYS_ADMIN")


def test_of_a_file_of_containerlab_it_is_left_out_and_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = 'binds: ["/lib/modules:/lib/modules", "conf:/c"], cap-add: [SYS_ADMIN], exec: ["ip link"]'
    file = write(home, settings, "linux", "x.clab.yml")
    source = lab_source(file)
    setup = lab_from(source).hosts[0].container.setup
    assert setup is not None
    assert ([bind.target for bind in setup.binds], setup.cap_add, setup.exec) == (["/c"], (), (("ip", "link"),))
    said = "\n".join(source.notes)
    assert 'left out, since "/lib/modules" leads out of' in said and "left out, since SYS_ADMIN gives" in said
    monkeypatch.setenv(BINDS, "/lib")
    monkeypatch.setenv(CAPABILITIES, "SYS_ADMIN")
    setup = lab_from(lab_source(file)).hosts[0].container.setup
    assert setup is not None and len(setup.binds) == 2 and setup.cap_add == ("SYS_ADMIN",)
