"""What there is to say of an architecture without training it: its text, its decisions, its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task, UserError
from nas.metrics import UNCOUNTED, uncounted
from nas.space import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nas.space import SearchSpace

DEFAULT_TASK = Task(channels=3, height=32, width=32, classes=10)
"""Images and classes of CIFAR-10."""


def describe(
    space: SearchSpace,
    architecture: Architecture | str,
    task: Task = DEFAULT_TASK,
    network: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """An architecture in words and numbers; its network is built and counted, not trained.

    Args:
        space: the space that it is of.
        architecture: option indices, its text, or a published name.
        task: shape of the images and number of classes.
        network: sizes in place of the space's own, keys of `space.network_sizes`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, where the network is built.

    Returns:
        JSON-safe: `text`, `decisions` (name -> option), `indices`, `canonical`, `params` (trainable values), `flops`
        (multiply-accumulates of one image), `uncounted` (operator without a formula -> its calls, only where there
        are any), `network` (its sizes) and `task`.

    Raises:
        UserError: it is not of the space, or its network cannot be built.
    """
    from nas.training import count
    from nas.training.device import resolve_device
    from nas.training.fit import TrainingFailed, memory_guard

    found = parse(space, architecture) if isinstance(architecture, str) else tuple(architecture)
    space.validate(found)
    sizes = space.known_sizes(network or {})
    try:
        with memory_guard():
            built = space.build(found, task, sizes or None).to(resolve_device(device))
    except TrainingFailed as failure:
        raise UserError(f"the network cannot be built: {failure.message}") from None
    counts = count.architecture(built, task)
    missing = {name: counts[f"{UNCOUNTED}{name}"] for name in uncounted(counts)}
    return {
        "text": space.to_text(found),
        "decisions": dict(zip(space.choices, space.options(found), strict=True)),
        "indices": list(found),
        "canonical": space.canonical(found),
        "params": counts["parameters"],
        "flops": counts["flops"],
        **({"uncounted": missing} if missing else {}),
        "network": {size: sizes.get(size, getattr(space, size, None)) for size in space.network_sizes},
        "task": f"{task.channels}x{task.height}x{task.width}, {task.classes} classes",
    }
