"""The targets by name."""

from __future__ import annotations

from tools.fuzz.bus import BUS
from tools.fuzz.captures import CAPTURES
from tools.fuzz.files import YAML_FILES
from tools.fuzz.frames import FRAMES
from tools.fuzz.importers import IMPORTERS
from tools.fuzz.plans import PLANS
from tools.fuzz.replay import TRACES
from tools.fuzz.target import Target

_ALL = (YAML_FILES, PLANS, BUS, FRAMES, CAPTURES, *IMPORTERS, *TRACES)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
