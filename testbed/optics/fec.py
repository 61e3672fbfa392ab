"""Forward error correction and bit errors, by closed forms that hold down to 1e-30 and far below.

Reed-Solomon codes decide by themselves: the chance that a codeword fails follows from the bit error ratio before the
decoder. Soft-decision codes of coherent links are described by their limit and a steep fall around it. Sources: IEEE Std
802.3 clauses 91, 119 and 172 (RS-FEC), OIF-400ZR and ITU-T G.709.2/G.709.3 (block sizes and limits of the soft codes).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from testbed.units import PS_PER_SECOND

SYMBOL_BITS = 10
DECODER_PS = (
    37_000  # syndrome, key equation and search, as implementations state it; the codeword's arrival comes on top
)
OSNR_REFERENCE_HZ = 12_500_000_000  # OSNR is stated in 0.1 nm, which is 12.5 GHz at 1550 nm
# 64B/66B gives a link up at 97 bad sync headers in 781,250 blocks (IEEE Std 802.3 clause 82); a header has two bits.
HIGH_BER = 97 / (2 * 781_250)


def log_binomial_tail(n: int, p: float, k: int) -> float:
    """Return ln P[X > k] for X ~ Bin(n, p), -inf where it is impossible. Cost: one term for each value beyond k."""
    if k < 0 or p >= 1:
        return 0.0 if k < n else -math.inf
    if k >= n or p <= 0:
        return -math.inf
    if k < n * p and (below := _log_sum(n, p, range(k + 1))) < -math.log(2):
        # The tail is most of the distribution: what is left over is the small number.
        return math.log1p(-math.exp(below))
    return min(0.0, _log_sum(n, p, range(k + 1, n + 1)))


def _log_sum(n: int, p: float, values: range) -> float:
    terms = [math.log(math.comb(n, i)) + i * math.log(p) + (n - i) * math.log1p(-p) for i in values]
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


# A fabric has thousands of links and a handful of operating points.
_log_codeword_failure = lru_cache(maxsize=1024)(log_binomial_tail)


@dataclass(frozen=True)
class ReedSolomon:
    """RS(n, k) over symbols of 10 bits; t = (n − k)/2 symbols of a codeword can be put right."""

    name: str
    n: int
    k: int

    # 5140 bits of payload are 20 blocks of 257 bits, each of which carries 256 bits of the MAC's data.
    mac_bits = 5120

    @property
    def t(self) -> int:
        """The symbol errors that a codeword survives."""
        return (self.n - self.k) // 2

    def symbol_error(self, ber: float) -> float:
        """Return the chance that a symbol is wrong when bits fail independently with `ber`."""
        return -math.expm1(SYMBOL_BITS * math.log1p(-ber))

    def codeword_failure(self, ber: float) -> float:
        """Return the chance that a codeword holds more errors than can be put right."""
        return math.exp(_log_codeword_failure(self.n, self.symbol_error(ber), self.t))

    def frame_loss(self, ber: float, frame_bytes: int, interleave: int) -> float:
        """Return the chance that a frame overlaps a failed codeword; `interleave` codewords arrive woven together."""
        failure = self.codeword_failure(ber)
        if failure >= 1:
            return 1.0
        codewords = interleave + 8 * frame_bytes / self.mac_bits
        return -math.expm1(codewords * math.log1p(-failure))

    def burst_ps(self, rate_bps: int, interleave: int) -> int:
        """Return how long the data of `interleave` codewords occupy the line; `rate_bps` is the MAC's rate."""
        return interleave * self.mac_bits * PS_PER_SECOND // rate_bps

    def latency_ps(self, rate_bps: int, interleave: int) -> int:
        """Return the delay of encoder and decoder together: a whole codeword must arrive, then be decoded."""
        return DECODER_PS + self.burst_ps(rate_bps, interleave)


KR4 = ReedSolomon("kr4", 528, 514)
KP4 = ReedSolomon("kp4", 544, 514)


@dataclass(frozen=True)
class SoftCode:
    """A soft-decision or staircase code, known by the data of the block that is lost when decoding fails.

    Model: at the limit the code leaves a bit error ratio of 1e-15, taken as one wrong bit in each block that fails. ln P
    changes linearly with the margin in dB and reaches P = 1 at `waterfall_db` below the limit; so it is continuous,
    monotone, far below anything observable at half a decibel of margin, and hopeless half a decibel under the limit.
    """

    name: str
    mac_bits: int
    waterfall_db: float = 0.5
    residual_ber: float = 1e-15

    def block_failure(self, margin_db: float) -> float:
        """Return the chance that a block fails at a margin above (or, if negative, below) the limit of the code."""
        at_limit = math.log(self.residual_ber * self.mac_bits)
        return math.exp(min(0.0, at_limit * (1 + margin_db / self.waterfall_db)))

    def burst_ps(self, rate_bps: int) -> int:
        """Return how long the data of one block occupy the line."""
        return self.mac_bits * PS_PER_SECOND // rate_bps


# Staircase: 512 × 510 bits of which 512 × 478 are data (G.709.2). oFEC: 84 rows of 3552 data bits between interleavers.
STAIRCASE = SoftCode("staircase", 512 * 478)
CFEC = SoftCode("cfec", 512 * 478)
OFEC = SoftCode("ofec", 84 * 3552)

REED_SOLOMON = {code.name: code for code in (KR4, KP4)}
SOFT = {code.name: code for code in (STAIRCASE, CFEC, OFEC)}


def gaussian_tail(x: float) -> float:
    """Return Q(x), the chance that a standard normal variable exceeds x."""
    return 0.5 * math.erfc(x / math.sqrt(2))


def gaussian_tail_inverse(p: float) -> float:
    """Return x with Q(x) = p for 0 < p < 1, by bisection to the last bit."""
    if not 0 < p < 1:
        raise ValueError(f"{p} is not between 0 and 1")
    return _bisect(gaussian_tail, p, -40.0, 40.0)


def _bisect(falling: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Return where a falling function meets `target`."""
    while low < (middle := (low + high) / 2) < high:
        if falling(middle) > target:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Modulation:
    """BER = share · Q(√(SNR/spread)), Gray-coded, SNR a ratio in the symbol rate's bandwidth."""

    name: str
    share: float
    spread: float
    coherent: bool = False

    def ber(self, snr: float) -> float:
        """Return the bit error ratio at a signal-to-noise ratio."""
        return self.share * gaussian_tail(math.sqrt(snr / self.spread))

    def snr(self, ber: float) -> float:
        """Return the signal-to-noise ratio at which the bit error ratio is `ber`; 0 where noise alone does better."""
        if ber >= self.share / 2:
            return 0.0
        return self.spread * gaussian_tail_inverse(ber / self.share) ** 2 if ber > 0 else math.inf


MODULATIONS = {
    modulation.name: modulation
    for modulation in (
        Modulation("nrz", 1.0, 1.0),
        Modulation("pam4", 0.75, 5.0),
        Modulation("dp-qpsk", 1.0, 1.0, coherent=True),
        Modulation("dp-16qam", 0.75, 5.0, coherent=True),
    )
}


def decibels(ratio: float) -> float:
    """Return a power ratio in dB; -inf for 0."""
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf


def ratio(db: float) -> float:
    """Return the power ratio of a number of dB."""
    return float(10 ** (db / 10))


def osnr_of_snr(snr: float, baud: int) -> float:
    """Return the OSNR in dB, stated in 0.1 nm, for an SNR in the symbol rate's bandwidth."""
    return decibels(snr * baud / OSNR_REFERENCE_HZ)
