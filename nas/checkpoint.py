"""The state of a training on disk: whole or not at all, and only ever read by the training that wrote it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.core import UsageError, UserError
from nas.files import replacing

FORMAT = 1


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
        with replacing(path) as temporary:
            torch.save({"format": FORMAT, "identity": json.dumps(identity, sort_keys=True), **state}, temporary)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"the checkpoint {path} cannot be written ({reason}); free space, or set dir=") from None


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of an earlier session; None where there is none.

    Raises:
        UsageError: the file is damaged, or of another training; it is left as it is.
    """
    if not path.exists():
        return None
    advice = "remove it to begin anew"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        written = json.loads(found["identity"])
        version = found["format"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
        raise UsageError(f"the checkpoint {path} is damaged; {advice}") from None
    if version != FORMAT:
        raise UsageError(f"the checkpoint {path} is of format {version}, this cellnas reads {FORMAT}; {advice}")
    differing = [key for key in sorted({*written, *identity}) if written.get(key) != _plain(identity).get(key)]
    if differing:
        key = differing[0]
        raise UsageError(
            f"the checkpoint {path} is of another training ({key} is {written.get(key)}, here it is "
            f"{_plain(identity).get(key)}); {advice}"
        )
    return dict(found)


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain
