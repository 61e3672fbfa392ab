"""The code's own rules, each a row of a table: sizes, direction of dependencies, words that do not belong."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILE_LINES = 450
FUNCTION_LINES = 70

# Module (and all below it) → what it must not import. The pure ones compute from their arguments alone.
EDGE = (
    "testbed.cli",
    "testbed.start",
    "testbed.api",
    "testbed.pytest_plugin",
    "testbed.report.run",
    "testbed.report.sweep",
    "bench",
    "validation",
)
CONTROLLER = (*EDGE, "testbed.control.verbs")
AGENT = (
    "testbed.agent.service",
    "testbed.agent.ledger",
    "testbed.agent.captures",
    "testbed.bus.admission",
    "testbed.bus.mosquitto",
    "testbed.agent.local",
    "testbed.agent.owner",
    "testbed.agent.inspection",
    "testbed.agent.data_plane",
    "testbed.agent.lab",
    "testbed.agent.telemetry",
    "testbed.bus.client",
    "testbed.bus.embedded",
    "testbed.bus.client.messages",
)
SYSTEM = (
    "testbed.drivers",
    "testbed.system.namespaces",
    "testbed.system.netlink",
    "testbed.system.vxlan",
    "testbed.system.qdisc",
    "testbed.system.netem",
    "testbed.system.offloads",
    "testbed.agent.privileges",
    "testbed._dataplane",
)
# All of the suite but what opens fabrics.
CONFORMANCE = sorted(
    path.stem for path in (ROOT / "testbed" / "conformance").glob("*.py") if path.stem not in ("__init__", "engines")
)
PURE_MODULES = [
    "units",
    "errors",
    "yaml_source",
    "models",
    "lab_checks",
    "deadlock",
    "difference",
    "lab_routes",
    "paths",
    "fec",
    "loss",
    "lanes",
    "profiles",
    "optics",
    "dwdm",
    "link_optics",
    "switch_settings",
    "topology",
    "endpoints",
    "lab_file",
    "container_settings",
    "congestion",
    "axes",
    "drawn",
    "drawn_faults",
    "drawn_labs",
    "experiment",
    "transport",
    "expectations",
    "expectation_names",
    "addressing",
    "headroom",
    "headroom_models",
    "headroom_tables",
    "headroom_choice",
    "in_force",
    "hints",
    "queues",
    "headroom_comparison",
    "routing",
    "credits",
    "intake",
    "thresholds",
    "lossy_queues",
    "watchdog",
    "storms",
    "plan",
    "plan_check",
    "placement",
    "combined",
    "workload",
    "observed",
    "fidelity",
    "counters",
    "result",
    "execution",
    "flows",
    "energy",
    "ocs",
    "impairments",
    "link_state",
    "timeline",
    "traces",
    "drawing",
    "saved",
    "health",
    "progress",
    *(f"conformance.{name}" for name in CONFORMANCE),
]
PYTHON_DIRECTION = {
    **dict.fromkeys(("traffic", "topologies", "containers"), ("testbed", "bench", "validation")),
    **{f"testbed.{name}": (*CONTROLLER, *AGENT, *SYSTEM) for name in PURE_MODULES},
    **dict.fromkeys(
        ("testbed.units", "testbed.errors"),
        (*CONTROLLER, *AGENT, *SYSTEM, "testbed.lab.topology", "testbed.plan.compile"),
    ),
    "testbed.lab.topology": (*CONTROLLER, *AGENT, *SYSTEM, "testbed.experiment.file", "testbed.plan.compile"),
    **dict.fromkeys(SYSTEM, (*CONTROLLER, *AGENT)),
    **dict.fromkeys(AGENT, CONTROLLER),
    "testbed.report.run": ("testbed.cli", "testbed.control.verbs", *AGENT, *SYSTEM),
    **dict.fromkeys(
        ("testbed.study.sweep", "testbed.study.campaign", "testbed.study.campaign_checks", "testbed.study.parallel"),
        (*CONTROLLER, *AGENT, "testbed.drivers", "testbed.system.namespaces"),
    ),
    "testbed.control.verbs": EDGE,
}

# Folder or file of dataplane/src → what it must not name. The state machines neither know a clock nor do I/O.
PURE_RUST = (
    "std::time",
    "Socket",
    "TcpStream",
    "std::fs",
    "std::io",
    "std::thread",
    "libc::",
    "pyo3",
    "crate::clock",
    "crate::io",
)
RUST_DIRECTION = {
    "units": (*PURE_RUST, "crate::wire", "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "wire": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "credit": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "pause": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "port": (*PURE_RUST, "crate::switch", "crate::nic", "crate::link"),
    "switch": (*PURE_RUST, "crate::nic"),
    "nic": (*PURE_RUST, "crate::switch"),
    "link": (*PURE_RUST, "crate::switch", "crate::nic"),
}

# What must not be written → the pattern, and the files where it cannot be helped.
# Brackets keep a pattern from finding itself.
WORDS = {
    "an unfinished thought": (r"\b([T]ODO|[F]IXME|[X]XX)\b", ()),
    "a registry's host": (
        r"pypi[.]org|pythonhosted[.]org|crates[.]io|docker[.]io/|ghcr[.]io|quay[.]io|debian[.]org|npmjs[.]org|golang[.]org",
        ("dataplane/Cargo.lock",),
    ),
    "a path of one machine": (r"(?<![\w.}])/([w]ork|[r]oot|[t]mp/wt|home/\w+)\b", ()),
}
BINARY = {".pcap", ".png", ".gz", ".npy"}


def files(*suffixes: str) -> list[Path]:
    """Return the checkout's files with one of `suffixes` (all of them without), tracked or not yet, but not ignored."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = sorted({ROOT / name for name in listing.split("\0") if name})
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Sizes


