"""What a script reads from the switch agrees with what the generator has sent and seen."""

from __future__ import annotations

import pytest

from testbed.errors import HostError, UsageError
from testbed.otg.client import Dut
from tests.virtual.otg import data_flow, flow_metrics, lossless_ports, pause_flow, served, switch_lab, transmit


def test_counters_of_a_paused_class_under_the_columns_of_sonic() -> None:
    with served(switch_lab(2)) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        flow = data_flow(config, "h1", "h2", 3)
        flow.duration.fixed_packets.packets = 400
        pause_flow(config, "h2", 3, 4).duration.fixed_packets.packets = 7
        api.set_config(config)
        transmit(api)
        assert flow_metrics(api)[flow.name].frames_rx == 400
        dut = Dut(api._transport.location)
        counters = dut.show("show pfc counters")
        assert [row["PFC3"] for row in counters if row.get("Port Rx") == "eth2"] == [7]
        assert [row["PFC4"] for row in counters if row.get("Port Rx") == "eth2"] == [7]
        assert [row["PFC3"] > 0 for row in counters if row.get("Port Tx") == "eth1"] == [True]
        queues = dut.show("queue counters")
        sent = [row for row in queues if (row["Port"], row["TxQ"]) == ("eth2", "UC3")]
        assert [(row["Counter/pkts"], row["Counter/bytes"]) for row in sent] == [(400, 400 * 1024)]
        headroom = dut.show("priority-group watermark headroom")
        assert 0 < int(next(row["PG3"] for row in headroom if row["Port"] == "eth1")) < 60_000
        assert {row["PG3"] for row in dut.show("priority-group drop counters")} == {0}
        group = next(row for row in dut.show("buffer configuration") if (row.get("Port"), row.get("pg")) == ("eth1", 3))
        assert (group["static_th"], group["xon"], group["dynamic_th"]) == (60_000, 40_000, "N/A")
        text = dut.tables("pfc counters")[0].text()
        assert text.splitlines()[0].split() == ["Port", "Rx", *(f"PFC{each}" for each in range(8))]


def test_what_is_not_there_is_refused() -> None:
    with served(switch_lab(2)) as api:
        api.set_config(api.config())
        location = api._transport.location
        with pytest.raises(UsageError, match="command: reboot is not known here"):
            Dut(location).show("reboot")
        with pytest.raises(UsageError, match="switch: the lab has leaf"):
            Dut(location, "spine").show("pfc counters")
    with pytest.raises(HostError, match="refused"):
        Dut(location).show("pfc counters")
    with pytest.raises(UsageError, match="a URL"):
        Dut("localhost")
