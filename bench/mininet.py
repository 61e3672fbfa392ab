"""Time what Mininet takes to build and to destroy a lab of namespaces and links, where it is installed. Needs root.

Run by Debian's own Python, whose packages Mininet's are, as a program: it reads the plan's links and prints two figures.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from bench import BenchError
from testbed.contract.plan import Plan

PYTHON = "/usr/bin/python3"
INSTALL = "Mininet: apt-get install mininet"
# Hosts alone, and links that nothing shapes: no switch of Mininet's, which needs a module of the kernel.
_PROGRAM = """
import json, sys, time
from mininet.net import Mininet
lab = json.load(sys.stdin)
start = time.perf_counter()
net = Mininet(controller=None)
nodes = [net.addHost(f"n{index}") for index in range(lab["nodes"])]
for a, b in lab["links"]:
    net.addLink(nodes[a], nodes[b])
net.build()
middle = time.perf_counter()
net.stop()
print(json.dumps({"build": middle - start, "destroy": time.perf_counter() - middle}))
"""


def installed() -> bool:
    """Return whether Debian's Python has Mininet."""
    try:
        return subprocess.run([PYTHON, "-c", "import mininet.net"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def build(plan: Plan) -> tuple[float, float]:
    """Return the seconds that building and destroying the nodes and links of a plan take. Raises BenchError if it fails."""
    lab: dict[str, Any] = {
        "nodes": len(plan["nodes"]),
        "links": [[link["a"][0], link["b"][0]] for link in plan["links"]],
    }
    done = subprocess.run([PYTHON, "-c", _PROGRAM], input=json.dumps(lab), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"Mininet failed: {done.stderr.splitlines()[-1:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures["build"], figures["destroy"]
