"""The rules that conftest.py enforces on the tests themselves: no skip passes CI, live tests need root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "test_call.py": "import pytest\ndef test_it():\n    pytest.skip('too hard')\n",
    "test_mark.py": "import pytest\n@pytest.mark.skipif(True, reason='too hard')\ndef test_it():\n    pass\n",
    "test_module.py": "import pytest\npytest.skip('too hard', allow_module_level=True)\n",
}
LIVE = {
    "test_mark.py": "import pytest\n@pytest.mark.live\ndef test_it():\n    pass\ndef test_other():\n    pass\n",
    "test_fixture.py": "def test_it(require_root):\n    pass\n",
    "live/test_folder.py": "def test_it():\n    pass\n",
}

# What is run, whether in CI, by which user id → exit code, and what the output says.
CASES = [
    (SKIPS, False, 0, 0, "3 skipped"),
    (SKIPS, True, 0, 1, "1 failed, 2 errors"),
    (LIVE, True, 0, 0, "4 passed"),
    (LIVE, False, 1000, 0, "3 live tests left out"),
    (LIVE, True, 1000, 4, "CI leaves none out"),
]


@pytest.mark.parametrize(("files", "in_ci", "user", "exit_code", "said"), CASES)
def test_rule(
    files: dict[str, str],
    in_ci: bool,
    user: int,
    exit_code: int,
    said: str,
    repo_root: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tests"
    (folder / "live").mkdir(parents=True)
    shutil.copy(repo_root / "tests" / "conftest.py", folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    live: needs root\n")
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "--continue-on-collection-errors", "tests"]
    code = f"import os, sys, pytest; os.geteuid = lambda: {user}; sys.exit(pytest.main({options}))"
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({"CI": "1"} if in_ci else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr, done.stdout + done.stderr
