"""Documents as text: as Python lays them out, character by character."""

import json
import random
from typing import Any

import pytest

from testbed.run.layout import laid_out

PLAIN = [
    {},
    [],
    "x",
    7,
    {"a": [], "b": {}, "c": [[], {}, [None]]},
    {'quoted "text"': "{[,:]}\\", "ends with \\": "\\", "µ → ☃": "\n\t\u0001"},
    [1.5e-300, -0.0, 1e22, True, False, None, float("inf")],
]


def drawn(random: random.Random, depth: int) -> Any:
    """Return a value with lists and objects down to so many levels."""
    kind = random.randrange(6 if depth else 4)
    if kind == 4:
        return [drawn(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 5:
        return {
            "".join(random.choices('ab"\\{}[],:é', k=4)): drawn(random, depth - 1) for _ in range(random.randrange(4))
        }
    return random.choice([random.random(), random.getrandbits(60), None, "".join(random.choices('x"\\,:[]{}\n', k=5))])


@pytest.mark.parametrize("document", PLAIN)
def test_it_is_laid_out_as_by_python(document: Any) -> None:
    assert laid_out(document) == json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def test_random_documents_are_laid_out_as_by_python() -> None:
    for seed in range(300):
        document = [drawn(random.Random(seed), 5) for _ in range(3)]
        assert laid_out(document) == json.dumps(document, indent=2, ensure_ascii=False) + "\n", f"seed {seed}"
