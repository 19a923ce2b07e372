"""The modules and tensors of a network as members of the written one: modules of torch, or classes of the file."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.export.forward import SourceBuilder, tensor_name
from nas.export.leaf import Leaf
from nas.export.trace import Node, Trace, TraceError
from nas.export.tracer import owned

MAX_LITERAL_VALUES = 1024
"""Values of the largest buffer that is written out."""


@dataclass(eq=False)
class Member:
    """A module or tensor of the network, as a member of the file's network.

    Args:
        kind: `leaf` (a module of torch), `sequence` (an `nn.Sequential` written in line), `class` (a module with a
            class of its own in the file), `parameter`, `buffer` or `constant`.
        base: Name of its class; for a tensor how it is initialised: `full`, `randn` or `tensor`.
        key: Equal for members that one class or expression can stand for.
        values: Constructor's arguments of a leaf; shape and values of a tensor.
        members: Attribute -> member of this module.
        names: Attribute -> name within the original module.
        methods: Inputs and lines of each forward; none if the members follow one another as in `nn.Sequential`.
        leaf: Module of torch that a leaf is written as.
        module: Original module.
    """

    kind: str
    base: str
    key: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    methods: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    leaf: Leaf | None = None
    module: nn.Module | None = None


class MemberBuilder:
    """Turns modules and the traces of their calls into members.

    Args:
        leaf_modules: Id of a module -> what it is written as; None for one whose forward is written.
    """

    def __init__(self, leaf_modules: Mapping[int, Leaf | None]) -> None:
        self.leaf_modules = leaf_modules

    def build(self, module: nn.Module, traces: Sequence[Trace], *, root: bool = False) -> tuple[Member, list[int]]:
        """A module whose forward is written.

        Args:
            traces: One for each call of the module.
            root: Whether it is the network itself, which always gets a class.

        Returns:
            The member, and for each trace the index of its method.
        """
        builders = [SourceBuilder(trace) for trace in traces]
        calls: dict[str, list[Node]] = {}
        for node in sorted((node for builder in builders for node in builder.calls), key=lambda node: node.number):
            calls.setdefault(node.target, []).append(node)
        children: dict[str, Member] = {}
        suffixes: dict[Node, str] = {}
        for name, nodes in calls.items():
            children[name], indices = self._child(module, name, nodes)
            suffixes |= {node: method_suffix(index) for node, index in zip(nodes, indices, strict=True)}
        if self._follows(module, traces, builders, suffixes):
            return self._sequence(module, children, root=root), [0] * len(traces)
        attributes = {name: _attribute(name) for name in calls}
        tensors, names = self._tensors(module, builders, children, attributes)
        members = tensors | {attributes[name]: member for name, member in children.items()}
        names |= {attributes[name]: name for name in children}
        blocks = {
            name for name, member in members.items() if any(inner.kind == "class" for inner in member.members.values())
        }
        written: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
        indices = []
        for builder in builders:
            builder.attributes, builder.blocks, builder.methods = attributes, blocks, lambda node: suffixes[node]
            indices.append(written.setdefault((tuple(builder.trace.inputs), tuple(builder.lines())), len(written)))
        key = (type(module).__name__, tuple(written), tuple((name, member.key) for name, member in members.items()))
        member = Member(
            "class", type(module).__name__, key, members=members, names=names, methods=tuple(written), module=module
        )
        return member, indices

    def _tensors(
        self,
        module: nn.Module,
        builders: Sequence[SourceBuilder],
        children: Mapping[str, Member],
        attributes: dict[str, str],
    ) -> tuple[dict[str, Member], dict[str, str]]:
        """Tensors that the forwards of a module use directly.

        Args:
            attributes: Name within the module -> attribute in the file; completed here.

        Returns:
            Attribute -> member, and attribute -> name within the module.
        """
        tensors: dict[str, Member] = {}
        names: dict[str, str] = {}
        own = dict(owned(module))
        for node in (node for builder in builders for node in builder.tensors):
            name = tensor_name(node)
            if name in attributes:
                continue
            holder, _, last = name.rpartition(".")
            leaf = children[holder].leaf if holder in children else None
            if leaf is not None and not leaf.wrapper:
                attributes[name] = f"{attributes[holder]}.{last}"
                continue
            wanted = _attribute(name) if node.op == "get_attr" else "constant"
            used = {*attributes.values(), *tensors}
            attribute = next(a for n in range(1, 9999) if (a := wanted if n == 1 else f"{wanted}_{n}") not in used)
            attributes[name] = attribute
            tensors[attribute] = _tensor(own[name]) if node.op == "get_attr" else _constant(node)
            if node.op == "get_attr":
                names[attribute] = name
        return tensors, names

    def _child(self, module: nn.Module, name: str, nodes: Sequence[Node]) -> tuple[Member, list[int]]:
        child = module.get_submodule(name)
        if nodes[0].trace is not None:
            return self.build(child, [node.trace for node in nodes if node.trace is not None])
        leaf = self.leaf_modules[id(child)]
        assert leaf is not None
        values = dict(leaf.values)
        if any(node.mutates_visibly for node in nodes):
            values["inplace"] = True
        base = f"nn.{leaf.kind.__name__}"
        key = (leaf.kind, leaf.wrapper, *leaf.options.items(), "inplace" in values)
        return Member("leaf", base, key, values=values, leaf=leaf, module=child), [0] * len(nodes)

    def _follows(
        self,
        module: nn.Module,
        traces: Sequence[Trace],
        builders: Sequence[SourceBuilder],
        suffixes: Mapping[Node, str],
    ) -> bool:
        """Whether the modules of a sequence simply follow one another."""
        if type(module).forward is not nn.Sequential.forward or module._forward_hooks or module._forward_pre_hooks:
            return False
        if any(suffixes.values()):
            return False
        for trace, builder in zip(traces, builders, strict=True):
            value: Any = next(iter(trace.inputs.values()))
            calls = [node for node in trace.nodes if node.op == "call_module"]
            if len(trace.inputs) != 1 or len({node.target for node in calls}) < len(calls):
                return False
            for call in calls:
                arguments = list(call.kwargs.values()) if call.trace else [*call.args, *call.kwargs.values()]
                if len(arguments) != 1 or builder.resolved(arguments[0]) is not value:
                    return False
                value = call
            if builder.resolved(trace.output) is not value:
                return False
        return True

    def _sequence(self, module: nn.Module, children: Mapping[str, Member], *, root: bool) -> Member:
        order = [name for name in module._modules if name in children]
        members = {str(index): children[name] for index, name in enumerate(order)}
        key = (type(module).__name__, tuple(member.key for member in members.values()))
        kind = "class" if root or type(module) is not nn.Sequential else "sequence"
        names = {str(index): name for index, name in enumerate(order)}
        return Member(kind, type(module).__name__, key, members=members, names=names, module=module)


def method_suffix(index: int) -> str:
    """How the call of a module's method is written: nothing for `forward` itself, `.forward_2` for a second one."""
    return "" if index == 0 else f".forward_{index + 1}"


