"""`predict.py`, which labels image files beside `network.py` and needs only PyTorch and Pillow."""

from __future__ import annotations

import json

from nas.export.model import Model
from nas.export.threshold import NONE_LABEL

CHANNELS = (1, 3)
"""Channels of images that files have: a network for others has no script."""

SCRIPT = '''"""Label image files: python predict.py [--json] [--top N] FILE_OR_FOLDER …

It needs only PyTorch and Pillow, and the files beside it: network.py with its weights. It reads a file
as `nas predict` of cellnas does. Files that cannot be read are listed on stderr; the exit code is then 1.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", "Failed to initialize NumPy")  # which is not needed here

import torch
from network import CLASSES, Network, prepared
from PIL import Image, ImageColor, UnidentifiedImageError

{constants}

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what makes the image upright


def pixels(path, background=(255, 255, 255)):
    """The image as the network takes it, uint8 (CHANNELS, HEIGHT, WIDTH); ValueError if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes below Pillow's limit
            with Image.open(path) as opened:
                opened.load()
                image = opaque(eight_bits(opened), background)
                orientation = exif_orientation(opened)
    except UnidentifiedImageError:
        reason = "not an image" if path.stat().st_size else "it is empty"
        raise ValueError(f"{path} cannot be read ({reason})") from None
    except Exception as error:  # the decoder of a damaged file may raise anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read ({' '.join(reason.split())})") from None
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    image = image.convert("L" if CHANNELS == 1 else "RGB")
    times = image.width // WIDTH
    is_multiple = image.size == (times * WIDTH, times * HEIGHT)
    if not is_multiple:
        image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    if is_multiple and times > 1:  # averaged
        sums = values.view(HEIGHT, times, WIDTH, times, CHANNELS).sum((1, 3))
        values = (sums.float() / times**2).round().to(torch.uint8)
    return values.view(HEIGHT, WIDTH, CHANNELS).permute(2, 0, 1)


def eight_bits(image):
    """16-bit grey as 8 bits, with its transparent value; other images unchanged."""
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PPM", "PNG")):
        if image.mode in ("I", "F"):
            raise ValueError(f"it has pixels of mode {image.mode}, expected 8 or 16 bits per channel")
        return image.copy()
    values = torch.frombuffer(bytearray(image.convert("I").tobytes()), dtype=torch.int32)
    grey = grey_image((values.float() / 257).round(), image.size)
    if "transparency" not in image.info:
        return grey
    alpha = (values != image.info["transparency"]) * 255
    return Image.merge("LA", (grey, grey_image(alpha, image.size)))


def grey_image(values, size):
    return Image.frombytes("L", size, bytes(values.to(torch.uint8).tolist()))


def opaque(image, background):
    """The image on a background, if any of its pixels may be transparent."""
    if image.mode == "CMYK":
        return image.convert("RGB")
    palette = getattr(image.palette, "mode", "") if image.mode == "P" else ""
    if "a" not in image.mode.lower() + palette.lower() and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    below = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


def exif_orientation(image):
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata do not affect the pixels
        return 1


def probabilities(network, images):
    """Rows of probabilities, in the order of CLASSES, of images of pixels()."""
    with torch.inference_mode():
        return network(prepared(torch.stack(images))).softmax(1).tolist()


def ranked(row):
    """(class, probability), the likeliest first."""
    return sorted(zip(CLASSES, row, strict=True), key=lambda pair: -pair[1])


def find_images(path):
    """The file, or the images in a folder and its subfolders, without hidden ones."""
    if not path.is_dir():
        return [path]
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    known -= {".eps", ".ps", ".iim", ".mpg", ".mpeg"}  # drawings, captions and films
    visible = [file for file in path.rglob("*") if not is_hidden(file.relative_to(path))]
    return sorted(file for file in visible if file.suffix.lower() in known and file.is_file())


def is_hidden(path):
    return any(part.startswith(".") or part in ("__MACOSX", "@eaDir") for part in path.parts)


def main():
    parser = argparse.ArgumentParser(description="Label image files.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--json", action="store_true", help="print a JSON list with all probabilities")
    parser.add_argument("--top", type=int, default=1, help="classes of each file to print")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="0: every file gets a class")
    parser.add_argument("--background", default=BACKGROUND, help="colour behind transparent pixels")
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal cannot show
    try:
        background = ImageColor.getrgb(options.background)[:3]
    except ValueError:
        parser.error(f"--background {options.background} is not a colour; expected white or #ff8800")
    if not 0 <= options.threshold <= 1:
        parser.error(f"--threshold {options.threshold} is not a number from 0 to 1")
    network, results, failed = Network(), [], False
    for path in options.paths:
        files = find_images(path)
        if not files:
            failed = True
            print(f"{path} has no image", file=sys.stderr)
        for file in files:
            try:
                row = probabilities(network, [pixels(file, background)])[0]
            except ValueError as error:
                failed = True
                print(error, file=sys.stderr)
                continue
            best, probability = ranked(row)[0]
            label = best if probability >= options.threshold else NONE
            if options.json:
                likeliest = {"likeliest": best} if options.threshold > 0 else {}
                shown = dict(zip(CLASSES, row, strict=True))
                results.append({"file": str(file), "label": label, **likeliest, "probabilities": shown})
            else:
                top = ranked(row)[: max(options.top, 1)]
                names = ", ".join(f"{name} {value:.4f}" for name, value in top)
                name = str(file) if str(file).isprintable() else repr(str(file))
                print(name, f"{NONE} ({names})" if label == NONE else names, sep="\\t", flush=True)
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
'''


def predict_script(model: Model) -> str:
    """The text of `predict.py` for a model whose images have one of `CHANNELS`."""
    channels, height, width = model.shape
    settings = model.data[1] if model.data else {}
    background = json.dumps(str(settings.get("background") or "white"))
    threshold = 0.0 if model.threshold is None else model.threshold.value
    constants = [
        f"CHANNELS, HEIGHT, WIDTH = {channels}, {height}, {width}",
        f"BACKGROUND = {background}  # colour behind transparent pixels, as in training",
        f"THRESHOLD = {threshold!r}  # a likeliest class below it means {NONE_LABEL!r}; 0: off",
        f'NONE = "{NONE_LABEL}"',
    ]
    return SCRIPT.replace("{constants}", "\n".join(constants))
