"""Describe an architecture in words and numbers; without arch=, its space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nas.core import Architecture, Task, UserError, one_of
from nas.output import print_json
from nas.settings import group_options
from nas.training import count
from nas.training.device import resolve_device
from nas.training.fit import TrainingFailed, memory_guard

if TYPE_CHECKING:
    from nas.settings import Settings
    from nas.space import SearchSpace

INHERITS = ("space",)
"""Parts that a genotype file names; the data set is the user's to give."""

DEFAULT_TASK = Task(channels=3, height=32, width=32, classes=10)


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    settings, text = with_architecture(settings, settings.get("arch"), INHERITS)
    space = settings.make("space")
    if text is None:
        facts = _space(settings, space)
    else:
        task = settings.make("data").task if settings.choices.get("data") else DEFAULT_TASK
        facts = _architecture(space, space.from_text(text), task, resolve_device(settings.get("device")))
    if settings.get("format") == "json":
        print_json(facts)
        return 0
    for name, value in facts.items():
        if isinstance(value, dict):
            print(f"{name}:")
            width = max(map(len, value), default=0)
            for key, inner in value.items():
                print(f"  {key:{width}}  {', '.join(inner) if isinstance(inner, list) else inner}")
        else:
            print(f"{name + ':':12} {f'{value:,}' if isinstance(value, int) else value}")
    return 0


def with_architecture(settings: Settings, arch: str | None, inherits: Sequence[str]) -> tuple[Settings, str | None]:
    """The text of `arch=`; where that is a genotype file or a published name, the settings inherit what it implies."""
    from nas.export.genotype import read_genotype

    # A file is told from text by its being there; a name that ends like one is meant as one
    if arch is None or not (arch.endswith(".json") or (len(arch) < 256 and Path(arch).is_file())):
        return (settings.inheriting({}) if arch is None else _of_published_name(settings, arch)), arch
    genotype = read_genotype(Path(arch).expanduser())
    parts = {"space": (genotype.space, genotype.space_settings)}
    if genotype.data and "data" in inherits:
        parts["data"] = (genotype.data, genotype.data_settings)
    return settings.inheriting(parts), genotype.arch


def _of_published_name(settings: Settings, arch: str) -> Settings:
    """With the space that publishes an architecture of this name, unless the user named one."""
    plain = settings.inheriting({})
    if not re.fullmatch(r"\s*[\w.-]+\s*", arch):
        return plain
    for option in group_options(settings.config_dir)["space"]:
        candidate = settings.inheriting({"space": (option, {})})
        if candidate.choices["space"] != option:
            return plain
        if arch.strip() in candidate.make("space").published:
            return candidate
    return plain


def _space(settings: Settings, space: SearchSpace) -> dict[str, Any]:
    return {
        "space": settings.choices["space"],
        "size": space.size,
        "settings": settings.node("space"),
        "decisions": {name: list(options) for name, options in space.choices.items()},
    }


def _architecture(space: SearchSpace, architecture: Architecture, task: Task, device: torch.device) -> dict[str, Any]:
    space.validate(architecture)
    try:
        with memory_guard():
            network = space.build(architecture, task).to(device)
    except TrainingFailed as failure:
        raise UserError(f"the network cannot be built: {failure.message}") from None
    return {
        "text": space.to_text(architecture),
        "decisions": dict(zip(space.choices, space.options(architecture), strict=True)),
        "indices": list(architecture),
        "canonical": space.canonical(architecture),
        "params": count.parameters(network),
        "flops": count.flops(network, task),
        "network": {size: getattr(space, size, None) for size in space.network_sizes},
        "task": f"{task.channels}x{task.height}x{task.width}, {task.classes} classes",
    }
