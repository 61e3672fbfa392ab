"""The code's own rules, each a row of a table: sizes, direction of dependencies, words that do not belong."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.rust_source import blank_rust_text, rust_functions, rust_impls, rust_uses

ROOT = Path(__file__).resolve().parent.parent.parent
FILE_LINES = {".py": 400, ".pyi": 400, ".rs": 400}
FUNCTION_LINES = 70
CLASS_LINES = 250

# Package of testbed → what it must not import. The trunk is pure: it computes from its arguments alone, and each of its
# packages knows those before it.
DESCRIBED = ("schema", "optics", "importers", "replay", "lab", "drawing", "experiment")
TRUNK = (*DESCRIBED, "buffers", "plan", "scheduling", "run")
KERNEL = ("system", "drivers", "_dataplane")
OWNERS = ("bus", "agent", "machine")
FACES = ("api", "cli", "commands", "pytest_plugin", "start", "virtual_lab")
TOP = ("control", "study", "report", "exports", "conformance", "otg", *FACES)
FORMS = ("contract", "errors", "files", "units", "sizes", "health", "pcapng", "openmetrics")
SHARED = (*FORMS, "progress", "timeseries", "data")
# All of the conformance suite and of the traffic generator but what opens fabrics.
BENCHES = sorted((ROOT / "testbed").glob("conformance/*.py")) + sorted((ROOT / "testbed").glob("otg/*.py"))
CASES = [f"{path.parent.name}.{path.stem}" for path in BENCHES if path.stem not in ("__init__", "engines", "serving")]
PACKAGES = {
    **dict.fromkeys(("traffic", "topologies", "containers"), (*SHARED, *TRUNK, *KERNEL, *OWNERS, *TOP)),
    **dict.fromkeys(SHARED, (*TRUNK, *KERNEL, *OWNERS, *TOP)),
    **{name: (*TRUNK[place + 1 :], *KERNEL, *OWNERS, *TOP) for place, name in enumerate(TRUNK[:-1])},
    "replay": (*TRUNK[TRUNK.index("replay") + 1 :], "system", "drivers", *OWNERS, *TOP),
    "run": ("system", "drivers", *OWNERS, *TOP),
    "run.execution": ("_dataplane",),
    "system": (*TRUNK, "drivers", "_dataplane", *OWNERS, *TOP),
    "drivers": ("experiment", "buffers", "run", "_dataplane", *OWNERS, *TOP),
    "bus": (*TRUNK, "drivers", "_dataplane", "agent", "machine", *TOP),
    "agent": ("machine", *TOP),
    "machine": ("run", "bus", "agent", *TOP),
    "control": ("machine", "study", "report", "conformance", "otg", *FACES),
    "study": ("system", "drivers", *OWNERS, "control", "report", "conformance", "otg", *FACES),
    "report": (*KERNEL, *OWNERS, "control", "conformance", "otg", *FACES),
    "exports": (*KERNEL, *OWNERS, "control", "study", "report", "conformance", "otg", *FACES),
    "conformance": ("bus", "agent", "control", "study", "report", "otg", *FACES),
    "otg": ("bus", "agent", "control", "study", "report", "exports", *FACES),
    **dict.fromkeys(CASES, (*KERNEL, *OWNERS)),
}
PYTHON_DIRECTION = {
    f"testbed.{name}": ("bench", "validation", *(f"testbed.{other}" for other in forbidden))
    for name, forbidden in PACKAGES.items()
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
    **dict.fromkeys(("goal/text", "goal/binary", "goal/statement", "goal/labels"), PURE_RUST),
    "wire": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "credit": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "pause": (*PURE_RUST, "crate::port", "crate::switch", "crate::nic", "crate::link"),
    "port": (*PURE_RUST, "crate::switch", "crate::nic", "crate::link"),
    "switch": (*PURE_RUST, "crate::nic"),
    "nic": (*PURE_RUST, "crate::switch"),
    "nic/rc": ("crate::port", "crate::nic::", "crate::timers", "crate::link"),
    "nic/congestion": ("crate::port", "crate::nic::", "crate::timers", "crate::link", "crate::wire"),
    "link": (*PURE_RUST, "crate::switch", "crate::nic"),
    "fabric": ("crate::emulation", "crate::clock", "crate::io"),
    "emulation": ("crate::clock", "crate::io"),
}

# What must not be written → the pattern, and the files where it cannot be helped.
# Brackets keep a pattern from finding itself.
WORDS = {
    "an unfinished thought": (r"\b([T]ODO|[F]IXME|[X]XX)\b", ()),
    "a registry's host": (
        r"pypi[.]org|pythonhosted[.]org|crates[.]io|docker[.]io/|ghcr[.]io|quay[.]io|debian[.]org|npmjs[.]org|golang[.]org",
        ("dataplane/Cargo.lock",),
    ),
    "a word of the house, where the field has one": (
        r"(?i)\b(cre[w]s?|quiete[n]\w*|(has_)?come_to_res[t]|comes? to res[t]|passag[e]s?|companio[n]s?|intak[e]s?"
        r"|rage[s]|ragin[g]|beat[s]|spoi[l](s|t|ed)?|mend[s])\b",
        ("CHANGELOG.md",),
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


FUNCTIONS: dict[str, Callable[[str], Iterator[tuple[str, int]]]] = {".py": python_functions, ".rs": rust_functions}


@pytest.mark.parametrize("suffix", FILE_LINES)
def test_files_are_short(suffix: str) -> None:
    sizes = {relative(path): code(path).count("\n") for path in files(suffix)}
    long = {name: lines for name, lines in sizes.items() if lines > FILE_LINES[suffix]}
    assert not long, f"more than {FILE_LINES[suffix]} lines: {long}"


@pytest.mark.parametrize("suffix", FUNCTIONS)
def test_functions_are_short(suffix: str) -> None:
    sizes = {(relative(path), *function) for path in files(suffix) for function in FUNCTIONS[suffix](code(path))}
    long = [f"{path}: {name} has {lines}" for path, name, lines in sorted(sizes) if lines > FUNCTION_LINES]
    assert not long, f"more than {FUNCTION_LINES} lines: {long}"


def test_classes_are_short() -> None:
    sizes = {
        f"{relative(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in files(".py")
        for node in ast.walk(ast.parse(code(path)))
        if isinstance(node, ast.ClassDef)
    }
    long = {name: lines for name, lines in sizes.items() if lines > CLASS_LINES}
    assert not long, f"more than {CLASS_LINES} lines: {long}"


def test_impl_blocks_are_short() -> None:
    sizes = {(relative(path), *block) for path in files(".rs") for block in rust_impls(code(path))}
    long = [f"{path}: {head} has {lines}" for path, head, lines in sorted(sizes) if lines > CLASS_LINES]
    assert not long, f"more than {CLASS_LINES} lines: {long}"


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
    assert list(rust_impls("impl A {\n    fn a() {\n    }\n}\nimpl<T> B\nfor T {\n}\n")) == [
        ("impl A", 4),
        ("impl<T> B for T", 3),
    ]


# Direction


# Folders at the top of the repository that are packages of testbed by a link.
LINKED = ("traffic", "topologies", "containers")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in LINKED:
        parts = ("testbed", *parts)
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
    """Return what each module of the package, the benchmarks and the validation imports."""
    packages = ("testbed", *LINKED, "bench", "validation")
    paths = [path for path in files(".py") if path.relative_to(ROOT).parts[0] in packages]
    modules = {module_of(path) for path in paths} | {"testbed._dataplane"}
    return {module_of(path): set(imports(path, modules)) for path in paths}


@pytest.mark.parametrize("importer", PYTHON_DIRECTION)
def test_python_imports_point_one_way(importer: str) -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, targets in import_graph().items()
        if is_below(module, importer)
        for imported in sorted(targets)
        if any(is_below(imported, forbidden) for forbidden in PYTHON_DIRECTION[importer])
    ]
    assert not wrong


def test_every_package_has_a_row() -> None:
    packages = {module.split(".")[1] for module in import_graph() if module.startswith("testbed.")}
    assert packages == {name.split(".")[0] for name in PACKAGES} | set(FACES)


def package_of(module: str) -> str:
    """Return the package that a module of testbed belongs to, or the folder that any other module stands in."""
    parts = module.split(".")
    return parts[1] if parts[0] == "testbed" and len(parts) > 1 else parts[0]


def test_packages_make_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in import_graph().items():
        known = {package_of(name) for name in imported if name.split(".")[0] in ("testbed", "bench", "validation")}
        graph.setdefault(package_of(module), set()).update(known - {package_of(module)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"packages import each other: {' → '.join(error.args[1])}")


def test_python_imports_make_no_cycle() -> None:
    graph = import_graph()
    try:
        TopologicalSorter({module: imported & graph.keys() - {module} for module, imported in graph.items()}).prepare()
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


def test_rust_modules_make_no_cycle() -> None:
    """No two files name each other, `mod.rs` of a folder aside; and no two folders do."""
    source = ROOT / "dataplane" / "src"
    sources = {path.relative_to(source): code(path) for path in files(".rs") if path.is_relative_to(source)}
    parts = {path.with_suffix("").parts: text for path, text in sources.items()}
    modules = {name[:-1] if name[-1] in ("mod", "lib") else name: text for name, text in parts.items()}
    graph = {name: rust_uses(name, text, modules) for name, text in modules.items() if name}
    leaves = {name for name in graph if not any(other[:-1] == name for other in graph)}
    folders: dict[str, set[str]] = {}
    for name, used in graph.items():
        folders.setdefault(name[0], set()).update(other[0] for other in used if other[0] != name[0])
    try:
        TopologicalSorter({name: graph[name] & leaves for name in leaves}).prepare()
        TopologicalSorter(folders).prepare()
    except CycleError as error:
        pytest.fail(f"modules name each other: {error.args[1]}")


# Dead declarations

# What nothing in the repository but tests names, and why it stays.
USED_FROM_OUTSIDE = {
    "traffic/races.py": {"races"},  # for whoever writes a schedule, and tests it
    "traffic/schedule.py": {"bytes_sent"},  # likewise
    "testbed/optics/lanes.py": {"degraded_probability", "HOURS_PER_YEAR"},  # closed forms, for whoever has spares
    "testbed/bus/embedded.py": {"authenticate", "get_peer_info"},  # called by the broker's library
    "testbed/commands/help.py": {"format_commands"},  # called by the library of the command line
    "testbed/otg/server.py": {"send_error", "log_message", "process_request", "handle_error"},  # called by http.server
    "testbed/pytest_plugin.py": {
        *(f"pytest_{each}" for each in ("addoption", "configure", "make_parametrize_id")),
        *(f"_{scope}_labs" for scope in ("function", "class", "module", "package", "session")),
    },  # called by pytest, or fixtures that it finds
}


def declarations(tree: ast.Module) -> Iterator[str]:
    """Yield the functions, methods and classes that no decorator hands to somebody else, and the constants of a module."""
    kept = ("staticmethod", "classmethod", "property", "cached_property", "contextmanager", "dataclass", "cache")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorators = (ast.unparse(each).partition("(")[0] for each in node.decorator_list)
            if not node.name.startswith("__") and all(each in kept for each in decorators):
                yield node.name
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        for name in (name for target in targets for name in ast.walk(target)):
            if isinstance(name, ast.Name) and not name.id.startswith("__"):
                yield name.id


def names_used(tree: ast.Module) -> Iterator[str]:
    """Yield what a module names; an import alone is no use, a short text may be one (`getattr`, an entry of a table)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
            yield from re.findall(r"\w+", node.value)


