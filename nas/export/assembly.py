"""An architecture with its weights and images, ready for export, and the forms that it is written in."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

import nas.export.formats
from nas.core import Architecture
from nas.data.base import DataSet
from nas.drawing.picture import cell_figure, network_figure, save
from nas.drawing.stages import stages
from nas.errors import UserError, located
from nas.export import card
from nas.export.check import CheckResult, check, original
from nas.export.genotype import GENOTYPE, NAME, GenotypeFile
from nas.export.model import MakeSpace, Model, loaded, repeats_of, trained, weights_of
from nas.export.threshold import Threshold, choose_threshold
from nas.files import atomic_folder
from nas.space.base import SearchSpace
from nas.store.base import Retraining, Store
from nas.studies.retraining import CHECKPOINT, warn_of_other_images
from nas.training.lazy import materialized

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

STATE = "state"
"""The format that is the network itself: its latency is the network's."""


@dataclass(frozen=True)
class ExportJob:
    """The architecture to export, and where it comes from.

    Args:
        space, space_name, space_settings, architecture: Space and architecture of the network; the settings are
            JSON-safe.
        data, data_option, data_settings: Data set whose validation images the forms are checked on, its option in
            `configs/data`, and its settings without folders of this machine.
        sizes: Sizes of the network if it was never retrained.
        make_space: Makes the space in another process; picklable.
        run, trial: Name of the run and number of the trial; None for an architecture from elsewhere.
        searched_split: Hash of the split that its search had of the data set; None if unknown.
    """

    space: SearchSpace
    space_name: str
    space_settings: Mapping[str, Any]
    architecture: Architecture
    data: DataSet
    data_option: str
    data_settings: Mapping[str, Any]
    sizes: Mapping[str, Any]
    make_space: MakeSpace
    run: str | None = None
    trial: int | None = None
    searched_split: str | None = None

    @property
    def text(self) -> str:
        return self.space.to_text(self.architecture)


def find_retrainings(job: ExportJob, store: Store, weights: Path | None) -> list[Retraining]:
    """The retraining that the weights are of, and its repeats with other seeds; empty if it was never retrained.

    Args:
        job: The architecture.
        store: Where retrainings are recorded.
        weights: Folder of a retraining; None: the last one of this architecture on this data set.

    Raises:
        UsageError: The folder is not a retraining, or is of something else.
    """
    space = {"name": job.space_name, "settings": job.space_settings}
    if weights is not None:
        retraining: Retraining | None = weights_of(weights, space, job.text, job.data.name)
    else:
        retraining = trained(store, space, job.text, job.data.name, run=job.run, trial=job.trial)
    return [] if retraining is None else repeats_of(store, retraining)


def assemble(job: ExportJob, retraining: Retraining | None, images: int, commands: Mapping[str, str]) -> Model:
    """The network with its weights and images.

    Args:
        job: The architecture.
        retraining: Retraining whose weights it gets; None: it stays untrained.
        images: Number of validation images.
        commands: Commands that find, train and export it again; see `Model`.

    Raises:
        UserError: Data are missing, or weights do not fit.
    """
    data, sizes = job.data, job.sizes if retraining is None else retraining.training.network
    split = data.split()
    warn_of_other_images(data, split.hash, job.searched_split)
    torch.manual_seed(0)
    network = materialized(job.space.build(job.architecture, data.task, job.space.known_sizes(sizes)), data.task)
    network.eval()
    if retraining is not None:
        network = loaded(network, Path(retraining.folder) / CHECKPOINT, job.text)
    return Model(
        network=network,
        space=job.space,
        space_name=job.space_name,
        space_settings=job.space_settings,
        architecture=job.architecture,
        sizes=sizes,
        task=data.task,
        class_names=tuple(data.class_names) or tuple(map(str, range(data.task.classes))),
        images=split.valid.first(images),
        split=split.hash,
        data=(job.data_option, job.data_settings),
        retraining=retraining,
        commands=commands,
        make_space=job.make_space,
    )


def forms() -> dict[str, ModuleType]:
    """Name of each format -> its module of `nas.export.formats`."""
    modules = pkgutil.iter_modules(nas.export.formats.__path__)
    return {info.name: importlib.import_module(f"nas.export.formats.{info.name}") for info in modules}


