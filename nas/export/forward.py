"""The lines of a forward in source."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from nas.export.trace import Node, Trace, TraceError

WIDTH = 100
MAX_DEPTH = 3
"""Nested calls on a line."""
NAMED_OPS = ("placeholder", "get_attr", "constant")
"""Ops of values that already have names."""
LITERALS = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type(...),
    torch.dtype,
    torch.layout,
    torch.memory_format,
)


class SourceBuilder:
    """Builds the lines of a forward.

    Args:
        trace: Trace of the forward.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.attributes: Mapping[str, str] = {}
        """Module or tensor within the module -> its attribute in the file."""
        self.methods: Callable[[Node], str] = lambda _call: ""
        """Suffix of the method that a call of a module calls."""
        self.uses: dict[Node, int] = {}
        self.names: dict[Node, str] = {}
        self.taken = {"self", "torch", "nn", "F", *trace.inputs}
        self.blocks: set[str] = set()
        """Attributes of modules that contain others, whose results get lines of their own."""
        mutations = [index for index, node in enumerate(trace.nodes, 1) if node.mutates]
        self.ordered = max(mutations, default=0)
        """Number of nodes that must be computed in their order, since tensors change in place among them."""
        self.calls: list[Node] = []
        """Calls of modules that the output needs."""
        self.tensors: list[Node] = []
        """Parameters, buffers and constants that the output needs."""
        self._count(trace.output)
        for node in trace.nodes:
            if node.mutates:
                self._need(node, 0)

    def _need(self, node: Node, uses: int) -> None:
        new = node not in self.uses
        self.uses[node] = self.uses.get(node, 0) + uses
        if not new:
            return
        if node.random:
            raise TraceError("draws random numbers", node.line)
        if node.op == "call_module":
            self.calls.append(node)
        if node.op in ("get_attr", "constant"):
            self.tensors.append(node)
        for tree in (*node.args, *node.kwargs.values()):
            self._count(tree)

    def _count(self, tree: Any) -> None:
        whole = self._whole(tree)
        if whole is not None:
            self._need(whole, 1)
        elif isinstance(tree, Node):
            self._need(tree, 1)
        elif isinstance(tree, tuple | list):
            for value in tree:
                self._count(value)
        elif isinstance(tree, dict):
            for value in tree.values():
                self._count(value)
        elif isinstance(tree, slice):
            self._count((tree.start, tree.stop, tree.step))

    def _whole(self, tree: Any) -> Node | None:
        """The value that a tuple, list or dictionary has all elements of, in their order; None if there is none."""
        if not isinstance(tree, tuple | list | dict) or not tree:
            return None
        owner: Node | None = None
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            item = value if isinstance(value, Node) else self._whole(value)
            if item is None or item.op != "getitem" or item.args[1] != key or type(item.args[1]) is not type(key):
                return None
            if owner is not None and item.args[0] is not owner:
                return None
            owner = item.args[0]
        return owner if owner is not None and owner.length == len(tree) else None

    def resolved(self, tree: Any) -> Any:
        """The node of a tree, or the one that it has all elements of."""
        return tree if isinstance(tree, Node) else self._whole(tree)

    def lines(self) -> Iterator[str]:
        self.statements: list[str] = []
        for node in self.trace.nodes[: self.ordered]:
            if node in self.uses and node.op not in NAMED_OPS:
                self._in_order(node)
        self.ordered = 0
        text = self._text(self.trace.output, 0)
        yield from self.statements
        yield f"return {text}"

    def _in_order(self, node: Node) -> None:
        if node.op == "getitem" and node.args[0].length is not None:
            return
        if self.uses[node]:
            self._value(node, MAX_DEPTH)
        elif node not in self.names:
            self.statements.append(self._expression(node, 1))

    def _text(self, tree: Any, depth: int) -> str:  # noqa: PLR0911 - one for each op
        whole = self._whole(tree)
        if whole is not None or isinstance(tree, Node):
            return self._value(tree if whole is None else whole, depth)
        if isinstance(tree, tuple | list):
            inner = ", ".join(self._text(item, depth) for item in tree)
            if isinstance(tree, list):
                return f"[{inner}]"
            return f"({inner},)" if len(tree) == 1 else f"({inner})"
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{key!r}: {self._text(value, depth)}" for key, value in tree.items()) + "}"
        if isinstance(tree, slice):
            return f"slice({', '.join(self._text(end, MAX_DEPTH) for end in (tree.start, tree.stop, tree.step))})"
        if isinstance(tree, float) and not math.isfinite(tree):
            return f'float("{tree}")'
        if isinstance(tree, torch.device):
            return self._device(tree)
        if hasattr(tree, "dtype") and hasattr(tree, "item"):  # a NumPy scalar
            tree = tree.item()
        if not isinstance(tree, LITERALS):
            raise TraceError(f"passes a {type(tree).__name__}")
        if isinstance(tree, int) and not isinstance(tree, bool):
            return str(int(tree))
        return repr(tree)

    def _device(self, device: torch.device) -> str:
        """The device of an input, so that the network can be moved to another one."""
        for name, node in self.trace.inputs.items():
            if node.shape is not None:
                return f"{name}.device"
        return repr(str(device))

    def _value(self, node: Node, depth: int) -> str:
        if node.op in NAMED_OPS:
            return node.target if node.op == "placeholder" else f"self.{self.attributes[tensor_name(node)]}"
        if node in self.names:
            return self.names[node]
        always = node.op == "size" or (node.op == "operator" and node.number == 0)
        if node.op == "getitem" and node.args[0].length is not None:
            always = self.uses.get(node, 1) == 1 or self.ordered > 0
        once = self.uses[node] == 1 and node.hint is None and depth < MAX_DEPTH and not self._block(node)
        inline = always or (once and not self.ordered)
        text = self._expression(node, depth + 1 if inline else 1)
        if inline:
            return text
        name = self._name(node)
        self.statements.append(f"{name} = {text}")
        self.names[node] = name
        return name

    def _block(self, node: Node) -> bool:
        return node.op == "call_module" and self.attributes[node.target] in self.blocks

    def _expression(self, node: Node, depth: int) -> str:  # noqa: PLR0911 - one for each op
        args, kwargs, op, target = node.args, dict(node.kwargs), node.op, node.target
        if node.mutates_visibly and node.in_place_form is not None:
            op, target, more = node.in_place_form
            kwargs |= more
        if op == "operator":
            left, right = (self._operand(item, depth) for item in args)
            return f"{left} {target} {right}"
        if op == "unary":
            return f"{target}{self._operand(args[0], depth)}"
        if op == "getitem":
            return f"{self._operand(args[0], depth)}[{self._key(args[1])}]"
        if op == "setitem":
            return f"{self._operand(args[0], depth)}[{self._key(args[1])}] = {self._text(args[2], depth)}"
        if op == "getattr":
            return f"{self._operand(args[0], depth)}.{target}"
        if op == "size":
            return f"{self._operand(args[0], depth)}.size({target})"
        head = target
        if op == "call_method":
            head, args = f"{self._operand(args[0], depth)}.{target}", args[1:]
        elif op == "call_module":
            head = f"self.{self.attributes[target]}{self.methods(node)}"
        if node.trace is not None:  # its inputs in order
            arguments = [self._text(kwargs[name], depth) for name in node.trace.inputs]
        else:
            arguments = [self._text(item, depth) for item in args]
            arguments += [f"{name}={self._text(item, depth)}" for name, item in kwargs.items()]
        return f"{head}({', '.join(arguments)})"

    def _operand(self, tree: Any, depth: int) -> str:
        text = self._text(tree, depth)
        if isinstance(tree, int | float) and text.startswith("-"):
            return f"({text})"
        plain = not isinstance(tree, Node) or tree.op not in ("operator", "unary")
        return text if plain or tree in self.names else f"({text})"

    def _key(self, key: Any) -> str:
        if isinstance(key, tuple) and key:
            return ", ".join(map(self._key, key))
        if isinstance(key, slice):
            ends = ["" if end is None else self._text(end, MAX_DEPTH) for end in (key.start, key.stop)]
            return ":".join(ends) + ("" if key.step is None else f":{self._text(key.step, MAX_DEPTH)}")
        return "..." if key is Ellipsis else self._text(key, MAX_DEPTH)

    def _name(self, node: Node) -> str:
        defaults = {"operator": "total" if node.target == "+" else "x", "unary": "x", "getitem": "part"}
        is_module = node.op == "call_module"
        name_of_target = self.attributes.get(node.target, "") if is_module else node.target.rpartition(".")[2]
        wanted = node.hint or defaults.get(node.op, name_of_target.lower())
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name


