"""A network as one readable file that needs only torch, written from the network itself.

Each module is traced (`nas.export.tracer`), so that the file contains only what this network does and needs none of the
code that built it. Modules that differ only in sizes become one class, whose constructor takes the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UserError, located
from nas.export.alignment import align
from nas.export.failure import scripted
from nas.export.forward import wrapped
from nas.export.leaf import Leaf
from nas.export.members import Member, MemberBuilder, method_suffix
from nas.export.trace import Trace, TraceError
from nas.export.tracer import owned, trace

TRACING_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that a forward may raise only because it is traced."""
BATCH_SIZES = (3, 1)
"""Batch sizes of the traces, which tell numbers that depend on the batch from constants."""


@dataclass
class Class:
    """A class of the file, which stands for all members of one key."""

    name: str
    instances: list[Member]
    parameters: dict[str, list[str]] = field(default_factory=dict)
    """Parameter of the constructor -> slots that it fills."""


@dataclass(frozen=True)
class Source:
    """The source of a network.

    Args:
        text: Classes, the last one `Network`.
        names: Name of each parameter and buffer in the file's network -> its name in the original network.
    """

    text: str
    names: Mapping[str, str]


def refused_line(network: nn.Module, images: Tensor) -> str:
    """File and number of the line that cannot be traced; empty if the network can be traced."""
    try:
        _traced(network, images, {})
    except TraceError as error:
        return error.line
    except (RecursionError, *TRACING_ERRORS):
        pass
    return ""


def _traced(network: nn.Module, images: Tensor, leaf_modules: dict[int, Leaf | None]) -> Trace:
    """The trace of a network's forward for any number of images."""
    with torch.no_grad():
        network(images[:1])  # lazy modules get their sizes, and caches are filled
    generator = torch.Generator().manual_seed(0)
    traces = []
    for size in BATCH_SIZES:
        noise = torch.randn(size, *images.shape[1:], generator=generator).to(images.device, images.dtype)
        traces.append(trace(network, (noise,), leaf_modules))
    return align(traces)


def source(network: nn.Module, images: Tensor, weights: str | None = None) -> Source:
    """Write a network.

    Args:
        network: Network in evaluation mode, with its initial weights.
        images: (B, C, H, W), at least two, of the size of its input.
        weights: Expression for a state of the file's network; with it `Network()` loads that state and is in evaluation
            mode, and `Network(trained=False)` is newly initialised.

    Raises:
        UserError: A forward depends on values, or calls something that is not part of torch.
    """
    leaf_modules: dict[int, Leaf | None] = {}
    try:
        root, _ = MemberBuilder(leaf_modules).build(network, [_traced(network, images, leaf_modules)], root=True)
    except TraceError as error:
        position = f" ({error.line})" if error.line else ""
        reason = scripted(network) or error.reason
        raise UserError(
            f"{type(network).__name__} cannot be written as source: its forward {reason}{position}"
        ) from None
    except (RecursionError, *TRACING_ERRORS) as error:
        reason = scripted(network) or f"cannot be traced ({located(error)})"
        raise UserError(f"{type(network).__name__} cannot be written as source: its forward {reason}") from None
    classes = _classes(root)
    names = dict(_renamed(root))
    written = {
        key: _written(one, classes, weights, _ties(names, network)) if key == root.key else _written(one, classes)
        for key, one in classes.items()
    }
    return Source("\n\n\n".join(written.values()) + "\n", names)


# --- classes -----------------------------------------------------------------------------------------------------


def _classes(root: Member) -> dict[Any, Class]:
    """Key -> class, in an order in which each class follows those that it uses."""
    classes: dict[Any, Class] = {}

    def visit(member: Member) -> None:
        for inner in member.members.values():
            visit(inner)
        if member.kind == "class":
            classes.setdefault(member.key, Class("", [])).instances.append(member)

    visit(root)
    numbers = {"Network": 1}  # the root has this name, whatever its own is
    for key, one in classes.items():
        base = one.instances[0].base
        if key == root.key:
            one.name = "Network"
        else:
            numbers[base] = numbers.get(base, 0) + 1
            one.name = base if numbers[base] == 1 else f"{base}{numbers[base]}"
        one.parameters = _parameters(one, classes)
    return classes


