"""A model of brightness for tests of `nas serve`: it needs no weights and answers at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from nas.export.folder import read
from nas.export.prediction import Predictor
from nas.serve.server import PredictionServer

ABOUT = {
    "cellnas_model": 1,
    "arch": "the mean",
    "space": {"name": "none", "settings": {}},
    "network": {},
    "formats": {},
    "task": {"channels": 1, "height": 8, "width": 8, "classes": 2},
    "classes": ["dark", "light"],
    "preprocessing": {"mean": [0.0], "std": [1.0]},
    "trained": {"test_accuracy": 0.98765},
    "threshold": {"value": 0.9, "kept": 0.96, "accuracy": 0.99, "images": 100},
}
"""The content of its `model.json`: an even picture of grey g has logits 4 (1 - g) and 4 g."""


def brightness(images: torch.Tensor) -> torch.Tensor:
    mean = images.mean((1, 2, 3))
    return torch.stack((1 - mean, mean), 1) * 4


@contextmanager
def serving(
    folder: Path, host: str = "127.0.0.1", logits: Any = brightness, **changes: Any
) -> Iterator[PredictionServer]:
    """A server that answers while the context is open.

    Args:
        folder: Folder for the model.
        logits: Function from images to logits.
        changes: Entries of `model.json`.
    """
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps(ABOUT | changes))
    with mock.patch("nas.export.prediction.logits_function", return_value=logits):
        predictor = Predictor(read(folder), lambda *_: None)
    with PredictionServer(predictor, host, 0, 5) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
