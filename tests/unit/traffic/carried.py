"""Schedules carried out in memory, over a network that takes no time."""

import random

import numpy as np

from testbed.traffic import Collective, Shape, simulate
from testbed.traffic.elements import Elements


def laid_out(collective: Collective, shape: Shape, vectors: list[Elements]) -> list[bytes]:
    """Return every rank's memory before the call, as far as the input reaches."""
    return [
        bytes(collective.input_offset(shape, rank)) + vector.tobytes() if len(vector) else b""
        for rank, vector in enumerate(vectors)
    ]


def run(collective: Collective, shape: Shape, vectors: list[Elements], seed: int | None = None) -> list[Elements]:
    """Carry the schedule out in memory and return what lies at every rank's result."""
    rng = None if seed is None else random.Random(seed)
    memories = simulate(collective.schedule(shape), laid_out(collective, shape, vectors), rng)
    wanted = [want[:] for want in collective.expected(shape, vectors)]
    offsets = [collective.result_offset(shape, rank) for rank in range(shape.ranks)]
    return [
        np.frombuffer(memory[offset : offset + want.nbytes].tobytes(), want.dtype)
        for memory, offset, want in zip(memories, offsets, wanted, strict=True)
    ]
