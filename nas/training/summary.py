"""An architecture described without training it: its text, its decisions, its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.core import UNCOUNTED_PREFIX, Architecture, Task, uncounted
from nas.errors import UserError, located
from nas.space.notation import parse
from nas.space.tuned import TunedSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nas.space.base import SearchSpace

DEFAULT_TASK = Task(channels=3, height=32, width=32, classes=10)
"""Images and classes of CIFAR-10."""


def describe(
    space: SearchSpace,
    architecture: Architecture | str,
    task: Task = DEFAULT_TASK,
    network: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """The text, the decisions and the size of an architecture; its network is built and counted, not trained.

    Args:
        space: Space of the architecture.
        architecture: Option indices, its text, or a published name.
        task: Shape of the images and number of classes.
        network: Sizes instead of the space's own, keys of `space.network_sizes`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, where the network is built.

    Returns:
        JSON-safe: `text`, `decisions` (name -> option), `indices`, `canonical`, `params` (trainable values), `flops`
        (multiply-accumulates of one image), `uncounted` (operator without a formula -> its calls, only if there are
        any), `network` (its sizes) and `task`.

    Raises:
        UserError: It is not of the space, or its network cannot be built or fails on an image of the task.
    """
    from torch import nn

    from nas.training import count
    from nas.training.device import resolve_device
    from nas.training.fit import TrainingFailed, memory_guard

    indices = parse(space, architecture) if isinstance(architecture, str) else tuple(architecture)
    space.validate(indices)
    sizes = space.known_sizes({**(network or {}), **space.decided_sizes(indices)})
    text = space.to_text(indices)
    own = space.inner if isinstance(space, TunedSpace) else space
    try:
        with memory_guard():
            built = _call(lambda: space.build(indices, task, sizes or None), "cannot be built for", task)
            if not isinstance(built, nn.Module):
                raise UserError(f"build returned a {type(built).__name__}; expected a torch.nn.Module")
            built = built.to(resolve_device(device))
            counts = _call(lambda: count.architecture(built, task), "fails on", task)
    except TrainingFailed as failure:
        raise UserError(f"the network of {text} cannot be described: {failure.message}") from None
    missing = {name: counts[f"{UNCOUNTED_PREFIX}{name}"] for name in uncounted(counts)}
    return {
        "text": text,
        "decisions": {name: str(option) for name, option in space.settings(indices).items()},
        "indices": list(indices),
        "canonical": space.canonical(indices),
        "params": counts["parameters"],
        "flops": counts["flops"],
        **({"uncounted": missing} if missing else {}),
        "network": {size: sizes.get(size, getattr(own, size, None)) for size in space.network_sizes},
        "task": f"{task.channels}x{task.height}x{task.width}, {task.classes} classes",
    }


def _call(build: Callable[[], Any], fails: str, task: Task) -> Any:
    """The result of a call on a user's network.

    Raises:
        UserError: It fails; with the user's line, and the images that were assumed.
    """
    from nas.training.fit import is_out_of_memory

    try:
        return build()
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        size = f"{task.channels}x{task.height}x{task.width}"
        assumed = ", which is assumed if data= is not set" if task == DEFAULT_TASK else ""
        raise UserError(f"the network {fails} an image of {size}{assumed}: {located(error)}") from error
