"""Retraining: train one architecture from scratch on training and validation images, and test it once.

The only place that reads test images. A result is stored with its checkpoint; asking for the same training again gives
the stored result instead of a second look at the test set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.core import Architecture, UserError
from nas.data.dataset import DataSet
from nas.space import SearchSpace
from nas.store.base import Retraining, Store
from nas.training import count
from nas.training.device import configured, resolve_device
from nas.training.fit import TrainingFailed, evaluate, fit, memory_guard
from nas.training.recipe import Recipe

CHECKPOINT, RESULT = "model.safetensors", "result.json"


@dataclass(frozen=True)
class Subject:
    """What is retrained.

    Args:
        space, space_name: of the architecture.
        architecture: a valid one.
        run, trial: where it was found; None for one from elsewhere.
    """

    space: SearchSpace
    space_name: str
    architecture: Architecture
    run: str | None = None
    trial: int | None = None


def retrain(
    subject: Subject,
    data: DataSet,
    recipe: Recipe,
    store: Store,
    folder: Callable[[str], Path],
    *,
    seed: int = 0,
    device: str = "auto",
    report: Callable[[Mapping[str, float]], None],
) -> tuple[Retraining, bool]:
    """Train, test once, and keep checkpoint and result.

    Args:
        folder: makes the checkpoint's folder from eight digits that stand for data, recipe, architecture and seed.
        report: called after each epoch with `train_loss`.

    Returns:
        The retraining, and whether it is new (False: it was done before, and nothing was trained or tested).

    Raises:
        UserError: the data are missing, training failed, or something cannot be written. The test images are read
            before anything is trained, so that a missing file does not cost a night.
    """
    place = resolve_device(device)
    split = data.split()
    protocol: dict[str, Any] = {
        "data": data.name,
        "split": split.hash,
        "recipe": recipe.protocol(),
        "part": "train+valid",
    }
    text = subject.space.to_text(subject.architecture)
    key = json.dumps([text, seed, protocol, subject.run, subject.trial], sort_keys=True)
    target = folder(hashlib.blake2b(key.encode(), digest_size=4).hexdigest())
    if (target / RESULT).is_file():
        for earlier in store.retrainings():
            if (earlier.text, earlier.seed, earlier.protocol) == (
                text,
                seed,
                protocol,
            ) and earlier.folder == str(target):
                return earlier, False
    if target.exists() and any(target.iterdir()):
        raise UserError(f"folder {target} holds files of something else; give an empty one with out=")
    test = data.test_images().to(place)
    train = split.whole().first(recipe.train_images).to(place)
    started = time.perf_counter()
    try:
        with configured(place, recipe.threads, recipe.deterministic), memory_guard():
            torch.manual_seed(seed)
            network = subject.space.build(subject.architecture, data.task, recipe.network).to(place)
            metrics = fit(network, train, None, recipe, seed=seed, report=report)
            metrics["test_accuracy"], metrics["test_loss"] = evaluate(network, test, recipe)
    except TrainingFailed as failure:
        raise UserError(f"retraining failed: {failure.message}") from None
    metrics |= {"parameters": count.parameters(network), "flops": count.flops(network, data.task)}
    retraining = Retraining(
        run=subject.run,
        trial=subject.trial,
        space=subject.space_name,
        text=text,
        canonical=subject.space.canonical(subject.architecture),
        seed=seed,
        protocol=protocol,
        metrics=metrics,
        seconds=time.perf_counter() - started,
        folder=str(target),
    )
    _keep(network, retraining, target)
    store.add_retraining(retraining)
    return retraining, True


def _keep(network: torch.nn.Module, retraining: Retraining, target: Path) -> None:
    """Write checkpoint and result beside their place, then move them there at once."""
    from safetensors.torch import save_file

    temporary = target.with_name(target.name + ".partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
        about = {
            "arch": retraining.text,
            "space": retraining.space,
            "network": json.dumps(retraining.protocol["recipe"]["network"]),
        }
        save_file(tensors, str(temporary / CHECKPOINT), metadata=about)
        fields = {name: getattr(retraining, name) for name in retraining.__dataclass_fields__}
        (temporary / RESULT).write_text(json.dumps(fields, indent=2) + "\n")
        if target.exists():
            target.rmdir()  # empty, as was checked
        temporary.rename(target)
    except OSError as error:
        raise UserError(
            f"the checkpoint cannot be written to {target} ({error.strerror or error}); free space or set out="
        ) from None
