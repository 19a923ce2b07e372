"""A readable file that needs only torch, with its weights, and a script that labels image files with it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import UserError
from nas.export.artifact_runner import Form, in_torch, tolerance
from nas.export.folder import read
from nas.export.formats.state import tensors
from nas.export.image_reading import read_image
from nas.export.model import Model, unwrapped
from nas.export.predict_script import CHANNELS, predict_script
from nas.export.source import source
from nas.export.tracer import owned
from nas.provenance import environment
from nas.training.memory_format import contiguous

FILES = ("network.py", "network.safetensors", "network.pt", "predict.py")
NEEDS: Mapping[str, str] = {}
IS_STANDALONE = True
WIDTH = 100

HELPERS = '''
{classes}
MEAN, STD = {mean}, {std}


def prepared(pixels):
    """Normalise uint8 images (B, {shape}) with values 0 to 255 for the network."""
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def weights():
    """The exported weights, from the files beside this one."""
    folder = Path(__file__).parent
    try:
        from safetensors.torch import load_file
    except ImportError:
        return torch.load(folder / "network.pt", weights_only=True)
    return load_file(folder / "network.safetensors")
'''


def write(model: Model, folder: Path) -> None:
    from safetensors.torch import save_file

    written = source(unwrapped(model.fresh()), torch.zeros(2, *model.shape), weights="weights()")
    state = dict(owned(unwrapped(model.network)))
    renamed = tensors({new: state[old] for new, old in written.names.items()})
    _check_types(renamed)
    shape = ", ".join(map(str, model.shape))
    mean, std = model.images.mean, model.images.std
    helpers = HELPERS.format(classes=_classes(model.class_names), mean=mean, std=std, shape=shape)
    functional = "import torch.nn.functional as F\n" if "F." in written.text else ""
    imports = f"from pathlib import Path\n\nimport torch\n{functional}from torch import nn\n"
    (folder / FILES[0]).write_text(f"{_head(model, shape)}\n{imports}{helpers}\n\n{written.text}")
    save_file(renamed, str(folder / FILES[1]))
    torch.save(renamed, folder / FILES[2])
    if model.task.channels in CHANNELS:
        (folder / FILES[3]).write_text(predict_script(model))


def prepare(model: Model, folder: Path, work: Path) -> None:
    """Write validation images as files, and their probabilities by `nas predict`, for the check of `predict.py`.

    One is larger than the network's images and partly transparent, one as large as several of its images.
    """
    from PIL import Image

    if not (folder / FILES[3]).exists():
        return
    (work / "pictures").mkdir()
    for index, values in enumerate(model.images.pixels[:4]):
        image = Image.fromarray((values[0] if len(values) == 1 else values.permute(1, 2, 0)).contiguous().numpy())
        if index == 1:
            image = image.resize((3 * image.width, 3 * image.height))
        elif index == 2:
            image = image.resize((2 * image.width + 1, image.height + 5)).convert("LA" if len(values) == 1 else "RGBA")
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(work / "pictures" / f"{index}.png")
    exported = read(folder)
    images = torch.stack([read_image(exported, file) for file in sorted((work / "pictures").iterdir())])
    with torch.no_grad():
        logits = model.network(contiguous(images))
    torch.save((logits.softmax(1), tolerance(logits)), work / "pictures.pt")


def _check_types(weights: Mapping[str, Tensor]) -> None:
    """Raise `UserError` if safetensors has no type for a weight."""
    for name, weight in weights.items():
        if weight.is_complex():
            dtype = str(weight.dtype).removeprefix("torch.")
            raise UserError(
                f"format=python: the weight {name} is {dtype}, which some versions of safetensors cannot hold; "
                "expected real weights, or format=[state], which stores the real and the imaginary part"
            )


def _head(model: Model, shape: str) -> str:
    retraining = model.retraining
    how = (
        "It is untrained: its weights are random."
        if retraining is None
        else f"Test accuracy {retraining.metrics['test_accuracy']:.4f}, measured once after training."
    )
    paragraphs = [
        f"A network of the search space {model.space_name}, exported by cellnas {environment()['cellnas']}.",
        model.text,
        f"{how} Network() has the exported weights and is in evaluation mode; Network(trained=False) is freshly "
        f"initialised, for modification and training. Both map normalised images (B, {shape}) to logits "
        f"(B, {model.task.classes}). Parts that act only in training, such as drop-path and an auxiliary head, are "
        "left out.",
    ]
    lines = [line for text in paragraphs for line in (*textwrap.wrap(text, WIDTH), "")]
    lines += ["Reproduce it with:", "", *(f"    {command}" for command in model.commands.values())]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"""')
    return f'"""{text}\n"""\n'


def _classes(names: Sequence[str]) -> str:
    """The line that names the classes, broken if it is too long."""
    texts = [json.dumps(name, ensure_ascii=False) for name in names]
    line = f"CLASSES = ({', '.join(texts)}{',' if len(texts) == 1 else ''})"
    if len(line) <= WIDTH:
        return line
    return "\n".join(["CLASSES = (", *(f"    {text}," for text in texts), ")"])


def load(folder: Path, threads: int, work: Path | None) -> Form:
    """Load `network.py`, and run `predict.py` on the files of `prepare`."""
    import importlib.util
    import sys

    import torch

    def imported(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    module = imported("network")
    network = module.Network()
    if work is not None and (work / "pictures.pt").exists():
        expected, tolerance = torch.load(work / "pictures.pt", weights_only=True)
        sys.modules["network"] = module  # which predict.py imports
        try:
            script = imported("predict")
        finally:
            del sys.modules["network"]
        pixels = [script.pixels(file) for file in sorted((work / "pictures").iterdir())]
        difference = float((torch.tensor(script.probabilities(network, pixels)) - expected).abs().max())
        if not difference <= tolerance:
            raise ValueError(f"predict.py and nas predict differ by {difference:.1e} in a probability")
    # `weights()` reads only one of the two files, and which one depends on whether safetensors is installed
    loaded, other = module.weights(), torch.load(folder / "network.pt", weights_only=True)
    if loaded.keys() != other.keys() or not all(torch.equal(loaded[name], other[name]) for name in loaded):
        raise ValueError("network.pt and network.safetensors differ")
    return in_torch(network, threads)
