"""Tabulation of a space: train every architecture class and write the results as a table that searches can look up.

Only this module and retraining read test images. Nothing is chosen here: every class is trained with the same recipe
and seeds, independent of its scores, so a test accuracy cannot leak into a choice. Searches over the finished table
see only its search metric.

Each finished training is a line of a journal, synchronised to the disk, so a tabulation that is killed resumes where it
stopped. Classes come in an order drawn from a hash: the finished ones are at any time a random sample of the space.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.core import Architecture
from nas.data.base import DataSet
from nas.engine.checks import check_flops
from nas.engine.randomness import training_seed
from nas.errors import UsageError, UserError
from nas.executors.base import Executor, WorkerDied
from nas.executors.each import each
from nas.identity import DECISIONS
from nas.provenance import environment
from nas.space.base import SearchSpace
from nas.space.notation import parse, recorded_choices
from nas.studies.journal import Journal, journal
from nas.training.architecture import TrainingImages, count_architecture, train_architecture
from nas.training.check import BadNetwork
from nas.training.device import resolve_device
from nas.training.findings import FindingsReporter
from nas.training.fit import TrainingFailed
from nas.training.recipe import Recipe
from nas.training.tuning import check_tuned, tuned_protocol, tuned_recipe

MAX_ARCHITECTURES = 1_000_000
"""Largest space that could ever be tabulated."""


@dataclass(frozen=True)
class Training:
    """One task of a worker."""

    architecture: Architecture
    text: str
    canonical: str
    repeat: int
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """Key of its line in the journal."""
        return self.canonical, self.repeat


@dataclass
class Trainer:
    """The work of a worker: train and measure one network after another.

    Args:
        space, data, recipe: Space, data set and recipe of the whole tabulation.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    space: SearchSpace
    data: DataSet
    recipe: Recipe
    device: str

    def __post_init__(self) -> None:
        self._images: TrainingImages | None = None
        self._findings = FindingsReporter()

    def ready(self) -> Trainer:
        """Itself; images are loaded by the first training, in the process that needs them."""
        return self

    def __call__(self, training: Training) -> dict[str, Any]:
        """Metrics of one training, or `failed` with a sentence.

        Raises:
            UserError: Its network cannot be trained, however often it is tried.
        """
        device = resolve_device(self.device)
        if self._images is None:
            split, test = self.data.split(), self.data.read_test()
            self._images = TrainingImages.of_split(self.data.task, split, self.recipe, test).to(device)
        images = self._images
        try:
            recipe = tuned_recipe(self.space, training.architecture, self.recipe)
        except UsageError as error:
            raise UsageError(f"arch={training.text}: {error}") from None
        if recipe.train_images != self.recipe.train_images:
            images = replace(images, train=self.data.split().train.first(recipe.train_images).to(device))
        try:
            trained = train_architecture(
                self.space,
                training.architecture,
                images,
                recipe,
                seed=training.seed,
                device=device,
                findings=self._findings,
            )
        except BadNetwork as failure:
            raise UserError(f"arch={training.text}: {failure.message}") from None
        except TrainingFailed as failure:
            return {"failed": failure.message}
        return {**trained.counts, **trained.metrics, "seconds": trained.seconds, **trained.test}