def export(
    model: Model,
    formats: Sequence[str],
    target: Path,
    repeats: Sequence[Retraining],
    genotype: GenotypeFile,
    *,
    threshold: Threshold | None = None,
) -> tuple[CheckResult, dict[str, CheckResult]]:
    """Write a folder with a network in several formats, each checked in a fresh process, its pictures and its card.

    Args:
        model: The network.
        formats: Names of `forms()`, and perhaps `genotype`.
        target: New or empty folder.
        repeats: See `nas.export.card.about`.
        genotype: Its genotype, written if `genotype` is among the formats.
        threshold: Threshold of "none of these", chosen with another training of the same architecture; None: it is
            chosen on the model's validation images if it was trained, and not on them.

    Returns:
        The check of the network itself, and format -> the check of its files.

    Raises:
        UserError: A form cannot be written, or computes something else; names the forms that can be.
        UsageError: The target holds something else.
    """
    try:
        expected, plain = original(model)
    except UserError as error:
        raise UserError(f"{error}; format=[{GENOTYPE}] works") from None
    model = replace(model, threshold=threshold or _own_threshold(model, expected))
    with atomic_folder(target) as folder:
        card.write(folder, card.about(model, plain, {}, repeats), [])  # `state` is read with it
        if GENOTYPE in formats:
            (folder / NAME).write_text(genotype.to_json())
        checked = _write_forms(model, [STATE, *formats], folder, expected)
        plain = replace(plain, latency=checked[STATE].latency)
        if STATE not in formats:
            for file in checked.pop(STATE).files:
                (folder / file).unlink()
        card.write(folder, card.about(model, plain, checked, repeats), _draw(model, folder))
    return plain, checked


def _own_threshold(model: Model, logits: Tensor) -> Threshold | None:
    """The threshold by the model's own validation images; None if it is untrained or may have been trained on them."""
    if model.retraining is None or model.retraining.training.trained_on_validation_images_of(model.split):
        return None
    return choose_threshold(logits.softmax(1).tolist(), model.images.labels.tolist())


def _write_forms(model: Model, formats: Sequence[str], folder: Path, expected: Tensor) -> dict[str, CheckResult]:
    """Forms written and checked, each once."""
    checked: dict[str, CheckResult] = {}
    for name, module in forms().items():
        if name in formats:
            try:
                checked[name] = _write_form(model, name, module, folder, expected)
            except UserError as error:
                others = _working_forms(model, name, checked, folder, expected)
                raise UserError(f"{error}; format=[{','.join([GENOTYPE, *others])}] works") from None
    return checked


def _write_form(model: Model, name: str, module: ModuleType, folder: Path, expected: Tensor) -> CheckResult:
    try:
        module.write(model, folder)
    except UserError as error:
        raise UserError(f"format={name}: {error}; nothing was written") from None
    return check(model, name, module, folder, expected)


def _working_forms(
    model: Model, failed: str, checked: Mapping[str, CheckResult], folder: Path, expected: Tensor
) -> list[str]:
    """The other formats, which can be written although one cannot."""
    working = []
    for name, module in forms().items():
        if name == failed or any(importlib.util.find_spec(required) is None for required in module.NEEDS):
            continue
        if name not in checked:
            try:
                _write_form(model, name, module, folder, expected)
            except UserError:
                continue
        working.append(name)
    return working


def _draw(model: Model, folder: Path) -> list[str]:
    """Draw the cells and the network; the names of the PNGs.

    The export does not need them, so a picture that cannot be drawn is left out with a warning.
    """
    drawn = []
    draw: dict[str, Callable[[], Figure]] = {"network": lambda: network_figure(stages(model.network, model.task))}
    try:
        cells = model.space.graphs(model.architecture)
    except Exception as error:  # noqa: BLE001 - a space of the user's own
        warnings.warn(
            f"no pictures of the cells: graphs of space={model.space_name} fails ({located(error)})", stacklevel=2
        )
        cells = {}
    draw = {name: partial(cell_figure, cell) for name, cell in cells.items()} | draw
    for name, make in draw.items():
        try:
            save(make(), folder, name)
        except Exception as error:  # noqa: BLE001 - of matplotlib, its settings, or a network of the user's
            warnings.warn(f"no picture {name}.png: it cannot be drawn ({located(error)})", stacklevel=2)
            for file in folder.glob(f"{name}.*"):
                if file.suffix in (".png", ".svg"):
                    file.unlink()
        else:
            drawn.append(f"{name}.png")
    return drawn
