"""The promises of a space's network beyond training: it can be drawn, and its exports equal it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from torch import Tensor

from nas.drawing.picture import cell_figure, network_figure, save
from nas.drawing.stages import stages
from nas.export import card
from nas.export.check import CheckResult, check, original
from nas.export.model import Model
from nas.testing.promises import Promise


def picture_promises(build: Callable[[], Model]) -> list[Promise]:
    """The cells of an architecture and the stages of its network can be drawn."""

    def cells_can_be_drawn() -> None:
        model = build()
        with tempfile.TemporaryDirectory() as folder:
            for name, graph in model.space.graphs(model.architecture).items():
                save(cell_figure(graph), Path(folder), name)

    def networks_can_be_drawn() -> None:
        model = build()
        with tempfile.TemporaryDirectory() as folder:
            save(network_figure(stages(model.network, model.task)), Path(folder), "network")

    return [
        Promise("its cells can be drawn", cells_can_be_drawn),
        Promise("its networks can be drawn", networks_can_be_drawn),
    ]


def export_promises(build: Callable[[], Model], formats: Mapping[str, ModuleType]) -> list[Promise]:
    """A network can be exported in each format, and the export gives its logits in a new process.

    Args:
        build: Returns the network with images to compare on.
        formats: Name -> module of `nas.export.formats`.
    """

    @cache
    def expected() -> tuple[Tensor, CheckResult]:
        return original(build())

    def exported(name: str) -> Callable[[], None]:
        def check_form() -> None:
            model, (logits, plain) = build(), expected()
            with tempfile.TemporaryDirectory() as folder:
                card.write(Path(folder), card.about(model, plain, {}, []), [])  # which `state` is read with
                formats[name].write(model, Path(folder))
                check(model, name, formats[name], Path(folder), logits)

        return check_form

    def missing(name: str) -> str:
        lacking = [module for module in formats[name].NEEDS if importlib.util.find_spec(module) is None]
        return f"{lacking[0]} is not installed" if lacking else ""

    return [
        Promise(f"a random architecture can be exported as {name}", exported(name), skipped=missing(name))
        for name in formats
    ]
