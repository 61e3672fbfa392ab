"""netem as a real kernel runs it, inside user-mode Linux: what it was told, and what it then does to frames."""

import json
import math
import sys
from collections.abc import Callable
from functools import cache
from statistics import mean, median
from typing import Any

import pytest

from testbed.system import netem
from testbed.system.netem import GilbertElliott
from tests.chance import is_plausible
from tests.netem import scenarios, uml
from tests.netem.scenarios import DELAYS_NS, JITTER, LOSSES, MS, SCENARIOS, SETTINGS, WINDOW_FRAMES

QUANTILE = 4.4172  # of the normal distribution: outside, on either side, lies one of 10^5
ATTEMPTS = 3

Measured = Callable[[str], dict[str, Any]]


def measure(*names: str) -> dict[str, Any]:
    """Boot, run scenarios inside, and return their figures."""
    outcome = uml.run([sys.executable, "-m", "tests.netem.scenarios", *names], timeout_s=110)
    assert outcome.status == 0, outcome.stderr or outcome.console
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


@cache
def all_figures() -> dict[str, Any]:
    """Run every scenario in one boot, once for all tests."""
    return measure(*SCENARIOS)


def in_time(figures: dict[str, Any], name: str, is_right: Callable[[dict[str, Any]], bool]) -> bool:
    """Return whether times of a scenario are right; measured again where they are not, since the host may have been busy."""
    for _ in range(ATTEMPTS):
        if is_right(figures):
            return True
        figures = measure(name)[name]
    return False


@pytest.fixture
def measured() -> Measured:
    """Return a function that gives the figures of a scenario, or fails with the traceback that it left inside."""

    def figures(name: str) -> dict[str, Any]:
        scenario: dict[str, Any] = all_figures()[name]
        assert "error" not in scenario, scenario["error"]
        return scenario

    return figures


# What the kernel was told


def test_the_probes_find_netem(measured: Measured) -> None:
    assert measured("probes") == {"netem": True, "doctor": True}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_read_back_as_asked(measured: Measured, name: str) -> None:
    configuration = measured("read_back")[name]
    assert configuration["differences"] == []
    asked, configured = SETTINGS[name], netem.decode(bytes.fromhex(configuration["options"]))
    assert (configured.delay_ns, configured.jitter_ns) == (asked.delay_ns, asked.jitter_ns)
    assert (configured.limit, configured.in_order, configured.foreign) == (asked.limit, asked.in_order, ())
    assert type(configured.loss) is type(asked.loss)


def test_settings_by_hand_are_seen_and_do_not_outlive_ours(measured: Measured) -> None:
    settings = measured("foreign")
    assert settings["before"] == ["gap", "duplicate", "correlation", "reorder", "corrupt", "rate", "ecn", "slot"]
    assert settings["differences_after"] == []


# Delay


@pytest.mark.parametrize("kind", ["60", "1500", "4200", "PFC"])
@pytest.mark.parametrize("delay_ns", DELAYS_NS, ids=lambda delay_ns: f"{delay_ns // MS}ms")
def test_frames_take_as_long_as_asked(measured: Measured, delay_ns: int, kind: str) -> None:
    figures = measured("delay")
    taken_ns = figures[str(delay_ns)][kind]
    assert len(taken_ns) == scenarios.DELAY_FRAMES // 4
    assert min(taken_ns) >= delay_ns
    # The middle one: the host may well leave this kernel without a processor for a while, and a frame or two late.
    most_ns = delay_ns + MS // 2 + delay_ns // 50
    assert in_time(figures, "delay", lambda figures: median(figures[str(delay_ns)][kind]) <= most_ns)


# Loss


def loss_is_right(figures: dict[str, Any], process: netem.Loss, frames: int) -> bool:
    """Return whether the share of lost frames and the mean length of their runs lie in their intervals."""
    if isinstance(process, GilbertElliott):
        expected, to_stay, run = process.loss, 1 - process.to_good, 1 / process.to_good
        memory = 1 - process.to_bad - process.to_good
    else:
        assert isinstance(process, float)
        expected, to_stay, run, memory = process, process, 1 / (1 - process), 0.0
    runs: list[int] = figures["runs"]
    lost = sum(runs)
    # The sum over a stationary chain of two states varies (1 + memory)/(1 − memory) times as much as independent draws.
    deviation = math.sqrt(expected * (1 - expected) / frames * (1 + memory) / (1 - memory))
    deviation_of_run = run * math.sqrt(to_stay / len(runs))
    share_is_right = abs(lost / frames - expected) <= QUANTILE * deviation
    return share_is_right and abs(mean(runs) - run) <= QUANTILE * deviation_of_run


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_mean_burst_are_as_asked(measured: Measured, name: str) -> None:
    process, frames = LOSSES[name]
    samples = [measured("loss")[name]]
    # The kernel's draws are not ours to seed, and some right samples in 10^5 lie outside; three in a row, one in 10^13.
    while not loss_is_right(samples[-1], process, frames) and len(samples) < ATTEMPTS:
        samples.append(measure("loss")["loss"][name])
    assert loss_is_right(samples[-1], process, frames), [sum(sample["runs"]) / frames for sample in samples]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_all_that_the_counter_holds(measured: Measured, name: str) -> None:
    figures = measured("loss")[name]
    assert figures["refused"] == 0
    assert figures["dropped"] == sum(figures["runs"]) == LOSSES[name][1] - figures["arrived"]


# Limit


