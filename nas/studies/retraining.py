"""Retraining: train one architecture from scratch on training and validation images, and test it once.

The only place that reads test images. A result is stored with its checkpoint; asking for the same training again, from
wherever its architecture comes, gives the stored result instead of a second look at the test set.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

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
    built_from,
    count_architecture,
    train_architecture,
)
from nas.training.check import BadNetwork, check_network
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.training.device import configured, resolve_device
from nas.training.findings import Teller, listed
from nas.training.fit import EVALUATION_BATCH, TrainingFailed, logits_of, memory_guard
from nas.training.memory_format import settle
from nas.training.rebuild import check_rebuilt
from nas.training.recipe import Recipe
from nas.training.seeding import random_numbers_kept
from nas.training.weights import NotStorable, copied, load_weights, packed, save_weights, unpacked

CHECKPOINT, RESULT = "model.safetensors", "result.json"
OTHER = {"last": "best.safetensors", "best": "last.safetensors"}
"""Where the weights go that were not tested, by those that were."""
DRAWS = 4
"""Further training batches that a parameter without a gradient is tried on."""
REHEARSED = 64
"""Images of either part that the network is tried on before it is trained."""
SAVING = 0.05
"""Largest share of a training's time that goes into keeping it."""


@dataclass(frozen=True)
class TrainingJob:
    """What is retrained.

    Args:
        space, space_name, space_settings: of the architecture.
        architecture: a valid one.
        run, trial: where it was found; None for one from elsewhere.
        found_on: hash of the split that it was found on, of the same data set with the same settings; None: unknown.
    """

    space: SearchSpace
    space_name: str
    architecture: Architecture
    space_settings: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    trial: int | None = None
    found_on: str | None = None


def warn_of_other_images(data: DataSet, now: str, found_on: str | None) -> None:
    """Warn where a data set has other images than the search of an architecture had.

    Args:
        now: hash of its split.
        found_on: that of the search; None: unknown.
    """
    if found_on not in (None, now):
        warnings.warn(
            f"the images of data set {data.name} have changed since this architecture was found on them (split "
            f"{found_on}, now {now}), so that another may be the best of them; restore them, or search anew with "
            "another run=",
            stacklevel=2,
        )


def retrain(
    subject: TrainingJob,
    data: DataSet,
    recipe: Recipe,
    store: Store,
    folder: Callable[[str], Path],
    *,
    seed: int = 0,
    device: str = "auto",
    validate: bool = False,
    tested: Literal["last", "best"] = "last",
    report: Callable[[Mapping[str, float]], None],
) -> tuple[Retraining, bool]:
    """Train, test once, and keep checkpoint and result.

    Everything that can fail for another reason than the training itself is tried before it: the store, the folder, and
    the test images, so that a missing file does not cost a night.

    Args:
        folder: makes the checkpoint's folder from eight digits that stand for architecture, data, recipe and seed.
        validate: train on the training images alone and validate on the others after each epoch; the weights of the
            best epoch are kept beside the last.
        tested: which of the two is tested and is the model; `best` needs `validate`.
        report: called after each epoch with `train_loss` and, with `validate`, `valid_accuracy` and `valid_loss`.

    Returns:
        The retraining, and whether it is new (False: it was done before, and nothing was trained or tested).

    Raises:
        UserError: data are missing, training failed, or something cannot be written.
    """
    if tested == "best" and not validate:
        raise UsageError("tested=best needs validate=true: the best epoch is told by validation images")
    order = _Order(subject, data, recipe, data.split(), resolve_device(device), seed, validate, tested)
    warn_of_other_images(data, order.split.hash, subject.found_on)
    test = _test_images(data)
    text, protocol = subject.space.to_text(subject.architecture), order.protocol()
    store.prepare()
    key = json.dumps([text, seed, protocol], sort_keys=True)
    target = folder(hashlib.blake2b(key.encode(), digest_size=4).hexdigest()).absolute()
    earlier = _earlier(store, target, key)
    if earlier is not None:
        return order.recounted(_linked(store, earlier, subject)), False
    about = {"arch": text, "seed": seed, **protocol, "device": order.device.type}
    keeper = _Keeper(target.parent / f"{target.name}.partial.pt", about)
    check_folder(target)
    test = data.read_test() if test is None else test
    keeper.begin()
    try:
        channels_last = order.rehearse()
        trained = order.train(test, keeper, report, channels_last=channels_last)
    except BadNetwork as failure:
        raise UserError(f"this network cannot be retrained: {failure.message}") from None
    except TrainingFailed as failure:
        if failure.kind == "not_finite":
            keeper.path.unlink(missing_ok=True)  # it leads nowhere else
        kept = ". The same command goes on from the last epoch that was kept" if keeper.path.exists() else ""
        raise UserError(f"retraining failed: {failure.message}{kept}") from None
    seconds = keeper.seconds()
    retraining = Retraining(
        run=subject.run,
        trial=subject.trial,
        space=subject.space_name,
        text=text,
        canonical=subject.space.canonical(subject.architecture),
        seed=seed,
        protocol=protocol,
        metrics={**trained.metrics, **trained.test, **trained.counts},
        seconds=seconds,
        folder=str(target),
    )
    with atomic_folder(target) as workplace:
        try:
            _write(trained.weights, tested, retraining, asdict(data.task), workplace)
            order.check_written(trained.network, workplace / CHECKPOINT)
        except (TrainingFailed, NotStorable) as failure:
            raise UserError(f"nothing was stored, since the checkpoint is not the network: {failure}") from None
    store.add_retraining(retraining)
    keeper.path.unlink(missing_ok=True)
    return retraining, True


