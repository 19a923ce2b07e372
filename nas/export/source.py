"""A network as one readable file that needs torch alone, written from the network itself.

Each module is traced to a straight line of calls (`nas.export.tracer`), so that nothing stands in the file which this
network does not do, and the file needs nothing of what built it. Modules that do the same with other sizes become one
class whose constructor takes what differs.
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

SURPRISES = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a forward may raise because it is recorded, though it runs elsewhere."""
SIZES = (3, 1)
"""Numbers of images that a forward is recorded with, so that what follows the batch is known from what does not."""


@dataclass
class Class:
    """A class of the file: members of one key."""

    name: str
    instances: list[Member]
    parameters: dict[str, list[str]] = field(default_factory=dict)
    """Parameter -> slots that it fills."""


@dataclass(frozen=True)
class Source:
    """A network's file.

    Args:
        text: classes, the last one `Network`.
        names: name of each parameter and buffer in the file's network -> its name in the network as it was.
    """

    text: str
    names: Mapping[str, str]


def refused_line(network: nn.Module, images: Tensor) -> str:
    """File and number of the line for which a network cannot be recorded; empty where it can."""
    try:
        _traced(network, images, {})
    except TraceError as error:
        return error.line
    except (RecursionError, *SURPRISES):
        pass
    return ""


def _traced(network: nn.Module, images: Tensor, leaf_modules: dict[int, Leaf | None]) -> Trace:
    """A network's forward for any number of images."""
    with torch.no_grad():
        network(images[:1])  # lazy modules get their sizes, and what is kept for later calls is there
    generator = torch.Generator().manual_seed(0)
    traces = []
    for size in SIZES:
        noise = torch.randn(size, *images.shape[1:], generator=generator).to(images.device, images.dtype)
        traces.append(trace(network, (noise,), leaf_modules))
    return align(traces)


def source(network: nn.Module, images: Tensor, weights: str | None = None) -> Source:
    """Write a network.

    Args:
        network: in evaluation mode, with the values that a fresh one begins with.
        images: (B, C, H, W), two or more, of the size that it is for.
        weights: an expression for a state of the file's network; with it `Network()` takes up that state and is in
            evaluation mode, and `Network(trained=False)` is fresh.

    Raises:
        UserError: a forward depends on values, or calls what is not of torch.
    """
    leaf_modules: dict[int, Leaf | None] = {}
    try:
        root, _ = MemberBuilder(leaf_modules).build(network, [_traced(network, images, leaf_modules)], root=True)
    except TraceError as error:
        where = f" ({error.line})" if error.line else ""
        reason = scripted(network) or error.reason
        raise UserError(f"{type(network).__name__} cannot be written as source: its forward {reason}{where}") from None
    except (RecursionError, *SURPRISES) as error:
        reason = scripted(network) or f"cannot be followed ({located(error)})"
        raise UserError(f"{type(network).__name__} cannot be written as source: its forward {reason}") from None
    classes = _classes(root)
    names = dict(_renamed(root))
    written = {
        key: _written(found, classes, weights, _ties(names, network)) if key == root.key else _written(found, classes)
        for key, found in classes.items()
    }
    return Source("\n\n\n".join(written.values()) + "\n", names)


# --- classes -----------------------------------------------------------------------------------------------------


def _classes(root: Member) -> dict[Any, Class]:
    """Key -> class, those that others need first."""
    found: dict[Any, Class] = {}

    def visit(member: Member) -> None:
        for inner in member.members.values():
            visit(inner)
        if member.kind == "class":
            found.setdefault(member.key, Class("", [])).instances.append(member)

    visit(root)
    taken: dict[str, int] = {"Network": 0}
    for key, made in found.items():
        base = made.instances[0].base
        if key == root.key:
            made.name = "Network"
        else:
            taken[base] = taken.get(base, 0) + 1
            made.name = base if taken[base] == 1 else f"{base}{taken[base]}"
        made.parameters = _parameters(made, found)
    return found


