"""Labels and probabilities of images by an exported model.

The folder may come from elsewhere: weights are read as safetensors or by ONNX Runtime, and no code in it is executed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import UsageError, UserError
from nas.export.folder import Folder
from nas.export.image_reading import read_image
from nas.export.model import MakeSpace
from nas.export.threshold import NONE_LABEL
from nas.pictures.decoding import Upload, parse_colour

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """Label and probabilities of one image.

    Args:
        file: Path as it was found, or name of an upload.
        label: Most likely class, or `NONE_LABEL` if its probability is below the threshold.
        probabilities: Probabilities of all classes, in the order of the model's classes.
        likeliest: Most likely class.
        is_none: Whether the probability of the most likely class is below the threshold.
    """

    file: str
    label: str
    probabilities: Sequence[float]
    likeliest: str
    is_none: bool


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read.

    Args:
        file: Path as it was found, or name of an upload.
        message: Sentence with the path and the reason.
    """

    file: str
    message: str


class Predictor:
    """An exported model that is loaded once and labels images in files or in memory.

    Args:
        folder: The exported model.
        make_space: Makes the space of its architecture.
        background: Colour behind transparent pixels, a name or `#ff8800`; None: that of the training pictures.
        threshold: Probability below which an image belongs to none of the classes, 0 to 1; None: the model's own.

    Raises:
        UsageError: The folder has nothing that can be run safely, or the model does not take images of this kind.
    """

    def __init__(
        self, folder: Folder, make_space: MakeSpace, background: str | None = None, threshold: float | None = None
    ) -> None:
        self.background_rgb = parse_colour(background or _trained_on(folder))
        if folder.task.channels not in (1, 3):
            channels = folder.task.channels
            raise UsageError(
                f"model={folder.path} takes images of {channels} channels; only grey and RGB files can be read"
            )
        self.folder = folder
        self.classes: Sequence[str] = folder.about["classes"]
        self.threshold = folder.threshold if threshold is None else threshold
        self.logits_of = logits_function(folder, make_space)

    def predict(self, files: Sequence[Path | Upload]) -> Iterator[Prediction | Unreadable]:
        """Predict images batch by batch, in their order.

        Raises:
            UsageError: The model does not give the logits that its `model.json` says.
        """
        for start in range(0, len(files), BATCH_SIZE):
            images: dict[Path | Upload, Tensor] = {}
            unreadable: dict[Path | Upload, Unreadable] = {}
            batch_files = files[start : start + BATCH_SIZE]
            for file in dict.fromkeys(batch_files):
                try:
                    images[file] = read_image(self.folder, file, self.background_rgb)
                except UserError as error:
                    unreadable[file] = Unreadable(str(file), str(error))
            rows = self._probabilities(images)
            for file in batch_files:
                yield unreadable[file] if file in unreadable else self._prediction(str(file), rows[file])

    def _probabilities(self, images: Mapping[Path | Upload, Tensor]) -> Mapping[Path | Upload, list[float]]:
        if not images:
            return {}
        # the memory format that the model was checked in; grey images count as contiguous in any
        batch = torch.stack(list(images.values())).clone(memory_format=torch.contiguous_format)
        logits = self.logits_of(batch)
        classes = len(self.classes)
        if logits.shape != (len(images), classes) or not bool(logits.isfinite().all()):
            raise UsageError(
                f"model={self.folder.path} does not give {classes} finite logits per image, as its model.json says"
            )
        return dict(zip(images, logits.softmax(1).tolist(), strict=True))

    def _prediction(self, file: str, probabilities: Sequence[float]) -> Prediction:
        best = max(range(len(self.classes)), key=probabilities.__getitem__)
        likeliest, is_none = self.classes[best], probabilities[best] < self.threshold
        return Prediction(file, NONE_LABEL if is_none else likeliest, probabilities, likeliest, is_none)


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
