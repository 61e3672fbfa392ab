"""Exact times: one message over an idle path takes the sum of its serialisations and delays, to the picosecond."""

import pytest

from testbed.traffic import RankSchedule, Recv, Schedule, Send
from tests.virtual.harness import finish, loaded_fabric, make_trial

LOCAL_PS = 244_850  # 50 m of fibre, 4.897 ns a metre
SPAN_PS = 391_760_000  # 80 km


def times(lab: str, size: int, *overrides: str) -> tuple[int, int]:
    """Send one message from the first host to the last; return when it has arrived and when its sender knows."""
    trial = make_trial(lab, "incast", "workload.payload=false", *overrides)
    idle = [RankSchedule(0, ())] * (len(trial.lab.hosts) - 2)
    last = len(trial.lab.hosts) - 1
    sender = RankSchedule(0, (Send(last, 0, size, 0),))
    report = finish(loaded_fabric(trial, Schedule((sender, *idle, RankSchedule(0, (Recv(0, 0, size),))))))
    finished = [rank["finish_ps"] - report["start_ps"] for rank in report["ranks"]]
    assert report["complete"] and set(finished[1:-1]) <= {0}
    assert report["flows"][0]["completion_ns"] - report["flows"][0]["start_ns"] == finished[-1] // 1000
    return finished[-1], finished[0]


def test_one_packet_across_two_data_centres() -> None:
    """1000 bytes by WRITE: 14+20+8+12+16+1000+4 and FCS, preamble, gap are 1098 bytes, 87,840 ps at 100G, on 5 links.

    The acknowledgement is 14+20+8+12+4+4+4+20 = 86 bytes, 6,880 ps.
    """
    flight = 4 * LOCAL_PS + SPAN_PS
    arrived = 5 * 87_840 + flight
    assert times("two-dc", 1000) == (arrived, arrived + 5 * 6_880 + flight)


def test_a_send_has_no_reth() -> None:
    assert times("pair", 1000, "transport.verb=send")[0] == 2 * (1082 * 80 + LOCAL_PS)


def test_padding_takes_time() -> None:
    """1001 bytes travel as 1004, and a SEND of nothing, 58 bytes and FCS, in a frame of 64."""
    assert times("pair", 1001)[0] == 2 * (1102 * 80 + LOCAL_PS)
    assert times("pair", 0, "transport.verb=send")[0] == 2 * (84 * 80 + LOCAL_PS)


def test_a_message_of_several_packets() -> None:
    """Three packets follow each other; the switch passes the first on while the second comes in.

    4194 + 4178 + 98 bytes of wire: first (with RETH), middle, last (16 bytes of payload). The first is the longest, so
    the last leaves the switch when it, the middle one and the first have gone out one after the other.
    """
    assert times("pair", 2 * 4096 + 16)[0] == (4194 + 4194 + 4178 + 98) * 80 + 2 * LOCAL_PS


@pytest.mark.parametrize(("rate", "ps"), [("10G", 878_400), ("25G", 351_360), ("400G", 21_960), ("30G", 292_800)])
def test_other_rates(rate: str, ps: int) -> None:
    assert times(f"pair:rate={rate}", 1000)[0] == 2 * (ps + LOCAL_PS)


def test_a_rate_that_no_picosecond_divides() -> None:
    """1098 bytes at 7 Gb/s take 1,254,857.1 ps: rounded up, on both links."""
    assert times("pair:rate=7G", 1000)[0] == 2 * (1_254_858 + LOCAL_PS)
