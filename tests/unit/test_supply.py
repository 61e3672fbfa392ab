"""What the testbed is made of: locked by hash, pinned by digest, and under licences that can be listed."""

import re
from email.message import Message
from pathlib import Path
from typing import cast

import pytest

from testbed.drivers import images
from tools import licences

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_carries_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    logical = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]
    names = [re.match(r"[A-Za-z0-9._-]+==\S+", line) for line in logical]
    assert all(names) and len(names) > 30
    assert [line for line in logical if not re.search(r"--hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_tools_lock_holds_to_what_the_testbed_runs_on() -> None:
    runs, develops = (dict(licences.locked((ROOT / lock).read_text(encoding="utf-8"))) for lock in LOCKS)
    assert {name: develops.get(name) for name in runs} == runs


def test_the_set_up_insists_on_hashes() -> None:
    installs = re.findall(r"pip install .*\.lock", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert installs and all("--require-hashes" in line for line in installs)


def test_images_of_nodes_begin_from_one_digest() -> None:
    name, digest = images.REGISTRY_BASE
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    for path in sorted((ROOT / "containers" / "images").glob("*.Dockerfile")):
        assert f"ARG BASE={name}@{digest}\n" in path.read_text(encoding="utf-8")


def fields(*entries: tuple[str, str]) -> licences.metadata.PackageMetadata:
    message = Message()
    for key, value in entries:
        message[key] = value
    return cast("licences.metadata.PackageMetadata", message)


@pytest.mark.parametrize(
    ("entries", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "something else")], "MIT"),
        ([("License", "Apache 2.0\nand its text")], "Apache 2.0"),
        ([("License", "x" * 61), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD License"),
        ([("Classifier", "License :: A"), ("Classifier", "Topic :: B"), ("Classifier", "License :: C")], "A / C"),
        ([("License", "")], ""),
    ],
)
def test_a_package_states_its_licence_in_one_of_three_places(entries: list[tuple[str, str]], licence: str) -> None:
    assert licences.stated(fields(*entries)) == licence


def test_crates_state_theirs_and_the_own_one_is_left_out() -> None:
    crate = {"version": "1.0", "license_file": None}
    packages = [
        {**crate, "id": "own", "name": "dataplane", "license": None},
        {**crate, "id": "a", "name": "a", "license": "MIT OR Apache-2.0"},
        {**crate, "id": "b", "name": "b", "license": None, "license_file": "LICENCE"},
        {**crate, "id": "c", "name": "c", "license": None},
    ]
    document = licences.json.dumps({"workspace_members": ["own"], "packages": packages})
    assert [(row.name, row.licence) for row in licences.rust_licences(document)] == [
        ("a", "MIT OR Apache-2.0"),
        ("b", "LICENCE"),
        ("c", ""),
    ]


def test_packages_of_npm_are_listed_without_the_project() -> None:
    packages = {
        "": {},
        "node_modules/uplot": {"version": "1.6.32", "license": "MIT"},
        "node_modules/b": {"version": "1"},
    }
    rows = licences.npm_licences(licences.json.dumps({"packages": packages}))
    assert [(row.kind, row.name, row.licence) for row in rows] == [("npm", "uplot", "MIT"), ("npm", "b", "")]


def test_every_dependency_states_a_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main() == 0
    printed = capsys.readouterr().out
    assert re.search(r"^python +numpy +\S+ +BSD", printed, re.MULTILINE)
    assert re.search(r"^rust +serde +\S+ +MIT OR Apache-2.0", printed, re.MULTILINE)
