"""The wheel is whole: installed alone in a clean environment it brings every package, its data and the command."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

LINKED = ("traffic", "topologies", "containers")
"""Folders at the top of the repository that are packages of testbed."""
BUILD_TIMEOUT_S = 900

# The first build compiles the data plane, unless `make setup` has just done so.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT_S + 60)


def call(*command: str | Path, cwd: Path, timeout_s: float = 120) -> str:
    """Run a command, return its output, and fail with all it said if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked", "--out", folder)
    call(*command, cwd=repo_root, timeout_s=BUILD_TIMEOUT_S)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own; return that environment's Python.

    Dependencies come from the environment of the tests by a .pth line. Python does not read .pth files found that
    way, so an editable install of the checkout over there has no effect here.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    call(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def tracked_files(repo_root: Path) -> set[str]:
    """Return every file of the package that belongs to the project, by its path in the wheel."""
    command = ("git", "-c", "safe.directory=*", "ls-files", "-z", "testbed", *LINKED)
    names = set(filter(None, call(*command, cwd=repo_root).split("\0")))
    links = {f"testbed/{folder}" for folder in LINKED}
    assert links < names
    return {f"testbed/{name}" if name.split("/")[0] in LINKED else name for name in names - links}


def test_wheel_holds_every_tracked_file(wheel: Path, repo_root: Path) -> None:
    tracked = tracked_files(repo_root)
    held = set(zipfile.ZipFile(wheel).namelist())
    assert tracked - held == set()
    assert "testbed/_dataplane.abi3.so" in held
    strays = {name for name in held - tracked if ".dist-info/" not in name}
    assert strays == {"testbed/_dataplane.abi3.so"}


def test_wheel_installs_one_package(wheel: Path) -> None:
    """Names such as `traffic` belong to other people's packages, and either would overwrite the other."""
    folders = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"testbed"}
    assert wheel.name.startswith("lossless_testbed-")


def test_wheel_fits_every_python_from_3_11(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name


def test_data_files_are_read_as_resources(python: Path, repo_root: Path, tmp_path: Path) -> None:
    names = sorted(name for name in tracked_files(repo_root) if not name.endswith(".py"))
    assert names
    code = """
import importlib.resources, sys
for name in sys.argv[1:]:
    package, _, path = name.partition("/")
    resource = importlib.resources.files(package).joinpath(path)
    print(len(resource.read_bytes()), name)
"""
    expected = [f"{(repo_root / name).stat().st_size} {name}" for name in names]
    assert call(python, "-I", "-c", code, *names, cwd=tmp_path).splitlines() == expected


def test_nothing_is_imported_from_the_checkout(python: Path, tmp_path: Path) -> None:
    code = """
import pkgutil, importlib, testbed
print(testbed.__file__)
for module in pkgutil.walk_packages(testbed.__path__, "testbed."):
    if not module.name.endswith("__main__"):
        print(importlib.import_module(module.name).__file__)
"""
    origins = [Path(line) for line in call(python, "-I", "-c", code, cwd=tmp_path).splitlines()]
    environment = python.parent.parent
    assert len(origins) > 100
    assert [path for path in origins if not path.is_relative_to(environment)] == []


def test_command_runs_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    usage = call(python.parent / "testbed", "--help", cwd=tmp_path)
    assert "run" in usage
    assert "destroy" in usage


def test_dependencies_are_met(python: Path, tmp_path: Path) -> None:
    options = ("--disable-pip-version-check", "--python", str(python))
    assert "No broken requirements" in call(sys.executable, "-m", "pip", *options, "check", cwd=tmp_path)


def test_stub_tells_the_truth(python: Path, tmp_path: Path) -> None:
    """The hand-written stub of the data plane agrees with the compiled module."""
    call(python, "-m", "mypy.stubtest", "testbed._dataplane", cwd=tmp_path)


def test_the_starter_project_passes_from_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    """Its README's commands run in order, without the checkout; what it installs is installed already."""
    call(python.parent / "testbed", "init", "fabric", cwd=tmp_path)
    project = tmp_path / "fabric"
    _, block, *_ = (project / "README.md").read_text().split("```")
    install, *commands = block.splitlines()[1:]
    assert install.startswith("pip install ") and "python -m pytest" in commands
    for command in commands:
        program, *arguments = command.split()
        call(python.parent / program, *arguments, cwd=project)


def test_the_sixty_seconds_of_readme_pass_from_the_wheel_alone(python: Path, repo_root: Path, tmp_path: Path) -> None:
    page = (repo_root / "README.md").read_text(encoding="utf-8")
    section = page[page.index("## Sixty seconds") : page.index("## What it answers")]
    _, block, *_ = section.split("```")
    (command,) = block.splitlines()[1:]
    program, *arguments = command.split()
    assert "PASSED" in call(python.parent / program, *arguments, cwd=tmp_path)
