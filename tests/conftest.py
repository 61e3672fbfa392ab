"""What every test shares: the checkout, the command line, who may run live tests, and no silent skips."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
LIVE_FOLDERS = (ROOT / "tests" / "live", ROOT / "tests" / "parity", ROOT / "tests" / "docker")
IN_CI = bool(os.environ.get("CI"))
IS_ROOT = os.geteuid() == 0
DESELECTED = pytest.StashKey[int]()

# A shared machine is slow at times, so examples have no deadline; in CI the same examples are drawn every time.
settings.register_profile("testbed", deadline=None, derandomize=IN_CI, print_blob=True)
settings.load_profile("testbed")


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def no_kept_points(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let each test keep points of its own: none takes those of another, or of the user."""
    directory = tmp_path_factory.getbasetemp() / f"points-{secrets.token_hex(8)}"
    monkeypatch.setenv("TESTBED_CACHE", str(directory))


@pytest.fixture(scope="session")
def require_root() -> None:
    """Fail unless root runs the tests; a test that asks for this fixture counts as live."""
    if not IS_ROOT:
        pytest.fail("this test makes network namespaces and needs root")


@pytest.fixture(scope="session")
def run_testbed() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `testbed ARGUMENTS…` and returns the completed process, output as text."""

    def run(*arguments: str, cwd: Path = ROOT, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        code = "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s)

    return run


@pytest.fixture
def call_testbed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function like that of `run_testbed` which stays in this process, in a directory of its own.

    It saves the second that an interpreter takes to start.
    """
    from testbed.cli import main

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["testbed", *arguments])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as ending:
            code = int(ending.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        output = capsys.readouterr()
        return subprocess.CompletedProcess(["testbed", *arguments], code, output.out, output.err)

    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark live tests; without root deselect them, or refuse to go on if this is CI."""
    for item in items:
        below_live = any(item.path.is_relative_to(folder) for folder in LIVE_FOLDERS)
        if below_live or "require_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.live)
    live = [item for item in items if item.get_closest_marker("live")]
    if IS_ROOT or not live:
        return
    if IN_CI:
        raise pytest.UsageError(f"{len(live)} live tests need root, and CI leaves none out: run it as root")
    items[:] = [item for item in items if not item.get_closest_marker("live")]
    config.stash[DESELECTED] = len(live)
    config.hook.pytest_deselected(items=live)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Return in one line which tests were left out."""
    count = config.stash.get(DESELECTED, 0)
    return [f"{count} live tests left out: they make network namespaces and need root"] if count else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure in CI."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failure in CI."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