def python_functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of every function, its docstring left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node):
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield node.name, lines


RUST_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]+?|[^'\\\n])'""",
    re.DOTALL,
)


def blank_rust_text(source: str) -> str:
    """Return Rust source without its comments and literals; what is left stays on its line."""
    return RUST_TEXT.sub(lambda found: "\n" * found.group().count("\n"), source)


def rust_functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of every function that has a body."""
    source = blank_rust_text(source)
    for found in re.finditer(r"\bfn\s+(\w+)", source):
        nesting, braces = 0, 0
        for position in range(found.end(), len(source)):
            sign = source[position]
            nesting += (sign in "([") - (sign in ")]")
            braces += (sign == "{") - (sign == "}")
            if sign == ";" and not nesting and not braces:
                break
            if sign == "}" and not braces:
                yield found.group(1), source.count("\n", found.start(), position) + 1
                break


FUNCTIONS: dict[str, Callable[[str], Iterator[tuple[str, int]]]] = {".py": python_functions, ".rs": rust_functions}


def test_files_are_short() -> None:
    sizes = {relative(path): code(path).count("\n") for path in files(".py", ".pyi", ".rs")}
    long = {name: lines for name, lines in sizes.items() if lines > FILE_LINES}
    assert not long, f"more than {FILE_LINES} lines (aim for 400): {long}"


@pytest.mark.parametrize("suffix", FUNCTIONS)
def test_functions_are_short(suffix: str) -> None:
    sizes = {(relative(path), *found) for path in files(suffix) for found in FUNCTIONS[suffix](code(path))}
    long = [f"{path}: {name} has {lines}" for path, name, lines in sorted(sizes) if lines > FUNCTION_LINES]
    assert not long, f"more than {FUNCTION_LINES} lines: {long}"


def test_the_scan_of_rust_sees_through_text() -> None:
    source = """\
fn a<'a>(x: &'a [u8; 2]) -> char {
    // }
    let s = "}\\"}"; let r = r#"}"}"#;
    if x.len() > 1 { return '\\u{7d}' }
    '}'
}
fn b(x: [u8; 2]);
fn c() {}
"""
    assert list(rust_functions(source)) == [("a", 6), ("c", 1)]


# Direction


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_below(module: str, ancestor: str) -> bool:
    return module == ancestor or module.startswith(ancestor + ".")


def imports(path: Path, modules: set[str]) -> Iterator[str]:
    """Yield the modules that a file imports anywhere in it; `from a import b` is a.b where that is a module, else a."""
    package = module_of(path).split(".")
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + (path.name == "__init__.py")] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in modules else base


@cache
def import_graph() -> dict[str, set[str]]:
    """Return what each module of the wheel's four packages, the benchmarks and the validation imports."""
    packages = ("testbed", "traffic", "topologies", "containers", "bench", "validation")
    paths = [path for path in files(".py") if path.relative_to(ROOT).parts[0] in packages]
    modules = {module_of(path) for path in paths} | {"testbed._dataplane"}
    return {module_of(path): set(imports(path, modules)) for path in paths}


@pytest.mark.parametrize("importer", PYTHON_DIRECTION)
def test_python_imports_point_one_way(importer: str) -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, found in import_graph().items()
        if is_below(module, importer)
        for imported in sorted(found)
        if any(is_below(imported, forbidden) for forbidden in PYTHON_DIRECTION[importer])
    ]
    assert not wrong


def test_python_imports_make_no_cycle() -> None:
    graph = import_graph()
    try:
        TopologicalSorter({module: found & graph.keys() - {module} for module, found in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("part", RUST_DIRECTION)
def test_rust_names_point_one_way(part: str) -> None:
    source = ROOT / "dataplane" / "src"
    wrong = [
        f"{relative(path)} names {forbidden}"
        for path in files(".rs")
        if path.is_relative_to(source / part) or path == source / f"{part}.rs"
        for forbidden in RUST_DIRECTION[part]
        if forbidden in blank_rust_text(code(path))
    ]
    assert not wrong


# Passes of pytest


def test_make_test_runs_every_folder_of_tests_once() -> None:
    makefile = (ROOT / "Makefile").read_text()
    folders = {relative(path.parent) for path in files(".py") if path.name.startswith("test_")}
    passed = re.findall(r"\btests/\w+\b(?!/)", makefile.replace("tests/unit/test_code.py", ""))
    assert len(passed) == len(set(passed))
    # pytest goes down into folders, so those of a wing below tests/unit come with it.
    assert {folder for folder in folders if not any(f"{folder}/".startswith(f"{path}/") for path in passed)} == set()
    assert {path for path in passed if not any(f"{folder}/".startswith(f"{path}/") for folder in folders)} == set()


# Words


@pytest.mark.parametrize("what", WORDS)
def test_no_file_holds(what: str) -> None:
    pattern, exceptions = WORDS[what]
    found = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in files()
        if path.suffix not in BINARY and relative(path) not in exceptions
        for number, line in enumerate(code(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, f"{what}: {found}"
