"""Conditions on trials: `params<=1e6 and epochs=3`.

    condition   = condition or condition | condition and condition | not condition | (condition) | comparison
    comparison  = name operator value | name in (value, …) | name not in (value, …)
    operator    = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="
    value       = number, with k, M or G after it if wanted | word | 'text' | "text" | null

`and` binds more tightly than `or`. The text is parsed here and never executed. A comparison with something that a trial
does not have, such as a metric of a failed trial, neither holds nor fails, so that `not` does not turn it into a match;
only `= null` and `!= null` ask for its absence. NaN compares as absent.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nas.errors import UsageError
from nas.formatting import did_you_mean

Lookup: TypeAlias = Callable[[str], Any]
"""Name -> its value for a trial: a number, a text, or None."""
Test: TypeAlias = Callable[[Lookup], bool | None]

ALIASES: Mapping[str, str] = {"params": "parameters", "trial": "number"}
"""Short names -> the names that they stand for."""
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
MAX_LENGTH = 2000
"""Longest condition in characters."""
MAX_DEPTH = 50
KEYWORDS = ("and", "or", "not", "in")
TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|==|!=|=|<|>)
        |(?P<mark>[(),])
        |(?P<text>'[^']*'|"[^"]*")
        |(?P<word>[^\s()<>=!,'"]+)
    )""",
    re.VERBOSE,
)
NUMBER = re.compile(r"(?P<number>[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf)(?P<unit>[kMG]?)")


@dataclass(frozen=True)
class Condition:
    """A parsed condition.

    Args:
        text: As it was written.
        names: Names that it compares, without aliases.
        test: Whether it holds for the values that a lookup returns; None if that is not known.
    """

    text: str
    names: tuple[str, ...]
    test: Test

    def holds(self, lookup: Lookup) -> bool:
        """Whether it certainly holds."""
        return self.test(lookup) is True

    def check_names(self, known: Iterable[str]) -> None:
        """Raise `UsageError`, with the closest one, if it compares something that no trial has."""
        known = [*known]
        for name in self.names:
            if name not in known:
                hint = did_you_mean(name, [*known, *ALIASES])
                raise UsageError(
                    f"where={self.text!r}: unknown name {name!r}{hint}; expected one of {', '.join(sorted(set(known)))}"
                )


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def shown(self) -> str:
        return f"{self.text!r} at character {self.position}" if self.kind != "end" else "the end"


