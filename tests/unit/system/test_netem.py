"""netem's attributes: what they look like on the wire, that nothing is lost on the way there and back, and limits."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import DriverError
from testbed.system import netem
from testbed.system.netem import FourState, GilbertElliott, Netem, decode, differences, encode, limit_for
from testbed.system.netlink import attribute, attributes

QUANTUM = 2.0**-32

probabilities = st.floats(0, 1)
losses = st.one_of(
    probabilities,
    st.builds(GilbertElliott, *[probabilities] * 4),
    st.builds(FourState, *[probabilities] * 5),
)
settings = st.builds(
    Netem,
    delay_ns=st.integers(0, 2**63 - 1),
    jitter_ns=st.integers(0, 2**31 - 1),
    loss=losses,
    limit=st.integers(1, 2**32 - 1),
    seed=st.none() | st.integers(0, 2**64 - 1),
    in_order=st.booleans(),
)


def states(loss: netem.Loss) -> list[float]:
    return [float(loss)] if isinstance(loss, int | float) else list(vars(loss).values())


@given(settings)
def test_settings_survive_the_way_there_and_back(asked: Netem) -> None:
    back = decode(encode(asked))
    assert type(back.loss) is type(asked.loss)
    for ours, theirs in zip(states(asked.loss), states(back.loss), strict=True):
        assert abs(ours - theirs) <= QUANTUM
    assert vars(back) | {"loss": None} == vars(asked) | {"loss": None}
    assert decode(encode(back)) == back


def test_the_kernels_structures() -> None:
    options = encode(Netem(delay_ns=64_000, jitter_ns=640, loss=0.5, limit=7, seed=9))
    assert struct.unpack_from("=6I", options) == (1000, 7, 1 << 31, 0, 0, 10)
    encoded = attributes(options, 24)
    assert encoded[10] == struct.pack("=q", 64_000) and encoded[11] == struct.pack("=q", 640)
    assert encoded[14] == struct.pack("=Q", 9)
    # struct tc_netem_rate: as tc sends a rate beyond 32 bits
    assert encoded[6] == struct.pack("=IiIi", 0xFFFFFFFF, 0, 0, 0) and encoded[8] == struct.pack("=Q", 1 << 60)
    assert 5 not in encoded


def test_the_kernel_stores_the_complement_of_the_loss_in_the_bad_state() -> None:
    encoded = attributes(encode(Netem(loss=GilbertElliott(0.25, 0.5, loss_bad=0.75, loss_good=0.125))), 24)
    chain = attributes(encoded[5], 0)
    assert struct.unpack("=4I", chain[2]) == (1 << 30, 1 << 31, 1 << 30, 1 << 29)


def test_a_longer_delay_than_the_old_field_holds() -> None:
    options = encode(Netem(delay_ns=10**15))
    assert options[:4] == b"\xff\xff\xff\xff"
    assert decode(options).delay_ns == 10**15


def test_options_of_a_kernel_without_nanoseconds() -> None:
    assert decode(struct.pack("=6I", 1000, 5, 0, 0, 0, 10)) == Netem(64_000, 640, limit=5, in_order=False)


@pytest.mark.parametrize("options", [b"", bytes(23), struct.pack("=6I", *[1] * 6) + attribute(10, b"\0")])
def test_broken_options_are_an_error(options: bytes) -> None:
    with pytest.raises(DriverError, match="read back netem"):
        decode(options)


@pytest.mark.parametrize(("loss", "mean_burst"), [(0.01, 1.0), (1e-6, 3.5), (0.5, 1.0), (0.0, 4.0), (0.9, 100.0)])
def test_a_chain_has_the_loss_it_was_made_for(loss: float, mean_burst: float) -> None:
    chain = GilbertElliott.of(loss, mean_burst)
    assert chain.loss == pytest.approx(loss, rel=1e-12)
    assert 1 / chain.to_good == pytest.approx(mean_burst)


@pytest.mark.parametrize(("loss", "mean_burst"), [(0.6, 1.0), (1.0, 5.0), (0.1, 0.5), (-0.1, 2.0)])
def test_a_chain_that_cannot_be(loss: float, mean_burst: float) -> None:
    with pytest.raises(ValueError, match="burst"):
        GilbertElliott.of(loss, mean_burst)


BAD = [
    {"delay_ns": -1},
    {"delay_ns": 2**63},
    {"jitter_ns": 2**31},
    {"limit": 0},
    {"limit": 2**32},
    {"seed": -1},
    {"loss": 1.5},
    {"loss": float("nan")},
]


@pytest.mark.parametrize("values", BAD, ids=str)
def test_values_that_the_kernel_would_truncate_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(values)).removesuffix("_ns"))):
        Netem(**values)  # type: ignore[arg-type]


@given(settings)
def test_what_was_configured_as_requested_does_not_differ(asked: Netem) -> None:
    lines = differences(asked, decode(encode(asked)))
    assert not [line for line in lines if "quantum" not in line]
    assert not lines or min(value for value in states(asked.loss) if value) < QUANTUM


DIFFERENT = [
    (Netem(delay_ns=100), Netem(delay_ns=64), "delay_ns: asked 100, configured 64"),
    (Netem(loss=0.01), Netem(), "loss"),
    (Netem(loss=0.01), Netem(loss=0.01 + QUANTUM), "loss"),
    (Netem(loss=GilbertElliott(0.1, 0.2)), Netem(loss=GilbertElliott(0.1, 0.2, loss_bad=0.5)), "loss"),
    (Netem(limit=10_000), Netem(), "limit"),
    (Netem(), Netem(in_order=False), "in_order"),
    (Netem(), Netem(foreign=("duplicate",)), "foreign"),
    (Netem(seed=7), Netem(seed=8), "seed"),
    (Netem(loss=1e-12), Netem(), "1e-12, which is less than the kernel's quantum"),
    (Netem(loss=GilbertElliott.of(1e-12, 4)), Netem(loss=GilbertElliott(0, 0.25)), "less than the kernel's quantum"),
    (Netem(loss=FourState(1e-12, 0.5)), Netem(loss=FourState(0, 0.5)), "quantum of 2^-32"),
]


@pytest.mark.parametrize(("asked", "configured", "said"), DIFFERENT, ids=[row[2] for row in DIFFERENT])
def test_each_difference_is_named(asked: Netem, configured: Netem, said: str) -> None:
    lines = differences(asked, configured)
    assert len(lines) == 1 and said in lines[0]


def test_a_kernel_that_takes_no_seed_does_not_differ() -> None:
    assert differences(Netem(seed=7), Netem(seed=None)) == []


def test_foreign_settings_cannot_be_requested() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        encode(Netem(foreign=("duplicate",)))


@given(st.integers(1, 10**12), st.integers(0, 10**9), st.integers(64, 9216))
def test_the_limit_holds_the_bandwidth_delay_product(rate_bps: int, delay_ns: int, frame_bytes: int) -> None:
    limit = limit_for(rate_bps, delay_ns, frame_bytes)
    assert limit * 8 * frame_bytes * 10**9 > rate_bps * delay_ns
    assert limit > netem.DEFAULT_LIMIT_FRAMES
    assert Netem(limit=limit).limit == limit


def test_a_limit_that_no_kernel_has() -> None:
    with pytest.raises(ValueError, match="dilate"):
        limit_for(10**13, 10**9, 64)
    with pytest.raises(ValueError, match="not a link"):
        limit_for(0, 10**9, 64)