def dead(sources: dict[str, str]) -> list[str]:
    """Return the declarations of testbed that none of the sources names, by file: `path: name`."""
    trees = {path: ast.parse(source) for path, source in sources.items()}
    used = {name for tree in trees.values() for name in names_used(tree)}
    return [
        f"{path}: {name}"
        for path, tree in trees.items()
        if path.split("/")[0] in ("testbed", *LINKED)
        for name in declarations(tree)
        if name not in used | USED_FROM_OUTSIDE.get(path, set())
    ]


def test_every_declaration_is_used() -> None:
    # The starter is a project of its own, with tests.
    paths = [path for path in files(".py") if not relative(path).startswith(("tests/", "testbed/data/"))]
    assert not dead({relative(path): code(path) for path in paths}), "used by no one, or by tests alone"


def test_the_scan_for_dead_declarations_sees_each_kind() -> None:
    source = "LEFT = 1\nUSED = 2\nclass Gone:\n    def gone(self): return USED\n    def __len__(self): return 0\n"
    assert dead({"testbed/a.py": source, "bench/b.py": "from testbed.a import LEFT"}) == [
        "testbed/a.py: Gone",
        "testbed/a.py: gone",
        "testbed/a.py: LEFT",
    ]


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
    matches = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in files()
        if path.suffix not in BINARY and relative(path) not in exceptions
        for number, line in enumerate(code(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not matches, f"{what}: {matches}"
