"""The weights only, under the names of the framework's own network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nas.export.artifact_runner import Form, in_torch
from nas.export.model import Model
from nas.training.weight_files import save_weights

FILES = ("model.safetensors",)
NEEDS: Mapping[str, str] = {}
IS_STANDALONE = False


def write(model: Model, folder: Path) -> None:
    about = {
        "arch": model.text,
        "space": json.dumps({"name": model.space_name, "settings": dict(model.space_settings)}),
        "network": json.dumps(dict(model.sizes)),
    }
    save_weights(folder / FILES[0], model.network.state_dict(), about)


def tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors stores them: contiguous copies on the CPU."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}


def load(folder: Path, threads: int, work: Path) -> Form:
    """Load `model.safetensors` into the network of its space."""
    import pickle

    from nas.export.artifact_runner import SPACE_FILE
    from nas.export.folder import read

    exported = read(folder)
    space = exported.space(pickle.loads((work / SPACE_FILE).read_bytes()))
    return in_torch(exported.network(space), threads)
