"""The modules of a network as parts of a file: what of torch's they are, or which lines their forward has."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.export.forward import SourceBuilder, own_name
from nas.export.graph import Frame, Node, TraceError
from nas.export.leaves import Leaf
from nas.export.trace import owned

LITERAL = 1024
"""Largest buffer whose values are written out."""


@dataclass(eq=False)
class Part:
    """A module of the network.

    Args:
        kind: `leaf` of torch, `sequence` written in place, `own` with a class of its own, `parameter`, `buffer` or
            `constant`.
        base: name of its class; of a tensor, how it begins: `full`, `randn` or `tensor`.
        key: equal for parts that one class can stand for.
        values: of a leaf, its constructor's arguments.
        parts: attribute -> module within.
        names: attribute -> name within the network as it was.
        methods: inputs and lines of each forward; none where the parts follow one another.
        leaf: of torch's own.
        module: as it was.
    """

    kind: str
    base: str
    key: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    methods: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    leaf: Leaf | None = None
    module: nn.Module | None = None


class Parts:
    """Modules and what their calls came to, as parts."""

    def __init__(self, leaves: Mapping[int, Leaf | None]) -> None:
        self.leaves = leaves

    def part(self, module: nn.Module, frames: Sequence[Frame], *, root: bool = False) -> tuple[Part, list[int]]:
        """A module with a forward of its own.

        Args:
            frames: its calls.

        Returns:
            the part, and for each frame the place of its method.
        """
        bodies = [SourceBuilder(frame) for frame in frames]
        calls: dict[str, list[Node]] = {}
        for node in sorted((node for body in bodies for node in body.calls), key=lambda node: node.number):
            calls.setdefault(node.target, []).append(node)
        made: dict[str, Part] = {}
        suffixes: dict[Node, str] = {}
        for name, nodes in calls.items():
            made[name], places = self._child(module, name, nodes)
            suffixes |= {node: method(place) for node, place in zip(nodes, places, strict=True)}
        if self._follow(module, frames, bodies, suffixes):
            return self._sequence(module, made, root=root), [0] * len(frames)
        attributes = {name: _attribute(name) for name in calls}
        tensors: dict[str, Part] = {}
        names: dict[str, str] = {}
        own = dict(owned(module))
        for node in (node for body in bodies for node in body.tensors):
            name = own_name(node)
            if name in attributes:
                continue
            holder, _, last = name.rpartition(".")
            if holder in made and made[holder].kind == "leaf" and not made[holder].leaf.wrapper:  # type: ignore[union-attr]
                attributes[name] = f"{attributes[holder]}.{last}"
                continue
            plain = _attribute(name) if node.kind == "own" else "constant"
            taken = {*attributes.values(), *tensors}
            attribute = next(a for n in range(1, 9999) if (a := plain if n == 1 else f"{plain}_{n}") not in taken)
            attributes[name] = attribute
            tensors[attribute] = _tensor(own[name]) if node.kind == "own" else _constant(node)
            if node.kind == "own":
                names[attribute] = name
        parts = tensors | {attributes[name]: part for name, part in made.items()}
        names |= {attributes[name]: name for name in made}
        blocks = {name for name, part in parts.items() if any(inner.kind == "own" for inner in part.parts.values())}
        written: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
        places = []
        for body in bodies:
            body.attributes, body.blocks, body.methods = attributes, blocks, lambda node: suffixes[node]
            places.append(written.setdefault((tuple(body.frame.inputs), tuple(body.lines())), len(written)))
        key = (type(module).__name__, tuple(written), tuple((name, part.key) for name, part in parts.items()))
        found = Part("own", type(module).__name__, key, parts=parts, names=names, methods=tuple(written), module=module)
        return found, places

    def _child(self, module: nn.Module, name: str, nodes: Sequence[Node]) -> tuple[Part, list[int]]:
        child = module.get_submodule(name)
        if nodes[0].frame is not None:
            return self.part(child, [node.frame for node in nodes if node.frame is not None])
        made = self.leaves[id(child)]
        assert made is not None
        values = dict(made.values)
        if any(node.literal for node in nodes):
            values["inplace"] = True
        base = f"nn.{made.kind.__name__}"
        key = (made.kind, made.wrapper, *made.options.items(), "inplace" in values)
        return Part("leaf", base, key, values=values, leaf=made, module=child), [0] * len(nodes)

    def _follow(
        self, module: nn.Module, frames: Sequence[Frame], bodies: Sequence[SourceBuilder], suffixes: Mapping[Node, str]
    ) -> bool:
        """Whether the modules of a sequence simply follow one another."""
        if type(module).forward is not nn.Sequential.forward or module._forward_hooks or module._forward_pre_hooks:
            return False
        if any(suffixes.values()):
            return False
        for frame, body in zip(frames, bodies, strict=True):
            value: Any = next(iter(frame.inputs.values()))
            calls = [node for node in frame.nodes if node.kind == "module"]
            if len(frame.inputs) != 1 or len({node.target for node in calls}) < len(calls):
                return False
            for call in calls:
                given = list(call.kwargs.values()) if call.frame is not None else [*call.args, *call.kwargs.values()]
                if len(given) != 1 or body.resolved(given[0]) is not value:
                    return False
                value = call
            if body.resolved(frame.output) is not value:
                return False
        return True

    def _sequence(self, module: nn.Module, made: Mapping[str, Part], *, root: bool) -> Part:
        order = [name for name in module._modules if name in made]
        parts = {str(place): made[name] for place, name in enumerate(order)}
        key = (type(module).__name__, tuple(part.key for part in parts.values()))
        kind = "own" if root or type(module) is not nn.Sequential else "sequence"
        names = {str(place): name for place, name in enumerate(order)}
        return Part(kind, type(module).__name__, key, parts=parts, names=names, module=module)


def method(place: int) -> str:
    return "" if place == 0 else f".forward_{place + 1}"


def _constant(node: Node) -> Part:
    assert node.value is not None
    value = node.value.cpu()
    if value.numel() > LITERAL or value.is_complex():
        raise TraceError(f"uses a tensor of shape {tuple(value.shape)} that no module of the network has", node.line)
    return Part("constant", "tensor", ("constant", "tensor", _dtype(value)), values={"value": value.tolist()})


def _dtype(tensor: Tensor) -> str:
    return "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"


def _tensor(given: Tensor) -> Part:
    """A parameter or buffer of the module itself, with what it begins as."""
    kind = "parameter" if isinstance(given, nn.Parameter) else "buffer"
    tensor, dtype = given.detach().cpu(), _dtype(given)
    flat, size = tensor.flatten(), tuple(tensor.shape)
    if not len(flat) or bool((flat == flat[0]).all()):
        value = flat[0].item() if len(flat) else 0
        return Part(kind, "full", (kind, "full", dtype), values={"size": size, "value": value})
    if kind == "buffer" and len(flat) <= LITERAL:
        return Part(kind, "tensor", (kind, "tensor", dtype), values={"value": tensor.tolist()})
    if not tensor.is_floating_point():
        return Part(kind, "full", (kind, "full", dtype), values={"size": size, "value": 0})
    return Part(kind, "randn", (kind, "randn", dtype), values={"size": size, "std": _spread(flat)})


def _spread(flat: Tensor) -> float:
    """Standard deviation of the finite values, with two digits."""
    finite = flat[flat.isfinite()]
    return float(f"{finite.std():.2g}") if len(finite) > 1 else 1.0


def _attribute(name: str) -> str:
    """`edge_0_1` for `edges.0_1`, `cell_2` for `cells.2`."""
    *containers, last = name.split(".")
    words = [word.removesuffix("s") if len(word) > 2 else word for word in containers]
    joined = re.sub(r"\W", "_", "_".join([*words, last]))
    return f"{joined}_" if keyword.iskeyword(joined) else joined if not joined[0].isdigit() else f"module_{joined}"
