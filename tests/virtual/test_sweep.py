"""Random labs, settings and faults: whatever is drawn, the sum is right and every invariant holds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.lab.topology import Lab
from testbed.run.trial import Trial
from tests.virtual.harness import check_conservation, make_trial, run_trial

LABS = st.one_of(
    st.builds("pair:length={}".format, st.sampled_from(["0m", "2km", "80km"])),
    st.builds("two-dc:hosts={},length={}".format, st.integers(1, 3), st.sampled_from(["1km", "40km"])),
    st.builds("clos:spines={},leaves={},hosts={}".format, st.integers(1, 3), st.integers(1, 3), st.integers(2, 3)),
    st.builds("incast:senders={},rate={}".format, st.integers(1, 6), st.sampled_from(["10G", "400G"])),
)
SETTINGS = st.fixed_dictionaries(
    {
        "transport.mtu": st.sampled_from([1024, 2048, 4096]),
        "transport.verb": st.sampled_from(["write", "send"]),
        "transport.ack-every": st.integers(1, 64),
        "transport.window": st.sampled_from(["auto", "4KiB", "64KiB", "1MiB"]),
        "lossless.xoff": st.sampled_from(["auto", "10KB", "50KB"]),
        "lossless.response": st.sampled_from(["auto", "0", "3us"]),
        "workload.collective": st.sampled_from(["all_reduce", "incast"]),
        "workload.size": st.integers(4, 300_000),
        "workload.slice": st.sampled_from(["4", "1000", "64KiB"]),
        "workload.datatype": st.sampled_from(["float", "int32"]),
        "seed": st.integers(0, 2**32),
    }
)


def with_loss(lab: Lab, there: float, back: float) -> Lab:
    """Return the lab with loss on every link; hosts are the first ends of their links, so `there` spares their pauses."""
    return lab.model_copy(
        update={"links": tuple(link.model_copy(update={"loss": (there, back)}) for link in lab.links)}
    )


@settings(max_examples=60)
@given(LABS, SETTINGS, st.sampled_from([0.0, 1e-3, 0.02]), st.sampled_from([0.0, 1e-3, 0.02]), st.booleans())
def test_right_whatever_happens(lab: str, chosen: dict[str, object], there: float, back: float, pfc: bool) -> None:
    if chosen["workload.slice"] == "4":  # one packet an element: enough of them are in 4 KB
        chosen["workload.size"] = min(4_000, int(str(chosen["workload.size"])))
    overrides = [f"{key}={value}" for key, value in chosen.items()]
    # Each packet is tried anew after 4 ms at the latest, more often than any loss here takes in a row.
    trial = make_trial(
        lab,
        "all_reduce",
        *overrides,
        f"lossless.pfc={str(pfc).lower()}",
        "transport.timeout=10",
        "workload.in-place=true",
    )
    trial = Trial(trial.experiment, with_loss(trial.lab, there, back))
    outcome = run_trial(trial)
    assert outcome.complete, outcome.reasons
    for row in outcome.rows:
        assert row["wrong"] == 0 and (row["in_place"] or {"wrong": 0})["wrong"] == 0
    check_conservation(outcome.report)
    drops = outcome.report["drops"]
    assert drops["lossy"] == 0
    if pfc and not there and not back:
        assert drops["lossless"] == drops["link"] == 0
        assert all(qp["retransmitted"] == 0 for qp in outcome.report["qps"])
