"""Describe an architecture in words and numbers; without arch=, its space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nas.core import Architecture, Task, UserError, one_of
from nas.metrics import UNCOUNTED, uncounted
from nas.output import print_json
from nas.selection import named_architecture
from nas.space import parse, recorded_choices
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
    arch, text = settings.get("arch"), None
    if arch is None:
        settings = settings.inheriting({})
    else:
        settings, text, _ = named_architecture(settings, arch, INHERITS)
    space = settings.make("space")
    if text is None:
        facts = _space(settings, space)
    else:
        task = settings.make("data").task if settings.choices.get("data") else DEFAULT_TASK
        facts = _architecture(space, parse(space, text), task, resolve_device(settings.get("device")))
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


def _space(settings: Settings, space: SearchSpace) -> dict[str, Any]:
    return {
        "space": settings.choices["space"],
        "size": space.size,
        "settings": settings.node("space"),
        "decisions": dict(recorded_choices(space)),
    }


def _architecture(space: SearchSpace, architecture: Architecture, task: Task, device: torch.device) -> dict[str, Any]:
    space.validate(architecture)
    try:
        with memory_guard():
            network = space.build(architecture, task).to(device)
    except TrainingFailed as failure:
        raise UserError(f"the network cannot be built: {failure.message}") from None
    counts = count.architecture(network, task)
    missing = uncounted(counts)
    return {
        "text": space.to_text(architecture),
        "decisions": dict(zip(space.choices, space.options(architecture), strict=True)),
        "indices": list(architecture),
        "canonical": space.canonical(architecture),
        "params": counts["parameters"],
        "flops": counts["flops"],
        # operators without a formula, with their calls: their work is not in flops
        **({"uncounted": {name: counts[f"{UNCOUNTED}{name}"] for name in missing}} if missing else {}),
        "network": {size: getattr(space, size, None) for size in space.network_sizes},
        "task": f"{task.channels}x{task.height}x{task.width}, {task.classes} classes",
    }
