"""A network as one readable file that needs torch alone, written from the network itself.

Each module is traced to a straight line of calls (`nas.export.trace`), so that nothing stands in the file which this
network does not do, and the file needs nothing of what built it. Modules that do the same with other sizes become one
class whose constructor takes what differs.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.core import UserError
from nas.export.forward import Body, wrapped
from nas.export.trace import straight

LITERAL = 1024
"""Largest buffer whose values are written out."""


@dataclass(eq=False)
class Part:
    """A module of the network.

    Args:
        kind: `leaf` of torch, `sequence` written in place, `own` with a class of its own, `parameter` or `buffer`.
        base: name of its class; of a tensor, how it begins: `full`, `randn` or `tensor`.
        key: equal for parts that one class can stand for.
        values: of a leaf, its constructor's arguments.
        parts: attribute -> module within.
        names: attribute -> name within the network as it was.
        inputs: of the forward.
        body: lines of the forward; none where the parts follow one another.
    """

    kind: str
    base: str
    key: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


@dataclass
class Class:
    """A class of the file: parts of one key."""

    name: str
    members: list[Part]
    parameters: dict[str, list[str]] = field(default_factory=dict)
    """Parameter -> slots that it fills."""


@dataclass(frozen=True)
class Source:
    """A network's file.

    Args:
        text: classes, the last one `Network`.
        names: name of each parameter and buffer in the network as it was -> its name in the file's network.
    """

    text: str
    names: Mapping[str, str]


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
    sequence = type(network).forward is nn.Sequential.forward
    root = _sequence(network, (images,), own=True) if sequence else _part(network, (images,))
    classes = _classes(root)
    written = {key: _written(found, classes, weights if key == root.key else None) for key, found in classes.items()}
    return Source("\n\n\n".join(written.values()) + "\n", dict(_renamed(root, network)))


# --- modules -----------------------------------------------------------------------------------------------------


def _part(module: nn.Module, args: Sequence[Any]) -> Part:
    if type(module).forward is nn.Sequential.forward:
        return _sequence(module, args, own=type(module) is not nn.Sequential)
    base = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn"))
    if module._forward_hooks or module._forward_pre_hooks:
        raise UserError(f"{type(module).__name__} cannot be written as source: it has hooks")
    if base is type(module) and getattr(nn, base.__name__, None) is not base:
        raise UserError(f"{type(module).__name__} cannot be written as source: torch.nn has no class of that name")
    if base is type(module) or _does_as(base, module, args):
        return Part("leaf", f"nn.{base.__name__}", base, values=_constructed(module, base))
    line = straight(module, args)
    attributes = {name: _attribute(name) for name in line.calls}
    body = Body(line, attributes, module)
    parts = {attributes[name]: _part(module.get_submodule(name), line.calls[name]) for name in line.calls if
             name in body.called}  # fmt: skip
    tensors = {name: _tensor(module, name) for name in body.tensors}
    body.blocks = {name for name, part in parts.items() if any(inner.kind == "own" for inner in part.parts.values())}
    lines = tuple(body.lines())
    parts = tensors | parts
    names = {attribute: name for name, attribute in attributes.items() if attribute in parts}
    key = (type(module).__name__, line.inputs, lines, tuple((name, part.key) for name, part in parts.items()))
    return Part("own", type(module).__name__, key, parts=parts, names=names, inputs=line.inputs, body=lines)


def _does_as(base: type[nn.Module], module: nn.Module, args: Sequence[Any]) -> bool:
    """Whether a module of one's own computes what torch's class that it derives from computes, faster perhaps."""
    if base is nn.Module or any(True for _ in module.children()):
        return False
    with torch.no_grad():
        try:
            return bool(torch.allclose(base.forward(module, *args), module(*args), rtol=1e-4, atol=1e-5))
        except (TypeError, RuntimeError):  # it takes something else
            return False


def _sequence(module: nn.Module, args: Sequence[Any], *, own: bool) -> Part:
    (x,) = args
    parts: dict[str, Part] = {}
    names: dict[str, str] = {}
    for name, child in module._modules.items():  # named_children() names one that stands twice only once
        if child is None or isinstance(child, nn.Identity):
            continue
        place = str(len(parts))
        parts[place], names[place] = _part(child, (x,)), name
        with torch.no_grad():
            x = child(x)
    key = (type(module).__name__, tuple(part.key for part in parts.values()))
    return Part("own" if own else "sequence", type(module).__name__, key, parts=parts, names=names)


def _tensor(module: nn.Module, name: str) -> Part:
    """A parameter or buffer of the module itself, with what it begins as."""
    kind = "parameter" if name in dict(module.named_parameters(recurse=False)) else "buffer"
    tensor = getattr(module, name).detach().cpu()
    dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    flat, size = tensor.flatten(), tuple(tensor.shape)
    if not len(flat) or bool((flat == flat[0]).all()):
        value = flat[0].item() if len(flat) else 0
        return Part(kind, "full", (kind, "full", dtype), values={"size": size, "value": value})
    if kind == "buffer" and len(flat) <= LITERAL:
        return Part(kind, "tensor", (kind, "tensor", dtype), values={"value": tensor.tolist()})
    if not tensor.is_floating_point():
        return Part(kind, "full", (kind, "full", dtype), values={"size": size, "value": 0})
    return Part(kind, "randn", (kind, "randn", dtype), values={"size": size, "std": float(f"{tensor.std():.2g}")})


def _constructed(module: nn.Module, base: type[nn.Module]) -> dict[str, Any]:
    """The constructor's arguments, read back from the module."""
    values = {}
    for name, parameter in inspect.signature(base).parameters.items():
        if name in ("device", "dtype", "inplace"):
            continue
        if name == "bias":
            own = "in_proj_bias" if hasattr(module, "in_proj_bias") else name  # of attention
            values[name] = getattr(module, own, None) is not None
        elif name == "normalized_shape":
            values[name] = getattr(module, name)
        elif hasattr(module, name):
            values[name] = _simple(getattr(module, name))
        elif parameter.default is inspect.Parameter.empty:
            raise UserError(f"{type(module).__name__} cannot be written as source: its {name} is not known")
    return values


