"""Addresses: as many as fabrics of the virtual clock need, all different, and those of small labs as they always were."""

from __future__ import annotations

import pytest

from testbed.errors import TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan import addressing
from testbed.plan.addressing import MAX_HOSTS, MAX_MACS, kernel_ip, mac_address, nic_ip
from testbed.plan.compile import compile_fabric


def test_macs_of_half_a_million_ports_differ_and_are_local_and_of_one_station() -> None:
    # 65,536 hosts in a fat tree of switches with 64 ports: two for each host, and one for each port of a switch.
    macs = {mac_address("large", index) for index in range(2 * 65_536 + 5_120 * 64)}
    assert len(macs) == 458_752
    assert {int(mac[:2], 16) & 0b11 for mac in macs} == {0b10}
    assert mac_address("large", 2**16 - 1).startswith("02:") and mac_address("large", 2**16).startswith("06:")
    assert mac_address("large", MAX_MACS - 1).startswith("fe:")
    with pytest.raises(ValueError, match="at most 4194304 addresses"):
        mac_address("large", MAX_MACS)


def test_ip_addresses_go_on_where_the_network_of_benchmarks_ends() -> None:
    assert (nic_ip(0), kernel_ip(0)) == ("198.18.0.1", "198.19.0.1")
    assert (nic_ip(MAX_HOSTS - 1), kernel_ip(MAX_HOSTS - 1)) == ("198.18.255.253", "198.19.255.253")
    assert (nic_ip(MAX_HOSTS), kernel_ip(MAX_HOSTS)) == ("10.0.0.1", "10.128.0.1")
    assert len({address(host) for address in (nic_ip, kernel_ip) for host in range(65_000, 70_000)}) == 10_000


@pytest.mark.parametrize(("clock", "refused"), [("real", True), ("virtual", False)])
def test_the_real_clock_has_fewer_addresses(monkeypatch: pytest.MonkeyPatch, clock: str, refused: bool) -> None:
    monkeypatch.setattr(addressing, "MAX_HOSTS", 1)
    lab, experiment = load_lab("pair"), new_experiment("pair", "all_reduce").with_overrides([f"clock={clock}"])
    if refused:
        with pytest.raises(TopologyError, match="more than 1 ports of hosts"):
            compile_fabric(lab, experiment)
    else:
        assert [station["ip"] for station in compile_fabric(lab, experiment)["stations"]][1] == "10.0.0.1"
