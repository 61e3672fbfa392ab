"""Errors: exit codes, the order of faults, and what each says."""

import errno

import pytest

from testbed.errors import (
    DriverError,
    ExperimentError,
    Fault,
    HostError,
    InvariantViolation,
    TestbedError,
    TopologyError,
    UnitError,
    UsageError,
    nearest,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (UnitError("x"), 2),
        (TopologyError.at("f", "k", "m"), 2),
        (ExperimentError.at("f", "k", "m"), 2),
        (DriverError("x"), 3),
        (HostError("x"), 3),
        (InvariantViolation("x", 1, 2, "y"), 1),
    ],
)
def test_exit_codes(error: TestbedError, code: int) -> None:
    assert isinstance(error, TestbedError) and error.exit_code == code


def test_faults_come_in_the_order_of_lines_and_once_each() -> None:
    faults = [
        Fault("f", 10, "b", "late"),
        Fault("f", 2, "a", "early"),
        Fault("f", 10, "b", "late"),
        Fault("f", 0, "", "x"),
    ]
    error = TopologyError(faults)
    assert str(error) == "f: x\nf:2: a: early\nf:10: b: late"
    with pytest.raises(ValueError, match="at least one"):
        TopologyError([])


def test_a_driver_error_names_operation_and_errno() -> None:
    error = DriverError("set netns", errno.EPERM, "a1")
    assert str(error) == "set netns: Operation not permitted (EPERM): a1"
    assert str(DriverError("bind")) == "bind"


def test_an_invariant_tells_how_to_see_it_again() -> None:
    error = InvariantViolation("frame lost", 5, 7, "testbed run x --seed 7")
    assert str(error) == "frame lost at 5 ps (seed 7); to see it again: testbed run x --seed 7"


def test_nearest() -> None:
    assert nearest("bufer", ["buffer", "nic"]) == '; did you mean "buffer"?'
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == ""
