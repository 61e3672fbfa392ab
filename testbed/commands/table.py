"""The verbs of the command line in their groups, each with its function and an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from testbed.commands import (
    agent,
    broker,
    calibrate,
    campaign,
    cancel,
    capture,
    conformance,
    deploy,
    destroy,
    doctor,
    events,
    execute,
    explain,
    exporting,
    graph,
    headroom,
    images,
    impair,
    importing,
    init,
    inspect,
    link,
    listing,
    profiles,
    replay,
    run,
    save,
    schema,
    sweep,
    validate,
    wait_for,
)


@dataclass(frozen=True)
class Verb:
    """One verb: its name, what carries it out, commands that show it at work, a line each, and whether it asks an agent.

    A verb that asks none takes place on this machine, and a broker that is named for it is an error.
    """

    name: str
    does: Callable[..., Any] | typer.Typer
    example: str
    asks_agent: bool = False
    takes_any: bool = False
    """Arguments that it does not know are another program's, dashes and all."""


VERBS: Mapping[str, tuple[Verb, ...]] = {
    "Run": (
        Verb("init", init.init, "testbed init fabric"),
        Verb(
            "run",
            run.run,
            "testbed run all_reduce -t two-dc -b 1M -e 4M -f 4\n"
            "testbed run incast -t incast -b 1M --set lossless.pfc=false   # exit code 1",
            asks_agent=True,
        ),
        Verb(
            "sweep",
            sweep.run_sweep,
            "testbed sweep incast -t two-dc --over topology.length=1km,80km",
        ),
        Verb(
            "replay",
            replay.replay,
            "testbed replay step.goal -t clos:spines=2,leaves=2,hosts=4 --iterations 3",
            asks_agent=True,
        ),
        Verb("campaign", campaign.run_campaign, "testbed campaign --seeds 2"),
        Verb("cancel", cancel.cancel, "testbed cancel --name two-dc", asks_agent=True),
    ),
    "Lab": (
        Verb("deploy", deploy.deploy, "testbed deploy -t two-dc", asks_agent=True),
        Verb("redeploy", deploy.redeploy, "testbed redeploy -t two-dc", asks_agent=True),
        Verb("inspect", inspect.inspect, "testbed inspect --name two-dc", asks_agent=True),
        Verb("exec", execute.execute, "testbed exec --name two-dc a1 -- ping -c 3 b1", takes_any=True),
        Verb("wait-for", wait_for.wait_for, "testbed wait-for --name two-dc --timeout 60s", asks_agent=True),
        Verb("events", events.events, "testbed events --name two-dc --ports --count 1", asks_agent=True),
        Verb("capture", capture.capture, "testbed capture --name two-dc leaf-a:eth1 -w leaf.pcap --seconds 5"),
        Verb(
            "impair",
            impair.app,
            "testbed impair set --name two-dc border-a:eth2 --delay 2ms --loss 1%",
            asks_agent=True,
        ),
        Verb("images", images.app, "testbed images build"),
        Verb("destroy", destroy.destroy, "testbed destroy --name two-dc", asks_agent=True),
        Verb("save", save.save, "testbed save --name two-dc -o two-dc.yaml", asks_agent=True),
        Verb("graph", graph.graph, "testbed graph -t two-dc --html -o two-dc.html", asks_agent=True),
        Verb(
            "export",
            exporting.app,
            "testbed export hpcc -t two-dc -o topology.txt",
        ),
        Verb(
            "import",
            importing.app,
            "testbed import hpcc topology.txt config.txt -o lab.yaml",
        ),
    ),
    "Check": (
        Verb("validate", validate.validate, "testbed validate --explain two-dc:length=300km"),
        Verb("explain", explain.explain, "testbed explain lossless.headroom"),
        Verb("schema", schema.schema, "testbed schema experiment"),
        Verb("list", listing.list_, "testbed list topologies two-dc"),
        Verb("profiles", profiles.profiles, "testbed profiles 400g-zr"),
        Verb("link", link.link, "testbed link 400g-zr --length 80km --ber 1e-3"),
        Verb("conformance", conformance.conformance, "testbed conformance --list"),
        Verb("headroom", headroom.headroom, "testbed headroom --rate 400G --length 80km --buffer 128MB --ports 2"),
        Verb("calibrate", calibrate.calibrate, "testbed calibrate"),
        Verb("doctor", doctor.doctor, "testbed doctor"),
    ),
    "Share": (
        Verb(
            "agent",
            agent.agent,
            "testbed --broker mqtts://localhost:8883 --credentials lab1.credentials --ca ca.pem agent --name lab1",
            asks_agent=True,
        ),
        Verb("broker", broker.app, "testbed broker up --agent lab1"),
    ),
}
