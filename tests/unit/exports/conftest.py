"""Times of other simulators are read where somebody has laid them beside the checkout, and nowhere else."""

from tests.unit.importers.conftest import OTHERS

collect_ignore = [] if OTHERS.is_dir() else ["test_times_of_others.py"]
