"""A space as a user writes it, in the user's folder."""

SPACE = """
from types import MappingProxyType

from torch import nn

from nas import SearchSpace


class MySpace(SearchSpace):
    choices = MappingProxyType({"width": ("8", "16"), "activation": ("relu", "tanh"), "depth": ("1", "2", "3")})

    def __init__(self, dropout=0.0):
        self.dropout = dropout

    def build(self, architecture, task, network=None):
        width, activation, depth = self.options(architecture)
        layers, size = [nn.Flatten()], task.channels * task.height * task.width
        for _ in range(int(depth)):
            layers += [nn.Linear(size, int(width)), nn.ReLU() if activation == "relu" else nn.Tanh()]
            size = int(width)
        return nn.Sequential(*layers, nn.Dropout(self.dropout), nn.Linear(size, task.classes))
"""


def write(folder, target="my_space.MySpace"):
    """Write the module and the YAML of the space to a folder."""
    (folder / "my_space.py").write_text(SPACE)
    (folder / "conf" / "space").mkdir(parents=True)
    (folder / "conf" / "space" / "mine.yaml").write_text(f"# my space\n_target_: {target}\ndropout: 0.0\n")
