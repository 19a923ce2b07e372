"""One check of a network before it is trained: the same for a search, a retraining, a tabulation and shared weights.

A few images are run forward and backward in training mode, and forward in evaluation mode, also one by itself. What a
network does wrong there, no training mends. The check leaves no trace: parameters, buffers, attributes, modes and all
random numbers are as before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task, UserError
from nas.data.dataset import Images
from nas.errors import located
from nas.network import auxiliary_head
from nas.training.augment import plain_batch
from nas.training.findings import Findings, listed
from nas.training.fit import TrainingFailed, is_out_of_memory
from nas.training.held import Held, alike
from nas.training.lazy import materialize
from nas.training.memory_format import (
    channels_last,
    contiguous,
    fall_back,
    settle,
    to_channels_last,
    to_contiguous,
)
from nas.training.recipe import Recipe
from nas.training.seeding import random_numbers_kept, seed_all
from nas.training.weights import copied

BATCH = 4
"""Images of the check: the fewer, the less it costs, and more than two so that it is not taken for another size."""

_checked: weakref.WeakValueDictionary[int, nn.Parameter] = weakref.WeakValueDictionary()
"""Trainable parameters of this process's networks, by their identity."""


class BadNetwork(TrainingFailed):
    """A network that cannot be trained as it is."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_network", message)


class _OnlyChannelsLast(BadNetwork):
    """One that fails on contiguous images."""


def check_network(network: nn.Module, images: Images, task: Task, recipe: Recipe, *, draws: int = 1) -> Findings:
    """Run a network as training and evaluation will.

    Args:
        network: Fresh; moved to the device of the images, lazy modules initialised, else as before afterwards.
        images: Training images, at least two.
        task: What the network was built for.
        recipe: Gives memory format and precision.
        draws: Further training batches that a parameter without a gradient is tried on, since layers may be skipped at
            random.

    Raises:
        BadNetwork: It cannot be trained; the message says what it does and what is expected.
        TrainingFailed: Its first logits are not finite (`not_finite`).
    """
    if not isinstance(network, nn.Module):
        raise BadNetwork(f"build returned {_described(network)}; expected a torch.nn.Module")
    network.to(images.pixels.device)
    materialize(network, images.pixels.shape[1:])
    check = _Check(network, network, images, task, recipe)
    if not check.trainable:
        raise BadNetwork("the network has no trainable parameters; expected some that require a gradient")
    old = next((name for name, value in check.trainable.items() if _checked.get(id(value)) is value), None)
    if old is not None:
        raise BadNetwork(
            f"build returned a network whose parameter {old} belongs to one that it returned before, with the weights "
            "of another training; make all of them anew in each call"
        )
    _checked.update({id(value): value for value in check.trainable.values()})
    half = next((name for name, p in check.trainable.items() if p.dtype == torch.float16), None)
    if half is not None:
        raise BadNetwork(
            f"the parameter {half} is float16, and gradients of half precision vanish; expected float32 (with "
            "trainer.precision=bf16 the products are taken in bfloat16)"
        )
    with random_numbers_kept(images.pixels.device):
        findings = check.whole(draws)
    if findings.lost and recipe.ema:
        raise BadNetwork(
            f"trainer.ema={recipe.ema:g}: the network keeps what it learns outside of its state_dict "
            f"({listed(findings.lost)}), which an average of the weights does not follow; register buffers for it, or "
            "set trainer.ema=0"
        )
    return findings


def check_supernet(supernet: nn.Module, probs: Mapping[str, Tensor], images: Images, task: Task, recipe: Recipe) -> str:
    """The same for a supernet at given probabilities. It need not take one image by itself.

    Returns:
        What fails in channels-last memory, if only contiguous memory works; else empty.

    Raises:
        BadNetwork, TrainingFailed: As `check_network`.
    """
    check = _Check(supernet, lambda batch: supernet(batch, probs), images, task, recipe)
    held = Held(supernet)
    with random_numbers_kept(images.pixels.device), torch.no_grad():
        try:
            try:
                check.in_both_modes()
            except BadNetwork as failure:
                if not check.channels_last:
                    raise
                held.restore()
                check.channels_last = False
                to_contiguous(supernet)
                check.in_both_modes()
                return failure.message
        finally:
            held.restore()
    return ""


class _Check:
    """One check.

    Args:
        network: What is checked.
        forward: Images to logits: the network itself, or a supernet at some probabilities.
    """

    def __init__(
        self, network: nn.Module, forward: Callable[[Tensor], Any], images: Images, task: Task, recipe: Recipe
    ) -> None:
        self.name = "network" if forward is network else "supernet"
        self.network, self.forward = network, forward
        self.task, self.recipe = task, recipe
        most = min(BATCH, len(images), recipe.batch_size)
        self.size = most if most != task.classes or most <= 2 else most - 1  # a transposed output is another shape
        self.images = images
        shape, device = images.pixels.shape[1:], images.pixels.device
        self.channels_last = recipe.channels_last
        if forward is network:
            self.channels_last = settle(network, shape, device, channels_last=recipe.channels_last)
        self.trainable = {name: value for name, value in network.named_parameters() if value.requires_grad}

    def whole(self, draws: int) -> Findings:
        """All of `check_network`, in the memory format of the training: contiguous where only that works."""
        held = Held(self.network)
        try:
            try:
                findings = self._findings(held, draws)
                if self.channels_last:
                    held.restore()
                    self._in_contiguous()
                return findings
            except _OnlyChannelsLast:
                raise
            except BadNetwork as error:
                if not self.channels_last:
                    raise
                failure = error
            held.restore()
            self.channels_last = False
            findings = self._findings(held, draws)
            fall_back(self.network, failure.message)
            return findings
        finally:
            held.restore()

    def in_both_modes(self) -> None:
        self.in_training()
        self.in_evaluation(self.size)

    def _findings(self, held: Held, draws: int) -> Findings:
        if self.channels_last:
            with self._told("in channels-last memory"):
                to_channels_last(self.network, self.images.pixels.device)
        self.in_training(backward=True)
        missing = self._without_gradient(draws)
        several = self.in_evaluation(self.size)
        alone = self.in_evaluation(1)
        # one that draws in evaluation mode differs from itself, too
        batch_dependent = not alike(several[:1], alone) and alike(several, self.in_evaluation(self.size))
        return Findings(missing, len(self.trainable), self._lost(held), batch_dependent)

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
                self.forward(image)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _OnlyChannelsLast(
                "the network runs only in channels-last memory: on a contiguous image, as it is counted, drawn and "
                f"exported with, it fails ({located(error)}); reshape() takes both formats where view() takes one"
            ) from error

    def _run(self, size: int) -> Any:
        images = plain_batch(self.images, 0, size)
        if self.network.training or not self.channels_last:  # a plain batch of one channel is contiguous
            images = (channels_last if self.channels_last else contiguous)(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.forward(images)

    def in_training(self, *, backward: bool = False) -> None:
        """Forward, and backward where asked for, in training mode.

        Raises:
            BadNetwork, TrainingFailed: As `check_network`.
        """
        self.network.train()
        with self._told(f"in training mode on {self.size} images"):
            output = self._run(self.size)
        head = self.name == "network" and auxiliary_head(self.network) is not None
        logits = self._logits(output, self.size, "in training mode", head=head)
        for each in logits:
            if not bool(each.isfinite().all()):
                kind = "NaN" if bool(each.isnan().any()) else "infinite"
                raise TrainingFailed(
                    "not_finite",
                    f"the logits of the {self.name} are {kind} for the first training images, before the first step; "
                    "look at its forward and at its initial weights",
                )
        if not backward:
            return
        if not logits[0].requires_grad:
            raise BadNetwork(
                f"the logits of the {self.name} depend on none of its parameters in training mode; forward must not "
                "run under torch.no_grad, nor detach what it returns"
            )
        labels = torch.arange(self.size, device=logits[0].device) % self.task.classes
        with self._told(f"in its backward pass on {self.size} images"):
            losses = [F.cross_entropy(each.float(), labels) for each in logits]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def in_evaluation(self, size: int) -> Tensor:
        """Logits of the first images in evaluation mode.

        Raises:
            BadNetwork: As `check_network`.
        """
        self.network.eval()
        with self._told(f"in evaluation mode on {'a batch of one image' if size == 1 else f'{size} images'}"):
            output = self._run(size)
        where = "in evaluation mode" + (" for a batch of one image" if size == 1 else "")
        return self._logits(output, size, where, head=False)[0]

    def _without_gradient(self, draws: int) -> tuple[str, ...]:
        def missing() -> tuple[str, ...]:
            return tuple(name for name, value in self.trainable.items() if value.grad is None)

        for _ in range(draws):
            if not missing():
                break
            self.in_training(backward=True)
        return missing()

    def _lost(self, held: Held) -> tuple[str, ...]:
        """What the logits depend on beside the state_dict, after a training step."""
        changed = held.changed()
        if not changed:
            return ()
        logits, state = self._seeded(), copied(self.network)
        held.restore()
        try:
            self.network.load_state_dict(state)
            again = self._seeded()
        except RuntimeError as error:
            raise BadNetwork(f"the network cannot take up its own state_dict: {located(error)}") from None
        return () if alike(logits, again) else tuple(changed)

    def _seeded(self) -> Tensor:
        """Logits in evaluation mode, the same each time also where the network draws random numbers."""
        seed_all(0)
        return self.in_evaluation(self.size)

    @contextmanager
    def _told(self, when: str) -> Iterator[None]:
        try:
            yield
        except (UserError, TrainingFailed):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            task = self.task
            raise BadNetwork(
                f"the {self.name} fails {when} of {task.channels}x{task.height}x{task.width}: {located(error)}"
            ) from error

    def _logits(self, output: Any, size: int, where: str, *, head: bool) -> tuple[Tensor, ...]:
        """The logits in an output, and with a head those of the auxiliary one.

        Raises:
            BadNetwork: It is something else.
        """
        shape = (size, self.task.classes)
        expected = f"a pair of tensors {shape}" if head else f"a tensor {shape}"
        found = output if isinstance(output, tuple) and head else (output,)
        sound = len(found) == (2 if head else 1) and all(
            isinstance(each, Tensor) and each.shape == shape for each in found
        )
        if not sound:
            raise BadNetwork(
                f"the {self.name} returned {_described(output)} {where}; {expected} was expected: "
                f"{_advice(output, size, self.task.classes, head=head)}"
            )
        allowed = [torch.float32, torch.float64, torch.bfloat16]
        for each in found:
            if each.dtype not in allowed:
                dtype = str(each.dtype).removeprefix("torch.")
                raise BadNetwork(f"the {self.name} returned {dtype} logits {where}; float32 was expected")
        return found


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    if isinstance(output, tuple | list) and output and all(isinstance(each, Tensor) for each in output):
        shapes = ", ".join(str(tuple(each.shape)) for each in output)
        return f"a {type(output).__name__} of {len(output)} tensors {shapes}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(_described(each) for each in output) or 'nothing'}"
    return "None" if output is None else f"a {type(output).__name__}"


def _advice(output: Any, size: int, classes: int, *, head: bool) -> str:
    if not isinstance(output, Tensor):
        pair = isinstance(output, tuple) and [getattr(each, "shape", None) for each in output] == [(size, classes)] * 2
        more = (
            ", or derive from nas.network.SupportsAuxiliaryHead if the second are of an auxiliary head" if pair else ""
        )
        return "return the logits and those of the auxiliary head" if head else f"return only the logits{more}"
    if head:
        return "return the logits and those of the auxiliary head"
    if output.dim() == 2 and len(output) == size:
        return "build must take the number of classes from task.classes"
    if tuple(output.shape) == (classes,):
        return "squeeze() without a dimension removes that of the batch too; flatten(1) keeps it"
    if output.dim() > 2 and tuple(output.shape[:2]) == (size, classes):
        return "pool and flatten it"
    return "one row an image and one column a class"