def _slots(member: Member, classes: Mapping[Any, Class], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arguments of a member's constructor: slot, which is a name below its owner, and value."""
    if member.kind in ("leaf", "parameter", "buffer", "constant"):
        for name, value in member.values.items():
            yield f"{prefix}{name}", value
    elif member.kind == "sequence":
        for name, inner in member.members.items():
            yield from _slots(inner, classes, f"{prefix}{name}.")
    else:
        for name, slots in classes[member.key].parameters.items():
            yield f"{prefix}{name}", dict(_inner(member, classes))[slots[0]]


def _inner(member: Member, classes: Mapping[Any, Class]) -> Iterator[tuple[str, Any]]:
    """The slots of all members of a member."""
    for name, inner in member.members.items():
        yield from _slots(inner, classes, f"{name}.")


def _parameters(one: Class, classes: Mapping[Any, Class]) -> dict[str, list[str]]:
    """Slots that differ between the instances; those that are always equal share a parameter."""
    columns: dict[str, list[Any]] = {}
    for instance in one.instances:
        for slot, value in _inner(instance, classes):
            columns.setdefault(slot, []).append(value)
    alike: dict[str, list[str]] = {}
    for slot, values in columns.items():
        if any(value != values[0] for value in values):
            alike.setdefault(repr(values), []).append(slot)
    parameters: dict[str, list[str]] = {}
    for slots in alike.values():
        names_of_slots = [slot.rpartition(".")[2] for slot in slots]
        name = "channels" if {"in_channels", "out_channels"} <= {*names_of_slots} else names_of_slots[0]
        while name in parameters:
            name += "_"
        parameters[name] = slots
    return parameters


def _written(one: Class, classes: Mapping[Any, Class], weights: str | None = None, ties: Sequence[str] = ()) -> str:
    """The source of a class.

    Args:
        weights: Expression for the state that the constructor loads.
        ties: Lines of its constructor that share tensors.
    """
    instance = one.instances[0]
    parameter_of = {slot: name for name, slots in one.parameters.items() for slot in slots}
    sequence = not instance.methods
    lines = [f"class {one.name}(nn.{'Sequential' if sequence else 'Module'}):"]
    parameters = ["self", *one.parameters, *(["trained=True"] if weights else [])]
    lines.append(f"    def __init__({', '.join(parameters)}):")
    trained = ["        if trained:", f"            self.load_state_dict({weights})", "            self.eval()"]
    built = [
        (name, _construction(member, classes, f"{name}.", parameter_of)) for name, member in instance.members.items()
    ]
    if sequence:
        lines += wrapped(f"super().__init__({', '.join(text for _, text in built)})", 8)
        return "\n".join([*lines, *ties, *(trained if weights else [])])
    lines.append("        super().__init__()")
    for name, text in built:
        kind = instance.members[name].kind
        persistence = ", persistent=False" if kind == "constant" else ""
        tensor = kind in ("buffer", "constant")
        lines += wrapped(
            f'self.register_buffer("{name}", {text}{persistence})' if tensor else f"self.{name} = {text}", 8
        )
    lines += [*ties, *(trained if weights else [])]
    if not built and not weights:
        lines = lines[:1]
    for index, (inputs, body) in enumerate(instance.methods):
        if index or len(lines) > 1:
            lines.append("")
        lines.append(f"    def {method_suffix(index).removeprefix('.') or 'forward'}({', '.join(('self', *inputs))}):")
        for line in body:
            lines += wrapped(line, 8)
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A value in source; `repr` writes infinity and NaN as names that Python does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _construction(member: Member, classes: Mapping[Any, Class], prefix: str, parameter_of: Mapping[str, str]) -> str:
    """The expression that creates a member.

    Args:
        prefix: Name of the member below its class, with a dot.
        parameter_of: Slot -> parameter of the class that fills it.
    """
    if member.kind == "sequence":
        inner = [
            _construction(child, classes, f"{prefix}{name}.", parameter_of) for name, child in member.members.items()
        ]
        return f"nn.Sequential({', '.join(inner)})"
    slots = dict(_slots(member, classes, prefix))
    texts = {slot[len(prefix) :]: parameter_of.get(slot, _literal(value)) for slot, value in slots.items()}
    if member.kind in ("parameter", "buffer", "constant"):
        value = _initial_value(member, texts)
        return f"nn.Parameter({value})" if member.kind == "parameter" else value
    if member.kind == "class":
        arguments = list(texts.values()) if len(texts) == 1 else [f"{name}={text}" for name, text in texts.items()]
        return f"{classes[member.key].name}({', '.join(arguments)})"
    leaf = member.leaf
    assert leaf is not None
    arguments = []
    for name in member.values:
        if name in leaf.required:
            arguments.append(texts[name])
        elif (
            f"{prefix}{name}" in parameter_of or name not in leaf.defaults or member.values[name] != leaf.defaults[name]
        ):
            arguments.append(f"{name}={texts[name]}")
    text = f"{member.base}({', '.join(arguments)})"
    if not leaf.wrapper:
        return text
    return (
        f"{leaf.wrapper}({', '.join([text, *(f'{name}={_literal(value)}' for name, value in leaf.options.items())])})"
    )


def _initial_value(member: Member, texts: Mapping[str, str]) -> str:
    """The expression of a tensor's initial value."""
    dtype = member.key[2]
    if member.base == "tensor":
        return f"torch.tensor({texts['value']}{dtype})"
    if member.base == "randn":
        return f"torch.randn({texts['size']}{dtype}) * {texts['std']}"
    plain = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(texts["value"])
    if plain:
        return f"torch.{plain}({texts['size']}{dtype})"
    return f"torch.full({texts['size']}, {texts['value']}{dtype})"


def _ties(names: Mapping[str, str], network: nn.Module) -> list[str]:
    """Lines that share the tensors which the network shares.

    Args:
        names: Name of each tensor in the file's network -> its name in the original network.
    """
    own = dict(owned(network))
    first: dict[int, str] = {}
    lines: list[str] = []
    for new, old in names.items():
        path = "self" + "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in new.split("."))
        if (known := first.setdefault(id(own[old]), path)) != path:
            lines += wrapped(f"{path} = {known}", 8)
    return lines


# --- names -------------------------------------------------------------------------------------------------------


def _renamed(member: Member, old: str = "", new: str = "") -> Iterator[tuple[str, str]]:
    """Names of tensors in the file's network and in the original one."""
    if member.kind == "leaf":
        assert member.module is not None
        for name in (name for name, _ in owned(member.module)):
            if name in member.module.state_dict():
                yield new + name, old + name
    for attribute, inner in member.members.items():
        if inner.kind in ("parameter", "buffer"):
            yield new + attribute, old + member.names[attribute]
        elif inner.kind != "constant":
            before = member.names[attribute]
            yield from _renamed(inner, f"{old}{before}.", f"{new}{attribute}.")