def tabulate(
    space: SearchSpace,
    about_space: Mapping[str, Any],
    data: DataSet,
    recipe: Recipe,
    *,
    path: Path,
    executor: Executor,
    seeds: int = 2,
    repeated: int | None = None,
    device: str = "auto",
    report: Callable[[int, int, Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Train every class of a finite space; resume where the journal ends.

    Args:
        space: Finite space.
        about_space: Name and settings of the space, stored in the journal.
        data: Data set; its test images are read.
        recipe: How every network is trained.
        path: Path of the journal, one line per training; created if it is missing.
        executor: Executor of the trainings.
        seeds: Trainings of a class.
        repeated: At most this many classes, the first in the hashed order, get more than one training; None: all.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        report: Called at the start and after each training with the number done, the number planned and its line.

    Returns:
        The header of the journal, with `trainings` added: the lines of all planned trainings.

    Raises:
        UserError: The journal is of another tabulation, or a training failed; finished trainings stay in it.
    """
    check_tuned(space, recipe)
    plan = _plan(space, seeds, repeated)
    data.read_test()  # missing or unfit files are reported before hours of training
    identity = _identity(space, about_space, data, recipe, device)
    remarks = {"environment": environment(), "begun": time.strftime("%Y-%m-%d")}
    with journal(path, identity, remarks, ("arch", "canonical", "repeat")) as opened:
        _check_classes(space, opened)
        # a training that failed for lack of memory or time may succeed this time
        done = {(line["canonical"], line["repeat"]): line for line in opened.lines if "failed" not in line}
        check_flops(
            f"the journal {path}",
            [(line["arch"], space.from_text(line["arch"]), line) for line in done.values()],
            lambda architecture: count_architecture(
                space, architecture, data.task, tuned_recipe(space, architecture, recipe)
            ),
            "choose another out=",
        )
        trainer = Trainer(space, data, recipe, device)
        _run_missing(plan, done, opened, executor=executor, trainer=trainer, report=report)
    trainings = [done[training.key] for training in plan]
    failed = [line for line in trainings if "failed" in line]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(plan)} trainings failed, the first for {failed[0]['arch']}: {failed[0]['failed']}. "
            f"No table was written because it would be incomplete. The others are stored in {path}; rerun the command "
            "to retry the failed ones, or change the trainer settings and out="
        )
    return {**opened.head, "trainings": trainings}


def _run_missing(
    plan: Sequence[Training],
    done: dict[tuple[str, int], dict[str, Any]],
    opened: Journal,
    *,
    executor: Executor,
    trainer: Trainer,
    report: Callable[[int, int, Mapping[str, Any]], None],
) -> None:
    """Run the planned trainings that are not done, and add their lines to `done` and to the journal.

    Raises:
        UserError: A worker died, or a network cannot be trained.
    """
    todo = deque(training for training in plan if training.key not in done)
    finished = len(plan) - len(todo)
    report(finished, len(plan), {})
    for batch in each(executor, trainer.ready, todo):
        lost = None
        for training, result in batch:
            if isinstance(result, WorkerDied):
                lost = f"the training of {training.text} was lost: {result.reason}; rerun the command to resume"
                continue
            line = {
                "arch": training.text,
                "canonical": training.canonical,
                "repeat": training.repeat,
                "seed": training.seed,
                **result,
            }
            opened.append(line)
            done[training.key] = line
            finished += 1
            report(finished, len(plan), line)
        if lost:
            raise UserError(lost)


def _identity(
    space: SearchSpace, about_space: Mapping[str, Any], data: DataSet, recipe: Recipe, device: str
) -> dict[str, Any]:
    return {
        "format": 1,
        "space": about_space,
        DECISIONS: recorded_choices(space),
        "data": data.name,
        "split": data.split().hash,
        "recipe": tuned_protocol(space, recipe.protocol() | {"network": space.known_sizes(recipe.network)}),
        "device": resolve_device(device).type,
        # version 0.1.0 has other results on such data
        **({"test_normalisation": "training"} if data.restated else {}),
    }


def _check_classes(space: SearchSpace, opened: Journal) -> None:
    """Refuse a journal of version 0.1.0, which does not record the choices, if a class has changed."""
    for line in opened.lines if DECISIONS not in opened.head else ():
        if space.canonical(parse(space, line["arch"])) != line["canonical"]:
            raise UsageError(
                f"{opened.path} has {line['arch']!r}, which now belongs to a different class of "
                f"{type(space).__name__}; choose another out= or restore the old choices; nothing was changed"
            )


def _plan(space: SearchSpace, seeds: int, repeated: int | None) -> list[Training]:
    if space.size > MAX_ARCHITECTURES:
        raise UsageError(
            f"{type(space).__name__} has {space.size:,} architectures, and each class of them would be trained; "
            f"expected a space of at most {MAX_ARCHITECTURES:,}"
        )
    classes: dict[str, Architecture] = {}
    for architecture in space.architectures():
        classes.setdefault(space.canonical(architecture), architecture)
    order = sorted(classes, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
    return [
        Training(classes[key], space.to_text(classes[key]), key, repeat, training_seed(0, key, repeat))
        for position, key in enumerate(order)
        for repeat in range(seeds if repeated is None or position < repeated else 1)
    ]
