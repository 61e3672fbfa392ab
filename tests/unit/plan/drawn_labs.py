"""Labs for property tests."""

from typing import Any

from hypothesis import strategies as st

from testbed.lab.topology import Lab, lab_from
from testbed.schema.source import Source


@st.composite
def labs(draw: st.DrawFn, **body: Any) -> Lab:
    """Draw a lab: switches in any graph, parallel links and islands included, with hosts here and there."""
    switches = draw(st.integers(1, 6))
    number = st.integers(0, switches - 1)
    pairs = draw(st.lists(st.tuples(number, number).filter(lambda pair: pair[0] != pair[1]), max_size=12))
    homes = draw(st.lists(number, min_size=1, max_size=5))
    used = [0] * switches

    def port(switch: int) -> str:
        used[switch] += 1
        return f"s{switch}:eth{used[switch]}"

    delay = st.integers(0, 50).map(lambda ns: f"{ns}ns")
    rate = st.sampled_from(["10G", "100G"])
    links: list[Any] = [{"endpoints": [port(a), port(b)], "delay": draw(delay), "rate": draw(rate)} for a, b in pairs]
    links += [{"endpoints": [f"h{index}:eth1", port(home)]} for index, home in enumerate(homes)]
    nodes: dict[str, Any] = {f"s{index}": {"kind": "switch"} for index in range(switches)}
    nodes.update({f"h{index}": {"kind": "host"} for index in range(len(homes))})
    return lab_from(Source("drawn", {"name": "drawn", "topology": {"nodes": nodes, "links": links, **body}}))
