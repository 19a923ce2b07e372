"""Tabulating a space: train every architecture class and write what came out as a table that searches can replay.

Besides retraining the only reader of test images. Nothing is chosen here: every class is trained with the same recipe
and seeds, whatever it scores, so a test accuracy cannot leak into a choice. Searches over the finished table see its
search metric alone.

Each finished training is a line of a journal, synchronised to the disk, so a tabulation that is killed goes on where it
was. Classes come in an order drawn from a hash: what is done at any moment is a random sample of the space.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from nas.core import Architecture, UsageError, UserError
from nas.data.dataset import DataSet, Images
from nas.environment import environment
from nas.executors.base import Died, Executor
from nas.randomness import training_seed
from nas.space import SearchSpace
from nas.training import count
from nas.training.device import configured, resolve_device
from nas.training.fit import TrainingFailed, evaluate, fit, memory_guard
from nas.training.recipe import Recipe

METRICS = ("valid_accuracy", "valid_loss", "test_accuracy", "test_loss", "train_loss", "seconds")
"""What differs between the seeds of a class."""
COUNTS = ("parameters", "flops")


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
        self._parts: tuple[Images, Images, Images] | None = None

    def __call__(self, training: Training) -> dict[str, Any]:
        """Metrics of one training, or `failed` with a sentence."""
        place, recipe = resolve_device(self.device), self.recipe
        if self._parts is None:
            split = self.data.split()
            parts = (
                split.train.first(recipe.train_images),
                split.valid.first(recipe.valid_images),
                self.data.read_test(),
            )
            self._parts = parts[0].to(place), parts[1].to(place), parts[2].to(place)
        train, valid, test = self._parts
        sizes = self.space.known_sizes(recipe.network)
        try:
            with configured(place, recipe), memory_guard():
                torch.manual_seed(training.seed)
                network = self.space.build(training.architecture, self.data.task, sizes)
                found: dict[str, Any] = {
                    "parameters": count.parameters(network),
                    "flops": count.flops(network, self.data.task),
                }
                clock = _clock(place)
                started = clock()
                found |= fit(network.to(place), train, valid, recipe, seed=training.seed, report=_silent)
                found["seconds"] = clock() - started
                found["test_accuracy"], found["test_loss"] = evaluate(network, test, recipe)
        except TrainingFailed as failure:
            return {"failed": failure.message}
        if not math.isfinite(found["test_loss"]):
            return {"failed": f"test loss is {found['test_loss']}"}
        return found


def tabulate(
    space: SearchSpace,
    about_space: Mapping[str, Any],
    data: DataSet,
    recipe: Recipe,
    journal: Path,
    executor: Executor,
    *,
    seeds: int = 2,
    repeated: int | None = None,
    device: str = "auto",
    report: Callable[[int, int, Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Train every class of a finite space; go on where the journal ends.

    Args:
        about_space: name and settings of the space, kept in the journal.
        journal: one line a training; made where it is missing.
        executor: where trainings run.
        seeds: trainings of a class.
        repeated: only so many classes, the first in the hashed order, get more than one training; None: all.
        report: called after each training with the number done, the number planned and its line.

    Returns:
        The header of the journal, with `trainings` added: the lines of all trainings asked for.

    Raises:
        UserError: the journal is of another tabulation, or a training failed; what is done is kept.
    """
    header = _plain(
        {
            "format": 1,
            "space": about_space,
            "data": data.name,
            "split": data.split().hash,
            "recipe": recipe.protocol() | {"network": space.known_sizes(recipe.network)},
            "device": resolve_device(device).type,
        }
    )
    plan = _plan(space, seeds, repeated)
    with _opened(journal, header) as (first, done, keep):
        todo = [training for training in plan if (training.canonical, training.repeat) not in done]
        with executor.open(_Make(Trainer(space, data, recipe, device))) as jobs:
            running = 0
            while todo or running:
                while todo and running < executor.workers:
                    jobs.submit(todo[0], todo.pop(0))
                    running += 1
                for training, found in jobs.wait():
                    running -= 1
                    assert isinstance(training, Training)
                    if isinstance(found, Died):
                        raise UserError(
                            f"a training of {training.text} was lost: {found.reason}; run it again to go on"
                        )
                    line = {
                        "arch": training.text,
                        "canonical": training.canonical,
                        "repeat": training.repeat,
                        "seed": training.seed,
                        **found,
                    }
                    keep(line)
                    done[training.canonical, training.repeat] = line
                    report(len(done), len(plan), line)
        trainings = [done[training.canonical, training.repeat] for training in plan]
    failed = [line for line in trainings if "failed" in line]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(plan)} trainings failed, the first of {failed[0]['arch']}: {failed[0]['failed']}. "
            f"No table was written, since its values would be made up; the trainings are kept in {journal}"
        )
    return {**first, "trainings": trainings}


@dataclass(frozen=True)
class _Make:
    trainer: Trainer

    def __call__(self) -> Trainer:
        return self.trainer


def _plan(space: SearchSpace, seeds: int, repeated: int | None) -> list[Training]:
    classes: dict[str, Architecture] = {}
    for architecture in space.architectures():
        classes.setdefault(space.canonical(architecture), architecture)
    order = sorted(classes, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
    return [
        Training(classes[key], space.to_text(classes[key]), key, repeat, training_seed(0, key, repeat))
        for place, key in enumerate(order)
        for repeat in range(seeds if repeated is None or place < repeated else 1)
    ]


@contextmanager
def _opened(
    journal: Path, header: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[tuple[str, int], dict[str, Any]], Callable[[Mapping[str, Any]], None]]]:
    """The journal's first line, its trainings so far, and what appends another."""
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(journal.with_name(f"{journal.name}.lock"))
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{journal} is being written by another process; wait until it ends or choose out=") from None
    except OSError as error:
        raise _unwritable(journal, error) from None
    try:
        lines = _read(journal)

        def keep(line: Mapping[str, Any]) -> None:
            try:
                with journal.open("ab") as file:
                    file.write(json.dumps(line).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise _unwritable(journal, error) from None

        if not lines:
            lines = [{**header, "environment": environment(), "begun": time.strftime("%Y-%m-%d")}]
            keep(lines[0])
        first, *rest = lines
        for key, value in header.items():
            if first.get(key) != value:
                raise UsageError(
                    f"{journal} was begun with {key}={first.get(key)}, now it is {value}; "
                    "choose another out= or restore the old value"
                )
        yield first, {(line["canonical"], line["repeat"]): line for line in rest}, keep
    finally:
        lock.release()


def _read(journal: Path) -> list[dict[str, Any]]:
    """The lines of a journal; one that was being written when the process died is taken off, and done again."""
    try:
        raw = journal.read_bytes() if journal.exists() else b""
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if not all(isinstance(line, dict) and {"canonical", "repeat"} <= line.keys() for line in lines[1:]):
            raise ValueError("a line is not a training")
        if len(whole) < len(raw):
            os.truncate(journal, len(whole))
    except ValueError as error:
        raise UserError(f"{journal} is damaged ({error}); restore it or choose another out=") from None
    except OSError as error:
        raise _unwritable(journal, error) from None
    return lines


def _unwritable(journal: Path, error: OSError) -> UserError:
    return UserError(f"{journal} cannot be written ({error.strerror or error}); free space or choose another out=")


def _clock(place: torch.device) -> Callable[[], float]:
    """Processor seconds on a CPU, which other work on the machine does not stretch; wall time on a GPU."""
    return time.process_time if place.type == "cpu" else time.perf_counter


def _silent(_metrics: Mapping[str, float]) -> None:
    return


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(tree))
    return found
