"""Endpoints: how one is written and read, and ports of a plan by name."""

from __future__ import annotations

import re

import pytest

from testbed.lab.endpoints import ENDPOINTS_SCHEMA, Endpoint, name_of, parse_endpoint, parse_endpoints, port_number


def test_an_endpoint_is_read_as_it_is_written() -> None:
    assert parse_endpoint("leaf-a:eth9") == Endpoint("leaf-a", "eth9")
    assert str(Endpoint("leaf-a", "eth9")) == "leaf-a:eth9"
    assert [port_number(port) for port in ("eth1", "eth10", "eth9999")] == [1, 10, 9999]


@pytest.mark.parametrize(
    "text", ["leaf", "", None, 7, ["a1:eth1"], "leaf:", "leaf:eth0", "leaf:eth01", "leaf:eth10000"]
)
def test_what_is_none_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match=r"write it like leaf-a:eth1|ports are eth1, eth2"):
        parse_endpoint(text)
    with pytest.raises(ValueError, match="safe name"):
        parse_endpoint("Leaf_A:eth1")


def test_a_link_has_two_endpoints_no_more_and_no_less() -> None:
    assert parse_endpoints(("a1:eth1", "b1:eth2")) == (Endpoint("a1", "eth1"), Endpoint("b1", "eth2"))
    ends = ["a1:eth1", "b1:eth1", "c1:eth1"]
    for wrong in (ends, ends[:1], [], "a1:eth1", None):
        with pytest.raises(ValueError, match="a link has two endpoints"):
            parse_endpoints(wrong)
    assert (ENDPOINTS_SCHEMA["minItems"], ENDPOINTS_SCHEMA["maxItems"]) == (2, 2)
    (example,) = ENDPOINTS_SCHEMA["examples"]
    pattern = re.compile(ENDPOINTS_SCHEMA["items"]["pattern"])
    assert all(pattern.search(end) and parse_endpoint(end) for end in example)


def test_a_port_of_a_plan_has_the_name_of_its_node() -> None:
    nodes = [{"name": f"n{node}", "ports": [{"name": f"eth{port}"} for port in range(1, 5)]} for node in range(4)]
    assert name_of({"nodes": nodes}, (2, 1)) == "n2:eth2"
    assert name_of({"nodes": nodes}, (1, 3)) == "n1:eth4"
