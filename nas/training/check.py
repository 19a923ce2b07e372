"""One check of a network before it is trained: the same for a search, a retraining, a tabulation and shared weights.

A few images are run forward and backward in training mode, and forward in evaluation mode, also one by itself. Training
cannot repair an error that shows there. The check leaves no trace: parameters, buffers, attributes, modes and all
random numbers are as before.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.core import Task
from nas.data.images import Images
from nas.errors import located
from nas.training.augment import plain_batch
from nas.training.findings import Findings, listed
from nas.training.fit import is_out_of_memory
from nas.training.lazy import materialize
from nas.training.logits import described
from nas.training.memory_format import contiguous, fall_back, settle, to_channels_last, to_contiguous
from nas.training.network_state import NetworkState, alike, unregistered
from nas.training.passes import BadNetwork, Passes
from nas.training.recipe import Recipe
from nas.training.seeding import random_state_restored

__all__ = ("BadNetwork", "check_network", "check_supernet")

GRADIENT_BATCHES = 4
"""Number of further batches that are tried if a parameter of a supernet has no gradient."""

_checked: weakref.WeakValueDictionary[int, nn.Parameter] = weakref.WeakValueDictionary()
"""Trainable parameters of this process's networks, by their identity."""


class _OnlyChannelsLast(BadNetwork):
    """One that fails on contiguous images."""


def check_network(
    network: nn.Module, images: Images, task: Task, recipe: Recipe, *, gradient_batches: int = 1
) -> Findings:
    """Run a network as training and evaluation will.

    Args:
        network: Untrained network; afterwards on the device of the images, with its lazy modules initialised, and
            otherwise as before.
        images: Training images, at least two.
        task: Task that the network was built for.
        recipe: Recipe with memory format and precision.
        gradient_batches: Number of further training batches that are tried if a parameter has no gradient, since layers
            may be skipped at random.

    Raises:
        BadNetwork: It cannot be trained; the message states what it does and what is expected.
        TrainingFailed: Its first logits are not finite (`not_finite`).
    """
    if not isinstance(network, nn.Module):
        raise BadNetwork(f"build returned {described(network)}; expected a torch.nn.Module")
    _check_gradients("network")
    network.to(images.pixels.device)
    materialize(network, images.pixels.shape[1:])
    check = _Check(network, images, task, recipe)
    trainable = check.passes.trainable
    if not trainable:
        raise BadNetwork("the network has no trainable parameters; expected some that require a gradient")
    old = next((name for name, value in trainable.items() if _checked.get(id(value)) is value), None)
    if old is not None:
        raise BadNetwork(
            f"build returned a network whose parameter {old} belongs to an earlier one, with the weights of another "
            "training; create all parameters in each call"
        )
    _checked.update({id(value): value for value in trainable.values()})
    half = next((name for name, p in trainable.items() if p.dtype == torch.float16), None)
    if half is not None:
        raise BadNetwork(
            f"the parameter {half} is float16, and gradients of half precision vanish; expected float32 (with "
            "trainer.precision=bf16 products are computed in bfloat16)"
        )
    with random_state_restored(images.pixels.device):
        findings = check.run(gradient_batches)
    if findings.lost and recipe.ema:
        raise BadNetwork(
            f"trainer.ema={recipe.ema:g}: the network stores what it learns outside of its state_dict "
            f"({listed(findings.lost)}), which an average of the weights does not follow; register buffers for it, or "
            "set trainer.ema=0"
        )
    return findings


