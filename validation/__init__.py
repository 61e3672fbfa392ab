"""Measured beside expected: the testbed held against closed forms, published figures and rules of the standards.

`make validation` runs every case under the virtual clock and writes docs/validation.md; tests/validation runs the quick ones.
"""
