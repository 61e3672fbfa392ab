"""Rust source as far as the rules of the code need it: without text, by function and by `impl` block."""

import re
from collections.abc import Collection, Iterator

_PATH = re.compile(r"\b((?:crate|super|self)(?:::\w+)+)(::\{)?")

Module = tuple[str, ...]


def rust_uses(module: Module, source: str, modules: Collection[Module]) -> set[Module]:
    """Return which of the modules of a crate one of them names by paths from crate, super or self, its tests left out."""
    source = blank_rust_text(source).partition("#[cfg(test)]\nmod tests {")[0]
    used = set()
    for path in _PATH.finditer(source):
        names = [()]
        if path.group(2):
            body = re.match(r"(?:[^{}]|\{[^{}]*\})*", source[path.end() :])
            assert body is not None
            names = [
                tuple(name.split("::"))
                for name in re.findall(r"\w+(?:::\w+)*", re.sub(r"\{[^{}]*\}", "", body.group()))
            ]
        steps = path.group(1).split("::")
        place = list(module)
        while steps and steps[0] in ("crate", "super", "self"):
            step = steps.pop(0)
            place = [] if step == "crate" else place[:-1] if step == "super" else place
        for name in names:
            target = (*place, *steps, *name)
            while target and target not in modules:
                target = target[:-1]
            used.add(target)
    return used - {(), module}


RUST_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]+?|[^'\\\n])'""",
    re.DOTALL,
)


def blank_rust_text(source: str) -> str:
    """Return Rust source without its comments and literals; what is left stays on its line."""
    return RUST_TEXT.sub(lambda match: "\n" * match.group().count("\n"), source)


def rust_impls(source: str) -> Iterator[tuple[str, int]]:
    """Yield the head and the number of lines of every `impl` block."""
    source = blank_rust_text(source)
    for match in re.finditer(r"^(impl\b[^{;]*)\{.*?^\}", source, re.DOTALL | re.MULTILINE):
        yield " ".join(match.group(1).split()), match.group().count("\n") + 1


def rust_functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of every function that has a body."""
    source = blank_rust_text(source)
    for match in re.finditer(r"\bfn\s+(\w+)", source):
        nesting, braces = 0, 0
        for position in range(match.end(), len(source)):
            sign = source[position]
            nesting += (sign in "([") - (sign in ")]")
            braces += (sign == "{") - (sign == "}")
            if sign == ";" and not nesting and not braces:
                break
            if sign == "}" and not braces:
                yield match.group(1), source.count("\n", match.start(), position) + 1
                break
