"""Loss processes: their closed forms, held against sums over the FEC and against small simulations of the definitions."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.optics.fec import KP4
from testbed.optics.loss import Bernoulli, Codewords, GilbertElliott, LossError, random_loss

RATE = 100 * 10**9


def kp4(ber: float, rate_bps: int = RATE, interleave: int = 1) -> Codewords:
    failure = KP4.codeword_failure(ber)
    return Codewords.from_failure(failure, KP4.mac_bits, KP4.burst_ps(rate_bps, interleave), rate_bps)


@pytest.mark.parametrize("frame", [64, 1518, 4218, 9216])
@pytest.mark.parametrize("ber", [1e-5, 2.4e-4, 1e-3])
@pytest.mark.parametrize(("rate_bps", "interleave"), [(RATE, 1), (8 * RATE, 4)])
def test_failures_in_time_lose_what_failures_of_codewords_lose(
    ber: float, frame: int, rate_bps: int, interleave: int
) -> None:
    exact = KP4.frame_loss(ber, frame, interleave)
    assert kp4(ber, rate_bps, interleave).frame_loss(frame) == pytest.approx(exact, rel=1e-9)


def test_wrong_bits_alone_lose_as_the_frame_is_long() -> None:
    bits = Codewords.from_failure(1e-9, 1, 0, RATE)
    assert bits.per_second == pytest.approx(100)
    assert bits.frame_loss(1500) == pytest.approx(-math.expm1(12_000 * math.log1p(-1e-9)), rel=1e-12)


def test_a_poisson_process_in_time_loses_as_stated() -> None:
    # Back-to-back frames against exponential gaps, by the definition: a frame dies if a burst overlaps it.
    process = kp4(1e-3).accelerated(30)
    frame_ps, frames = 1500 * 8 * 10, 200_000
    generator = random.Random(3)
    lost: set[int] = set()
    at = 0.0
    while (at := at + generator.expovariate(process.per_second) * 1e12) < frames * frame_ps:
        lost.update(range(int(at // frame_ps), int((at + process.burst_ps) // frame_ps) + 1))
    expected = process.frame_loss(1500)
    # Losses come in pairs where a burst spans two frames, so the variance is at most twice that of a binomial.
    assert abs(len(lost) / frames - expected) < 4 * math.sqrt(2 * expected / frames)


def test_certain_failure_leaves_nothing() -> None:
    assert Codewords.from_failure(1, KP4.mac_bits, 51_200, RATE).frame_loss(64) == pytest.approx(1, abs=1e-15)
    assert Codewords.from_failure(0, KP4.mac_bits, 51_200, RATE).frame_loss(64) == 0


@given(st.floats(1e-9, 0.4), st.floats(1.0, 1e4))
def test_gilbert_elliott_has_the_mean_and_the_burst_that_were_set(mean: float, burst: float) -> None:
    process = GilbertElliott.from_burst(mean, burst)
    assert process.frame_loss(64) == pytest.approx(mean, rel=1e-9)
    assert 1 / process.leave == pytest.approx(burst)
    assert process.enter == pytest.approx(mean * process.leave / (1 - mean))


def test_gilbert_elliott_by_its_definition() -> None:
    process = GilbertElliott.from_burst(0.01, 5)
    generator = random.Random(11)
    bad, losses, bursts, frames = False, 0, 0, 400_000
    before = False
    for _ in range(frames):
        lost = bad
        losses += lost
        bursts += lost and not before
        before = lost
        bad = generator.random() >= process.leave if bad else generator.random() < process.enter
    assert losses / frames == pytest.approx(0.01, rel=0.1)
    assert losses / bursts == pytest.approx(5, rel=0.1)


def test_a_ratio_alone_or_with_bursts() -> None:
    assert random_loss(0.01) == Bernoulli(0.01)
    assert random_loss(0.01, 5) == GilbertElliott.from_burst(0.01, 5)
    # Independent losses come in runs too, of 1/(1 − e) frames: bursts that short are shorter than chance.
    assert random_loss(0.01, 1).frame_loss(64) == pytest.approx(0.01)


def test_a_state_that_only_thins() -> None:
    process = GilbertElliott(0.1, 0.3, loss_good=0.01, loss_bad=0.5)
    assert process.share_bad == pytest.approx(0.25)
    assert process.frame_loss(64) == pytest.approx(0.75 * 0.01 + 0.25 * 0.5)
    assert GilbertElliott(0, 0, loss_good=0.2).frame_loss(64) == pytest.approx(0.2)


def test_acceleration_multiplies_and_stays_on_record() -> None:
    rare = kp4(2.4e-4)
    fast = rare.accelerated(10).accelerated(100)
    assert fast.acceleration == 1000
    assert fast.frame_loss(1500) == pytest.approx(1000 * rare.frame_loss(1500), rel=1e-6)
    assert fast.burst_ps == rare.burst_ps
    assert Bernoulli(1e-6).accelerated(1000) == Bernoulli(1e-3, 1000)
    bursts = GilbertElliott.from_burst(1e-6, 8)
    assert bursts.accelerated(100).frame_loss(64) == pytest.approx(1e-4, rel=1e-3)
    assert bursts.accelerated(100).leave == bursts.leave
    assert bursts.accelerated(10).accelerated(10).acceleration == 100


@pytest.mark.parametrize("process", [Bernoulli(0.1), GilbertElliott.from_burst(0.1, 3), kp4(1e-3)])
def test_the_plan_names_the_kind_and_every_parameter(process: Bernoulli | GilbertElliott | Codewords) -> None:
    plan = json.loads(json.dumps(process.plan()))
    kind = plan.pop("kind")
    assert kind in ("bernoulli", "gilbert-elliott", "codewords")
    assert type(process)(**plan) == process


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bernoulli(1.5), "must be between 0 and 1, not 1.5"),
        (lambda: Bernoulli(0.1).accelerated(11), "exceed 1"),
        (lambda: Bernoulli(0.1).accelerated(0.5), "factor of 1 or more, not 0.5"),
        (lambda: GilbertElliott(0.1, 0), "never left"),
        (lambda: GilbertElliott.from_burst(0.1, 0.5), "1 frame or more"),
        (lambda: GilbertElliott.from_burst(0.9, 2), "cannot lose more than 0.666667"),
        (lambda: GilbertElliott(0.1, 0.1).accelerated(20), "exceed 1"),
        (lambda: Codewords(-1, 0, RATE), "0 or more, not -1"),
        (lambda: Codewords(math.inf, 0, RATE), "0 or more, not inf"),
        (lambda: kp4(1e-3).accelerated(1e9), "more than the bits of 1e[+]11 bit/s"),
    ],
)
def test_impossible_parameters(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(LossError, match=message) as caught:
        make()
    assert isinstance(caught.value, UsageError)


def test_bursts_as_long_as_the_gaps_between_them_bound_what_is_lost() -> None:
    assert GilbertElliott.from_burst(0.66, 2).enter == pytest.approx(0.66 * 0.5 / 0.34)
    with pytest.raises(LossError, match=r"bursts of 2 frames cannot lose more than 0\.666667 of all frames"):
        GilbertElliott.from_burst(0.7, 2)