def test_a_full_window_fits_the_computed_limit(measured: Measured) -> None:
    figures = measured("window")["computed"]
    assert figures["in_flight"] > 2 * netem.DEFAULT_LIMIT_FRAMES
    assert (figures["arrived"], figures["dropped"], figures["refused"]) == (WINDOW_FRAMES, 0, 0)


def test_a_full_window_overflows_the_default_limit(measured: Measured) -> None:
    figures = measured("window")["default"]
    assert figures["dropped"] > WINDOW_FRAMES // 4
    assert figures["arrived"] == WINDOW_FRAMES - figures["dropped"]
    # Without loss asked for, every drop was told to the sender.
    assert figures["refused"] == figures["dropped"]


def test_losses_are_drops_less_refusals(measured: Measured) -> None:
    figures = measured("overflow_and_loss")
    assert figures["arrived"] == 3000 - figures["dropped"] == netem.DEFAULT_LIMIT_FRAMES
    assert is_plausible(figures["dropped"] - figures["refused"], 3000, 0.1)


# Order


def test_jitter_keeps_the_order(measured: Measured) -> None:
    figures = measured("order")["jitter, in order"]
    assert figures["numbers"] == list(range(scenarios.ORDER_FRAMES))
    assert min(figures["delays_ns"]) >= JITTER.delay_ns - JITTER.jitter_ns
    assert max(figures["delays_ns"]) - min(figures["delays_ns"]) > JITTER.jitter_ns
    most_ns = (JITTER.delay_ns + JITTER.jitter_ns) * 1.02 + MS / 2
    order = measured("order")
    assert in_time(order, "order", lambda order: median(order["jitter, in order"]["delays_ns"]) <= most_ns)


@pytest.mark.parametrize("name", ["jitter, free", "jitter, FIFO below"])
def test_without_order_jitter_reorders_and_a_fifo_below_does_not_help(measured: Measured, name: str) -> None:
    numbers = measured("order")[name]["numbers"]
    assert sorted(numbers) == list(range(scenarios.ORDER_FRAMES))
    assert numbers != sorted(numbers)


def test_a_delay_made_shorter_keeps_the_order_and_the_frames(measured: Measured) -> None:
    assert measured("order")["shortened, in order"]["numbers"] == list(range(100))


def test_without_order_a_delay_made_shorter_lets_frames_overtake(measured: Measured) -> None:
    assert measured("order")["shortened, free"]["numbers"] == [*range(50, 100), *range(50)]


# Shaping below


def test_the_nic_is_delayed_but_not_shaped(measured: Measured) -> None:
    figures = measured("shaped")
    assert len(figures["nic_ns"]) == 50 and min(figures["nic_ns"]) >= 20 * MS
    assert len(figures["nic_after_ns"]) == 20 and figures["still_there"]
    assert min(figures["nic_after_ns"]) >= 5 * MS

    def is_prompt(figures: dict[str, Any]) -> bool:
        return median(figures["nic_ns"]) <= 20.9 * MS and median(figures["nic_after_ns"]) <= 5.6 * MS

    assert in_time(figures, "shaped", is_prompt)


def test_the_kernel_is_delayed_and_shaped(measured: Measured) -> None:
    figures = measured("shaped")

    def is_shaped(figures: dict[str, Any]) -> bool:
        at_ns = figures["kernel_at_ns"]
        rate_bps = (len(at_ns) - 1) * 1514 * 8 * 1_000_000_000 / (at_ns[-1] - at_ns[0])
        # A bucket of two frames was full at the start.
        return scenarios.SHAPED_RATE_BPS * 0.9 < rate_bps < scenarios.SHAPED_RATE_BPS * 1.1

    assert in_time(figures, "shaped", is_shaped)


def test_drops_of_the_shaper_are_counted_there_as_well(measured: Measured) -> None:
    figures = measured("shaped")
    lost = scenarios.SHAPED_FRAMES - len(figures["kernel_at_ns"])
    assert lost > 0
    assert figures["dropped"] == [lost, lost] and figures["refused"] == 0


# Socket


def test_frames_inside_do_not_fill_the_send_buffer(measured: Measured) -> None:
    figures = measured("send_buffer")
    assert figures["queued_bytes"] == 300_000 > 50 * figures["buffer_bytes"]
    assert figures["unsent_bytes"] == 0


# The harness


def test_the_guest_keeps_time(measured: Measured) -> None:
    figures = measured("clock")
    assert figures["late_ns"][0] >= 0
    assert in_time(figures, "clock", lambda figures: median(figures["late_ns"]) < MS // 2)


def test_the_command_line_runs_inside() -> None:
    code = "import sys; from testbed.cli import main; sys.argv = ['testbed', *sys.argv[1:]]; sys.exit(main())"
    outcome = uml.run([sys.executable, "-c", code, "doctor"])
    lines = [line for line in outcome.stdout.splitlines() if "netem" in line]
    assert lines and any("available" in line for line in lines), outcome.stdout + outcome.stderr


def test_the_outcome_is_the_programs_own() -> None:
    code = "import sys, pathlib; print('out'); print('err', file=sys.stderr); pathlib.Path('written').touch()"
    outcome = uml.run([sys.executable, "-c", code])
    assert outcome.status == 1 and outcome.stdout == "out\n"
    assert outcome.stderr.startswith("err\n") and "Read-only file system" in outcome.stderr
    assert not (uml.ROOT / "written").exists()


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(uml.BootError, match="not through after 4 s"):
        uml.run([sys.executable, "-c", "while True: pass"], timeout_s=4)


def test_a_program_that_cannot_start_is_named() -> None:
    with pytest.raises(uml.BootError, match=r"(?s)did not run.*No such file or directory: 'absent'"):
        uml.run(["absent"])
