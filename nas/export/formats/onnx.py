"""ONNX, for runtimes without Python: one file, batches of any size, `images` to `logits`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from nas.errors import UserError
from nas.export.artifact_runner import Form
from nas.export.failure import onnx_failure, quiet, runtime_failure, wrong_in_onnx
from nas.export.model import Model, unwrapped

FILES = ("model.onnx",)
NEEDS: Mapping[str, str] = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}
IS_STANDALONE = True
MAX_BYTES = 2**31
"""Size limit of a protobuf file, which an ONNX file is."""


def write(model: Model, folder: Path) -> None:
    import onnx

    path = folder / FILES[0]
    size = sum(tensor.nbytes for tensor in (*model.network.parameters(), *model.network.buffers()))
    if size >= MAX_BYTES:
        raise UserError(f"the weights take {size / 2**30:.1f} GiB, and one ONNX file holds less than 2 GiB")
    program, network, images = model.program, unwrapped(model.network), torch.zeros(2, *model.shape)
    if wrong := wrong_in_onnx(network, images):
        raise UserError(wrong)
    try:
        with quiet():
            torch.onnx.export(
                program,
                (),
                str(path),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # noqa: BLE001 - its errors have no common class
        raise UserError(onnx_failure(error, program, network, images)) from None
    exported = onnx.load(str(path))
    properties = {
        "arch": model.text,
        "mean": " ".join(map(str, model.images.mean)),
        "std": " ".join(map(str, model.images.std)),
        "classes": "\n".join(model.class_names),
    }
    onnx.helper.set_model_props(exported, properties)
    onnx.save(exported, str(path))


def explain(error: str, folder: Path) -> str:
    """Why ONNX Runtime does not run the file; empty if unknown."""
    return runtime_failure(error, folder / FILES[0])


def load(folder: Path, threads: int, _work: Path) -> Form:
    """Load `model.onnx` into ONNX Runtime."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return (
        lambda work: np.load(work / "images.npy"),
        lambda images: session.run(["logits"], {"images": images})[0],
        lambda work, batches: np.save(work / "logits.npy", np.concatenate(batches)),
    )
