"""Labels and probabilities of images by an exported model.

The folder may come from elsewhere: weights are read as safetensors or by ONNX Runtime, and nothing in it is run.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.core import UsageError, UserError
from nas.export.folder import Folder

if TYPE_CHECKING:
    from PIL import Image

BATCH = 64
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
NOT_IMAGES = ("__MACOSX", "@eaDir")
"""Folders that macOS archives and network drives put beside images; their files have the names of images."""
ORIENTATION_TAG = 0x0112


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


@dataclass(frozen=True)
class Unreadable:
    """A file that has no label.

    Args:
        file: Path as it was found.
        message: Sentence with the path and the reason.
    """

    file: str
    message: str


def predict(
    folder: Folder, files: Sequence[Path], config_dir: Path | None = None, background: str = "white"
) -> Iterator[Prediction | Unreadable]:
    """Predict files batch by batch, in their order.

    Args:
        background: Colour behind transparent pixels, as `colour` reads it.

    Raises:
        UsageError: the folder has nothing that can be run safely, or no file could be given to it.
    """
    behind = colour(background)
    if folder.task.channels not in (1, 3):
        raise UsageError(
            f"model={folder.path} takes images of {folder.task.channels} channels; only grey and RGB files can be read"
        )
    logits_of = runner(folder, config_dir)
    classes = folder.about["classes"]
    for start in range(0, len(files), BATCH):
        images: dict[Path, Tensor] = {}
        unreadable: dict[Path, Unreadable] = {}
        part = files[start : start + BATCH]
        for path in dict.fromkeys(part):
            try:
                images[path] = prepared(folder, path, behind)
            except UserError as error:
                unreadable[path] = Unreadable(str(path), str(error))
        rows: dict[Path, list[float]] = {}
        if images:
            # in the memory that the model was checked in: grey images of another count as contiguous, too
            batch = torch.stack(list(images.values())).clone(memory_format=torch.contiguous_format)
            logits = logits_of(batch)
            if logits.shape != (len(images), len(classes)) or not bool(logits.isfinite().all()):
                raise UsageError(
                    f"model={folder.path} gives no {len(classes)} finite logits an image, as its model.json says"
                )
            rows = dict(zip(images, logits.softmax(1).tolist(), strict=True))
        for path in part:
            if path in unreadable:
                yield unreadable[path]
                continue
            best = max(range(len(classes)), key=rows[path].__getitem__)
            yield Prediction(str(path), classes[best], rows[path])


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0-255, of a name (`white`) or a number (`#ff8800`).

    Raises:
        UsageError: it is neither.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(str(text))[:3]
    except ValueError:
        raise UsageError(
            f"background={text} is not a colour; expected a name such as white or black, or #ff8800"
        ) from None
    return red, green, blue


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
    """A file, or all images below a folder in the order of their names; hidden ones are left out.

    Raises:
        UsageError: there is none.
    """
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if _is_image(path, path.relative_to(place).parts))
        if not found:
            raise UsageError(f"images={place} holds no image ({', '.join(SUFFIXES)})")
        return found
    if not place.is_file():
        raise UsageError(f"images={place} is not there; expected an image or a folder of images")
    return [place]


def _is_image(path: Path, parts: Sequence[str]) -> bool:
    """Whether a path below a folder counts: `._photo.png` of a macOS archive has the name of an image and is none."""
    if any(part.startswith(".") or part in NOT_IMAGES for part in parts):
        return False
    return path.suffix.lower() in SUFFIXES and path.is_file()


def prepared(folder: Folder, path: Path, background: tuple[int, int, int] = (255, 255, 255)) -> Tensor:
    """An image as the network takes it, (C, H, W), grey or RGB as it was trained.

    It is turned as its EXIF orientation says. One that is a whole number of times as large is averaged, one of any
    other size resized bilinearly.

    Args:
        background: Red, green and blue, 0-255, behind transparent pixels.

    Raises:
        UserError: it cannot be read.
    """
    from PIL import Image

    task, given = folder.task, folder.about["preprocessing"]
    image = _upright(path, background).convert("L" if task.channels == 1 else "RGB")
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


def _upright(path: Path, background: tuple[int, int, int]) -> Image.Image:
    """The picture as a viewer shows it: 8 bits a channel, turned, opaque, in a mode that becomes grey or RGB.

    Raises:
        UserError: it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes below the limit
            with Image.open(path) as opened:
                opened.load()
                image = _opaque(_eight_bits(opened), background)
                return _turned(image, _orientation(opened))
    except UnidentifiedImageError:
        reason = "not an image"
    except Image.DecompressionBombError:
        reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # noqa: BLE001 (a damaged file makes its decoder raise whatever it meets)
        reason = str(error) or type(error).__name__
    raise UserError(f"{path} cannot be read ({' '.join(reason.split())})")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as 8 bits, with its transparency; other modes as they are."""
    from PIL import Image

    # Pillow scales every PGM of more than 8 bits to 16, and once read PNGs of 16 bits as mode I too
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PPM", "PNG")):
        if image.mode in ("I", "F"):
            raise ValueError(f"it has pixels of mode {image.mode}, expected 8 or 16 bits a channel")
        return image.copy()
    values = np.asarray(image)
    grey = Image.fromarray((values.astype(np.float32) / 257).round().astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))


def _opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image before a background, where it has transparent pixels or a palette's transparent colour."""
    from PIL import Image

    if image.mode == "CMYK":
        return image.convert("RGB")
    palette = getattr(image.palette, "mode", "") if image.mode == "P" else ""
    if "a" not in image.mode.lower() + palette.lower() and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where there is none that can be read."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 (damaged metadata say nothing of the pixels)
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    ways = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(ways[orientation]) if orientation in ways else image
