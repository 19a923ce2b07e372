"""The network to export: with its weights, how it was found and trained, and images to check it on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from nas.core import Architecture, Task
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.export.failure import misnamed, program_failure, quiet, scripted
from nas.export.source import refused_line
from nas.export.threshold import Threshold
from nas.space.base import SearchSpace
from nas.store.base import NoStore, Retraining, Store
from nas.studies.retraining import CHECKPOINT, read_result
from nas.training.augment import plain_batch
from nas.training.lazy import materialized
from nas.training.memory_format import contiguous
from nas.training.weight_files import load_weights

MakeSpace: TypeAlias = Callable[[str, Mapping[str, Any]], SearchSpace]
"""Makes a space, an installed one or one of the user's, from its option in `configs/space` and its settings."""


@dataclass(frozen=True)
class Model:
    """The network to export.

    Args:
        network: Network in evaluation mode, on the CPU.
        space, space_name, space_settings, architecture: Space and architecture of the network.
        sizes: Sizes of the network that the space has, such as `channels` and `cells`.
        task, class_names: Task of the network, and the names of its logits.
        images: Validation images with their normalisation.
        split: Hash of the data's split.
        data: Option of the data set and its settings.
        retraining: Source of the weights; None if the network is untrained.
        commands: Commands that find, train and export it again, as far as they are known: `search` or `compare`,
            `retrain`, `export`.
        make_space: Makes the space in another process, so it must be picklable.
        threshold: Probability below which an image belongs to none of the classes; None if none was chosen.
    """

    network: nn.Module
    space: SearchSpace
    space_name: str
    space_settings: Mapping[str, Any]
    architecture: Architecture
    sizes: Mapping[str, Any]
    task: Task
    class_names: Sequence[str]
    images: Images
    split: str
    data: tuple[str, Mapping[str, Any]]
    retraining: Retraining | None
    commands: Mapping[str, str]
    make_space: MakeSpace
    threshold: Threshold | None = None

    @property
    def text(self) -> str:
        return self.space.to_text(self.architecture)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.task.channels, self.task.height, self.task.width

    def inputs(self) -> Tensor:
        """The images normalised, (N, C, H, W)."""
        return contiguous(plain_batch(self.images, 0, len(self.images)))

    def fresh(self) -> nn.Module:
        """The network with its initial weights, in evaluation mode."""
        torch.manual_seed(0)
        sizes = self.space.known_sizes(self.sizes)
        network = materialized(self.space.build(self.architecture, self.task, sizes), self.task)
        network.eval()
        return network

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as a program of `torch.export`, for batches of any size.

        Raises:
            UserError: `torch.export` cannot take it.
        """
        network, images = unwrapped(self.network), torch.zeros(2, *self.shape)
        name = type(network).__name__
        if reason := misnamed(network):
            raise UserError(f"torch.export does not support {name}: {reason}")
        export_network = partial(export, network, (images,), dynamic_shapes=_any_number(network))
        try:
            with quiet():
                return export_network()
        except Exception as error:  # noqa: BLE001 - its errors have no common class
            reason, line = program_failure(error, export_network)
            reason = scripted(network) or reason
            line = line or refused_line(deepcopy(network), images)
            position = f" ({line})" if line else ""
            raise UserError(f"torch.export does not support {name}: its forward {reason}{position}") from None


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside the wrappers of `torch.compile` and `nn.DataParallel`, which prefix its names."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


def _any_number(network: nn.Module) -> tuple[Any, ...]:
    """The `dynamic_shapes` of `torch.export` for the only argument of a forward: batches of any size."""
    shape = {0: Dim("batch", min=1)}
    try:
        first = next(iter(inspect.signature(network.forward).parameters.values()), None)
    except ValueError:  # torch.jit's have none
        return (shape,)
    return ((shape,),) if first is not None and first.kind is first.VAR_POSITIONAL else (shape,)


def trained(
    store: Store, space: Mapping[str, Any], text: str, data: str, *, run: str | None, trial: int | None
) -> Retraining | None:
    """The last retraining of an architecture on a data set whose checkpoint exists; None if there is none.

    Retrainings of the trial itself take precedence over others of the same architecture.

    Args:
        space: `name` and `settings`, as in a retraining's protocol.
    """
    existing = [
        retraining
        for retraining in _retrainings(store)
        if (retraining.text, retraining.training.data) == (text, data)
        and retraining.training.is_of_space(space["name"], space["settings"])
        and (Path(retraining.folder) / CHECKPOINT).is_file()
    ]
    own = [retraining for retraining in existing if (retraining.run, retraining.trial) == (run, trial)]
    return next(reversed(own or existing), None)


def data_sets(store: Store, text: str) -> list[str]:
    """Names of the data sets that an architecture was retrained on."""
    return sorted({retraining.training.data for retraining in _retrainings(store) if retraining.text == text})


def _retrainings(store: Store) -> Sequence[Retraining]:
    """All retrainings of a store; none if it does not exist yet."""
    try:
        return store.retrainings()
    except NoStore:
        return ()


def repeats_of(store: Store, retraining: Retraining) -> list[Retraining]:
    """Retrainings that differ from this one only in the seed, each seed once, this one first."""
    same = {
        other.seed: other
        for other in _retrainings(store)
        if (other.text, other.protocol) == (retraining.text, retraining.protocol)
    }
    return [retraining, *(other for seed, other in same.items() if seed != retraining.seed)]


def weights_of(folder: Path, space: Mapping[str, Any], text: str, data: str) -> Retraining:
    """The retraining in a folder of `nas retrain`, which must be of this architecture on this data set.

    Raises:
        UsageError: The folder has no retraining, or one of something else.
    """
    retraining = read_result(folder)
    if retraining is None or not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"weights={folder} is not a folder of nas retrain: it has no valid result.json with {CHECKPOINT}"
        )
    if retraining.text != text:
        raise UsageError(f"weights={folder} belong to arch={retraining.text}, not to {text}")
    try:
        training = retraining.training
        same = training.is_of_space(space["name"], space["settings"])
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"weights={folder}: its result.json is damaged") from None
    if not same:
        name = training.space
        raise UsageError(
            f"weights={folder} belong to space={name} with other settings, or to another space; set space="
        )
    if training.data != data:
        raise UsageError(f"weights={folder} were trained on {training.data}, not on {data}; set data=")
    return retraining


def loaded(network: nn.Module, checkpoint: Path, text: str) -> nn.Module:
    """A network in evaluation mode with the weights of a checkpoint.

    Args:
        text: Architecture that the weights must be of.

    Raises:
        UsageError: The weights cannot be read, or do not fit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(checkpoint), "pt") as opened:
            own = (opened.metadata() or {}).get("arch", text)
        if own != text:
            raise UsageError(f"the weights {checkpoint} belong to arch={own}, not to {text}")
        network.load_state_dict(load_weights(checkpoint))
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"the weights {checkpoint} cannot be read ({' '.join(str(error).split())[:200]})") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the weights {checkpoint} do not fit the network of {text} ({reason})") from None
    network.eval()  # on its own line: a user's own `train` may return None
    return network
