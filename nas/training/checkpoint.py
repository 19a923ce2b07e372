"""The state of a training on disk: written atomically, and read only by the training that wrote it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nas.errors import UsageError, UserError
from nas.files import atomic_write
from nas.identity import differences

FORMAT = 1
LOAD_ERRORS = (KeyError, IndexError, AttributeError, ValueError, RuntimeError, TypeError)
"""Exceptions of loading a damaged or foreign state."""
MIN_FREE_BYTES = 2**20
"""A disk with less free space counts as full; torch would name a line of its own source instead."""
MAX_SAVING_SHARE = 0.05
"""Largest share of a training's time that goes into saving checkpoints."""


class FileCheckpointer:
    """Saves an unfinished training to a file, as often as it costs little, and measures its wall time over all
    sessions.

    Args:
        path: Checkpoint file.
        identity: Everything that decides the course of the training; JSON-safe.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = identity
        self._started = self._saved = time.perf_counter()
        self._saving_seconds = 0.0
        self._earlier_seconds = 0.0
        self._restored: dict[str, Any] | None = None

    def restore(self) -> Mapping[str, Any] | None:
        """The state that an earlier session saved; None if there is none. The file is read once.

        Raises:
            UserError: As `load_checkpoint`.
        """
        if self._restored is None:
            self._restored = load_checkpoint(self.path, self.identity)
            self._earlier_seconds = 0.0 if self._restored is None else float(self._restored.get("seconds", 0.0))
        return self._restored

    @property
    def seconds(self) -> float:
        """Wall seconds so far, earlier sessions included."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save what `state` returns, unless that would take too much of the training's time.

        Raises:
            UserError: As `save_checkpoint`.
        """
        now = time.perf_counter()
        if now - self._saved >= self._saving_seconds / MAX_SAVING_SHARE:
            save_checkpoint(self.path, self.identity, {**state(), "seconds": self.seconds})
            self._saved = time.perf_counter()
            self._saving_seconds = self._saved - now

    def remove(self) -> None:
        """Remove the file, if any: the training is finished, or would only fail again."""
        self.path.unlink(missing_ok=True)


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace a checkpoint.

    Args:
        path: File to write.
        identity: Everything that decides the course of the training; JSON-safe.
        state: Tensors and plain values.

    Raises:
        UserError: It cannot be written; the previous one is left unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            torch.save({"format": FORMAT, "identity": json.dumps(identity, sort_keys=True), **state}, temporary)
    except (OSError, RuntimeError) as error:
        full = shutil.disk_usage(path.parent).free < MIN_FREE_BYTES if path.parent.is_dir() else False
        reason = "no space left" if full else getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise _unwritable(path, reason) from None


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state that an earlier session saved; None if there is none.

    Args:
        path: File to read.
        identity: Identity of the training that loads it.

    Raises:
        UsageError: The file is damaged, or of another training; it is left unchanged.
        UserError: There is none, and none could be written, which is reported before hours of training.
    """
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir():
            raise _unwritable(path, f"{above} is a file")
        if not os.access(above, os.W_OK | os.X_OK):
            raise _unwritable(path, f"{above} is not writable")
        return None
    advice = "remove it to start again"
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch loads flipped bits without an error
                raise ValueError(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        written = json.loads(loaded["identity"])
        version = loaded["format"]
        if not isinstance(written, dict):
            raise TypeError(written)
    except (OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, *LOAD_ERRORS):
        raise UsageError(f"the checkpoint {path} is damaged; {advice}") from None
    if version != FORMAT:
        raise UsageError(f"the checkpoint {path} has format {version}, but this cellnas reads {FORMAT}; {advice}")
    differing = differences(written, json.loads(json.dumps(identity)))
    if differing:
        raise UsageError(f"the checkpoint {path} belongs to another training ({'; '.join(differing[:3])}); {advice}")
    return dict(loaded)


def cannot_resume(path: Path | None, error: Exception) -> UserError:
    """The error of a checkpoint whose state does not fit the training.

    Args:
        path: Checkpoint file.
        error: Exception that loading the state raised.
    """
    reason = " ".join(str(error).split())[:200]
    return UserError(f"the checkpoint {path} does not fit this training ({reason}); remove it to start again")


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(
        f"the checkpoint {path} cannot be written ({reason}); free up disk space, or choose another folder"
    )
