"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import generators
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.space.network import SupportsDropPath, SupportsPretrainedFeatures, auxiliary_head
from nas.training.augment import Augmenter, plain_batch
from nas.training.average import ModelEMA
from nas.training.lazy import materialize
from nas.training.memory_format import contiguous, settle, to_channels_last
from nas.training.mix import Mix, Mixer
from nas.training.optimizer import optimizer_of, take_step
from nas.training.recipe import Recipe
from nas.training.weight_files import copied

EVALUATION_BATCH = 500
PRETRAINED_BATCH = 50
"""Of pretrained networks, which enlarge small images to the size that they know."""
MEMORY_SIGNS = ("can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED")
"""Messages of the CPU's allocator, the CUDA driver, cuDNN and cuBLAS when memory is exhausted."""


class TrainingFailed(Exception):
    """Training ended without a usable network.

    Args:
        kind: `not_finite`, `out_of_memory` or `time_limit`.
        message: What happened and what to try, without the name of the trial.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def fit(
    network: nn.Module,
    train: Images,
    valid: Images | None,
    recipe: Recipe,
    *,
    seed: int,
    report: Callable[[Mapping[str, float]], None],
    checkpointer: Checkpointer | None = None,
    best: Best | None = None,
    outputs: list[Tensor] | None = None,
) -> dict[str, float]:
    """Train a network, and validate it after every epoch, or as the recipe says.

    Args:
        network: Network on the device of the images; trained in place.
        train: Training images, at least two.
        valid: Validation images; None to train without validation.
        recipe: Recipe; `network`, `train_images` and `valid_images` are left to the caller.
        seed: Seed of the order and augmentation of the images; the initial weights are the caller's.
        report: Called after each epoch with `train_loss` (mean over the epoch's steps) and, with validation,
            `valid_accuracy` (fraction 0-1) and `valid_loss` (mean cross-entropy, nats). `train_loss` is what was
            minimised: under mixup and CutMix, the loss of the mixed images and labels, which is well above zero even
            for a network without errors and compares only with trainings of the same settings.
        checkpointer: Saves the state after each epoch, so that a killed training resumes and ends with the same
            network; the epochs of earlier sessions are reported again.
        best: Receives the best epoch by validation.
        outputs: Receives the logits of the last validation, in parts (B, classes).

    Returns:
        The metrics of the last epoch: choosing the best epoch would flatter them.

    Raises:
        TrainingFailed: The loss became infinite or NaN, memory or time ran out.
    """
    training = _Training(network, train, valid, recipe, seed=seed, best=best, outputs=outputs)
    metrics: dict[str, float] = {}
    with memory_guard():
        for metrics in training.restore(None if checkpointer is None else checkpointer.restore()):
            report(metrics)
        for epoch in range(len(training.curve) + 1, recipe.epochs + 1):
            metrics = training.run_epoch(epoch)
            if checkpointer is not None:
                checkpointer.save(training.state)
            report(metrics)
        training.finish()
    return metrics


@dataclass
class Best:
    """The network after the epoch of the highest validation accuracy, the first among equals.

    Args:
        epoch: Number of the epoch, from 1; 0 before the first.
        metrics: Metrics of that epoch.
        state: The state_dict of the network.
    """

    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    def update(self, epoch: int, metrics: Mapping[str, float], network: nn.Module) -> None:
        """Copy the network if this epoch is better."""
        accuracy = metrics.get("valid_accuracy")
        if accuracy is not None and accuracy > self.metrics.get("valid_accuracy", -1.0):
            self.epoch, self.metrics = epoch, dict(metrics)
            self.state = copied(network)


class Checkpointer(Protocol):
    """Storage in which the state of a training outlives its process."""

    def restore(self) -> Mapping[str, Any] | None:
        """The state that was saved last; None if there is none."""

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Called after each epoch; `state` returns the current state."""


class _Training:
    """A training between its epochs: all that decides its further course, random numbers included.

    The arguments are those of `fit`.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Images,
        valid: Images | None,
        recipe: Recipe,
        *,
        seed: int,
        best: Best | None,
        outputs: list[Tensor] | None,
    ) -> None:
        self.outputs = outputs
        self.started = time.monotonic()
        image, device = train.pixels.shape[1:], train.pixels.device
        materialize(network, image)
        if settle(network, image, device, channels_last=recipe.channels_last):
            to_channels_last(network, device)
        _check_parts(network, recipe)
        self.network, self.valid, self.recipe, self.best = network, valid, recipe, best
        self.optimizer = optimizer_of([p for p in network.parameters() if p.requires_grad], recipe)
        self.augmenter = Augmenter(train, recipe.crop, recipe.flip, recipe.cutout)
        self.mixer = Mixer(recipe.mixup, recipe.cutmix, self.augmenter.height, self.augmenter.width)
        self.generator = torch.Generator().manual_seed(seed)
        self.average = ModelEMA(network, recipe.ema) if recipe.ema else None
        self.curve: list[dict[str, float]] = []

    @property
    def final(self) -> nn.Module:
        """The network that is validated and returned."""
        return self.network if self.average is None else self.average.module

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Train and validate; the metrics of the epoch, counted from 1.

        Raises:
            TrainingFailed: As `fit`.
        """
        network, recipe, valid = self.network, self.recipe, self.valid
        if isinstance(network, SupportsDropPath):
            network.drop_path = recipe.drop_path * (epoch - 1) / recipe.epochs
        metrics = {"train_loss": self._train_epoch(epoch)}
        if valid is not None and recipe.validates_after(epoch):
            metrics["valid_accuracy"], metrics["valid_loss"] = evaluate(self.final, valid, recipe, self.outputs)
        self._check_time(epoch)  # by now the device has finished its queue
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingFailed(
                    "not_finite",
                    f"{name.replace('_', ' ')} became {value} in epoch {epoch} of {recipe.epochs} "
                    f"(learning rate {recipe.lr:g}). Try trainer.lr={recipe.lr / 10:g}",
                )
        self.curve.append(metrics)
        if self.best is not None:
            self.best.update(epoch, metrics, self.final)
        return metrics

    def _train_epoch(self, epoch: int) -> float:
        """One pass over the images; the mean loss of its steps, weighted by their images."""
        network, recipe, augmenter = self.network, self.recipe, self.augmenter
        draws = augmenter.draw(self.generator)
        bounds = list(batches(len(augmenter), recipe.batch_size))
        mixes = self.mixer.draw([stop - start for start, stop in bounds], self.generator, augmenter.device)
        network.train()
        total = torch.zeros((), device=augmenter.device)
        first = (epoch - 1) * len(bounds)
        for step, ((start, stop), mix) in enumerate(zip(bounds, mixes, strict=True), start=first):
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate_of_step(step, len(bounds))
            images, labels = augmenter.batch(draws, start, stop)
            self.optimizer.zero_grad(set_to_none=True)
            loss = _loss(network, images, labels, mix, recipe)
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
            take_step(self.optimizer)
            if self.average is not None:
                self.average.update_parameters(network)
            total += loss.detach() * (stop - start)
            self._check_time(epoch)
        return total.item() / bounds[-1][1]  # read once an epoch: reading it every step would hold the device up

    def finish(self) -> None:
        """Replace the weights by their average, if there is one."""
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),  # drop-path draws from torch's own
            "random_others": generators.state(),  # and a user's layers from Python's or NumPy's
            "curve": self.curve,
        }
        if self.augmenter.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.augmenter.device)
        if self.average is not None:
            state["average"] = self.average.saved()
        if self.best is not None:
            state["best"] = vars(self.best)
        return state

    def restore(self, state: Mapping[str, Any] | None) -> list[dict[str, float]]:
        """Restore a state; returns the metrics of its epochs.

        Raises:
            UserError: It belongs to another network.
        """
        if state is None:
            return []
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["random"])
            if "random_others" in state:  # version 0.1.0 did not save it
                generators.restore(state["random_others"])
            if self.augmenter.device.type == "cuda":
                torch.cuda.set_rng_state(state["random_cuda"], self.augmenter.device)
            if self.average is not None:
                self.average.restore(state["average"])
            if self.best is not None:
                vars(self.best).update(state["best"])
            self.curve = list(state["curve"])
        except (KeyError, AttributeError, ValueError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the checkpoint of this training does not fit it ({reason}); remove its file") from None
        return list(self.curve)

    def _check_time(self, epoch: int) -> None:
        recipe = self.recipe
        if recipe.time_limit is not None and time.monotonic() - self.started > recipe.time_limit:
            raise TrainingFailed(
                "time_limit",
                f"training exceeded trainer.time_limit={recipe.time_limit:g} s in epoch {epoch} of {recipe.epochs}. "
                "Raise the limit, or reduce trainer.epochs or trainer.network",
            )


@torch.no_grad()
def evaluate(
    network: nn.Module, images: Images, recipe: Recipe, outputs: list[Tensor] | None = None
) -> tuple[float, float]:
    """Accuracy (fraction 0-1, higher is better) and mean cross-entropy (nats) on some images.

    Args:
        outputs: Emptied, and filled with the logits in parts (B, classes), on the CPU.
    """
    network.eval()
    if outputs is not None:
        outputs.clear()
    size = PRETRAINED_BATCH if isinstance(network, SupportsPretrainedFeatures) else EVALUATION_BATCH
    hits = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    loss = torch.zeros((), dtype=torch.float64, device=images.labels.device)
    for start in range(0, len(images), size):
        labels = images.labels[start : start + size]
        logits = logits_of(network, images, start, start + size, recipe)
        if outputs is not None:
            outputs.append(logits.cpu())
        hits += (logits.argmax(1) == labels).sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
    return hits.item() / len(images), loss.item() / len(images)


def batches(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Bounds of an epoch's batches. The last may be smaller; a single image is left out, since it has no variance."""
    for start in range(0, count, size):
        stop = min(start + size, count)
        if stop - start > 1:
            yield start, stop


def _check_parts(network: nn.Module, recipe: Recipe) -> None:
    """Raise `UsageError` if a recipe asks for something that the network does not support."""
    drops = isinstance(network, SupportsDropPath)
    if recipe.drop_path and not drops:
        raise UsageError(
            f"trainer.drop_path={recipe.drop_path:g}: the networks of this space do not support drop-path (they do not "
            "derive from nas.space.SupportsDropPath); set trainer.drop_path=0"
        )
    if drops and not isinstance(getattr(network, "drop_path", None), int | float):
        raise UsageError(
            f"{type(network).__name__} derives from SupportsDropPath, so its drop_path must be a number, got "
            f"{type(getattr(network, 'drop_path', None)).__name__}"
        )
    has = auxiliary_head(network) is not None
    if has != bool(recipe.auxiliary_weight):
        raise UsageError(
            f"trainer.auxiliary_weight={recipe.auxiliary_weight:g} with a network that has "
            f"{'an' if has else 'no'} auxiliary head; expected trainer.network.auxiliary=true with a weight above 0 "
            "(spaces darts and nasnet, and networks that derive from nas.space.SupportsAuxiliaryHead), or neither"
        )


def _loss(network: nn.Module, images: Tensor, labels: Tensor, mix: Mix | None, recipe: Recipe) -> Tensor:
    """Mean cross-entropy of a batch, mixed or not, with that of an auxiliary head."""
    logits, second = _logits(network, images if mix is None else mix.images(images), recipe)

    def entropy(logits: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if mix is None:
            return loss
        # cross-entropy is linear in its target, so this is the loss of the mixed labels
        other = F.cross_entropy(logits, labels[mix.partner], label_smoothing=recipe.label_smoothing)
        return mix.share * loss + (1 - mix.share) * other

    loss = entropy(logits)
    return loss if second is None else loss + recipe.auxiliary_weight * entropy(second)


def logits_of(network: nn.Module, images: Images, start: int, stop: int, recipe: Recipe) -> Tensor:
    """Logits (B, classes) of images `start` to `stop`, which a network in evaluation mode is scored by."""
    return _logits(network, plain_batch(images, start, stop), recipe)[0]


def _logits(network: nn.Module, images: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor | None]:
    """Logits (B, classes), and those of an auxiliary head in training."""
    if not settle(network, images.shape[1:], images.device, channels_last=recipe.channels_last):
        images = contiguous(images)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        output = network(images)
    logits, second = output if isinstance(output, tuple) else (output, None)
    return logits.float(), None if second is None else second.float()


@contextmanager
def memory_guard(part: str = Recipe.part) -> Iterator[None]:
    """Turn exhausted memory, of the device or of the machine, into `TrainingFailed`.

    Args:
        part: Key of the settings to reduce.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed("out_of_memory", _out_of_memory(error, part)) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the device or of the machine, is exhausted."""
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return exhausted or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY_SIGNS))


def _out_of_memory(error: BaseException, part: str) -> str:
    detail = str(error).strip().splitlines()[0] if str(error).strip() else "no details"
    return f"out of memory ({detail}). Try a smaller {part}.batch_size or {part}.network"
