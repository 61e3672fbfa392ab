"""The documents that pass between Python and the data plane: a TypedDict for each node, a sentence for each key.

The data plane reads them into structs of its own, which refuse unknown keys, and writes what it gives back from others.
`dataplane/contract.schema.json` and `dataplane/reports.schema.json` are derived from those, and
tests/unit/plan/test_contract.py holds both sides to each other. Integers throughout: `_ps` picoseconds, `_bytes` bytes, `_bps`
bit/s. Indices refer to positions in the lists of the same document. docs/internals/plan.md is made of this package. It imports
nothing of testbed, so that whoever reads a document can name its type.
"""

from testbed.contract.meters import PortMeters
from testbed.contract.pauses import Pauses
from testbed.contract.plan import Attachment, Change, Participants, Plan, SeriesPlan, Statistics
from testbed.contract.report import Loss, Report, Telemetry
from testbed.contract.train import Train
from testbed.contract.workload import Workload

ROOTS = (Plan, Workload, Change, Train, Attachment, Participants, Statistics, SeriesPlan)
"""The documents that the data plane reads; each of the others is part of one."""

REPORTS = (Report, Telemetry, Pauses, Loss, PortMeters)
"""Those that it writes."""
