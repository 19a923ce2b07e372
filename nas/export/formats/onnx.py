"""ONNX, for runtimes without Python: one file, batches of any size, `images` to `logits`."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from nas.export.model import Model

FILES = ("model.onnx",)
NEEDS: Mapping[str, str] = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}
ALONE = True


def write(model: Model, folder: Path) -> None:
    import onnx

    path = folder / FILES[0]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")  # of torch's own future
        torch.onnx.export(
            model.program,
            (),
            str(path),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    written = onnx.load(str(path))
    about = {
        "arch": model.text,
        "mean": " ".join(map(str, model.images.mean)),
        "std": " ".join(map(str, model.images.std)),
        "classes": "\n".join(model.class_names),
    }
    onnx.helper.set_model_props(written, about)
    onnx.save(written, str(path))


@contextlib.contextmanager
def _quiet(*names: str):  # type: ignore[no-untyped-def]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
