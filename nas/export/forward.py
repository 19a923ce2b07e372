"""The lines of a forward in source."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.core import UserError
from nas.export.trace import Line, Value

WIDTH = 100
DEEPEST = 3
"""Calls that stand within one another on a line."""


class Body:
    """The lines of a forward.

    Args:
        line: what it came to.
        attributes: name of a module within -> what it is called here.
        module: whose forward it is.
    """

    def __init__(self, line: Line, attributes: Mapping[str, str], module: nn.Module) -> None:
        self.output = line.output
        self.attributes = attributes
        self.module = module
        self.owned = {id(t): name for name, t in (*module.named_parameters(), *module.named_buffers())}
        self.uses: dict[Value, int] = {}
        self.names: dict[Value, str] = {}
        self.taken = {"self", *line.inputs}
        self.blocks: set[str] = set()
        """Modules of several others, whose outcomes get lines of their own."""
        self.called: set[str] = set()
        self.tensors: dict[str, None] = {}
        self._count(line.output)

    def _resolved(self, value: Value) -> Value:
        """Past identities."""
        while value.kind == "module" and isinstance(self.module.get_submodule(value.target), nn.Identity):
            value = value.args[0]
        return value

    def _within(self, tree: Any) -> Iterator[Value | Tensor]:
        if isinstance(tree, Value):
            yield self._resolved(tree)
        elif isinstance(tree, Tensor):
            yield tree
        elif isinstance(tree, dict):
            for value in tree.values():
                yield from self._within(value)
        elif isinstance(tree, slice):
            yield from self._within((tree.start, tree.stop, tree.step))
        elif isinstance(tree, tuple | list):
            for value in tree:
                yield from self._within(value)

    def _count(self, tree: Any) -> None:
        for value in self._within(tree):
            if isinstance(value, Tensor):
                name = self.owned.get(id(value), "")
                self._refuse_foreign(name)
                if name:
                    self.tensors[name] = None
                continue
            if value.kind == "own":
                self._refuse_foreign(value.target)
                self.tensors[value.target] = None
            self.uses[value] = self.uses.get(value, 0) + 1
            if self.uses[value] == 1:
                self.called |= {value.target} if value.kind == "module" else set()
                self._count((value.args, dict(value.kwargs)))

    def _refuse_foreign(self, name: str) -> None:
        if "." in name:
            what = f"takes {name} out of another module"
            raise UserError(f"{type(self.module).__name__} cannot be written as source: its forward {what}")

    def lines(self) -> Iterator[str]:
        self.made: list[str] = []
        text = self._text(self.output, 0)
        yield from self.made
        yield f"return {text}"

    def _text(self, tree: Any, depth: int) -> str:
        if isinstance(tree, Value):
            return self._value(self._resolved(tree), depth)
        if isinstance(tree, Tensor):
            return f"self.{self.owned[id(tree)]}" if id(tree) in self.owned else f"torch.tensor({tree.tolist()!r})"
        if isinstance(tree, tuple | list):
            inner = ", ".join(self._text(item, depth) for item in tree)
            if isinstance(tree, list):
                return f"[{inner}]"
            return f"({inner},)" if len(tree) == 1 else f"({inner})"
        if isinstance(tree, dict):
            raise UserError(f"{type(self.module).__name__} cannot be written as source: its forward hands on a dict")
        if isinstance(tree, float) and not math.isfinite(tree):
            return f'float("{tree}")'
        return repr(str(tree) if isinstance(tree, torch.device) else tree)

    def _value(self, value: Value, depth: int) -> str:
        if value.kind in ("input", "own"):
            return f"self.{value.target}" if value.kind == "own" else value.target
        if value in self.names:
            return self.names[value]
        alone = self.uses[value] == 1 and value.hint is None and depth < DEEPEST and not self._block(value)
        text = self._expression(value, depth + 1 if alone else 1)
        if alone:
            return text
        name = self._name(value)
        self.made.append(f"{name} = {text}")
        self.names[value] = name
        return name

    def _block(self, value: Value) -> bool:
        return value.kind == "module" and self.attributes[value.target] in self.blocks

    def _expression(self, value: Value, depth: int) -> str:
        if value.kind == "operator":
            left, right = (self._operand(item, depth) for item in value.args)
            return f"{left} {value.target} {right}"
        if value.kind == "item":
            inner, key = value.args
            return f"{self._operand(inner, depth)}[{self._key(key)}]"
        if value.kind == "attribute":
            return f"{self._operand(value.args[0], depth)}.{value.target}"
        args = value.args
        head = value.target
        if value.kind == "method":
            head, args = f"{self._operand(args[0], depth)}.{value.target}", args[1:]
        elif value.kind == "module":
            head = f"self.{self.attributes[value.target]}"
        given = [self._text(item, depth) for item in args]
        given += [f"{name}={self._text(item, depth)}" for name, item in value.kwargs.items()]
        return f"{head}({', '.join(given)})"

    def _operand(self, tree: Any, depth: int) -> str:
        text = self._text(tree, depth)
        plain = not isinstance(tree, Value) or self._resolved(tree).kind != "operator"
        return text if plain or self._resolved(tree) in self.names else f"({text})"

    def _key(self, key: Any) -> str:
        if isinstance(key, tuple):
            return ", ".join(map(self._key, key))
        if isinstance(key, slice):
            ends = ["" if end is None else self._text(end, DEEPEST) for end in (key.start, key.stop)]
            return ":".join(ends) + ("" if key.step is None else f":{self._text(key.step, DEEPEST)}")
        return "..." if key is Ellipsis else self._text(key, DEEPEST)

    def _name(self, value: Value) -> str:
        words = {"operator": "total" if value.target == "+" else "x", "item": "part"}
        word = self.attributes.get(value.target, value.target.rpartition(".")[2])
        wanted = value.hint or words.get(value.kind, word)
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name


def wrapped(line: str, indent: int) -> Iterator[str]:
    """A line, broken where it is too long: at its last brackets, or at its sums."""
    pad = " " * indent
    if len(pad) + len(line) <= WIDTH:
        yield pad + line
        return
    comma = "," if line.endswith(",") else ""
    body = line.removesuffix(",")
    opening = _opening(body)
    if opening > 0 and not _outside(body[:opening], " + "):
        yield pad + body[: opening + 1]
        for item in _split(body[opening + 1 : -1], ", "):
            yield from wrapped(f"{item},", indent + 4)
        yield f"{pad}){comma}"
        return
    head = re.match(r"(return |\w+ = )?", body)
    assert head is not None
    terms = _split(body[head.end() :], " + ")
    if len(terms) == 1:
        yield pad + line
        return
    yield f"{pad}{head.group()}("
    for place, term in enumerate(terms):
        yield from wrapped(f"{'+ ' if place else ''}{term}", indent + 4)
    yield f"{pad}){comma}"


def _opening(text: str) -> int:
    """Where the bracket opens that a text ends with; -1 where it ends with none."""
    depth = 0
    for place in range(len(text) - 1, -1, -1) if text.endswith(")") else ():
        depth += (text[place] in ")]}") - (text[place] in "([{")
        if depth == 0:
            return place
    return -1


def _outside(text: str, sign: str) -> bool:
    return len(_split(text, sign)) > 1


def _split(text: str, sign: str) -> list[str]:
    """Parts between signs that stand outside of brackets."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and text.startswith(sign, place):
            found.append(text[start:place])
            start = place + len(sign)
    return [part for part in (*found, text[start:]) if part]