def _constant(node: Node) -> Member:
    assert node.value is not None
    value = node.value.cpu()
    if value.numel() > MAX_LITERAL_VALUES or value.is_complex():
        raise TraceError(f"uses a tensor of shape {tuple(value.shape)} that no module of the network has", node.line)
    return Member("constant", "tensor", ("constant", "tensor", _dtype(value)), values={"value": value.tolist()})


def _dtype(tensor: Tensor) -> str:
    return "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"


def _tensor(original: Tensor) -> Member:
    """A parameter or buffer of the module itself, with its initial values."""
    kind = "parameter" if isinstance(original, nn.Parameter) else "buffer"
    tensor, dtype = original.detach().cpu(), _dtype(original)
    flat, size = tensor.flatten(), tuple(tensor.shape)
    if not len(flat) or bool((flat == flat[0]).all()):
        value = flat[0].item() if len(flat) else 0
        return Member(kind, "full", (kind, "full", dtype), values={"size": size, "value": value})
    if kind == "buffer" and len(flat) <= MAX_LITERAL_VALUES:
        return Member(kind, "tensor", (kind, "tensor", dtype), values={"value": tensor.tolist()})
    if not tensor.is_floating_point():
        return Member(kind, "full", (kind, "full", dtype), values={"size": size, "value": 0})
    return Member(kind, "randn", (kind, "randn", dtype), values={"size": size, "std": _spread(flat)})


def _spread(flat: Tensor) -> float:
    """Standard deviation of the finite values, with two digits."""
    finite = flat[flat.isfinite()]
    return float(f"{finite.std():.2g}") if len(finite) > 1 else 1.0


def _attribute(name: str) -> str:
    """`edge_0_1` for `edges.0_1`, `cell_2` for `cells.2`."""
    *containers, last = name.split(".")
    container_names = [word.removesuffix("s") if len(word) > 2 else word for word in containers]
    joined = re.sub(r"\W", "_", "_".join([*container_names, last]))
    return f"{joined}_" if keyword.iskeyword(joined) else joined if not joined[0].isdigit() else f"module_{joined}"
