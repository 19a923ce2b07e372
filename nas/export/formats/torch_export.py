"""The program of `torch.export`: graph and weights, for PyTorch without the source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from nas.export.artifact_runner import Form, in_torch
from nas.export.failure import quiet
from nas.export.model import Model

FILES = ("model.pt2",)
NEEDS: Mapping[str, str] = {}
IS_STANDALONE = True


def write(model: Model, folder: Path) -> None:
    program = model.program
    with quiet():
        torch.export.save(program, folder / FILES[0])


def load(folder: Path, threads: int, _work: Path) -> Form:
    """Load `model.pt2`."""
    import torch

    return in_torch(torch.export.load(folder / "model.pt2").module(), threads)