def _simple(value: Any) -> Any:
    """3 for (3, 3)."""
    return value[0] if isinstance(value, tuple) and value and all(item == value[0] for item in value) else value


def _attribute(name: str) -> str:
    """`edge_0_1` for `edges.0_1`, `cell_2` for `cells.2`."""
    *containers, last = name.split(".")
    words = [word.removesuffix("s") if len(word) > 2 else word for word in containers]
    joined = re.sub(r"\W", "_", "_".join([*words, last]))
    return f"{joined}_" if keyword.iskeyword(joined) else joined if not joined[0].isdigit() else f"module_{joined}"


# --- classes -----------------------------------------------------------------------------------------------------


def _classes(root: Part) -> dict[Any, Class]:
    """Key -> class, those that others need first."""
    found: dict[Any, Class] = {}

    def visit(part: Part) -> None:
        for inner in part.parts.values():
            visit(inner)
        if part.kind == "own":
            found.setdefault(part.key, Class("", [])).members.append(part)

    visit(root)
    taken: dict[str, int] = {"Network": 0}
    for key, made in found.items():
        base = made.members[0].base
        if key == root.key:
            made.name = "Network"
        else:
            taken[base] = taken.get(base, 0) + 1
            made.name = base if taken[base] == 1 else f"{base}{taken[base]}"
        made.parameters = _parameters(made, found)
    return found


