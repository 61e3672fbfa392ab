"""When a watchdog detects a storm and lets go of it, against SONiC's rule: within the time asked for and one poll more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from
from testbed.run.trial import Trial
from testbed.schema.source import Source
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import PFC_WIRE_BYTES, PS, finish, flows_to_last, loaded_fabric, star

US, MS = 10**6, 10**9
GBPS = 10
FLIGHT_PS = 1 * US
PAUSE_PS = PFC_WIRE_BYTES * 8000 // GBPS + FLIGHT_PS
RESPONSE_PS = 60 * 512 * 1000 // GBPS  # quanta in which a port of 10G may still start frames (IEEE 802.3)


@dataclass(frozen=True)
class Setting:
    """What the watchdog is told, and when a storm begins and how long it lasts; all in us."""

    detection: int
    restoration: int
    poll: int
    begins: int
    lasts: int


def expect(setting: Setting) -> Figures:
    """Return after how many ms a look at whole multiples of the poll time finds the storm, and then the quiet."""
    paused, quiet = _paused(setting), _quiet(setting)
    detected = _look(paused + setting.detection * US, setting) - paused
    restored = _look(quiet + setting.restoration * US, setting) - quiet
    return {"detected": detected / MS, "late": 0.5, "restored": restored / MS, "slow": 0.5}


def _paused(setting: Setting) -> int:
    """Return since when the port is paused: the frame is there, and the port has stopped."""
    return setting.begins * US + PAUSE_PS + RESPONSE_PS


def _quiet(setting: Setting) -> int:
    """Return since when no pause is asked for: the XON with which the storm ends is there."""
    return (setting.begins + setting.lasts) * US + PAUSE_PS


def _look(after: int, setting: Setting) -> int:
    return (after // (setting.poll * US) + 1) * setting.poll * US


def measure(setting: Setting) -> Measured:
    """Send to a host that storms, and ask the switch when it detected that and when it restored the port."""
    storm = {"at": f"{setting.begins}us", "node": "r1", "storm": {}, "for": f"{setting.lasts}us"}
    times = {"detection": setting.detection, "restoration": setting.restoration, "poll": setting.poll}
    watchdog = {name: f"{time}us" for name, time in times.items()} | {"action": "forward"}
    lab = lab_from(Source("lab", star(dict.fromkeys(("s1", "r1"), "1us"), dict.fromkeys(("s1", "r1"), f"{GBPS}G"))))
    data = {
        "topology": "star",
        "lossless": {"watchdog": watchdog},
        "transport": {"window": "4MiB", "timeout": 20},
        "workload": {"collective": "incast", "payload": False},
        "timeline": [storm],
    }
    trial = Trial(experiment_from(Source("experiment", data)), lab)
    end_ps = (setting.begins + setting.lasts + setting.restoration + 2 * setting.poll) * US
    fabric = loaded_fabric(trial, flows_to_last(1, end_ps * GBPS * 10**9 // 8 // PS))
    fabric.impair(json.dumps(trial.changes))
    report = finish(fabric)
    assert report["complete"] and report["violations"] == [] and report["drops"]["lossless"] == 0
    (caught,) = report["watchdog"]
    assert caught["port"] == "sw:eth2"
    detected, restored = caught["detected_ps"] - _paused(setting), caught["restored_ps"] - _quiet(setting)
    return Measured(
        {
            "detected": detected / MS,
            "late": (detected / US - setting.detection) / setting.poll,
            "restored": restored / MS,
            "slow": (restored / US - setting.restoration) / setting.poll,
        }
    )


def _cases() -> Iterator[Case]:
    for detection, restoration, poll in ((200_000, 200_000, 200_000), (2_000, 3_000, 1_000)):
        for share in (0, 0.1, 0.5, 0.9, 0.998):
            setting = Setting(detection, restoration, poll, round(share * poll) + 1, detection + round(1.7 * poll))
            times = (f"{time / 1000:g}" for time in (detection, restoration, poll, setting.begins))
            yield Case(tuple(times), setting, quick=poll == 1_000)


LATE = "late, polls"

TOPIC = Topic(
    name="watchdog",
    title="The watchdog: when it detects and restores",
    text="""\
A host that pauses its switch without a break, and a watchdog that looks at whole multiples of its poll time, with SONiC's
default times and with short ones; storms that begin at other points of a poll. It must detect within
(T_detect, T_detect + T_poll] of the moment when the port has stopped, and restore within (T_restore, T_restore + T_poll] of
the moment when no pause is asked for any more: from 0 to 1 polls late, and at the very look that is expected.""",
    source="SONiC's watchdog: times and window",
    axes=("T_detect, ms", "T_restore, ms", "T_poll, ms", "begins, ms"),
    quantities=(
        Quantity("detected", "detected after, ms", 0.001, absolute=True),
        Quantity("late", LATE, 0.5, absolute=True),
        Quantity("restored", "restored after, ms", 0.001, absolute=True),
        Quantity("slow", LATE, 0.5, absolute=True),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
)
