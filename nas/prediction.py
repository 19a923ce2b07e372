"""Labels and probabilities of images by an exported model.

The folder may come from elsewhere: weights are read as safetensors or by ONNX Runtime, and nothing in it is run.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.core import UsageError, UserError
from nas.export.folder import Folder

BATCH = 64
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True)
class Prediction:
    """Of one image.

    Args:
        file: path as it was found.
        label: the likeliest class.
        probabilities: of all classes in their order.
    """

    file: str
    label: str
    probabilities: Sequence[float]


def predict(folder: Folder, files: Sequence[Path], config_dir: Path | None = None) -> Iterator[Prediction]:
    """Predict files batch by batch.

    Raises:
        UsageError: the folder has nothing that can be run safely, or a file is no image.
    """
    logits_of = runner(folder, config_dir)
    classes = folder.about["classes"]
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        logits = logits_of(torch.stack([prepared(folder, path) for path in part]))
        if logits.shape != (len(part), len(classes)) or not bool(logits.isfinite().all()):
            raise UsageError(
                f"model={folder.path} gives no {len(classes)} finite logits an image, as its model.json says"
            )
        for path, probabilities in zip(part, logits.softmax(1).tolist(), strict=True):
            best = max(range(len(classes)), key=probabilities.__getitem__)
            yield Prediction(str(path), classes[best], probabilities)


def runner(folder: Folder, config_dir: Path | None = None) -> Callable[[Tensor], Tensor]:
    """Images (B, C, H, W), normalised, to logits (B, classes), by the weights or else by ONNX Runtime."""
    if (folder.path / "model.safetensors").is_file():
        network = folder.network(config_dir)

        def in_torch(images: Tensor) -> Tensor:
            with torch.inference_mode():
                found: Tensor = network(images)
            return found

        return in_torch
    if (folder.path / "model.onnx").is_file():
        if importlib.util.find_spec("onnxruntime") is None:
            raise UsageError("model.onnx needs onnxruntime, which is not installed: pip install 'cellnas[onnx]'")
        return _in_onnx(folder.path / "model.onnx")
    raise UsageError(
        f"model={folder.path} has neither model.safetensors nor model.onnx, and nothing else in it is run; export it "
        "with format=[state] or format=[onnx]"
    )


def _in_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common base)
        raise UsageError(f"{path} is no sound ONNX model ({' '.join(str(error).split())[:150]})") from None

    def run(images: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
        except Exception as error:  # noqa: BLE001
            raise UsageError(f"{path} does not take these images ({' '.join(str(error).split())[:150]})") from None

    return run


def images_of(place: Path) -> list[Path]:
    """A file, or all images below a folder in the order of their names.

    Raises:
        UsageError: there is none.
    """
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not found:
            raise UsageError(f"images={place} holds no image ({', '.join(SUFFIXES)})")
        return found
    if not place.is_file():
        raise UsageError(f"images={place} is not there; expected an image or a folder of images")
    return [place]


def prepared(folder: Folder, path: Path) -> Tensor:
    """An image as the network takes it, (C, H, W), grey or RGB as it was trained.

    One that is a whole number of times as large is averaged, one of any other size resized bilinearly.

    Raises:
        UserError: it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    task, given = folder.task, folder.about["preprocessing"]
    if task.channels not in (1, 3):
        raise UsageError(f"the model takes images of {task.channels} channels; only grey and RGB files can be read")
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(opened).astype(np.float32) / 257).round().astype(np.uint8))
            elif opened.mode in ("I", "F"):
                raise UserError(f"{path} has pixels of mode {opened.mode}; expected 8 or 16 bits a channel")
            else:
                image = opened.copy()
            image = image.convert("L" if task.channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{path} cannot be read ({reason})") from None
    times = image.width // task.width
    whole = image.size == (times * task.width, times * task.height)
    if not whole:
        image = image.resize((task.width, task.height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, task.channels).float()
    if whole and times > 1:  # as data.pool makes small images
        pixels = F.avg_pool2d(pixels.permute(2, 0, 1), times).round().permute(1, 2, 0)
    mean, std = torch.tensor(given["mean"]), torch.tensor(given["std"])
    # the very sums of training, so that rounding is the same
    return (pixels * (1.0 / (255.0 * std)) + -mean / std).permute(2, 0, 1)
