"""Reads an image file as the input of an exported model: as `nas.pictures` decodes it, and normalised."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nas.export.folder import Folder
from nas.pictures.decoding import Upload, decode_quietly, row


def read_image(folder: Folder, file: Path | Upload, background: tuple[int, int, int] = (255, 255, 255)) -> Tensor:
    """An image as the network takes it, normalised, (C, H, W), grey or RGB.

    It is rotated to its EXIF orientation. An image whose sides are an integer multiple of the network's is averaged
    down; any other size is resized bilinearly.

    Args:
        background: Red, green and blue, 0 to 255, behind transparent pixels.

    Raises:
        UserError: The file cannot be read.
    """
    task, preprocessing = folder.task, folder.about["preprocessing"]
    image = decode_quietly(file, background).image
    pixels = torch.from_numpy(row(image, task.channels, task.height, task.width)).permute(1, 2, 0).float()
    mean, std = torch.tensor(preprocessing["mean"]), torch.tensor(preprocessing["std"])
    # computed exactly as in training, so that rounding is the same
    return (pixels * (1.0 / (255.0 * std)) + -mean / std).permute(2, 0, 1)
