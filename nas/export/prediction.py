"""Labels and probabilities of images by an exported model.

The folder may come from elsewhere: weights are read as safetensors or by ONNX Runtime, and nothing in it is run.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import UsageError, UserError
from nas.export.folder import Folder, MakeSpace

if TYPE_CHECKING:
    from PIL import Image

BATCH = 64
NOT_PIXELS = ("EPS", "IPTC", "MPEG")
"""Formats that Pillow opens though it cannot show every one: drawings, captions and films."""
NOT_IMAGES = ("__MACOSX", "@eaDir")
"""Folders that macOS archives and network drives put beside images; their files have the names of images."""
MOST_NAMED = 6
"""Suffixes of files that are left out."""
ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Found:
    """What `images=` names.

    Args:
        images: Files in the order of their names.
        other_files: Suffix -> how many files of it lie beside the images.
        left_out: What else is left out, in singular and plural -> how many.
    """

    images: list[Path]
    other_files: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)


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
    folder: Folder, files: Sequence[Path], make_space: MakeSpace, background: str = "white"
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
    logits_of = runner(folder, make_space)
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


def runner(folder: Folder, make_space: MakeSpace) -> Callable[[Tensor], Tensor]:
    """Images (B, C, H, W), normalised, to logits (B, classes), by the weights or else by ONNX Runtime.

    Raises:
        UsageError: The folder has nothing that can be run safely, or only weights of a space that does not exist here.
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
        f"model={folder.path} has neither model.safetensors nor model.onnx, and nothing else in it is run; export it "
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
        raise UsageError(f"{path} is no sound ONNX model ({' '.join(str(error).split())[:150]})") from None

    def run(images: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
        except Exception as error:  # noqa: BLE001
            raise UsageError(f"{path} does not take these images ({' '.join(str(error).split())[:150]})") from None

    return run


def images_of(place: Path) -> Found:
    """A file, or all images below a folder in the order of their names; linked folders are not followed.

    Raises:
        UsageError: there is none.
    """
    if not place.is_dir():
        _check_file(place)
        return Found([place])
    found = Found([])

    def unreadable(_error: OSError) -> None:
        found.left_out["folder that cannot be read", "folders that cannot be read"] += 1

    for name, folders, files in os.walk(place, onerror=unreadable):
        parent = Path(name)
        folders[:] = [folder for folder in folders if not _is_hidden(folder)]
        if links := sum((parent / folder).is_symlink() for folder in folders):
            found.left_out["linked folder", "linked folders"] += links
        for path in (parent / file for file in files if not _is_hidden(file)):
            if path.suffix.lower() not in suffixes():
                found.other_files[path.suffix.lower() or "no suffix"] += 1
            elif path.is_file():
                found.images.append(path)
            elif path.is_symlink() and not path.exists():
                found.left_out["dead link", "dead links"] += 1
            else:
                found.left_out["pipe or device", "pipes or devices"] += 1
    found.images.sort()
    if not found.images:
        rest = left_out([found])
        raise UsageError(f"images={place} holds no image that can be read{f' ({rest})' if rest else ''}")
    return found


def left_out(places: Sequence[Found]) -> str:
    """`left out: …` with what lies in some folders beside the images, in numbers; empty where there is nothing."""
    names = sum((one.other_files for one in places), Counter[str]())
    rest = sum((one.left_out for one in places), Counter[tuple[str, str]]())
    told = [f"{number} {one if number == 1 else many}" for (one, many), number in rest.items()]
    if number := names.total():
        kinds = ", ".join(sorted(names)[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
        told.insert(0, f"{number} file{'s' if number > 1 else ''} without the suffix of an image ({kinds})")
    return f"left out: {', '.join(told)}" if told else ""


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of images that Pillow reads here; not of documents and drawings, nor of what it only recognises."""
    from PIL import Image, ImageFile

    Image.init()
    found = {".mpo"}  # which it reads as JPEG
    for suffix, kind in Image.registered_extensions().items():
        opens = Image.OPEN[kind][0] if kind in Image.OPEN else None
        stub = isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile)
        if opens is not None and not stub and kind not in NOT_PIXELS:
            found.add(suffix)
    return frozenset(found)


def _is_hidden(name: str) -> bool:
    """Whether a file or folder does not count: a macOS archive's `._photo.png` has the name of an image and is none."""
    return name.startswith(".") or name in NOT_IMAGES


def _check_file(place: Path) -> None:
    """Raise `UsageError` unless a file is there."""
    expected = "expected an image or a folder of images"
    try:
        mode = place.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"images={place} is a link that leads back to itself; {expected}") from None
        if place.is_symlink():
            raise UsageError(f"images={place} is a link to {place.readlink()}, which is not there") from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UsageError(f"images={place} is not there; {expected}") from None
        raise UsageError(f"images={place} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise UsageError(f"images={place} is a {kind}; {expected}")


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
