"""`torch.export`'s program: the graph with its weights, for any PyTorch without the source."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from nas.export.model import Model

FILES = ("model.pt2",)
NEEDS: Mapping[str, str] = {}
ALONE = True


def write(model: Model, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own future
        torch.export.save(model.program, folder / FILES[0])