def check_supernet(
    supernet: nn.Module, probs: Mapping[str, Tensor], images: Images, task: Task, recipe: Recipe
) -> tuple[Findings, str]:
    """The same for a supernet at given probabilities; training runs all operations. It need not accept one image.

    Returns:
        The findings for the user, and the error in channels-last memory if only contiguous memory works, otherwise
        empty.

    Raises:
        BadNetwork, TrainingFailed: As `check_network`.
    """
    _check_gradients("supernet")

    def forward(batch: Tensor) -> Any:
        return supernet(batch, probs, run_all_operations=supernet.training)

    passes = Passes(supernet, forward, images, task, recipe, name="supernet", channels_last=recipe.channels_last)
    held = NetworkState(supernet)
    with random_state_restored(images.pixels.device):
        try:
            try:
                return _of_supernet(passes, held), ""
            except BadNetwork as failure:
                if not passes.channels_last:
                    raise
                reason = failure.message
            held.restore()
            passes.channels_last = False
            to_contiguous(supernet)
            return _of_supernet(passes, held), reason
        finally:
            held.restore()


def _of_supernet(passes: Passes, held: NetworkState) -> Findings:
    passes.in_training(backward=True)
    missing, supernet = passes.without_gradient(GRADIENT_BATCHES), passes.network
    passes.in_evaluation(passes.size)
    findings = Findings(missing, len(passes.trainable), unregistered=unregistered(supernet), name=passes.name)
    lost = passes.lost(held, resumed=True)
    if lost:
        raise BadNetwork(
            f"the supernet stores what it learns outside of its state_dict ({listed(lost)}), so a killed search would "
            "not resume exactly; register buffers for it, or return it from get_extra_state"
        )
    return findings


def _check_gradients(name: str) -> None:
    if not torch.is_grad_enabled():
        raise BadNetwork(
            f"the {name} cannot be trained, since gradients are switched off: an imported module or build has called "
            "torch.set_grad_enabled(False); use `with torch.no_grad():` instead"
        )


class _Check:
    """One check of a network, in the memory format of its training: contiguous if only that works."""

    def __init__(self, network: nn.Module, images: Images, task: Task, recipe: Recipe) -> None:
        self.network, self.images, self.recipe = network, images, recipe
        image, device = images.pixels.shape[1:], images.pixels.device
        format_ = settle(network, image, device, channels_last=recipe.channels_last)
        self.passes = Passes(network, network, images, task, recipe, name="network", channels_last=format_)

    def run(self, gradient_batches: int) -> Findings:
        """Run all passes; the network is restored afterwards."""
        held, passes = NetworkState(self.network), self.passes
        try:
            try:
                findings = self._findings(held, gradient_batches)
                if passes.channels_last:
                    held.restore()
                    self._in_contiguous()
                return findings
            except _OnlyChannelsLast:
                raise
            except BadNetwork as error:
                if not passes.channels_last:
                    raise
                failure = error
            held.restore()
            passes.channels_last = False
            findings = self._findings(held, gradient_batches)
            fall_back(self.network, failure.message)
            return findings
        finally:
            held.restore()

    def _findings(self, held: NetworkState, gradient_batches: int) -> Findings:
        network, passes = self.network, self.passes
        if passes.channels_last:
            with passes.failing("in channels-last memory"):
                to_channels_last(network, self.images.pixels.device)
        passes.in_training(backward=True)
        missing = passes.without_gradient(gradient_batches)
        several = passes.in_evaluation(passes.size)
        before = passes.buffers()
        single = passes.in_evaluation(1)
        # a network that draws in evaluation mode differs from itself, too
        batch_dependent = not alike(several[:1], single) and alike(several, passes.in_evaluation(passes.size))
        passes.check_still(before)
        untrained = unregistered(network)
        return Findings(missing, len(passes.trainable), passes.lost(held), batch_dependent, untrained)

    @torch.no_grad()
    def _in_contiguous(self) -> None:
        """Run a network that is trained in channels-last memory on a contiguous image.

        Raises:
            _OnlyChannelsLast: It fails.
        """
        self.network.eval()
        image = contiguous(plain_batch(self.images, 0, 1))
        try:
            with torch.autocast(image.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
                self.network(image)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _OnlyChannelsLast(
                "the network runs only in channels-last memory: it fails on a contiguous image, as counting, drawing "
                f"and export use ({located(error)}); reshape() accepts both formats, view() only one"
            ) from error
