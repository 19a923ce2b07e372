"""Source that was written, held against the network."""

import torch

from nas.export.source import source
from nas.export.trace import owned

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


def made(written, state):
    """The network of a file, with weights of the network that it was written from."""
    space = {}
    exec(compile(HEAD + written.text, "network", "exec"), space)
    found = space["Network"]()
    found.load_state_dict({name: state[old] for name, old in written.names.items()})
    return found.eval()


def same_as_source(network, shape, *, tolerance=1e-5):
    """Hold the source of a network against it, on batches of 1, 2 and 16 images."""
    found = made(source(network, torch.zeros(2, *shape)), dict(owned(network)))
    for number in (1, 2, 16):
        images = torch.randn(number, *shape)
        with torch.no_grad():
            torch.testing.assert_close(found(images.clone()), network(images.clone()), rtol=1e-4, atol=tolerance)
