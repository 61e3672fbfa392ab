"""The verbs of the command line in their groups, each with where its function stands, what it does, and an example.

A verb is imported when it is called for: all of them together take most of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer


@dataclass(frozen=True)
class Verb:
    """One verb: its name, function and line in `--help`, commands that show it at work, and whether it asks an agent.

    The function is `module:name` below `testbed.commands`, and the sentence is the first paragraph of its docstring. A verb that
    asks no agent takes place on this machine, and a broker that is named for it is an error.
    """

    name: str
    function: str
    sentence: str
    example: str
    """A command a line."""
    asks_agent: bool = False
    takes_any: bool = False
    """Arguments that it does not know are another program's, dashes and all."""

    def load(self) -> Callable[..., Any] | typer.Typer:
        """Import what carries the verb out: a function, or a command with verbs below it."""
        module, _, name = self.function.partition(":")
        function: Callable[..., Any] | typer.Typer = getattr(import_module(f"testbed.commands.{module}"), name)
        return function


VERBS: Mapping[str, tuple[Verb, ...]] = {
    "Run": (
        Verb(
            "init",
            "init:init",
            "Write a project to start from: a lab, an experiment, a test for pytest, and workflow files for two CI systems.",
            "testbed init fabric",
        ),
        Verb(
            "run",
            "run:run",
            "Run an experiment, or one collective on a lab, and judge it.",
            "testbed run all_reduce -t two-dc -b 1M -e 4M -f 4\n"
            "testbed run incast -t incast -b 1M --set lossless.pfc=false   # exit code 1",
            asks_agent=True,
        ),
        Verb(
            "sweep",
            "sweep:run_sweep",
            "Run an experiment under every combination of some settings, and say which wins where (virtual clock).",
            "testbed sweep incast -t two-dc --over topology.length=1km,80km",
        ),
        Verb(
            "search",
            "search:run_search",
            "Search for the least or greatest value under which conditions hold: by bisection, or by optuna (virtual clock).",
            "testbed search incast -t two-dc --maximise topology.length --between 1km:99km",
        ),
        Verb(
            "report",
            "report:report",
            "Write results as one HTML page that needs no network: verdict, pictures, tables; several runs side by side.",
            "testbed run all_reduce -t two-dc -b 1M --out ring\ntestbed report ring -o ring.html",
        ),
        Verb(
            "replay",
            "replay:replay",
            "Replay traces of applications as jobs on a lab: what ranks computed, sent and received, and their collectives.",
            "testbed replay step.goal -t clos:spines=2,leaves=2,hosts=4 --iterations 3",
            asks_agent=True,
        ),
        Verb(
            "schedule",
            "schedule:schedule",
            "Try policies that place, shift and prioritise the jobs of an experiment, the best first (virtual clock).",
            "testbed schedule jobs-on-rails --policy packed,by-rail,random",
        ),
        Verb(
            "campaign",
            "campaign:run_campaign",
            "Run random labs, workloads and faults, and check what must always hold (virtual clock).",
            "testbed campaign --seeds 2",
        ),
        Verb(
            "cancel",
            "cancel:cancel",
            "End the run on a lab, whoever started it; the lab stays up.",
            "testbed cancel --name two-dc",
            asks_agent=True,
        ),
    ),
    "Lab": (
        Verb(
            "deploy",
            "deploy:deploy",
            "Bring a lab up under the real clock, and leave it up; one that is up is changed where it differs, and only there.",
            "testbed deploy -t two-dc",
            asks_agent=True,
        ),
        Verb(
            "redeploy",
            "deploy:redeploy",
            "Take a lab down, if it is up, and bring it up anew.",
            "testbed redeploy -t two-dc",
            asks_agent=True,
        ),
        Verb(
            "inspect",
            "inspect:inspect",
            "Show labs with their state, nodes and addresses; for one lab also the live figures of its ports.",
            "testbed inspect --name two-dc",
            asks_agent=True,
        ),
        Verb(
            "exec",
            "execute:execute",
            "Run a program in a node, with this terminal's input and output, and exit with its status; 127 if there is none.",
            "testbed exec --name two-dc a1 -- ping -c 3 b1",
            takes_any=True,
        ),
        Verb(
            "hostfile",
            "hostfile:hostfile",
            "Print the hosts of a lab that is up, in the order of their ranks, as a launcher of parallel programs reads them.",
            "testbed hostfile --name two-dc mpich",
        ),
        Verb(
            "wait-for",
            "wait_for:wait_for",
            "Wait until every node of a lab is healthy (or one is unhealthy, or all are gone); "
            "exit code 1 if that takes too long.",
            "testbed wait-for --name two-dc --timeout 60s",
            asks_agent=True,
        ),
        Verb(
            "events",
            "events:events",
            "Follow a lab until Ctrl-C: what is done to it, its progress, losses and fidelity.",
            "testbed events --name two-dc --ports --count 1",
            asks_agent=True,
        ),
        Verb(
            "capture",
            "capture:capture",
            "Write what crosses links, both ways, into a pcapng file, until Ctrl-C. Each end of a link is an interface of it.",
            "testbed capture --name two-dc leaf-a:eth1 -w leaf.pcap --seconds 5",
        ),
        Verb(
            "destroy",
            "destroy:destroy",
            "Take a lab down, or all of them; touches nothing that is not the testbed's.",
            "testbed destroy --name two-dc",
            asks_agent=True,
        ),
        Verb(
            "save",
            "save:save",
            "Write the lab file of a running lab, with the commands that deployed it and changed it by hand.",
            "testbed save --name two-dc -o two-dc.yaml",
            asks_agent=True,
        ),
        Verb(
            "graph",
            "graph:graph",
            "Draw a lab: hosts, switches by their distance from hosts, sites, and what each link is.",
            "testbed graph -t two-dc --html -o two-dc.html",
            asks_agent=True,
        ),
        Verb(
            "impair",
            "impair:app",
            "Change, show or reset the link at a port of a running lab.",
            "testbed impair set --name two-dc border-a:eth2 --delay 2ms --loss 1%",
            asks_agent=True,
        ),
        Verb("images", "images:app", "Build the images of nodes, for labs of containers.", "testbed images build"),
        Verb(
            "export",
            "exporting:app",
            "Write a lab, a workload or a result in a format of another tool.",
            "testbed export hpcc -t two-dc -o topology.txt",
        ),
        Verb(
            "import",
            "importing:app",
            "Read a file of another tool as a lab.",
            "testbed import hpcc topology.txt config.txt -o lab.yaml",
        ),
    ),
    "Check": (
        Verb(
            "validate",
            "validate:validate",
            "Check labs and experiments as `run` does before it starts; name file, line and key of every fault.",
            "testbed validate --explain two-dc:length=300km",
        ),
        Verb(
            "explain",
            "explain:explain",
            "Explain a key of a lab file or an experiment: what it means, what it holds, and its default.",
            "testbed explain lossless.headroom",
        ),
        Verb(
            "schema",
            "schema:schema",
            "Print the JSON Schema of lab files, experiment files, run.json, or what agents tell of labs.",
            "testbed schema run",
        ),
        Verb(
            "list",
            "listing:list_",
            "List topologies, collectives, link profiles, media, switches, policies or settings, or show one in full.",
            "testbed list topologies two-dc",
        ),
        Verb(
            "profiles",
            "profiles:profiles",
            "List the optical profiles that links can have, or show one in full.",
            "testbed profiles 400g-zr",
        ),
        Verb(
            "link",
            "link:link",
            "Show what a link does: rate, delay and its terms, BER, codeword failure, frame loss, OSNR.",
            "testbed link 400g-zr --length 80km --ber 1e-3",
        ),
        Verb(
            "conformance",
            "conformance:conformance",
            "Test switches, case by case: with -t those of a lab, with its settings and links, else one made for each case.",
            "testbed conformance --list",
        ),
        Verb(
            "otg",
            "otg:otg",
            "Serve the Open Traffic Generator API: scripts of snappi configure and run traffic on a lab's hosts.",
            "testbed otg -t clos --http",
        ),
        Verb(
            "dut",
            "dut:dut",
            "Show counters, watermarks and buffers of a switch of a served lab, under the columns of SONiC's commands.",
            "testbed dut --server http://127.0.0.1:8443 show pfc counters",
        ),
        Verb(
            "headroom",
            "headroom:headroom",
            "Add up the headroom of a lossless priority, and say how far a buffer reaches; exit code 1 where it is short.",
            "testbed headroom --rate 400G --length 80km --buffer 128MB --ports 2",
        ),
        Verb(
            "calibrate",
            "calibrate:calibrate",
            "Measure how many frames this machine forwards and how late; --dilation auto is chosen from it.",
            "testbed calibrate",
        ),
        Verb(
            "doctor",
            "doctor:doctor",
            "Examine this machine; exit with 3 if it cannot run labs under the real clock.",
            "testbed doctor",
        ),
    ),
    "Share": (
        Verb(
            "agent",
            "agent:agent",
            "Own the labs of this machine and serve them on a broker. Other commands start a local agent by themselves.",
            "testbed --broker mqtts://localhost:8883 --credentials lab1.credentials --ca ca.pem agent --name lab1",
            asks_agent=True,
        ),
        Verb(
            "broker",
            "broker:app",
            "Start, show and stop a mosquitto with TLS, users and access control, for agents, controllers and readers.",
            "testbed broker up --agent lab1",
        ),
        Verb(
            "dashboard",
            "dashboard:dashboard",
            "Write a page that shows labs as they run: topology, pauses, queues, progress, events, losses.",
            "testbed dashboard --broker wss://lab1.example:9883",
        ),
    ),
}
