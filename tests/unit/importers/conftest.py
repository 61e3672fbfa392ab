"""Files of other projects are no part of this one: tests on them run where somebody has laid them beside the checkout."""

from tests.conftest import ROOT

OTHERS = ROOT.parent / "shared" / "data"
collect_ignore = [] if OTHERS.is_dir() else ["test_files_of_others.py"]


def pytest_report_header() -> str:
    """Return whether the files are there."""
    return f"files of other projects: {OTHERS if OTHERS.is_dir() else 'none, so that tests on them are left out'}"