def tensor_name(node: Node) -> str:
    """The name of a tensor within its module; a constant gets a name that no tensor has."""
    return node.target if node.op == "get_attr" else f"constant {id(node)}"


def wrapped(line: str, indent: int) -> Iterator[str]:
    """A line, broken if it is too long: in its last brackets, or at its sums."""
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
    for index, term in enumerate(terms):
        yield from wrapped(f"{'+ ' if index else ''}{term}", indent + 4)
    yield f"{pad}){comma}"


def _opening(text: str) -> int:
    """The position of the bracket that closes at the end of a text; -1 if it does not end with a bracket."""
    depth, text = 0, _without_strings(text)
    for position in range(len(text) - 1, -1, -1) if text.endswith(")") else ():
        depth += (text[position] in ")]}") - (text[position] in "([{")
        if depth == 0:
            return position
    return -1


def _without_strings(text: str) -> str:
    """A text of the same length with string literals blanked out."""
    return re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", lambda match: "_" * len(match.group()), text)


def _outside(text: str, sign: str) -> bool:
    return len(_split(text, sign)) > 1


def _split(text: str, sign: str) -> list[str]:
    """The parts of a text between signs outside of brackets and strings."""
    parts, depth, start, plain = [], 0, 0, _without_strings(text)
    for position, letter in enumerate(plain):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and plain.startswith(sign, position):
            parts.append(text[start:position])
            start = position + len(sign)
    return [part for part in (*parts, text[start:]) if part]
