"""Whether a checkpoint holds all of a network: one that is built again and loads its weights must compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.data.images import Images
from nas.training.check import BadNetwork
from nas.training.findings import listed
from nas.training.fit import EVALUATION_BATCH, logits_of
from nas.training.network_state import alike, unlike
from nas.training.recipe import Recipe
from nas.training.seeding import random_state_restored, seed_all


def check_rebuilt(
    network: nn.Module,
    build: Callable[[], nn.Module],
    state: Mapping[str, Any],
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
) -> None:
    """Compare a network with one that is built again.

    Args:
        network: Trained network.
        build: Builds it again.
        state: Its weights as a checkpoint returns them.
        images: Images to compare logits on; the first `EVALUATION_BATCH` are used.
        recipe: Recipe with memory format and precision.
        seed: Seed of the new network, other than the seed of the trained one.

    Raises:
        BadNetwork: They differ; the message names what the checkpoint does not hold.
    """
    device = images.pixels.device
    with random_state_restored(device):
        seed_all(seed)
        again = build()
        if not isinstance(again, nn.Module) or {*map(id, again.parameters())} & {*map(id, network.parameters())}:
            raise BadNetwork(
                "build returned a network that shares parameters with an earlier one; create them in each call"
            )
        again = again.to(device)
        try:
            again.load_state_dict(state)
        except Exception as error:  # noqa: BLE001 (set_extra_state is the user's)
            reason = " ".join(str(error).split())[:200]
            raise BadNetwork(
                f"a network that is built again cannot load the weights of this one ({reason}); build must create the "
                "same modules whenever architecture, task and sizes are the same"
            ) from None
        for mine, theirs in zip(again.parameters(), network.parameters(), strict=True):
            mine.data = torch.empty_like(theirs.data).copy_(mine.data)  # the same memory format: sums round alike
        expected, rebuilt = (_logits(one, images, recipe, seed) for one in (network, again))
    if alike(rebuilt, expected):
        return
    reason = _reason(network, again)
    raise BadNetwork(
        f"a network that is built again and loads the weights of this one computes different logits: {reason}"
    )


def _reason(network: nn.Module, again: nn.Module) -> str:
    """The difference between two networks with the same weights."""
    for (name, mine), (other, theirs) in zip(network.named_modules(), again.named_modules(), strict=False):
        if (name, type(mine)) != (other, type(theirs)):
            return (
                f"{name} is a {type(mine).__name__} in one network, and {other} a {type(theirs).__name__} in the next; "
                "build must create the same modules whenever architecture, task and sizes are the same"
            )
    names = unlike(network, again)
    if names:
        return (
            f"{listed(names)} {'is' if len(names) == 1 else 'are'} not in its state_dict, and build does not "
            "recreate the same values: register buffers for plain tensors, leave out persistent=False, or write "
            "get_extra_state"
        )
    return "both networks have the same state, so build or forward depends on something outside of it, such as a global"


@torch.no_grad()
def _logits(network: nn.Module, images: Images, recipe: Recipe, seed: int) -> Tensor:
    """Logits (B, classes) of the first images, in evaluation mode."""
    training = network.training
    network.eval()
    seed_all(seed)  # one that draws in evaluation mode draws the same
    logits = logits_of(network, images, 0, EVALUATION_BATCH, recipe)
    network.train(training)
    return logits
