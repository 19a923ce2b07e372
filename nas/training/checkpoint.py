"""The state of a training on disk: whole or not at all, and only ever read by the training that wrote it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.errors import UsageError, UserError
from nas.files import atomic_write
from nas.identity import differences

FORMAT = 1
UNFIT = (KeyError, IndexError, AttributeError, ValueError, RuntimeError, TypeError)
"""What taking up a state raises that is not what it should be."""
LITTLE = 2**20
"""Bytes below which a disk is called full: torch names the line of its own source instead."""


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace a checkpoint.

    Args:
        identity: JSON-safe: all that decides the course of the training.
        state: tensors and plain values.

    Raises:
        UserError: it cannot be written; the one before is left as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            torch.save({"format": FORMAT, "identity": json.dumps(identity, sort_keys=True), **state}, temporary)
    except (OSError, RuntimeError) as error:
        full = shutil.disk_usage(path.parent).free < LITTLE if path.parent.is_dir() else False
        reason = "no space left" if full else getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise _unwritable(path, reason) from None


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(f"the checkpoint {path} cannot be written ({reason}); free space, or choose another folder")


def misfit(path: Path | None, error: Exception) -> UserError:
    """What is told of a state that a training cannot take up."""
    reason = " ".join(str(error).split())[:200]
    return UserError(f"the checkpoint {path} does not fit this training ({reason}); remove it to begin anew")


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of an earlier session; None where there is none.

    Raises:
        UsageError: the file is damaged, or of another training; it is left as it is.
        UserError: there is none, and none could be written, which is told before hours of training.
    """
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir():
            raise _unwritable(path, f"{above} is a file")
        if not os.access(above, os.W_OK | os.X_OK):
            raise _unwritable(path, f"{above} is not writable")
        return None
    advice = "remove it to begin anew"
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch takes up flipped bits without a word
                raise ValueError(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        written = json.loads(found["identity"])
        version = found["format"]
        if not isinstance(written, dict):
            raise TypeError(written)
    except (OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, *UNFIT):
        raise UsageError(f"the checkpoint {path} is damaged; {advice}") from None
    if version != FORMAT:
        raise UsageError(f"the checkpoint {path} is of format {version}, this cellnas reads {FORMAT}; {advice}")
    differing = differences(written, json.loads(json.dumps(identity)))
    if differing:
        raise UsageError(f"the checkpoint {path} is of another training ({'; '.join(differing[:3])}); {advice}")
    return dict(found)