def parse_condition(text: str) -> Condition:
    """Parse a condition.

    Raises:
        UsageError: It is not one; says what was expected at which character.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"where has {len(text):,} characters; expected at most {MAX_LENGTH:,}")
    parser = _Parser(text)
    test = parser.alternatives()
    if parser.next.kind != "end":
        raise parser.error("'and', 'or' or the end")
    return Condition(text, tuple(dict.fromkeys(parser.names)), test)


class _Parser:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[str] = []
        self.tokens = self._tokens()
        self.index = 0
        self.depth = 0

    def _tokens(self) -> list[_Token]:
        tokens, position = [], 0
        while self.text[position:].strip():
            match = TOKEN.match(self.text, position)
            if match is None or match.lastgroup is None:
                rest = self.text[position:].lstrip()
                start = len(self.text) - len(rest) + 1
                problem = "a quote that is never closed" if rest[0] in "'\"" else f"{rest[0]!r}"
                raise UsageError(f"where={self.text!r} has {problem} at character {start}")
            kind = match.lastgroup
            token = match[kind]
            if kind == "word" and token in KEYWORDS:
                kind = "keyword"
            tokens.append(_Token(kind, token, match.start(match.lastgroup) + 1))
            position = match.end()
        return [*tokens, _Token("end", "", len(self.text) + 1)]

    @property
    def next(self) -> _Token:
        return self.tokens[self.index]

    def take(self) -> _Token:
        token = self.next
        self.index += 1
        return token

    def accept(self, text: str) -> bool:
        """Whether the next token is this keyword or mark; takes it if so."""
        found = self.next.kind in ("keyword", "mark") and self.next.text == text
        self.index += found
        return found

    def error(self, expected: str) -> UsageError:
        return UsageError(f"where={self.text!r}: expected {expected}, got {self.next.shown}")

    def alternatives(self) -> Test:
        tests = [self.conjunction()]
        while self.accept("or"):
            tests.append(self.conjunction())
        return tests[0] if len(tests) == 1 else lambda lookup: _any(test(lookup) for test in tests)

    def conjunction(self) -> Test:
        tests = [self.negation()]
        while self.accept("and"):
            tests.append(self.negation())
        return tests[0] if len(tests) == 1 else lambda lookup: _all(test(lookup) for test in tests)

    def negation(self) -> Test:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError(f"where={self.text!r} nests more than {MAX_DEPTH} levels of not and parentheses")
        try:
            return self._negation()
        finally:
            self.depth -= 1

    def _negation(self) -> Test:
        if self.accept("not"):
            inner = self.negation()
            return lambda lookup: None if (result := inner(lookup)) is None else not result
        if self.accept("("):
            inner = self.alternatives()
            if not self.accept(")"):
                raise self.error("')', 'and' or 'or'")
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        if self.next.kind not in ("word", "text"):
            raise self.error("the name of a metric, a cost or a fact")
        token = self.take()
        written = _unquoted(token)
        if token.kind == "word" and NUMBER.fullmatch(written):
            self.index -= 1
            raise self.error("a name before the operator (params<=1e6, not 1e6>=params)")
        name = ALIASES.get(written, written)
        self.names.append(name)
        if self.next.text in ("in", "not") and self.next.kind == "keyword":
            return self._membership(name)
        if self.next.kind != "operator":
            raise self.error(f"an operator such as <= after {written!r}")
        sign = self.take().text
        return _compare(name, sign, self.value(), self.text)

    def _membership(self, name: str) -> Test:
        negated = self.accept("not")
        if not self.accept("in") or not self.accept("("):
            raise self.error("in (value, …)" if not negated else "not in (value, …)")
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        if not self.accept(")"):
            raise self.error("',' or ')'")
        tests = [_compare(name, "=", value, self.text) for value in values]
        if negated:
            return lambda lookup: None if (found := _any(test(lookup) for test in tests)) is None else not found
        return lambda lookup: _any(test(lookup) for test in tests)

    def value(self) -> _Token:
        if self.next.kind not in ("word", "text"):
            raise self.error("a number, a word or a text in quotes")
        return self.take()


def _unquoted(token: _Token) -> str:
    return token.text[1:-1] if token.kind == "text" else token.text


def _number(token: _Token) -> float | None:
    match = NUMBER.fullmatch(token.text) if token.kind == "word" else None
    return None if match is None else float(match["number"].replace("_", "")) * UNITS[match["unit"]]


def _compare(name: str, sign: str, token: _Token, text: str) -> Test:
    """The test of one comparison. What a name is compared with depends on the kind of its value."""
    compare, number, written = OPERATORS[sign], _number(token), _unquoted(token)
    if token.kind == "word" and written == "null":
        if sign not in ("=", "==", "!="):
            raise UsageError(f"where={text!r}: null at character {token.position} can only be compared by = and !=")
        return lambda lookup: compare(lookup(name) is None, True)

    def test(lookup: Lookup) -> bool | None:
        value = lookup(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str):
            if compare not in (operator.eq, operator.ne):
                raise UsageError(f"where={text!r}: {name} is a text ({value!r}), which only =, != and in compare")
            return compare(value, written)
        if number is None:
            raise UsageError(f"where={text!r}: {name} is a number, got {written!r} at character {token.position}")
        return compare(value, number)

    return test


def _any(results: Iterable[bool | None]) -> bool | None:
    unknown = False
    for result in results:
        if result:
            return True
        unknown = unknown or result is None
    return None if unknown else False


def _all(results: Iterable[bool | None]) -> bool | None:
    unknown = False
    for result in results:
        if result is False:
            return False
        unknown = unknown or result is None
    return None if unknown else True
