"""Train one architecture: build its network from a seed, check it, count it, fit it, and test it.

Searches, retrainings and tabulations all train here and nowhere else, so that their numbers are comparable.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from nas.core import Architecture, Metrics, Task
from nas.data import generators
from nas.data.images import Images, Split
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.network import SupportsPretrainedFeatures
from nas.training import count
from nas.training.check import BadNetwork, check_network
from nas.training.device import configured
from nas.training.findings import FindingsReporter
from nas.training.fit import Best, Checkpointer, TrainingFailed, evaluate, fit, memory_guard
from nas.training.head import fit_head, only_head_is_trained
from nas.training.recipe import Recipe
from nas.training.seeding import random_state_restored, seed_all
from nas.training.weight_files import copied


@dataclass(frozen=True)
class TrainingImages:
    """The images of one training.

    Args:
        task: Shape of the images and number of classes.
        train: Training images, at least two.
        valid: Validation images; None to train without validation.
        test: Test images; None to leave the network untested, as every search must.
    """

    task: Task
    train: Images
    valid: Images | None = None
    test: Images | None = None

    @classmethod
    def of_split(cls, task: Task, split: Split, recipe: Recipe, test: Images | None = None) -> TrainingImages:
        """Both parts of a split, as many images of each as a recipe asks for."""
        return cls(task, split.train.first(recipe.train_images), split.valid.first(recipe.valid_images), test)

    def to(self, device: torch.device) -> TrainingImages:
        parts = (None if part is None else part.to(device) for part in (self.valid, self.test))
        return TrainingImages(self.task, self.train.to(device), *parts)


@dataclass(frozen=True)
class TrainedArchitecture:
    """The result of a training.

    Args:
        network: Network as it was tested, on the device of the training.
        counts: Metrics `parameters` and `flops`, as `nas.training.count` gives them.
        metrics: Metrics of the last epoch (`fit`); with `tested="best"` those of the best one, and its number as
            `best_epoch`.
        test: Metrics `test_accuracy` (fraction 0-1) and `test_loss` (nats); empty for an untested network.
        weights: With `keep_weights`, the state_dict after the `last` epoch and, with validation, after the `best`.
        seconds: Time of fitting only: processor time on a CPU, which other work on the machine does not stretch, and
            wall time on a GPU.
    """

    network: nn.Module
    counts: Metrics
    metrics: Metrics
    test: Metrics
    weights: Mapping[str, Mapping[str, Any]]
    seconds: float


def train_architecture(
    space: SearchSpace,
    architecture: Architecture,
    images: TrainingImages,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
    findings: FindingsReporter | None = None,
    checkpointer: Checkpointer | None = None,
    keep_weights: bool = False,
    tested: Literal["last", "best"] = "last",
    outputs: list[torch.Tensor] | None = None,
    test_outputs: list[torch.Tensor] | None = None,
) -> TrainedArchitecture:
    """Train an architecture from its initial weights, with the recipe's threads, precision and determinism.

    Python's and NumPy's global random generators are restored afterwards.

    Args:
        images: Images, on any device.
        recipe: Recipe; `train_images` and `valid_images` are left to the caller (`TrainingImages.of_split`).
        seed: Seed of the initial weights, and of the order and augmentation of the images.
        report: Called after each epoch with its metrics, as by `fit`.
        findings: Reports what the check of the network finds; None: the caller has checked the network.
        checkpointer: Saves the state after each epoch, so that a killed training resumes.
        keep_weights: Whether the result has the weights, of the best epoch too if there is validation.
        tested: The weights that are tested; `best` needs `keep_weights` and validation.
        outputs: Receives the logits of the last validation, in parts (B, classes), on the CPU.
        test_outputs: Receives those of the test.

    Raises:
        BadNetwork: The network cannot be trained as it is.
        TrainingFailed: A loss became infinite or NaN, memory or time ran out.
    """
    task, clock = images.task, _clock(device)
    with configured(device, recipe), memory_guard(), generators.restored():
        train = images.train.to(device)
        valid = None if images.valid is None else images.valid.to(device)
        network = build_seeded(seed, lambda: build_network(space, architecture, task, recipe))
        if findings is not None:
            findings.add(check_network(network, train, task, recipe))
        counts = count.architecture(network, task)
        best = Best() if keep_weights and valid is not None else None
        started = clock()
        network = network.to(device)
        loss = fit_head(network, train) if isinstance(network, SupportsPretrainedFeatures) else None
        if loss is not None and only_head_is_trained(network):
            metrics = _evaluated(network, loss, valid, recipe, best=best, outputs=outputs)
            report(metrics)
        else:
            metrics = fit(
                network,
                train,
                valid,
                recipe,
                seed=seed,
                report=report,
                checkpointer=checkpointer,
                best=best,
                outputs=outputs,
            )
        seconds = clock() - started
        weights: dict[str, Mapping[str, Any]] = {"last": copied(network)} if keep_weights else {}
        if best is not None:
            weights["best"] = best.state
            if tested == "best":
                network.load_state_dict(best.state)
                metrics = {**best.metrics, "best_epoch": best.epoch}
        test = {} if images.test is None else _test(network, images.test.to(device), recipe, test_outputs)
    return TrainedArchitecture(network, counts, metrics, test, weights, seconds)


def count_architecture(space: SearchSpace, architecture: Architecture, task: Task, recipe: Recipe) -> Metrics:
    """`parameters` and `flops` of the network that would be trained; draws no random numbers."""
    with random_state_restored(torch.device("cpu")):
        return count.architecture(build_network(space, architecture, task, recipe), task)


def build_network(space: SearchSpace, architecture: Architecture, task: Task, recipe: Recipe) -> nn.Module:
    """The network of an architecture in the recipe's sizes, initialised from torch's global generator.

    Raises:
        UsageError: The space's `build` takes other arguments.
    """
    sizes = space.known_sizes(recipe.network)
    try:
        inspect.signature(space.build).bind(architecture, task, sizes)
    except TypeError:
        raise UsageError(
            f"{type(space).__name__}.build takes {inspect.signature(space.build)}; expected (architecture, task, "
            "network=None), where network holds the sizes of trainer.network"
        ) from None
    return space.build(architecture, task, sizes)


def build_seeded(seed: int, build: Callable[[], nn.Module], method: str = "build") -> nn.Module:
    """The network that a space builds after the global generators of torch, NumPy and Python were seeded.

    Args:
        build: Builds the network and draws initial weights from torch's global generator.
        method: Name of the space's method, for the message.

    Raises:
        BadNetwork: `build` has seeded torch's generator itself, so that every seed would give the same training.
    """
    seed_all(seed)
    before = torch.initial_seed()
    network = build()
    now = torch.initial_seed()
    if now != before:
        raise BadNetwork(
            f"{method} seeds torch's generator (with {now}), so the seed of a training has no effect; draw initial "
            "weights from torch's generator without seeding it"
        )
    return network


def _evaluated(
    network: nn.Module,
    loss: float,
    valid: Images | None,
    recipe: Recipe,
    *,
    best: Best | None,
    outputs: list[torch.Tensor] | None,
) -> dict[str, float]:
    """The metrics of a network whose classifier was fitted with this loss, as those of a single epoch."""
    metrics = {"train_loss": loss}
    if valid is not None:
        metrics["valid_accuracy"], metrics["valid_loss"] = evaluate(network, valid, recipe, outputs)
    if best is not None:
        best.update(1, metrics, network)
    return metrics


def _test(network: nn.Module, images: Images, recipe: Recipe, outputs: list[torch.Tensor] | None) -> dict[str, float]:
    accuracy, loss = evaluate(network, images, recipe, outputs)
    if not math.isfinite(loss):
        raise TrainingFailed("not_finite", f"test loss is {loss}. Try trainer.lr={recipe.lr / 10:g}")
    return {"test_accuracy": accuracy, "test_loss": loss}


def _clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if device.type == "cpu" else time.perf_counter
