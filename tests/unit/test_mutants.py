"""What `make mutants` breaks, and the tests that must notice, are there."""

from pathlib import Path

from tools import mutants


def test_modules_and_their_tests_are_there(repo_root: Path) -> None:
    for subject in mutants.SUBJECTS:
        assert (repo_root / subject.module).is_file(), subject.module
        crate = [f"dataplane/tests/{name.removeprefix('--test=')}.rs" for name in subject.tests if "--test=" in name]
        files = [*crate, *(name for name in subject.tests if not name.startswith("--"))]
        assert all((repo_root / name).is_file() for name in files), subject


def test_every_file_of_the_real_clock_is_among_them(repo_root: Path) -> None:
    known = {subject.module for subject in mutants.SUBJECTS}
    files = (repo_root / "dataplane" / "src" / "clock" / "real").glob("*.rs")
    assert {file.relative_to(repo_root).as_posix() for file in files} <= known
