"""What the tests of traces share: files in a directory, and traces drawn at random that come to their end."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from testbed.replay.form import ANY, Op, Trace


def written(directory: Path, text: str | bytes, name: str = "t.goal") -> Path:
    """Return the path of a file that holds so much."""
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Return calcs and messages among a few ranks, each of which comes after some op of its rank that is before it."""
    count = draw(st.integers(1, 4))
    ranks: list[list[Op]] = [[] for _ in range(count)]

    def add(rank: int, op: Op) -> None:
        own = ranks[rank]
        after = tuple(sorted(draw(st.sets(st.integers(0, len(own) - 1), max_size=2)))) if own else ()
        begun = tuple(sorted(draw(st.sets(st.integers(0, len(own) - 1), max_size=1)))) if own else ()
        own.append(op._replace(after=after, begun=begun))

    for number in range(draw(st.integers(0, 12))):
        source, target = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        if draw(st.booleans()):
            add(source, Op("calc", draw(st.integers(0, 10**6)) * 1000, lane=draw(st.integers(0, 3))))
            continue
        # A tag of its own, so that no receive takes the message of another, which could wait for that receive.
        size = draw(st.sampled_from([0, 1, 4096, 10_000]))
        add(source, Op("send", size, target, number))
        add(target, Op("recv", size, draw(st.sampled_from([source, ANY])), number))
    return Trace(("t",), tuple(map(tuple, ranks)))
