"""Retraining: train one architecture from scratch on training and validation images, and test it once.

Only this module and tabulation read test images. A result is stored with its checkpoint; a second request for the same
training, whatever the origin of its architecture, returns the stored result and does not touch the test set again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from nas.core import Architecture
from nas.data.base import DataSet
from nas.data.images import Images, Split
from nas.errors import UsageError, UserError
from nas.files import atomic_folder, check_folder
from nas.space.base import SearchSpace
from nas.store.base import Retraining, Store
from nas.store.protocol import RetrainingProtocol
from nas.training.architecture import (
    TrainedArchitecture,
    TrainingImages,
    build_network,
    build_seeded,
    count_architecture,
    train_architecture,
)
from nas.training.check import BadNetwork, check_network
from nas.training.checkpoint import FileCheckpointer
from nas.training.device import configured, resolve_device
from nas.training.findings import FindingsReporter, listed
from nas.training.fit import EVALUATION_BATCH, TrainingFailed, logits_of, memory_guard
from nas.training.memory_format import settle
from nas.training.rebuild import check_rebuilt
from nas.training.recipe import Recipe
from nas.training.seeding import random_state_restored
from nas.training.weight_files import NotStorable, copied, load_weights, packed, save_weights, unpacked

CHECKPOINT, RESULT = "model.safetensors", "result.json"
TEST_PROBABILITIES = "test_probabilities.npy"
"""File of the probabilities (N, classes), float32, of the test images in their order, if they are kept."""
UNTESTED_FILES = {"last": "best.safetensors", "best": "last.safetensors"}
"""File of the weights that were not tested, by those that were."""
GRADIENT_BATCHES = 4
"""Number of further training batches that are tried if a parameter has no gradient."""
DRY_RUN_IMAGES = 64
"""Number of images of either part that the network is tried on before it is trained."""


class UnusableTraining(UserError):
    """A training that gave no usable network; another architecture may."""


@dataclass(frozen=True)
class TrainingJob:
    """One retraining: the architecture, its data set, and the recipe.

    Args:
        space: Space of the architecture.
        space_name: Name of the space, stored with the result.
        architecture: Valid architecture of the space.
        data: Data set, whose test images are read once.
        recipe: Recipe of the training.
        space_settings: Settings of the space, stored with the result.
        run, trial: Run and trial that found the architecture; None for one from elsewhere.
        searched_split: Hash of the split that its search used, of this data set with these settings; None: unknown.
        seed: Training seed.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        validate: Train on the training images only and validate on the others after each epoch; the weights of the
            best epoch are saved beside the last.
        tested: The weights that are tested and exported, `last` or `best`; `best` needs `validate`.
        keep_probabilities: Whether the probabilities of the test images are kept beside the checkpoint.
        read_split: The images, if they have been read.

    Raises:
        UsageError: `best` without `validate`.
    """

    space: SearchSpace
    space_name: str
    architecture: Architecture
    data: DataSet
    recipe: Recipe
    space_settings: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    trial: int | None = None
    searched_split: str | None = None
    seed: int = 0
    device: str = "auto"
    validate: bool = False
    tested: Literal["last", "best"] = "last"
    keep_probabilities: bool = False
    read_split: Split | None = None

    def __post_init__(self) -> None:
        if self.tested == "best" and not self.validate:
            raise UsageError("tested=best needs validate=true: validation images decide which epoch is the best")

    @cached_property
    def split(self) -> Split:
        """The images, read once."""
        return self.data.split() if self.read_split is None else self.read_split

    @cached_property
    def target(self) -> torch.device:
        """The device that `device` names."""
        return resolve_device(self.device)

    @property
    def text(self) -> str:
        """The architecture in the field's notation."""
        return self.space.to_text(self.architecture)

    def protocol(self) -> dict[str, Any]:
        """The protocol, which comparable retrainings share."""
        return RetrainingProtocol(
            space=self.space_name,
            space_settings=self.space_settings,
            data=self.data.name,
            split=self.split.hash,
            part="train" if self.validate else "train+valid",
            recipe=self.recipe.protocol() | {"network": self.space.known_sizes(self.recipe.network)},
            test_normalisation="training" if self.data.restated else None,
            tested=self.tested,
            validate_every=self.recipe.validate_every,
        ).to_json()

    def build(self) -> nn.Module:
        """The network, initialised from torch's global generator."""
        return build_network(self.space, self.architecture, self.data.task, self.recipe)

    def train(
        self,
        test: Images,
        checkpointer: FileCheckpointer,
        report: Callable[[Mapping[str, float]], None],
        outputs: list[torch.Tensor],
    ) -> TrainedArchitecture:
        """Try the network out, train it, and test it; `outputs` receives the logits of the test.

        Raises:
            TrainingFailed: The training gave no usable network.
        """
        recipe, task = self.recipe, self.data.task
        channels_last = self._dry_run()
        if self.validate:
            images = TrainingImages.of_split(task, self.split, recipe, test)
        else:
            images = TrainingImages(task, self.split.whole().first(recipe.train_images), None, test)
        return train_architecture(
            self.space,
            self.architecture,
            images,
            replace(recipe, channels_last=channels_last),
            seed=self.seed,
            device=self.target,
            report=report,
            checkpointer=checkpointer,
            keep_weights=True,
            tested=self.tested,
            test_outputs=outputs,
        )

    def _dry_run(self) -> bool:
        """Check the network and its checkpoint before hours of training.

        Returns:
            Whether the network is trained in channels-last memory; if only the backward pass fails in it, the forward
            pass would not show that again.

        Raises:
            BadNetwork, TrainingFailed: Something is wrong.
        """
        recipe, device = self.recipe, self.target
        train, valid = (part.first(DRY_RUN_IMAGES).to(device) for part in (self.split.train, self.split.valid))
        with configured(device, recipe), memory_guard(), random_state_restored(device):
            network = build_seeded(self.seed, self.build)
            findings = check_network(network, train, self.data.task, recipe, gradient_batches=GRADIENT_BATCHES)
            if findings.unregistered:
                raise BadNetwork(findings.untrained())
            if findings.lost:
                raise BadNetwork(
                    f"it stores what it learns outside of its state_dict ({listed(findings.lost)}), so its checkpoint "
                    "would compute something else; register buffers for plain tensors, leave out persistent=False, or "
                    "return them from get_extra_state"
                )
            FindingsReporter(trainings=1).add(findings)
            contiguous = replace(recipe, channels_last=False)
            network.train()
            with torch.no_grad():
                logits_of(network, train, 0, DRY_RUN_IMAGES, contiguous)
            try:
                state = unpacked(*packed(copied(network)))
            except NotStorable as error:
                raise BadNetwork(
                    f"its extra state cannot be stored: {error}; get_extra_state may return tensors, numbers, text, "
                    "and lists, tuples and dicts of them"
                ) from None
            check_rebuilt(network, self.build, state, valid, contiguous, seed=self.seed + 1)
            return settle(network, train.pixels.shape[1:], device, channels_last=recipe.channels_last)

    def check_written(self, network: nn.Module, path: Path) -> None:
        """Raise `TrainingFailed` unless a network that is built again and loads a checkpoint computes the same.

        Args:
            network: The tested network.
            path: Checkpoint file.
        """
        valid = self.split.valid.first(EVALUATION_BATCH).to(self.target)
        with configured(self.target, self.recipe), memory_guard():
            check_rebuilt(network, self.build, load_weights(path), valid, self.recipe, seed=self.seed + 1)


