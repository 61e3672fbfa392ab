"""FEC and bit errors: check values, agreement with exact arithmetic, and no loss of digits far out in the tails."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.optics import fec
from testbed.optics.fec import KP4, KR4, MODULATIONS, SOFT


def exact_tail(n: int, p: Fraction, k: int) -> Fraction:
    """P[X > k] by the definition, in whole numbers over the common denominator."""
    hit, miss = p.numerator, p.denominator - p.numerator
    return Fraction(sum(math.comb(n, i) * hit**i * miss ** (n - i) for i in range(k + 1, n + 1)), p.denominator**n)


@pytest.mark.parametrize(
    ("ber", "failure"), [(1e-4, 1.36e-18), (2.4e-4, 8.15e-13), (3.2e-4, 5.44e-11), (5e-4, 2.79e-8), (1e-3, 1.53e-4)]
)
def test_kp4_codeword_failure(ber: float, failure: float) -> None:
    assert KP4.codeword_failure(ber) == pytest.approx(failure, rel=5e-3)


@pytest.mark.parametrize("p", [Fraction(1, 10**k) for k in (1, 2, 3, 4, 6)] + [Fraction(1, 2), Fraction(99, 100)])
@pytest.mark.parametrize(("n", "k"), [(528, 7), (544, 15), (8, 0), (8, 7)])
def test_tails_agree_with_fractions(n: int, p: Fraction, k: int) -> None:
    exact = exact_tail(n, p, k)
    assert math.exp(fec.log_binomial_tail(n, float(p), k)) == pytest.approx(float(exact), rel=1e-10, abs=0)


def test_tails_far_out_keep_their_digits() -> None:
    # Beyond 1e-300 the exponential is 0, the logarithm is not: one term carries it all.
    log = fec.log_binomial_tail(544, 1e-30, 15)
    assert log == pytest.approx(math.log(math.comb(544, 16)) - 16 * 30 * math.log(10), rel=1e-12)
    exact = exact_tail(544, Fraction(KP4.symbol_error(2e-5)), 15)
    assert KP4.codeword_failure(2e-5) == pytest.approx(float(exact), rel=1e-10, abs=0)
    assert 0 < KP4.codeword_failure(2e-5) < 1e-28


@given(st.floats(0, 1), st.integers(1, 60), st.integers(-2, 70))
def test_a_tail_and_its_complement_make_one(p: float, n: int, k: int) -> None:
    above = math.exp(fec.log_binomial_tail(n, p, k))
    assert 0 <= above <= 1
    mirrored = math.exp(fec.log_binomial_tail(n, 1 - p, n - k - 1))
    assert above + mirrored == pytest.approx(1, abs=1e-9)


def test_the_cliff_of_kp4() -> None:
    before, after = (KP4.frame_loss(ber, 4200, 2) for ber in (2.4e-4, 5e-4))
    assert after / before == pytest.approx(3.4e4, rel=0.05)


def test_frame_loss_by_length_and_interleave() -> None:
    # A frame of F bytes over a stripe of I codewords overlaps I·(1 + 8F·(257/256)/(5140·I)) of them on average.
    failure = KP4.codeword_failure(5e-4)
    for frame, interleave in [(64, 1), (1500, 2), (9216, 4)]:
        codewords = interleave * (1 + 8 * frame * (257 / 256) / (5140 * interleave))
        assert KP4.frame_loss(5e-4, frame, interleave) == pytest.approx(codewords * failure, rel=1e-4)
    assert KP4.frame_loss(0.0, 1500, 1) == 0
    assert KP4.frame_loss(0.5, 1500, 1) == 1
    assert KP4.frame_loss(1e-5, 1500, 1) > 0, "rounded away"


@pytest.mark.parametrize(("code", "t", "overhead"), [(KP4, 15, 17 / 16), (KR4, 7, 33 / 32)])
def test_a_codeword_takes_the_time_of_its_data(code: fec.ReedSolomon, t: int, overhead: float) -> None:
    assert code.t == t
    line_bps = 100e9 * overhead
    assert code.burst_ps(100 * 10**9, 1) == round(code.n * fec.SYMBOL_BITS / line_bps * 1e12) == 51_200


@pytest.mark.parametrize(("gbps", "interleave", "ns"), [(100, 1, 88), (200, 2, 88), (400, 2, 63), (800, 4, 63)])
def test_latency_of_kp4(gbps: int, interleave: int, ns: int) -> None:
    assert round(KP4.latency_ps(gbps * 10**9, interleave) / 1000) == ns


@pytest.mark.parametrize("code", SOFT.values(), ids=SOFT)
def test_a_soft_code_is_a_monotone_cliff(code: fec.SoftCode) -> None:
    margins = [step / 100 for step in range(-200, 200)]
    failures = [code.block_failure(margin) for margin in margins]
    assert failures == sorted(failures, reverse=True)
    assert code.block_failure(0) == pytest.approx(code.residual_ber * code.mac_bits)
    assert code.block_failure(-0.5) == code.block_failure(-math.inf) == 1
    assert 0 < code.block_failure(1) < 1e-27
    assert code.block_failure(math.inf) == 0


def test_bit_errors_of_coherent_receivers() -> None:
    assert MODULATIONS["dp-qpsk"].ber(9) == pytest.approx(1.349898e-3, rel=1e-6)  # Q(3)
    assert MODULATIONS["dp-16qam"].ber(20) == pytest.approx(0.75 * 2.275013e-2, rel=1e-6)  # Q(2)
    assert fec.osnr_of_snr(100 * 12.5 / 32, 32 * 10**9) == pytest.approx(20)


@pytest.mark.parametrize("modulation", MODULATIONS.values(), ids=MODULATIONS)
@given(exponent=st.floats(-300, -0.5))
def test_snr_and_ber_are_each_others_inverse(modulation: fec.Modulation, exponent: float) -> None:
    ber = 10**exponent
    assert modulation.ber(modulation.snr(ber)) == pytest.approx(ber, rel=1e-9)


def test_the_ends_of_the_scale() -> None:
    assert MODULATIONS["pam4"].snr(0) == math.inf
    assert MODULATIONS["pam4"].snr(0.5) == 0
    assert MODULATIONS["nrz"].ber(0) == 0.5
    assert fec.decibels(0) == -math.inf
    with pytest.raises(ValueError, match="not between 0 and 1"):
        fec.gaussian_tail_inverse(0)


def test_figures_are_those_of_the_standards() -> None:
    # 802.3 clause 82: 97 of 781,250 sync headers of two bits; G.694.1: 0.1 nm at 1550 nm.
    assert math.isclose(fec.HIGH_BER, 6.208e-5, rel_tol=1e-12)
    assert fec.OSNR_REFERENCE_HZ == 12.5e9
    assert [(code.n, code.k, code.t) for code in (KR4, KP4)] == [(528, 514, 7), (544, 514, 15)]
    assert {name: code.mac_bits for name, code in SOFT.items()} == {
        "staircase": 244_736,
        "cfec": 244_736,
        "ofec": 298_368,
    }
    # Data of one block at 400G: 612 ns and 746 ns.
    assert [SOFT[name].burst_ps(400 * 10**9) for name in ("staircase", "ofec")] == [611_840, 745_920]
    assert SOFT["cfec"].burst_ps(3) == 81_578_666_666_666_666
    assert KP4.latency_ps(100 * 10**9, 1) == 37_000 + 51_200
    assert {name for name, modulation in MODULATIONS.items() if modulation.coherent} == {"dp-qpsk", "dp-16qam"}
    assert (MODULATIONS["pam4"].share, MODULATIONS["pam4"].spread) == (0.75, 5)


def test_decibels_and_ratios_are_each_others_inverse() -> None:
    assert [fec.ratio(db) for db in (-10, 0, 10, 20)] == [0.1, 1, 10, 100]
    assert fec.ratio(3) == pytest.approx(1.9952623149688795, rel=1e-15)
    assert [fec.decibels(ratio) for ratio in (0, 0.1, 1, 1000)] == [-math.inf, -10, 0, pytest.approx(30)]
    # An SNR of 10 in 25 GBd is twice that much in 12.5 GHz.
    assert fec.osnr_of_snr(10, 25_000_000_000) == pytest.approx(13.010299956639813, rel=1e-15)
    assert fec.osnr_of_snr(0.7, 10**9) == pytest.approx(-12.518119729937995, rel=1e-12)


def test_a_tail_is_computed_from_the_side_that_keeps_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[range] = []
    real = fec._log_sum

    def watched(n: int, p: float, values: range) -> float:
        summed.append(values)
        return real(n, p, values)

    monkeypatch.setattr(fec, "_log_sum", watched)
    # All but 0.99^100 of the distribution lies above 0: 1 - tail would lose its digits, the sum of what is below does not.
    assert fec.log_binomial_tail(100, 0.5, 10) == pytest.approx(-1.5316450877431e-17, rel=1e-9)
    assert summed == [range(11)]
    # Below the mean, but not by much: more than half of the distribution is at most 50.
    summed.clear()
    assert math.exp(fec.log_binomial_tail(101, 0.5, 50)) == pytest.approx(0.5, rel=1e-12)
    assert summed == [range(51), range(51, 102)]
    summed.clear()
    assert math.exp(fec.log_binomial_tail(3, 0.25, 1)) == pytest.approx(0.15625, rel=1e-12)
    assert summed == [range(2, 4)]
    assert [fec.log_binomial_tail(4, p, k) for p, k in ((1, 3), (1, 4), (0.5, -1), (0, 2), (0.5, 4))] == [
        0,
        -math.inf,
        0,
        -math.inf,
        -math.inf,
    ]


def test_codes_and_modulations_do_not_change() -> None:
    for thing in (KP4, SOFT["ofec"], MODULATIONS["nrz"]):
        with pytest.raises(FrozenInstanceError):
            thing.name = "other"  # type: ignore[misc]
    # At the edge of what noise alone does, no signal is needed.
    assert MODULATIONS["pam4"].snr(0.375) == 0 and MODULATIONS["pam4"].snr(0.374) > 0
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        fec.gaussian_tail_inverse(1)
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        fec.gaussian_tail_inverse(-0.1)
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        fec.gaussian_tail_inverse(1.5)
