"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import generators
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.space.network import SupportsDropPath, auxiliary_head
from nas.training.augment import Augmenter, Draws, plain_batch
from nas.training.average import ModelEMA
from nas.training.lazy import materialize
from nas.training.memory_format import contiguous, settle, to_channels_last
from nas.training.mix import Mix, Mixer
from nas.training.optimizer import optimizer_of, take_step
from nas.training.recipe import Recipe
from nas.training.weights import copied

EVALUATION_BATCH = 500
MEMORY_SIGNS = ("can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED")
"""How the CPU's allocator, the CUDA driver, cuDNN and cuBLAS say that memory is exhausted."""


class TrainingFailed(Exception):
    """Training ended without a usable network.

    Args:
        kind: `not_finite`, `out_of_memory` or `time_limit`.
        message: what happened and what to try, without the name of the trial.
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
    keeper: Keeper | None = None,
    best: Best | None = None,
) -> dict[str, float]:
    """Train a network, and validate it after every epoch, or as the recipe says.

    Args:
        network: on the device of the images; trained in place.
        train: at least two images.
        valid: None to train without validation.
        recipe: `network`, `train_images` and `valid_images` are the caller's business.
        seed: decides order and augmentation of the images; initialisation is the caller's.
        report: called after each epoch with `train_loss` (mean over the epoch's steps) and, with validation,
            `valid_accuracy` (fraction 0-1) and `valid_loss` (mean cross-entropy, nats). `train_loss` is what was
            minimised: that of the mixed images and labels under mixup and CutMix, which is well above zero for a
            network without errors and compares only with trainings of the same settings.
        keeper: keeps the state after each epoch, so that a killed training goes on to the same network; the epochs of
            earlier sessions are reported again.
        best: filled with the best epoch by validation.

    Returns:
        The metrics of the last epoch: the choice of a best epoch would flatter them.

    Raises:
        TrainingFailed: the loss became infinite or NaN, memory or time ran out.
    """
    started = time.monotonic()
    image = train.pixels.shape[1:]
    materialize(network, image)
    if settle(network, image, train.pixels.device, channels_last=recipe.channels_last):
        to_channels_last(network, train.pixels.device)
    optimizer = optimizer_of([p for p in network.parameters() if p.requires_grad], recipe)
    augmenter = Augmenter(train, recipe.crop, recipe.flip, recipe.cutout)
    mixer = Mixer(recipe.mixup, recipe.cutmix, augmenter.height, augmenter.width)
    generator = torch.Generator().manual_seed(seed)

    def check_time(epoch: int) -> None:
        if recipe.time_limit is not None and time.monotonic() - started > recipe.time_limit:
            raise TrainingFailed(
                "time_limit",
                f"training passed trainer.time_limit={recipe.time_limit:g} s in epoch {epoch} of {recipe.epochs}. "
                "Raise it, or train less: trainer.epochs, trainer.network",
            )

    metrics: dict[str, float] = {}
    _check_parts(network, recipe)
    average = ModelEMA(network, recipe.ema) if recipe.ema else None
    progress = _Progress(network, optimizer, generator, augmenter.device, average, best)
    final = network if average is None else average.module
    with memory_guard():
        kept = None if keeper is None else keeper.load()
        for metrics in progress.restored(kept):
            report(metrics)
        for epoch in range(len(progress.curve) + 1, recipe.epochs + 1):
            if isinstance(network, SupportsDropPath):
                network.drop_path = recipe.drop_path * (epoch - 1) / recipe.epochs
            draws = augmenter.draw(generator)
            sizes = [stop - start for start, stop in batches(len(augmenter), recipe.batch_size)]
            mixes = mixer.draw(sizes, generator, augmenter.device)
            metrics = {
                "train_loss": _train_epoch(
                    network,
                    optimizer,
                    augmenter,
                    draws,
                    recipe,
                    mixes=mixes,
                    epoch=epoch,
                    check_time=check_time,
                    average=average,
                )
            }
            if valid is not None and recipe.validates_after(epoch):
                metrics["valid_accuracy"], metrics["valid_loss"] = evaluate(final, valid, recipe)
            check_time(epoch)  # by now the device has done all that was asked of it
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise TrainingFailed(
                        "not_finite",
                        f"{name.replace('_', ' ')} became {value} in epoch {epoch} of {recipe.epochs} "
                        f"(learning rate {recipe.lr:g}). Try trainer.lr={recipe.lr / 10:g}",
                    )
            progress.curve.append(metrics)
            if best is not None:
                best.take(epoch, metrics, final)
            if keeper is not None:
                keeper.save(progress.state)
            report(metrics)
        if average is not None:
            network.load_state_dict(average.module.state_dict())
    return metrics


@dataclass
class Best:
    """The network after the epoch of the highest validation accuracy, the first of equals.

    Args:
        epoch: from 1; 0 before the first.
        metrics: of that epoch.
        state: of the network.
    """

    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    def take(self, epoch: int, metrics: Mapping[str, float], network: nn.Module) -> None:
        """See whether this epoch is better."""
        accuracy = metrics.get("valid_accuracy")
        if accuracy is not None and accuracy > self.metrics.get("valid_accuracy", -1.0):
            self.epoch, self.metrics = epoch, dict(metrics)
            self.state = copied(network)


class Keeper(Protocol):
    """Where the state of a training outlives its process."""

    def load(self) -> Mapping[str, Any] | None:
        """What was saved last; None where nothing was."""

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Called after each epoch; `state` gives the state as it is then."""


@dataclass
class _Progress:
    """All that decides how a training goes on, random numbers included."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    device: torch.device
    average: ModelEMA | None
    best: Best | None
    curve: list[dict[str, float]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        found = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),  # drop-path draws from torch's own
            "random_others": generators.state(),  # and a user's layers from Python's or NumPy's
            "curve": self.curve,
        }
        if self.device.type == "cuda":
            found["random_cuda"] = torch.cuda.get_rng_state(self.device)
        if self.average is not None:
            found["average"] = self.average.saved()
        if self.best is not None:
            found["best"] = vars(self.best)
        return found

    def restored(self, state: Mapping[str, Any] | None) -> list[dict[str, float]]:
        """Go back to a state; the metrics of its epochs.

        Raises:
            UserError: it is of another network.
        """
        if state is None:
            return []
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["random"])
            if "random_others" in state:  # versions up to 0.1.0 did not keep it
                generators.put_back(state["random_others"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(state["random_cuda"], self.device)
            if self.average is not None:
                self.average.restore(state["average"])
            if self.best is not None:
                vars(self.best).update(state["best"])
            self.curve = list(state["curve"])
        except (KeyError, AttributeError, ValueError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"what was kept of this training does not fit it ({reason}); remove its file") from None
        return list(self.curve)


def _train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    augmenter: Augmenter,
    draws: Draws,
    recipe: Recipe,
    *,
    mixes: Sequence[Mix | None],
    epoch: int,
    check_time: Callable[[int], None],
    average: ModelEMA | None,
) -> float:
    """One pass over the images; the mean loss of its steps, weighted by their images."""
    network.train()
    bounds = list(batches(len(augmenter), recipe.batch_size))
    total = torch.zeros((), device=augmenter.device)
    first = (epoch - 1) * len(bounds)
    for step, ((start, stop), mix) in enumerate(zip(bounds, mixes, strict=True), start=first):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_of_step(step, len(bounds))
        images, labels = augmenter.batch(draws, start, stop)
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(network, images, labels, mix, recipe)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.grad_clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
        take_step(optimizer)
        if average is not None:
            average.update_parameters(network)
        total += loss.detach() * (stop - start)
        check_time(epoch)
    return total.item() / bounds[-1][1]  # read once an epoch: reading it every step would hold the device up


@torch.no_grad()
def evaluate(network: nn.Module, images: Images, recipe: Recipe) -> tuple[float, float]:
    """Accuracy (fraction 0-1, higher is better) and mean cross-entropy (nats) on some images."""
    network.eval()
    hits = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    loss = torch.zeros((), dtype=torch.float64, device=images.labels.device)
    for start in range(0, len(images), EVALUATION_BATCH):
        labels = images.labels[start : start + EVALUATION_BATCH]
        logits = logits_of(network, images, start, start + EVALUATION_BATCH, recipe)
        hits += (logits.argmax(1) == labels).sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
    return hits.item() / len(images), loss.item() / len(images)


def batches(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Bounds of an epoch's batches. The last may be smaller, but a single image is left out: it has no variance."""
    for start in range(0, count, size):
        stop = min(start + size, count)
        if stop - start > 1:
            yield start, stop


def _check_parts(network: nn.Module, recipe: Recipe) -> None:
    """Raise `UsageError` where a recipe asks for what the network does not have."""
    drops = isinstance(network, SupportsDropPath)
    if recipe.drop_path and not drops:
        raise UsageError(
            f"trainer.drop_path={recipe.drop_path:g}: the networks of this space drop no paths (they do not derive "
            "from nas.space.SupportsDropPath); set trainer.drop_path=0"
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
    """Mean cross-entropy of a batch, mixed where it is, that of an auxiliary head included."""
    logits, second = _logits(network, images if mix is None else mix.images(images), recipe)

    def entropy(logits: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if mix is None:
            return loss
        # cross-entropy is linear in its target, so this is that of the mixed labels
        other = F.cross_entropy(logits, labels[mix.partner], label_smoothing=recipe.label_smoothing)
        return mix.share * loss + (1 - mix.share) * other

    loss = entropy(logits)
    return loss if second is None else loss + recipe.auxiliary_weight * entropy(second)


def logits_of(network: nn.Module, images: Images, start: int, stop: int, recipe: Recipe) -> Tensor:
    """Logits (B, classes) of images `start` to `stop`, as a network in evaluation mode is scored by."""
    return _logits(network, plain_batch(images, start, stop), recipe)[0]


def _logits(network: nn.Module, images: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor | None]:
    """Logits (B, classes), and those of an auxiliary head in training."""
    if not settle(network, images.shape[1:], images.device, channels_last=recipe.channels_last):
        images = contiguous(images)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        found = network(images)
    logits, second = found if isinstance(found, tuple) else (found, None)
    return logits.float(), None if second is None else second.float()


@contextmanager
def memory_guard(part: str = Recipe.part) -> Iterator[None]:
    """Turn exhausted memory, of the device or of the machine, into `TrainingFailed`.

    Args:
        part: the key that what needs less of it stands under.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed("out_of_memory", _out_of_memory(error, part)) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the device or of the machine, is exhausted."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY_SIGNS))


def _out_of_memory(error: BaseException, part: str) -> str:
    detail = str(error).strip().splitlines()[0] if str(error).strip() else "no details"
    return f"out of memory ({detail}). Try a smaller {part}.batch_size or {part}.network"
