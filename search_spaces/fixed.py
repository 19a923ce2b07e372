"""A space of one network: what is searched is the recipe of its training, by `tune.SETTING=`.

The network is an architecture of another space, such as `space.arch=DARTS_V2`, or a class or function of anybody's,
such as `space.network=torchvision.models.resnet18`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError, located
from nas.space.base import SearchSpace
from nas.space.graph import Graph
from nas.space.notation import parse
from nas.validation import as_written

if TYPE_CHECKING:
    from torch import nn

SPACES = MappingProxyType(
    {
        "autoformer": "search_spaces.autoformer.AutoFormer",
        "darts": "search_spaces.darts.DARTS",
        "mobilenetv3": "search_spaces.mobilenetv3.MobileNetV3",
        "nasbench101": "search_spaces.nasbench101.NASBench101",
        "nasbench201": "search_spaces.nasbench201.NASBench201",
        "nasnet": "search_spaces.nasnet.NASNet",
        "nats_sss": "search_spaces.nats_sss.NATSSize",
    }
)
"""Option -> class of the spaces that come with cellnas."""
CLASSES = ("num_classes", "n_classes", "classes", "nb_classes", "num_labels", "out_features")
"""Parameters of a network that are the number of classes."""
IMAGE_CHANNELS = ("in_channels", "in_chans", "input_channels", "num_channels")
"""Parameters of a network that are the channels of an image."""
IMAGE_SIZES = ("image_size", "img_size", "input_size")
"""Parameters of a network that are the side of an image."""


class Fixed(SearchSpace):
    """One network.

    Args:
        arch: Text or published name of an architecture.
        of: Its space: an option of `space=`, or a class such as `my_module.MySpace`; None: the one that publishes the
            name, or can read the text.
        settings: Settings of the space `of`.
        network: A class or function of your own as `module.name`, instead of `arch`. Its parameters named as
            `CLASSES`, `IMAGE_CHANNELS` and `IMAGE_SIZES` are set for the data, a parameter `task` to the `Task`; others
            are sizes, which `trainer.network.NAME=` and `tune.network.NAME=` set.

    Raises:
        UsageError: Neither or both are given, or the network cannot be found.
    """

    def __init__(
        self,
        arch: str | None = None,
        of: str | None = None,
        network: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if (arch is None) == (network is None):
            given = f"space.arch={as_written(arch)} and space.network={as_written(network)}"
            raise UsageError(f"{given}; expected one of them, such as space.arch=DARTS_V2 or space.network=my_net.Net")
        if of is not None and network is not None:
            raise UsageError(f"space.of={of} has no effect with space.network={network}; leave it out")
        if settings and of is None:
            raise UsageError(f"space.settings={dict(settings)} are of no space; name it by space.of=")
        self.arch, self.of, self.network, self.own_settings = arch, of, network, dict(settings or {})
        name = str(arch if network is None else network)
        self.choices = {"network": (name,)}
        if network is not None:
            make = _imported("space.network", network)
            self.network_sizes = tuple(_sizes(network, make))
            return
        self._space, self._architecture = _found(name, of, self.own_settings)
        self.network_sizes = self._space.network_sizes
        self.small_network = dict(self._space.small_network)

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        if self.network is None:
            return self._space.build(self._architecture, task, network)
        make = _imported("space.network", self.network)
        return _made(self.network, make, task, network or {})

    def known_sizes(
        self, network: Mapping[str, Any], nulls: Mapping[str, Any] | None = None, key: str = "trainer.network"
    ) -> dict[str, Any]:
        if self.network is None:
            return self._space.known_sizes(network, nulls, key)
        known = super().known_sizes(network, nulls, key)
        return {name: size for name, size in known.items() if size is not None}  # its own default

    def to_text(self, architecture: Architecture) -> str:
        return str(self.choices["network"][0])

    def from_text(self, text: str) -> Architecture:
        """The only architecture.

        Raises:
            UsageError: It is another one.
        """
        if text.strip() != self.to_text((0,)):
            raise UsageError(f"arch={text!r} is not the network of this space; expected {self.to_text((0,))!r}")
        return (0,)

    def canonical(self, architecture: Architecture) -> str:
        return self.to_text(architecture) if self.network else self._space.canonical(self._architecture)

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        return {} if self.network else self._space.graphs(self._architecture)


def _found(arch: str, of: str | None, settings: Mapping[str, Any]) -> tuple[SearchSpace, Architecture]:
    """The space of an architecture, and the architecture."""
    if of is not None:
        make = _imported("space.of", SPACES.get(of, of))
        try:
            space = make(**settings)
        except TypeError as error:
            raise UsageError(f"space.of={of} cannot be made with space.settings={dict(settings)}: {error}") from None
        if not isinstance(space, SearchSpace):
            raise UsageError(f"space.of={of} is a {type(space).__name__}; expected a search space")
        return space, parse(space, arch)
    spaces: list[SearchSpace] = [_imported("space.of", path)() for path in SPACES.values()]
    for space in spaces:
        if arch in space.published:
            return space, parse(space, arch)
    for space in spaces:
        try:
            return space, parse(space, arch)
        except UsageError:
            continue
    names = ", ".join(name for space in spaces for name in space.published)
    raise UsageError(
        f"space.arch={arch!r} is not an architecture of {', '.join(SPACES)}; published names are {names}; "
        "space.of=my_module.MySpace names a space of your own"
    )


def _imported(key: str, path: str) -> Callable[..., Any]:
    """The class or function at a dotted path."""
    module, _, name = path.rpartition(".")
    if not module:
        raise UsageError(f"{key}={path} is not module.name; expected such as my_module.Net")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"{key}={path} cannot be imported: {error}") from None
    except AttributeError:
        raise UsageError(f"{key}={path}: module {module} has no {name}") from None
    except Exception as error:
        raise UsageError(f"{key}={path} cannot be imported: {located(error)}") from error
    if not callable(found):
        raise UsageError(f"{key}={path} is of the kind {type(found).__name__}; expected a class or a function")
    made: Callable[..., Any] = found
    return made


def _parameters(path: str, make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError) as error:
        raise UsageError(f"space.network={path} has no readable signature ({error})") from None


def _sizes(path: str, make: Callable[..., Any]) -> list[str]:
    """Parameters that a user may set."""
    settled = {*CLASSES, *IMAGE_CHANNELS, *IMAGE_SIZES, "task"}
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, one in _parameters(path, make).items() if one.kind in plain and name not in settled]


def _made(path: str, make: Callable[..., Any], task: Task, sizes: Mapping[str, Any]) -> nn.Module:
    parameters = _parameters(path, make)
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    settings: dict[str, Any] = {"task": task} if "task" in parameters else {}
    for names, value in ((CLASSES, task.classes), (IMAGE_CHANNELS, task.channels), (IMAGE_SIZES, task.height)):
        settings |= {name: value for name in names if name in parameters}
    if open_ended and not any(name in parameters for name in (*CLASSES, "task")):
        settings["num_classes"] = task.classes  # torchvision's functions pass it on
    try:
        network: nn.Module = make(**settings, **sizes)
    except TypeError as error:
        written = _written(settings | dict(sizes))
        raise UsageError(f"space.network={path} cannot be built with {written}: {error}") from None
    return network


def _written(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "no arguments"
