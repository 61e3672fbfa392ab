"""`make setup`: it says that it goes on, and a build takes no more cores than there is memory for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def with_progress(repo_root: Path) -> Path:
    """Return the script that says how far a silent command is."""
    return repo_root / "tools" / "with-progress"


def test_a_silent_command_is_reported_as_running(with_progress: Path) -> None:
    done = run(with_progress, "building", "sh", "-c", "echo out; sleep 1.5", PERIOD_S="0.5")
    assert (done.returncode, done.stdout) == (0, "out\n")
    first, *between, last = done.stderr.splitlines()
    assert first == "building" and between and last.startswith("building: done in ")
    assert all(line.endswith(" s so far") for line in between)


def test_what_the_command_says_and_its_status_come_through(with_progress: Path) -> None:
    done = run(with_progress, "building", "sh", "-c", "echo broken >&2; exit 7")
    assert (done.returncode, done.stderr.splitlines()) == (7, ["building", "broken"])


BUILDS = {
    "plenty": (16_000, 4, {}, "4", "fat", "4 at a time"),
    "one core": (16_000, 1, {}, "1", "fat", "1 at a time"),
    "memory for two compilers": (1_300, 8, {}, "2", "fat", "2 at a time"),
    "little memory": (700, 8, {}, "1", "off", "only 700 MB of memory are free"),
    "hardly any memory": (100, 8, {}, "1", "off", "only 100 MB of memory are free"),
    "told otherwise": (700, 8, {"CARGO_BUILD_JOBS": "3", "CARGO_PROFILE_RELEASE_LTO": "fat"}, "3", "fat", "3 at"),
}


@pytest.mark.parametrize(("free_mb", "cores", "told", "jobs", "lto", "said"), BUILDS.values(), ids=BUILDS)
def test_a_build_is_made_for_the_machine(
    repo_root: Path, tmp_path: Path, free_mb: int, cores: int, told: dict[str, str], jobs: str, lto: str, said: str
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free_mb * 1024} kB\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (
        ("maturin", 'echo "$CARGO_BUILD_JOBS ${CARGO_PROFILE_RELEASE_LTO:-fat} $*"'),
        ("nproc", f"echo {cores}"),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "MEMINFO": str(meminfo), "CGROUPS": str(tmp_path), **told}
    done = run(repo_root / "tools" / "build-dataplane", str(tmp_path), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{jobs} {lto} develop --release --locked\n"
    assert said in done.stderr.splitlines()[0]


def test_a_limit_of_the_control_group_counts(repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    maturin = tmp_path / "bin" / "maturin"
    maturin.write_text('#!/bin/sh\necho "$CARGO_BUILD_JOBS"\n')
    maturin.chmod(0o755)
    (tmp_path / "memory.max").write_text(f"{2000 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{1700 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"active_file 5\ninactive_file {300 << 20}\n")
    done = run(repo_root / "tools" / "build-dataplane", str(tmp_path), CGROUPS=str(tmp_path))
    assert done.stdout == "1\n" and "only 600 MB" in done.stderr


def test_a_wheel_for_publishing_is_built_by_what_runs_count(repo_root: Path, tmp_path: Path) -> None:
    """Twice: with counters, and by a profile in which what did not run is left out."""
    profdata = tmp_path / "sysroot/lib/rustlib/here/bin/llvm-profdata"
    log = tmp_path / "log"
    stubs = {
        tmp_path / "path/rustc": f'[ "$1" = -vV ] && echo "host: here" || echo {tmp_path}/sysroot',
        tmp_path / "venv/bin/maturin": f'echo "$RUSTFLAGS build $*" >> {log}',
        tmp_path / "venv/bin/python": f'echo "${{PYTHONPATH%%:*}} python $*" >> {log}',
        profdata: f'echo "llvm-profdata $*" >> {log}',
    }
    for path, text in stubs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/path:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    arguments = (str(tmp_path / "venv"), "out")
    done = run(repo_root / "tools" / "pgo-wheel", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    count, unpack, train, merge, use = log.read_text().splitlines()
    work = count.split("=")[1].split("/counts")[0]
    build = "build build --quiet --release --locked --target here --out"
    assert count == f"-Cprofile-generate={work}/counts {build} {work}/counting"
    assert unpack.endswith(f" -m zipfile -e {work}/counting/*.whl {work}/site")
    assert train == f"{work}/site python -P -m bench.training"
    assert merge == f"llvm-profdata merge --sparse --output {work}/profile {work}/counts"
    assert use == f"-Cprofile-use={work}/profile {build} out"
    assert not Path(work).exists()
    profdata.unlink()
    done = run(repo_root / "tools" / "pgo-wheel", *arguments, **environment)
    assert done.returncode == 3 and done.stderr.endswith("llvm-profdata: rustup component add llvm-tools\n")