def _test_images(data: DataSet) -> Images | None:
    """The test images; None where they are missing, which matters only to what is not stored yet."""
    try:
        return data.read_test()
    except UserError:
        return None


@dataclass(frozen=True)
class _Order:
    """One training: what is trained on what, and how. The fields are those of `retrain`."""

    subject: TrainingJob
    data: DataSet
    recipe: Recipe
    split: Split
    device: torch.device
    seed: int
    validate: bool
    tested: Literal["last", "best"]

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Of the network."""
        return self.subject.space.known_sizes(self.recipe.network)

    def protocol(self) -> dict[str, Any]:
        """What two trainings must share to be compared."""
        return RetrainingProtocol(
            space=self.subject.space_name,
            space_settings=self.subject.space_settings,
            data=self.data.name,
            split=self.split.hash,
            part="train" if self.validate else "train+valid",
            recipe=self.recipe.protocol() | {"network": self.sizes},
            test_normalisation="training" if self.data.restated else None,
            tested=self.tested,
            validate_every=self.recipe.validate_every,
        ).to_json()

    def recounted(self, earlier: Retraining) -> Retraining:
        """A stored retraining with parameters and FLOPs as they are counted now; earlier versions missed some work."""
        counts = count_architecture(self.subject.space, self.subject.architecture, self.data.task, self.recipe)
        return replace(earlier, metrics={**earlier.metrics, **counts})

    def train(
        self, test: Images, keeper: _Keeper, report: Callable[[Mapping[str, float]], None], *, channels_last: bool
    ) -> TrainedArchitecture:
        """The tested network, its weights and its metrics.

        Args:
            channels_last: Whether the rehearsal ran in that format; what fails in it may be the backward pass alone.

        Raises:
            TrainingFailed: it came to nothing.
        """
        recipe, task = self.recipe, self.data.task
        if self.validate:
            images = TrainingImages.of_split(task, self.split, recipe, test)
        else:
            images = TrainingImages(task, self.split.whole().first(recipe.train_images), None, test)
        return train_architecture(
            self.subject.space,
            self.subject.architecture,
            images,
            replace(recipe, channels_last=channels_last),
            seed=self.seed,
            device=self.device,
            report=report,
            keeper=keeper,
            keep_weights=True,
            tested=self.tested,
        )

    def build(self) -> nn.Module:
        """The network, initialised from torch's global generator."""
        return self.subject.space.build(self.subject.architecture, self.data.task, self.sizes)

    def rehearse(self) -> bool:
        """Try, before hours of training, all that can be wrong with the network and with its checkpoint.

        Returns:
            Whether the network is trained in channels-last memory.

        Raises:
            TrainingFailed: Something is.
        """
        recipe, device = self.recipe, self.device
        train, valid = (part.first(REHEARSED).to(device) for part in (self.split.train, self.split.valid))
        with configured(device, recipe), memory_guard(), random_numbers_kept(device):
            network = built_from(self.seed, self.build)
            findings = check_network(network, train, self.data.task, recipe, draws=DRAWS)
            if findings.unregistered:
                raise BadNetwork(findings.untrained())
            if findings.lost:
                raise BadNetwork(
                    f"it keeps what it learns outside of its state_dict ({listed(findings.lost)}), so its checkpoint "
                    "would compute something else; register buffers for plain tensors, leave out persistent=False, or "
                    "give them as get_extra_state"
                )
            Teller(trainings=1).take(findings)
            contiguous = replace(recipe, channels_last=False)
            network.train()
            with torch.no_grad():
                logits_of(network, train, 0, REHEARSED, contiguous)
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
        """Raise `TrainingFailed` unless the network that is built anew from a checkpoint computes the same.

        Args:
            network: What was tested.
            path: Of the checkpoint.
        """
        valid = self.split.valid.first(EVALUATION_BATCH).to(self.device)
        with configured(self.device, self.recipe), memory_guard():
            check_rebuilt(network, self.build, load_weights(path), valid, self.recipe, seed=self.seed + 1)