def retrain(
    job: TrainingJob,
    store: Store,
    folder: Callable[[str], Path],
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> tuple[Retraining, bool]:
    """Train, test once, and store checkpoint and result.

    Everything outside of the training that can fail is tried before it: the store, the folder, and the test images, so
    that a missing file does not cost a night.

    Args:
        job: Training to run.
        store: Store for the result; an earlier result is looked up there.
        folder: Returns the checkpoint's folder for eight digits that identify architecture, data, recipe and seed.
        report: Called after each epoch with `train_loss` and, with `validate`, `valid_accuracy` and `valid_loss`.

    Returns:
        The retraining, and whether it is new (False: it was done before, and nothing was trained or tested).

    Raises:
        UserError: Data are missing, training failed, or something cannot be written.
    """
    device = job.target
    warn_of_other_images(job.data, job.split.hash, job.searched_split)
    test = _test_images(job.data)
    text, protocol = job.text, job.protocol()
    store.prepare()
    key = json.dumps([text, job.seed, protocol], sort_keys=True)
    kept = " with probabilities" if job.keep_probabilities else ""
    target = folder(hashlib.blake2b(f"{key}{kept}".encode(), digest_size=4).hexdigest()).absolute()
    files = [CHECKPOINT, *([TEST_PROBABILITIES] if job.keep_probabilities else [])]
    earlier = _earlier(store, target, key, files)
    if earlier is not None:
        return _counted_again(_linked(store, earlier, job), job), False
    identity = {"arch": text, "seed": job.seed, **protocol, "device": device.type}
    checkpointer = FileCheckpointer(target.parent / f"{target.name}.partial.pt", identity)
    check_folder(target)
    test = job.data.read_test() if test is None else test
    checkpointer.restore()  # a damaged file is reported before anything is computed
    outputs: list[torch.Tensor] = []
    trained = _train(job, test, checkpointer, report, outputs)
    retraining = Retraining(
        run=job.run,
        trial=job.trial,
        space=job.space_name,
        text=text,
        canonical=job.space.canonical(job.architecture),
        seed=job.seed,
        protocol=protocol,
        metrics={**trained.metrics, **trained.test, **trained.counts},
        seconds=checkpointer.seconds,
        folder=str(target),
    )
    with atomic_folder(target) as unfinished:
        try:
            _write(trained.weights, job.tested, retraining, asdict(job.data.task), unfinished)
            if job.keep_probabilities:
                np.save(unfinished / TEST_PROBABILITIES, torch.cat(outputs).softmax(1).numpy())
            job.check_written(trained.network, unfinished / CHECKPOINT)
        except (TrainingFailed, NotStorable) as failure:
            raise UserError(
                f"nothing was stored, since the checkpoint does not reproduce the network: {failure}"
            ) from None
    store.add_retraining(retraining)
    checkpointer.remove()
    return retraining, True


def warn_of_other_images(data: DataSet, now: str, searched_split: str | None) -> None:
    """Warn if a data set has other images than in the search of an architecture.

    Args:
        data: Data set.
        now: Hash of its split.
        searched_split: Hash of the search's split; None: unknown.
    """
    if searched_split not in (None, now):
        warnings.warn(
            f"the images of data set {data.name} have changed since this architecture was found on them (split "
            f"{searched_split}, now {now}), so a different architecture may now be the best; restore them, "
            "or search again with another run=",
            stacklevel=2,
        )


def read_result(folder: Path) -> Retraining | None:
    """The retraining that is recorded in a folder; None if the record is missing or damaged."""
    try:
        written = json.loads((folder / RESULT).read_text())
        return Retraining(**{f.name: written[f.name] for f in fields(Retraining)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _train(
    job: TrainingJob,
    test: Images,
    checkpointer: FileCheckpointer,
    report: Callable[[Mapping[str, float]], None],
    outputs: list[torch.Tensor],
) -> TrainedArchitecture:
    try:
        return job.train(test, checkpointer, report, outputs)
    except BadNetwork as failure:
        raise UnusableTraining(f"this network cannot be retrained: {failure.message}") from None
    except TrainingFailed as failure:
        if failure.kind == "not_finite":
            checkpointer.remove()  # it would only fail again
        resumable = ". Rerun the command to resume from the last checkpoint" if checkpointer.path.exists() else ""
        raise UnusableTraining(f"retraining failed: {failure.message}{resumable}") from None


def _test_images(data: DataSet) -> Images | None:
    """The test images; None if they are missing, which matters only for a result that is not stored yet."""
    try:
        return data.read_test()
    except UserError:
        return None


def _key(retraining: Retraining) -> str:
    return json.dumps([retraining.text, retraining.seed, retraining.protocol], sort_keys=True)


def _earlier(store: Store, target: Path, key: str, files: Sequence[str]) -> Retraining | None:
    """The same training from the store, or from the folder if a process died before the result was stored.

    Args:
        files: Files that its folder must have.
    """
    for retraining in store.retrainings():
        if _key(retraining) == key and all((Path(retraining.folder) / name).is_file() for name in files):
            return retraining
    result = read_result(target)
    if result is None or _key(result) != key or not all((target / name).is_file() for name in files):
        return None
    store.add_retraining(result)
    return result


def _linked(store: Store, earlier: Retraining, job: TrainingJob) -> Retraining:
    """An earlier result, stored for this trial too if it came from elsewhere."""
    mine = replace(earlier, run=job.run, trial=job.trial)
    if job.run is not None and mine not in store.retrainings():
        store.add_retraining(mine)
    return mine


def _counted_again(earlier: Retraining, job: TrainingJob) -> Retraining:
    """A stored retraining with parameters and FLOPs counted again, since earlier versions missed some work."""
    counts = count_architecture(job.space, job.architecture, job.data.task, job.recipe)
    return replace(earlier, metrics={**earlier.metrics, **counts})


def _write(
    weights: Mapping[str, Mapping[str, Any]],
    tested: str,
    retraining: Retraining,
    task: Mapping[str, int],
    folder: Path,
) -> None:
    training = retraining.training
    about = {
        "arch": retraining.text,
        "space": json.dumps({"name": training.space, "settings": training.space_settings}),
        "network": json.dumps(training.network),
        "task": json.dumps(task),
    }
    for epoch, state in weights.items():
        save_weights(folder / (CHECKPOINT if epoch == tested else UNTESTED_FILES[tested]), state, about)
    (folder / RESULT).write_text(json.dumps(asdict(retraining), indent=2) + "\n")