def _slots(member: Member, classes: Mapping[Any, Class], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a member is constructed with: name below its owner -> value."""
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
    """The slots of all members within."""
    for name, inner in member.members.items():
        yield from _slots(inner, classes, f"{name}.")


def _parameters(made: Class, classes: Mapping[Any, Class]) -> dict[str, list[str]]:
    """Slots that differ between the members, those that always agree as one."""
    columns: dict[str, list[Any]] = {}
    for instance in made.instances:
        for slot, value in _inner(instance, classes):
            columns.setdefault(slot, []).append(value)
    alike: dict[str, list[str]] = {}
    for slot, values in columns.items():
        if any(value != values[0] for value in values):
            alike.setdefault(repr(values), []).append(slot)
    found: dict[str, list[str]] = {}
    for slots in alike.values():
        words = [slot.rpartition(".")[2] for slot in slots]
        name = "channels" if {"in_channels", "out_channels"} <= {*words} else words[0]
        while name in found:
            name += "_"
        found[name] = slots
    return found


def _written(made: Class, classes: Mapping[Any, Class], weights: str | None = None, ties: Sequence[str] = ()) -> str:
    """A class in source.

    Args:
        ties: lines of its constructor that make tensors one.
    """
    instance = made.instances[0]
    given = {slot: name for name, slots in made.parameters.items() for slot in slots}
    sequence = not instance.methods
    lines = [f"class {made.name}(nn.{'Sequential' if sequence else 'Module'}):"]
    words = ["self", *made.parameters, *(["trained=True"] if weights else [])]
    lines.append(f"    def __init__({', '.join(words)}):")
    trained = ["        if trained:", f"            self.load_state_dict({weights})", "            self.eval()"]
    built = [(name, _construction(member, classes, f"{name}.", given)) for name, member in instance.members.items()]
    if sequence:
        lines += wrapped(f"super().__init__({', '.join(text for _, text in built)})", 8)
        return "\n".join([*lines, *ties, *(trained if weights else [])])
    lines.append("        super().__init__()")
    for name, text in built:
        kind = instance.members[name].kind
        kept = ", persistent=False" if kind == "constant" else ""
        tensor = kind in ("buffer", "constant")
        lines += wrapped(f'self.register_buffer("{name}", {text}{kept})' if tensor else f"self.{name} = {text}", 8)
    lines += [*ties, *(trained if weights else [])]
    if not built and not weights:
        lines = lines[:1]
    for place, (inputs, body) in enumerate(instance.methods):
        if place or len(lines) > 1:
            lines.append("")
        lines.append(f"    def {method_suffix(place).removeprefix('.') or 'forward'}({', '.join(('self', *inputs))}):")
        for line in body:
            lines += wrapped(line, 8)
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A value in source: `repr` gives infinity and NaN as names that Python does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _construction(member: Member, classes: Mapping[Any, Class], prefix: str, given: Mapping[str, str]) -> str:
    """The expression that makes a member; `given` are slots that the class's parameters fill."""
    if member.kind == "sequence":
        inner = [_construction(child, classes, f"{prefix}{name}.", given) for name, child in member.members.items()]
        return f"nn.Sequential({', '.join(inner)})"
    slots = dict(_slots(member, classes, prefix))
    texts = {slot[len(prefix) :]: given.get(slot, _literal(value)) for slot, value in slots.items()}
    if member.kind in ("parameter", "buffer", "constant"):
        made = _beginning(member, texts)
        return f"nn.Parameter({made})" if member.kind == "parameter" else made
    if member.kind == "class":
        words = list(texts.values()) if len(texts) == 1 else [f"{name}={text}" for name, text in texts.items()]
        return f"{classes[member.key].name}({', '.join(words)})"
    leaf = member.leaf
    assert leaf is not None
    words = []
    for name in member.values:
        if name in leaf.required:
            words.append(texts[name])
        elif f"{prefix}{name}" in given or name not in leaf.defaults or member.values[name] != leaf.defaults[name]:
            words.append(f"{name}={texts[name]}")
    text = f"{member.base}({', '.join(words)})"
    if not leaf.wrapper:
        return text
    return (
        f"{leaf.wrapper}({', '.join([text, *(f'{name}={_literal(value)}' for name, value in leaf.options.items())])})"
    )


def _beginning(member: Member, texts: Mapping[str, str]) -> str:
    """The expression of a tensor before any training."""
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
    """Lines that give tensors which the network has in several places one place here too.

    Args:
        names: of each tensor in the file's network -> in this one.
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
    """Names of tensors after and before."""
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
