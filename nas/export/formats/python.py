"""One readable file that needs only torch, with its weights beside it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import UserError
from nas.export.artifact_runner import Form, in_torch
from nas.export.formats.state import tensors
from nas.export.model import Model, unwrapped
from nas.export.source import source
from nas.export.tracer import owned
from nas.provenance import environment

FILES = ("network.py", "network.safetensors", "network.pt")
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


def load(folder: Path, threads: int, _work: Path) -> Form:
    """Load `network.py`."""
    import importlib.util

    import torch

    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Network()
    # `weights()` reads only one of the two files, and which one depends on whether safetensors is installed
    loaded, other = module.weights(), torch.load(folder / "network.pt", weights_only=True)
    if loaded.keys() != other.keys() or not all(torch.equal(loaded[name], other[name]) for name in loaded):
        raise ValueError("network.pt and network.safetensors differ")
    return in_torch(network, threads)
