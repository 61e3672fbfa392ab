"""What a trial imports: policies of scheduling only where an experiment has jobs."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.run.trial import Trial
from testbed.schema.source import parse_yaml

trial = Trial(experiment_from(parse_yaml(sys.argv[1], "e.yaml", ExperimentError)), load_lab("pair"))
print(len(trial.plan["nodes"]), "testbed.scheduling.schedule" in sys.modules)
"""
JOBS = "topology: pair\njobs:\n  - {name: one, ranks: [h1, h2], program: [{send: 1MB, from: 0, to: 1}]}\n"


@pytest.mark.parametrize(
    ("text", "imported"), [("topology: pair\nworkload: {collective: all_reduce}\n", "False"), (JOBS, "True")]
)
def test_policies_are_imported_for_jobs_alone(text: str, imported: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", imported]
