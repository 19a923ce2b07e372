"""Labels and probabilities of images by an exported model.

The folder may come from elsewhere: weights are read as safetensors or by ONNX Runtime, and no code in it is executed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import UsageError, UserError
from nas.export.folder import Folder
from nas.export.image_reading import read_image
from nas.export.model import MakeSpace
from nas.pictures.decoding import parse_colour

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """Label and probabilities of one image.

    Args:
        file: Path as it was found.
        label: Most likely class.
        probabilities: Probabilities of all classes, in the order of the model's classes.
    """

    file: str
    label: str
    probabilities: Sequence[float]


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read.

    Args:
        file: Path as it was found.
        message: Sentence with the path and the reason.
    """

    file: str
    message: str


def predict(
    folder: Folder, files: Sequence[Path], make_space: MakeSpace, background: str | None = None
) -> Iterator[Prediction | Unreadable]:
    """Predict files batch by batch, in their order.

    Args:
        background: Colour behind transparent pixels, a name or `#ff8800`; None: that of the training pictures.

    Raises:
        UsageError: The folder has nothing that can be run safely, or the model does not take images of this kind.
    """
    background_rgb = parse_colour(background or _trained_on(folder))
    if folder.task.channels not in (1, 3):
        raise UsageError(
            f"model={folder.path} takes images of {folder.task.channels} channels; only grey and RGB files can be read"
        )
    logits_of = logits_function(folder, make_space)
    classes = folder.about["classes"]
    for start in range(0, len(files), BATCH_SIZE):
        images: dict[Path, Tensor] = {}
        unreadable: dict[Path, Unreadable] = {}
        batch_files = files[start : start + BATCH_SIZE]
        for path in dict.fromkeys(batch_files):
            try:
                images[path] = read_image(folder, path, background_rgb)
            except UserError as error:
                unreadable[path] = Unreadable(str(path), str(error))
        rows: dict[Path, list[float]] = {}
        if images:
            # the memory format that the model was checked in; grey images count as contiguous in any
            batch = torch.stack(list(images.values())).clone(memory_format=torch.contiguous_format)
            logits = logits_of(batch)
            if logits.shape != (len(images), len(classes)) or not bool(logits.isfinite().all()):
                raise UsageError(
                    f"model={folder.path} does not give {len(classes)} finite logits per image, as its model.json says"
                )
            rows = dict(zip(images, logits.softmax(1).tolist(), strict=True))
        for path in batch_files:
            if path in unreadable:
                yield unreadable[path]
                continue
            best = max(range(len(classes)), key=rows[path].__getitem__)
            yield Prediction(str(path), classes[best], rows[path])


def _trained_on(folder: Folder) -> str:
    """Colour behind transparent pixels of the training pictures; white if the model does not say."""
    try:
        return str(folder.about["data"]["settings"]["background"])
    except (KeyError, TypeError):
        return "white"


def logits_function(folder: Folder, make_space: MakeSpace) -> Callable[[Tensor], Tensor]:
    """A function from normalised images (B, C, H, W) to logits (B, classes), run by PyTorch or else ONNX Runtime.

    Raises:
        UsageError: The folder has neither weights nor an ONNX model, or they cannot be loaded.
    """
    has_onnx = (folder.path / "model.onnx").is_file()
    if (folder.path / "model.safetensors").is_file():
        try:
            space = folder.space(make_space)
        except UsageError:
            if not has_onnx:  # which needs no space
                raise
        else:
            return _in_torch(folder.network(space))
    if has_onnx:
        if importlib.util.find_spec("onnxruntime") is None:
            raise UsageError("model.onnx needs onnxruntime, which is not installed: pip install 'cellnas[onnx]'")
        return _in_onnx(folder.path / "model.onnx")
    raise UsageError(
        f"model={folder.path} has neither model.safetensors nor model.onnx, and no other file in it is run; export it "
        "with format=[state] or format=[onnx]"
    )


def _in_torch(network: nn.Module) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(images)
        return logits

    return run


def _in_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common base)
        raise UsageError(f"{path} is not a valid ONNX model ({' '.join(str(error).split())[:150]})") from None

    def run(images: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
        except Exception as error:  # noqa: BLE001
            raise UsageError(f"{path} does not accept these images ({' '.join(str(error).split())[:150]})") from None

    return run
