"""What tests of the exporter share: written source against its network, and commands whose checks start no process."""

import contextlib
import importlib
import sys
from dataclasses import fields
from types import SimpleNamespace
from unittest import mock

import torch

from nas import UserError
from nas.cli.main import main
from nas.export import artifact_runner
from nas.export.model import Model
from nas.export.source import source
from nas.export.tracer import owned

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


def run(folder, *arguments):
    """Run `nas …` in a folder, for fixtures of a module; the command must succeed."""
    path = [*sys.path]
    sys.modules.pop("my_space", None)  # of another test's folder
    try:
        with contextlib.chdir(folder):
            assert main(arguments) == 0
    finally:
        sys.path[:] = path
        sys.modules.pop("my_space", None)


def run_in_this_process(_form, _written, folder, work):
    """In place of `nas.export.check.run_in_fresh_process`, which takes seconds to import torch."""
    bytecode = mock.patch.object(sys, "dont_write_bytecode", True)  # as the fresh process: nothing beside the files
    with bytecode, mock.patch.object(artifact_runner, "TIMING_SECONDS", 0):
        artifact_runner.main(folder, work, torch.get_num_threads())


def without_processes():
    """A context in which exported forms are checked in this process."""
    return mock.patch("nas.export.check.run_in_fresh_process", run_in_this_process)


def made(written, state, *, quickly=False):
    """The network of a file, with the weights of the network that it was written from.

    Args:
        quickly: Whether to use these tensors themselves and initialise none.
    """
    space = {}
    exec(compile(HEAD + written.text, "network", "exec"), space)
    with torch.device("meta" if quickly else "cpu"):
        logits = space["Network"]()
    logits.load_state_dict({name: state[old] for name, old in written.names.items()}, assign=quickly)
    return logits.eval()


def same_as_source(network, shape, *, quickly=False):
    """Compare the source of a network with it, on batches of 1, 2 and 16 images."""
    logits = made(source(network, torch.zeros(2, *shape)), dict(owned(network)), quickly=quickly)
    for number in (1, 2, 16):
        images = torch.randn(number, *shape)
        with torch.no_grad():
            same(logits(images.clone()), network(images.clone()))


def same(logits, expected, tolerance=1e-4):
    """Compare logits with the expected ones, up to rounding of the largest."""
    assert logits.shape == expected.shape
    assert float((logits - expected).abs().max()) <= tolerance * float(expected.abs().max())


def exported(network, form, batches, folder):
    """Logits of some batches by a form of a network, written to a folder."""
    shape = tuple(batches[0].shape[1:])

    class Bare(Model):
        shape = property(lambda _self: shape)
        text = "network"

    images = SimpleNamespace(mean=(0.0,), std=(1.0,))
    arguments = dict.fromkeys(entry.name for entry in fields(Model)) | {"network": network, "images": images}
    module = importlib.import_module(f"nas.export.formats.{form}")
    module.write(Bare(**arguments | {"class_names": ()}), folder)
    try:
        run = module.load(folder, 1, None)[1]
        return [torch.as_tensor(run(images.numpy() if form == "onnx" else images)) for images in batches]
    except Exception as error:  # noqa: BLE001 - as in the process that `nas export` starts
        raise UserError(str(error).strip().splitlines()[-1]) from None