def _slots(part: Part, classes: Mapping[Any, Class], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a part is constructed with: name below its owner -> value."""
    if part.kind in ("leaf", "parameter", "buffer"):
        for name, value in part.values.items():
            yield f"{prefix}{name}", value
    elif part.kind == "sequence":
        for name, inner in part.parts.items():
            yield from _slots(inner, classes, f"{prefix}{name}.")
    else:
        for name, slots in classes[part.key].parameters.items():
            yield f"{prefix}{name}", dict(_inner(part, classes))[slots[0]]


def _inner(part: Part, classes: Mapping[Any, Class]) -> Iterator[tuple[str, Any]]:
    """The slots of all parts within."""
    for name, inner in part.parts.items():
        yield from _slots(inner, classes, f"{name}.")


def _parameters(made: Class, classes: Mapping[Any, Class]) -> dict[str, list[str]]:
    """Slots that differ between the members, those that always agree as one."""
    columns: dict[str, list[Any]] = {}
    for member in made.members:
        for slot, value in _inner(member, classes):
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


def _written(made: Class, classes: Mapping[Any, Class], weights: str | None) -> str:
    """A class in source."""
    member = made.members[0]
    given = {slot: name for name, slots in made.parameters.items() for slot in slots}
    sequence = not member.body
    lines = [f"class {made.name}(nn.{'Sequential' if sequence else 'Module'}):"]
    words = ["self", *made.parameters, *(["trained=True"] if weights else [])]
    lines.append(f"    def __init__({', '.join(words)}):")
    trained = ["        if trained:", f"            self.load_state_dict({weights})", "            self.eval()"]
    built = [(name, _construction(part, classes, f"{name}.", given)) for name, part in member.parts.items()]
    if sequence:
        lines += wrapped(f"super().__init__({', '.join(text for _, text in built)})", 8)
        return "\n".join(lines + (trained if weights else []))
    lines.append("        super().__init__()")
    for name, text in built:
        buffer = member.parts[name].kind == "buffer"
        lines += wrapped(f'self.register_buffer("{name}", {text})' if buffer else f"self.{name} = {text}", 8)
    lines += trained if weights else []
    if not built and not weights:
        lines = lines[:1]
    else:
        lines.append("")
    lines.append(f"    def forward(self, {', '.join(member.inputs)}):")
    for line in member.body:
        lines += wrapped(line, 8)
    return "\n".join(lines)


def _construction(part: Part, classes: Mapping[Any, Class], prefix: str, given: Mapping[str, str]) -> str:
    """The expression that makes a part; `given` are slots that the class's parameters fill."""
    if part.kind == "sequence":
        inner = [_construction(child, classes, f"{prefix}{name}.", given) for name, child in part.parts.items()]
        return f"nn.Sequential({', '.join(inner)})"
    slots = dict(_slots(part, classes, prefix))
    texts = {slot[len(prefix) :]: given.get(slot, repr(value)) for slot, value in slots.items()}
    if part.kind in ("parameter", "buffer"):
        made = _beginning(part, texts)
        return f"nn.Parameter({made})" if part.kind == "parameter" else made
    if part.kind == "own":
        words = list(texts.values()) if len(texts) == 1 else [f"{name}={text}" for name, text in texts.items()]
        return f"{classes[part.key].name}({', '.join(words)})"
    words = []
    for name, parameter in inspect.signature(part.key).parameters.items():
        if name not in texts:
            continue
        if parameter.default is inspect.Parameter.empty:
            words.append(texts[name])
        elif f"{prefix}{name}" in given or part.values[name] != parameter.default:
            words.append(f"{name}={texts[name]}")
    return f"{part.base}({', '.join(words)})"


def _beginning(part: Part, texts: Mapping[str, str]) -> str:
    """The expression of a tensor before any training."""
    dtype = part.key[2]
    if part.base == "tensor":
        return f"torch.tensor({texts['value']}{dtype})"
    if part.base == "randn":
        return f"torch.randn({texts['size']}{dtype}) * {texts['std']}"
    plain = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(texts["value"])
    if plain:
        return f"torch.{plain}({texts['size']}{dtype})"
    return f"torch.full({texts['size']}, {texts['value']}{dtype})"


# --- names -------------------------------------------------------------------------------------------------------


def _renamed(part: Part, module: nn.Module, old: str = "", new: str = "") -> Iterator[tuple[str, str]]:
    """Names of tensors before and after."""
    if part.kind == "leaf":
        for name, _ in (*module.named_parameters(), *module.named_buffers()):
            yield old + name, new + name
    for attribute, inner in part.parts.items():
        if inner.kind in ("parameter", "buffer"):
            yield old + attribute, new + attribute
            continue
        before = part.names[attribute]
        yield from _renamed(inner, module.get_submodule(before), f"{old}{before}.", f"{new}{attribute}.")
