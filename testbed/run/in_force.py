"""What the settings of a run came to: everything that could be left to `auto`, and what each link does.

Pure: read off the lab, the experiment and the compiled plan. Times are in ns, as everywhere in run.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from testbed.contract import plan as contract
from testbed.contract.plan import Host, Plan, hosts_of, receivers_of, switches_of
from testbed.contract.workload import Transport
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab, Link, Switch
from testbed.optics.behaviour import LinkBehaviour
from testbed.schema.fields import AUTO

Document = dict[str, Any]
GIVEN, SHARE = "given", "share"
_PER_SWITCH = (
    "buffer_bytes",
    "cell_bytes",
    "pool_bytes",
    "headroom_pool_bytes",
    "lossy_queue_bytes",
    "lossy_alpha_log2",
    "lossy_reserve_bytes",
    "lossy_pool_bytes",
    "ecn",
    "queue_ecn",
)


def settings(lab: Lab, experiment: Experiment, plan: Plan, transport: Transport, dilation: int) -> Document:
    """Return every setting that may be `auto` as {"value", "from"}, `from` being auto, given, or share of what auto is.

    Dilation is that of the run; under the virtual clock, where there is none, it is from `virtual clock`.
    """
    given = experiment.transport
    slowed = _figure(dilation, experiment.dilation == AUTO)
    return {
        "dilation": slowed if experiment.clock == "real" else {"value": dilation, "from": "virtual clock"},
        "window_bytes": _figure(transport["window_bytes"], given.window == AUTO),
        "timeout_ns": _figure(transport["timeout_ps"] / 1000, given.timeout == AUTO),
        "transport": _in_ns(transport),
        "switches": {
            switch.name: _switch(switch, experiment, node)
            for switch, node in zip(lab.switches, switches_of(plan), strict=True)
        },
        "receivers": {
            _receiver(host, port): dict(held) for host in hosts_of(plan) for port, held in receivers_of(host)
        },
        "credits": _credits(lab, experiment, plan),
    }


def _receiver(host: Host, port: str) -> str:
    return host["name"] if len(host["ports"]) == 1 else f"{host['name']}:{port}"


def links(lab: Lab) -> list[Document]:
    """Return what each link does, in the order of the lab; `optics` is null for a link without a profile."""
    return [_link(link, lab.behaviour(link)) for link in lab.links]


def optics(behaviour: LinkBehaviour, frame_bytes: int) -> Document:
    """Return the figures of a link with a profile, `frame_loss` being that of a frame so long with its FCS."""
    figures = behaviour.as_json()
    kept = (
        "profile",
        "up",
        "rate_bps",
        "nominal_rate_bps",
        "lanes_down",
        "ber",
        "margin_db",
        "osnr_db",
        "required_osnr_db",
        "power_w",
    )
    loss = behaviour.frame_loss(frame_bytes)
    return {
        **{key: figures[key] for key in kept},
        "codeword_failure": behaviour.block_failure,
        "frame_bytes": frame_bytes,
        "frame_loss": None if math.isnan(loss) else loss,
        "gnpy": figures["line"],
        "delay_terms_ns": {
            "flight": behaviour.flight_ps / 1000,
            "fec": behaviour.fec_ps / 1000,
            "dsp": behaviour.dsp_ps / 1000,
        },
    }


def _figure(value: float, auto: bool) -> Document:
    return {"value": value, "from": AUTO if auto else GIVEN}


def _in_ns(value: Any) -> Any:
    """Return plan data with its times in ns."""
    if not isinstance(value, Mapping):
        return value
    return {
        key.removesuffix("_ps") + "_ns" if key.endswith("_ps") else key: item / 1000
        if key.endswith("_ps")
        else _in_ns(item)
        for key, item in value.items()
    }


def _switch(switch: Switch, experiment: Experiment, node: contract.Switch) -> Document:
    lossless = experiment.lossless

    def sources(port: str, priority: int) -> Document:
        figures = switch.group(port, priority)
        static = isinstance(lossless.xoff, int) or figures.xoff_bytes is not None
        headroom = AUTO if figures.headroom_bytes is None else GIVEN
        if lossless.headroom != AUTO:
            headroom = GIVEN if isinstance(lossless.headroom, int) else SHARE
        return {"xoff_from": GIVEN if static else AUTO, "headroom_from": headroom}

    # A group without headroom holds credits.
    groups = [
        {
            **group,
            "port": node["ports"][group["port"]]["name"],
            "response_ns": node["ports"][group["port"]]["response_ps"] / 1000,
            **sources(node["ports"][group["port"]]["name"], group["priority"]),
        }
        for group in node["priority_groups"]
        if group["headroom_bytes"]
    ]
    depth = AUTO if switch.buffer_bytes is None else GIVEN
    keys = dict(node.items())
    return {
        **{key: keys[key] for key in _PER_SWITCH if key in keys},
        "buffer_from": depth,
        "groups": groups,
    }


def _credits(lab: Lab, experiment: Experiment, plan: Plan) -> list[Document]:
    rows = []
    for link, planned in zip(lab.links, plan["links"], strict=True):
        auto = experiment.lossless.credits == AUTO and link.credits_bytes is None
        for receiver, grants in zip((link.b, link.a), planned.get("credits", ((), ())), strict=True):
            rows += [
                {
                    "granted_by": str(receiver),
                    "priority": grant["priority"],
                    **_figure(grant["blocks"] * grant["block_bytes"], auto),
                    "block_bytes": grant["block_bytes"],
                    "update_blocks": grant["update_blocks"],
                }
                for grant in grants
            ]
    return rows


def _link(link: Link, behaviour: LinkBehaviour | None) -> Document:
    process = link.loss_process
    derived = process.frame_loss(link.frame_bytes) if process is not None else 0.0
    return {
        "link": f"{link.a} - {link.b}",
        "rate_bps": link.rate_bps,
        "carrier": link.carrier,
        "length_m": None if link.length_mm is None else link.length_mm / 1000,
        "delay_ns": link.delay_ps / 1000,
        "frame_bytes": link.frame_bytes,
        "frame_loss": [given or derived for given in link.loss],
        "optics": None if behaviour is None else optics(behaviour, link.frame_bytes),
    }