@dataclass
class _Keeper:
    """Keeps an unfinished training in a file beside its folder.

    Args:
        path: of the file.
        identity: what it must be of.
    """

    path: Path
    identity: Mapping[str, Any]
    earlier: float = 0.0
    took: float = 0.0

    def begin(self) -> None:
        """Read what an earlier session left, and start the clock.

        Raises:
            UserError: it is damaged; it is left as it is.
        """
        self.started = self.saved = time.perf_counter()
        self.found = load_checkpoint(self.path, self.identity)
        if self.found is not None:
            self.earlier = float(self.found.get("seconds", 0.0))

    def seconds(self) -> float:
        """Wall time so far, that of earlier sessions included."""
        return self.earlier + time.perf_counter() - self.started

    def load(self) -> Mapping[str, Any] | None:
        return self.found

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        begun = time.perf_counter()
        if begun - self.saved >= self.took / SAVING:
            save_checkpoint(self.path, self.identity, {**state(), "seconds": self.seconds()})
            self.saved = time.perf_counter()
            self.took = self.saved - begun


def _key(retraining: Retraining) -> str:
    return json.dumps([retraining.text, retraining.seed, retraining.protocol], sort_keys=True)


def _earlier(store: Store, target: Path, key: str) -> Retraining | None:
    """The same training as the store has it, or as the folder has it where a process died before telling the store."""
    for retraining in store.retrainings():
        if _key(retraining) == key and (Path(retraining.folder) / CHECKPOINT).is_file():
            return retraining
    found = read_result(target)
    if found is None or _key(found) != key or not (target / CHECKPOINT).is_file():
        return None
    store.add_retraining(found)
    return found


def read_result(folder: Path) -> Retraining | None:
    """The retraining that a folder says it holds; None where it says nothing sound."""
    try:
        written = json.loads((folder / RESULT).read_text())
        return Retraining(**{f.name: written[f.name] for f in fields(Retraining)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _linked(store: Store, earlier: Retraining, subject: TrainingJob) -> Retraining:
    """An earlier result, noted for this trial too where it came from elsewhere."""
    mine = replace(earlier, run=subject.run, trial=subject.trial)
    if subject.run is not None and mine not in store.retrainings():
        store.add_retraining(mine)
    return mine


def _write(
    states: Mapping[str, Mapping[str, Any]], tested: str, retraining: Retraining, task: Mapping[str, int], folder: Path
) -> None:
    about = {
        "arch": retraining.text,
        "space": json.dumps(retraining.protocol["space"]),
        "network": json.dumps(retraining.protocol["recipe"]["network"]),
        "task": json.dumps(task),
    }
    for which, state in states.items():
        save_weights(folder / (CHECKPOINT if which == tested else OTHER[tested]), state, about)
    (folder / RESULT).write_text(json.dumps(asdict(retraining), indent=2) + "\n")
