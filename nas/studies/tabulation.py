"""Tabulating a space: train every architecture class and write what came out as a table that searches can replay.

Besides retraining the only reader of test images. Nothing is chosen here: every class is trained with the same recipe
and seeds, whatever it scores, so a test accuracy cannot leak into a choice. Searches over the finished table see its
search metric alone.

Each finished training is a line of a journal, synchronised to the disk, so a tabulation that is killed goes on where it
was. Classes come in an order drawn from a hash: what is done at any moment is a random sample of the space.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core import Architecture
from nas.data.base import DataSet
from nas.engine.checks import check_flops
from nas.engine.randomness import training_seed
from nas.errors import UsageError, UserError
from nas.executors.base import Died, Executor, each
from nas.identity import DECISIONS
from nas.provenance import environment
from nas.space.base import SearchSpace, parse, recorded_choices
from nas.studies.journal import journal
from nas.training.architecture import TrainingImages, count_architecture, train_architecture
from nas.training.check import BadNetwork
from nas.training.device import resolve_device
from nas.training.findings import Teller
from nas.training.fit import TrainingFailed
from nas.training.recipe import Recipe

MOST = 1_000_000
"""Architectures of a space that could ever be tabulated."""


@dataclass(frozen=True)
class Training:
    """One task of a worker."""

    architecture: Architecture
    text: str
    canonical: str
    repeat: int
    seed: int


@dataclass
class Trainer:
    """What a worker does: trains and measures one network after another.

    Args:
        space, data, recipe: as of the whole tabulation.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    space: SearchSpace
    data: DataSet
    recipe: Recipe
    device: str

    def __post_init__(self) -> None:
        self._images: TrainingImages | None = None
        self._findings = Teller()

    def ready(self) -> Trainer:
        """Itself; images are loaded by the first training, in the process that needs them."""
        return self

    def __call__(self, training: Training) -> dict[str, Any]:
        """Metrics of one training, or `failed` with a sentence.

        Raises:
            UserError: its network cannot be trained, which no other training mends.
        """
        device = resolve_device(self.device)
        if self._images is None:
            split, test = self.data.split(), self.data.read_test()
            self._images = TrainingImages.of_split(self.data.task, split, self.recipe, test).to(device)
        try:
            trained = train_architecture(
                self.space,
                training.architecture,
                self._images,
                self.recipe,
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
    """Train every class of a finite space; go on where the journal ends.

    Args:
        about_space: name and settings of the space, kept in the journal.
        path: of the journal, one line a training; made where it is missing.
        executor: where trainings run.
        seeds: trainings of a class.
        repeated: only so many classes, the first in the hashed order, get more than one training; None: all.
        report: called at the start and after each training with the number done, the number planned and its line.

    Returns:
        The header of the journal, with `trainings` added: the lines of all trainings asked for.

    Raises:
        UserError: the journal is of another tabulation, or a training failed; what is done is kept.
    """
    plan = _plan(space, seeds, repeated)
    data.read_test()  # missing or unfit files are reported before hours of training
    identity = {
        "format": 1,
        "space": about_space,
        DECISIONS: recorded_choices(space),
        "data": data.name,
        "split": data.split().hash,
        "recipe": recipe.protocol() | {"network": space.known_sizes(recipe.network)},
        "device": resolve_device(device).type,
        # results of version 0.1.0 on such data are other ones
        **({"test_normalisation": "training"} if data.restated else {}),
    }
    remarks = {"environment": environment(), "begun": time.strftime("%Y-%m-%d")}
    with journal(path, identity, remarks, ("arch", "canonical", "repeat")) as opened:
        for line in opened.lines if DECISIONS not in opened.head else ():  # a journal of version 0.1.0
            if space.canonical(parse(space, line["arch"])) != line["canonical"]:
                raise UsageError(
                    f"{path} has {line['arch']!r}, which is of another class of {type(space).__name__} now; choose "
                    "another out= or restore the old choices; nothing was changed"
                )
        # what failed for want of memory or time may do better this time
        done = {(line["canonical"], line["repeat"]): line for line in opened.lines if "failed" not in line}
        check_flops(
            f"the journal {path}",
            [(line["arch"], space.from_text(line["arch"]), line) for line in done.values()],
            lambda architecture: count_architecture(space, architecture, data.task, recipe),
            "choose another out=",
        )
        todo = deque(training for training in plan if (training.canonical, training.repeat) not in done)
        planned, before = len(plan), len(plan) - len(todo)
        report(before, planned, {})
        work = Trainer(space, data, recipe, device)
        for batch in each(executor, work.ready, todo):
            lost = None
            for training, found in batch:
                if isinstance(found, Died):
                    lost = f"the training of {training.text} was lost: {found.reason}; run it again to go on"
                    continue
                line = {
                    "arch": training.text,
                    "canonical": training.canonical,
                    "repeat": training.repeat,
                    "seed": training.seed,
                    **found,
                }
                opened.keep(line)
                done[training.canonical, training.repeat] = line
                before += 1
                report(before, planned, line)
            if lost:
                raise UserError(lost)
        trainings = [done[training.canonical, training.repeat] for training in plan]
    failed = [line for line in trainings if "failed" in line]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(plan)} trainings failed, the first of {failed[0]['arch']}: {failed[0]['failed']}. "
            f"No table was written, since its values would be made up. The others are kept in {path}; run it again to "
            "try those anew, or change trainer. and out="
        )
    return {**opened.head, "trainings": trainings}


def _plan(space: SearchSpace, seeds: int, repeated: int | None) -> list[Training]:
    if space.size > MOST:
        raise UsageError(
            f"{type(space).__name__} has {space.size:,} architectures, and each class of them would be trained; "
            f"expected a space of at most {MOST:,}"
        )
    classes: dict[str, Architecture] = {}
    for architecture in space.architectures():
        classes.setdefault(space.canonical(architecture), architecture)
    order = sorted(classes, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
    return [
        Training(classes[key], space.to_text(classes[key]), key, repeat, training_seed(0, key, repeat))
        for place, key in enumerate(order)
        for repeat in range(seeds if repeated is None or place < repeated else 1)
    ]
