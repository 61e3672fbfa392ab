"""The language of `expect:`: one comparison of two sums, over the result document and a few figures of the run.

    expectation  =  sum ("==" | "!=" | "<=" | ">=" | "<" | ">") sum
    sum          =  product {("+" | "-") product}
    product      =  value {("*" | "/") value}
    value        =  number | "text" | true | false | null | path | "(" sum ")" | "-" value
    path         =  name {"." name | "[" ("text" | whole number) "]"}

A path is looked up among the figures first (`busbw`, `ideal` …), then in the document: `drops.lossless`,
`ports["leaf-a:eth9"].priorities["3"].paused_ns`. What is left of the comparison is what was measured, what is right of
it what was wanted. Nothing is evaluated as Python.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from testbed.errors import nearest

MAX_LENGTH = 400
MAX_NESTING = 20

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r'|(?P<text>"[^"]*")|(?P<sign>[=!<>]=|[-+*/()<>.\[\]]))'
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CALCULATE: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}


class ExpectationSyntaxError(ValueError):
    """Text that is not an expectation."""


class _Unanswerable(Exception):
    """A path that the result lacks, or an operation on values that do not take it."""


@dataclass(frozen=True)
class Literal:
    """A value that stands for itself."""

    value: float | str | bool | None


@dataclass(frozen=True)
class Path:
    """A place in the document, or the name of a figure."""

    parts: tuple[str | int, ...]

    def __str__(self) -> str:
        first, *rest = self.parts
        return str(first) + "".join(
            f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{part!r}]".replace("'", '"')
            for part in rest
        )


@dataclass(frozen=True)
class Calculation:
    """Two expressions joined by + - * or /."""

    left: Expression
    sign: str
    right: Expression


Expression = Literal | Path | Calculation


@dataclass(frozen=True)
class Expectation:
    """A parsed expectation; `text` is as written."""

    text: str
    measured: Expression
    sign: str
    wanted: Expression


@dataclass(frozen=True)
class Outcome:
    """Whether an expectation held, and what was measured beside what was wanted."""

    text: str
    held: bool
    explanation: str


def parse(text: str) -> Expectation:
    """Read an expectation; raise ExpectationSyntaxError saying what was met where something else was needed."""
    return _Parser(text).expectation()


def parse_sum(text: str) -> Expression:
    """Read one side of an expectation, as `busbw / ideal`; raise ExpectationSyntaxError as `parse` does."""
    return _Parser(text).alone()


def value_of(text: str, document: Mapping[str, Any], figures: Mapping[str, float]) -> Any:
    """Return what one side of an expectation comes to in a result; None where it lacks something, or it cannot be calculated."""
    try:
        return _value(parse_sum(text), document, figures)
    except _Unanswerable:
        return None


def paths(text: str) -> list[Path]:
    """Return the paths that an expectation looks up, from left to right."""

    def of(expression: Expression) -> list[Path]:
        if isinstance(expression, Calculation):
            return [*of(expression.left), *of(expression.right)]
        return [expression] if isinstance(expression, Path) else []

    expectation = parse(text)
    return [*of(expectation.measured), *of(expectation.wanted)]


def check(text: str, document: Mapping[str, Any], figures: Mapping[str, float]) -> Outcome:
    """Hold one expectation against a result; a path that the result lacks makes it fail, not raise."""
    expectation = parse(text)
    try:
        measured = _value(expectation.measured, document, figures)
        wanted = _value(expectation.wanted, document, figures)
        held = _apply(_COMPARE[expectation.sign], measured, expectation.sign, wanted)
    except _Unanswerable as problem:
        return Outcome(text, False, f"{text}: {problem}")
    wish = f"{expectation.sign} {_show(wanted)}"
    return Outcome(text, bool(held), f"{text}: measured {_show(measured)}, wanted {wish}")


def check_all(texts: Sequence[str], document: Mapping[str, Any], figures: Mapping[str, float]) -> list[Outcome]:
    """Hold every expectation against a result, in order."""
    return [check(text, document, figures) for text in texts]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        self.next = 0
        self.nesting = 0
        if len(text) > MAX_LENGTH:
            raise ExpectationSyntaxError(f"an expectation has at most {MAX_LENGTH} characters")
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None or match.lastgroup is None:
                self._fail(f'"{stripped[position:].lstrip()[:10]}" is not understood')
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def expectation(self) -> Expectation:
        measured = self._sum()
        if self._peek() not in _COMPARE:
            self._fail(f"a comparison (== != <= >= < >) is needed {self._place()}")
        sign = self._take()[1]
        wanted = self._sum()
        if self.next < len(self.tokens):
            self._fail(f"it should end {self._place()}; write two expectations for two comparisons")
        return Expectation(self.text, measured, sign, wanted)

    def alone(self) -> Expression:
        expression = self._sum()
        if self.next < len(self.tokens):
            self._fail(f"it should end {self._place()}")
        return expression

    def _sum(self) -> Expression:
        left = self._product()
        while self._peek() in ("+", "-"):
            left = Calculation(left, self._take()[1], self._product())
        return left

    def _product(self) -> Expression:
        left = self._operand()
        while self._peek() in ("*", "/"):
            left = Calculation(left, self._take()[1], self._operand())
        return left

    def _operand(self) -> Expression:
        if self.next == len(self.tokens):
            self._fail("a value is missing at the end")
        kind, token = self._take()
        if kind == "number":
            return Literal(float(token) if re.search(r"[.eE]", token) else int(token))
        if kind == "text":
            return Literal(token[1:-1])
        if kind == "name":
            return Literal(_WORDS[token]) if token in _WORDS else self._path(token)
        if token not in ("(", "-"):
            self.next -= 1
            self._fail(f"a value is needed {self._place()}")
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            self._fail(f"nested deeper than {MAX_NESTING} levels")
        if token == "-":
            inner: Expression = Calculation(Literal(0), "-", self._operand())
        else:
            inner = self._sum()
            self._expect(")")
        self.nesting -= 1
        return inner

    def _path(self, first: str) -> Path:
        parts: list[str | int] = [first]
        while self._peek() in (".", "["):
            if self._take()[1] == ".":
                kind, token = self._take() if self.next < len(self.tokens) else ("", "")
                if kind != "name":
                    self._fail(f'a name is needed after "{Path(tuple(parts))}."; write other keys as ["key"]')
                parts.append(token)
                continue
            kind, token = self._take() if self.next < len(self.tokens) else ("", "")
            if kind != "text" and not token.isdecimal():
                self._fail('"[" needs a "key" or a whole number')
            parts.append(token[1:-1] if kind == "text" else int(token))
            self._expect("]")
        return Path(tuple(parts))

    def _peek(self) -> str:
        if self.next == len(self.tokens):
            return ""
        kind, token = self.tokens[self.next]
        return token if kind == "sign" else ""

    def _take(self) -> tuple[str, str]:
        self.next += 1
        return self.tokens[self.next - 1]

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            self._fail(f'"{sign}" is needed {self._place()}')
        self.next += 1

    def _place(self) -> str:
        return f'before "{self.tokens[self.next][1]}"' if self.next < len(self.tokens) else "at the end"

    def _fail(self, problem: str) -> NoReturn:
        raise ExpectationSyntaxError(f"`{self.text[:MAX_LENGTH]}`: {problem}")


def _value(expression: Expression, document: Mapping[str, Any], figures: Mapping[str, float]) -> Any:
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Path):
        return _look_up(expression, document, figures)
    left = _value(expression.left, document, figures)
    right = _value(expression.right, document, figures)
    return _apply(_CALCULATE[expression.sign], left, expression.sign, right)


def _look_up(path: Path, document: Mapping[str, Any], figures: Mapping[str, float]) -> Any:
    if len(path.parts) == 1 and path.parts[0] in figures:
        return figures[str(path.parts[0])]
    value: Any = document
    for depth, part in enumerate(path.parts):
        if isinstance(value, Mapping) and str(part) in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            known = [*(figures if depth == 0 else ()), *(value if isinstance(value, Mapping) else ())]
            raise _Unanswerable(f'the result has no "{Path(path.parts[: depth + 1])}"{nearest(str(part), known)}')
    return value


def _apply(function: Callable[[Any, Any], Any], left: Any, sign: str, right: Any) -> Any:
    numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (left, right))
    if not numbers and sign not in ("==", "!="):
        raise _Unanswerable(f'"{sign}" needs two numbers, not {_show(left)} and {_show(right)}')
    if isinstance(left, bool) != isinstance(right, bool):
        return sign == "!="  # Python takes true for 1
    try:
        return function(left, right)
    except ZeroDivisionError:
        raise _Unanswerable("a division by zero") from None


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping | list):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    return str(value)
