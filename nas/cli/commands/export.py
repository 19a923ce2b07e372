"""Write a network in the forms that others use, each checked in a fresh process.

Give run= and trial=, comparison= with the folder of nas compare, or arch= with a genotype file, the text of an
architecture or a published name. The weights are those of its last retraining; without one it is written untrained,
and says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

import nas.export.formats
from nas.cli.output import print_table, run_folder
from nas.cli.rerun import place, retrain_command, search_command
from nas.cli.selection import Selection, facts_of, folder_of, selected
from nas.config.settings import recorded_parts
from nas.drawing.picture import cell_figure, network_figure, save
from nas.drawing.stages import stages
from nas.errors import UsageError, UserError, located
from nas.export import card
from nas.export.check import CheckResult, check, original
from nas.export.genotype import NAME, Genotype, write_genotype
from nas.export.model import Model, data_sets, loaded, repeats_of, trained, weights_of
from nas.files import atomic_folder, check_folder
from nas.formatting import milliseconds, plural
from nas.store.leaderboard import find_trial
from nas.studies.retraining import CHECKPOINT, warn_of_other_images
from nas.training.lazy import materialized
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from nas.config.settings import Settings
    from nas.store.base import Retraining

    Part: TypeAlias = tuple[str, Mapping[str, Any]]
    """Option of a configuration group, and its settings."""

INHERITS = ("space", "data")
"""Parts that the run or the genotype file names."""
GENOTYPE, STATE = "genotype", "state"
"""The first is no network. The second is the network itself, so that it is also how fast that is."""


def forms() -> dict[str, ModuleType]:
    """Format -> its module, those of `nas.export.formats`."""
    found = pkgutil.iter_modules(nas.export.formats.__path__)
    return {info.name: importlib.import_module(f"nas.export.formats.{info.name}") for info in found}


def main(settings: Settings) -> int:
    asked = _formats(settings.get("format"))
    whole_number("images", settings.get("images"))
    if asked == [GENOTYPE]:
        _refuse_unused(settings)
        given = [key for key in ("run", "comparison", "arch") if settings.get(key) is not None]
        parts = [word for word in settings.arguments if word.startswith(("space", "data"))]
        if given == ["run"] and not parts:
            return _recorded(settings)
    chosen = selected(settings, INHERITS)
    target = Path(chosen.settings.get("out") or folder_of(chosen, "exports")).expanduser().absolute()
    if asked == [GENOTYPE]:
        path = write_genotype(_selected_genotype(chosen), target)
        print(f"{path}: {chosen.text}")
        return 0
    check_folder(target)
    model, repeats = modelled(chosen)
    try:
        expected, plain = original(model)
    except UserError as error:
        raise UserError(f"{error}; format=[{GENOTYPE}] works") from None
    with atomic_folder(target) as folder:
        card.write(folder, card.about(model, plain, {}, repeats), [])  # which `state` is read with
        if GENOTYPE in asked:
            (folder / NAME).write_text(_selected_genotype(chosen).to_json())
        checked = _written(model, [STATE, *asked], folder, expected)
        plain = replace(plain, latency=checked[STATE].latency)
        if STATE not in asked:
            for file in checked.pop(STATE).files:
                (folder / file).unlink()
        card.write(folder, card.about(model, plain, checked, repeats), _pictures(model, folder))
    _report(model, plain, checked, target)
    if model.retraining is None:
        print(_untrained(chosen))
    return 0


def _untrained(chosen: Selection) -> str:
    """What is said of a network without weights."""
    store, data = chosen.settings.make("store"), chosen.settings.make("data")
    others = [name for name in data_sets(store, chosen.text) if name != data.name]
    where = f" on {data.name}; it was on {', '.join(others)}, so set data=" if others else ""
    return f"It was never retrained{where}: its weights are random (nas retrain trains it)."


def _written(model: Model, asked: Sequence[str], folder: Path, expected: Tensor) -> dict[str, CheckResult]:
    """Forms written and checked, each once.

    Raises:
        UserError: one of them cannot be; it names those that can.
    """
    checked: dict[str, CheckResult] = {}
    for name, module in forms().items():
        if name in asked:
            try:
                checked[name] = _one(model, name, module, folder, expected)
            except UserError as error:
                others = _others(model, name, checked, folder, expected)
                raise UserError(f"{error}; format=[{','.join([GENOTYPE, *others])}] works") from None
    return checked


def _one(model: Model, name: str, module: ModuleType, folder: Path, expected: Tensor) -> CheckResult:
    """A form written and checked."""
    try:
        module.write(model, folder)
    except UserError as error:
        raise UserError(f"format={name}: {error}; nothing was written") from None
    return check(model, name, module, folder, expected)


def _others(model: Model, failed: str, checked: Mapping[str, CheckResult], folder: Path, expected: Tensor) -> list[str]:
    """Forms that can be written where one cannot."""
    works = []
    for name, module in forms().items():
        if name == failed or any(importlib.util.find_spec(needed) is None for needed in module.NEEDS):
            continue
        if name not in checked:
            try:
                _one(model, name, module, folder, expected)
            except UserError:
                continue
        works.append(name)
    return works


def _pictures(model: Model, folder: Path) -> list[str]:
    """Draw the cells and the network; the names of the PNGs.

    A picture says nothing that the export needs, so one that cannot be drawn is left out with a warning.
    """
    drawn = []
    draw: dict[str, Callable[[], Figure]] = {"network": lambda: network_figure(stages(model.network, model.task))}
    try:
        cells = model.space.graphs(model.architecture)
    except Exception as error:  # noqa: BLE001 - a space of the user's own
        warnings.warn(
            f"no pictures of the cells: graphs of space={model.space_name} fails ({located(error)})", stacklevel=2
        )
        cells = {}
    draw = {name: partial(cell_figure, cell) for name, cell in cells.items()} | draw
    for name, make in draw.items():
        try:
            save(make(), folder, name)
        except Exception as error:  # noqa: BLE001 - of matplotlib, its settings, or a network of the user's
            warnings.warn(f"no picture {name}.png: it cannot be drawn ({located(error)})", stacklevel=2)
            for file in folder.glob(f"{name}.*"):
                if file.suffix in (".png", ".svg"):
                    file.unlink()
        else:
            drawn.append(f"{name}.png")
    return drawn


def _formats(given: object) -> list[str]:
    """The formats asked for, in a fixed order.

    Raises:
        UsageError: one is unknown, or what it needs is not installed.
    """
    modules = forms()
    asked = [given] if isinstance(given, str) else given
    if not isinstance(asked, list) or not asked:
        raise UsageError(f"format must be a list of {', '.join([GENOTYPE, *modules])}, got {given!r}")
    for name in asked:
        one_of("format", name, (GENOTYPE, *modules))
    for name in asked:
        needs = modules[name].NEEDS if name in modules else {}
        for module, extra in needs.items():
            if importlib.util.find_spec(module) is None:
                raise UsageError(
                    f"format={name} needs {module}, which is not installed: pip install 'cellnas[{extra}]'"
                )
    return [name for name in (GENOTYPE, *modules) if name in asked]


def _refuse_unused(settings: Settings) -> None:
    """Settings of networks where only a genotype is written."""
    for word in settings.arguments:
        if word.startswith(("weights=", "images=")):
            raise UsageError(f"{word} has no effect on format=genotype; leave it out, or add a format")


def _recorded(settings: Settings) -> int:
    """The genotype of a trial, which needs nothing but what was recorded of it."""
    run, trial = find_trial(settings.make("store"), settings.get("run"), settings.get("trial"))
    parts = recorded_parts(run.config)
    if "space" not in parts:
        raise UsageError(f"run {run.name!r} was made in Python and names no space of configs/; write its text instead")
    found = genotype(parts["space"], parts.get("data"), trial.text, trial.canonical, facts_of(run, trial))
    target = settings.get("out") or f"{run_folder('exports', run.name)}-trial-{trial.number}"
    print(f"{write_genotype(found, Path(target).expanduser())}: {trial.text}")
    return 0


def _selected_genotype(chosen: Selection) -> Genotype:
    option = chosen.settings.choices.get("data")
    data = (option, _settings_of_data(chosen.settings)) if option else None
    space = chosen.space_name, chosen.space_settings
    canonical = chosen.space.canonical(chosen.architecture)
    return genotype(space, data, chosen.text, canonical, chosen.facts)


def genotype(space: Part, data: Part | None, text: str, canonical: str, found: Mapping[str, Any]) -> Genotype:
    """An architecture with where it was found."""
    name, settings = data or (None, {})
    return Genotype(*space, text, canonical, name, settings, found)


def _settings_of_data(settings: Settings) -> dict[str, Any]:
    """Without the folder of this machine."""
    return {key: value for key, value in settings.node("data").items() if key != "root"}


def modelled(chosen: Selection) -> tuple[Model, list[Retraining]]:
    """The network with its weights, and all retrainings that differ from its own in the seed alone.

    Raises:
        UserError: data are missing, or weights do not fit.
    """
    settings, space = chosen.settings, chosen.space
    option = settings.choices.get("data")
    assert option is not None  # it has a default that null cannot replace
    store, data = settings.make("store"), settings.make("data")
    its_space = {"name": chosen.space_name, "settings": chosen.space_settings}
    run, trial = (chosen.run.name if chosen.run else None), (chosen.trial.number if chosen.trial else None)
    if settings.get("weights"):
        folder = Path(settings.get("weights")).expanduser()
        retraining: Retraining | None = weights_of(folder, its_space, chosen.text, data.name)
    else:
        retraining = trained(store, its_space, chosen.text, data.name, run=run, trial=trial)
    if retraining is not None:
        sizes = retraining.protocol["recipe"]["network"]
    else:
        recipe = chosen.protocol.get("recipe") or {}
        sizes = recipe.get("network") or {}
    repeats = [] if retraining is None else repeats_of(store, retraining)
    its_data = (option, _settings_of_data(settings))
    split = data.split()
    warn_of_other_images(data, split.hash, chosen.found_on(data.name))
    torch.manual_seed(0)
    network = materialized(space.build(chosen.architecture, data.task, space.known_sizes(sizes)), data.task)
    network.eval()
    if retraining is not None:
        network = loaded(network, Path(retraining.folder) / CHECKPOINT, chosen.text)
    names = tuple(data.class_names) or tuple(map(str, range(data.task.classes)))
    model = Model(
        network=network,
        space=space,
        space_name=chosen.space_name,
        space_settings=chosen.space_settings,
        architecture=chosen.architecture,
        sizes=sizes,
        task=data.task,
        class_names=names,
        images=split.valid.first(settings.get("images")),
        split=split.hash,
        data=its_data,
        retraining=retraining,
        commands=_commands(chosen, repeats, its_data),
        config_dir=settings.config_dir,
    )
    return model, repeats


def _commands(chosen: Selection, repeats: Sequence[Retraining], data: Part) -> dict[str, str]:
    """What finds, trains and exports it again, as far as that is known.

    Args:
        repeats: the retraining that its weights are of, and those of other seeds.
    """
    settings = chosen.settings
    found: dict[str, str | None] = {}
    where = [word for word in settings.arguments if word.startswith(("store=", "store."))]
    if chosen.winner is not None:
        found["compare"] = chosen.winner.head.get("command")
    elif chosen.run is not None and chosen.trial is not None:
        found["search"] = search_command(chosen.run, chosen.trial.number, settings.config_dir, where)
    if repeats:
        seeds = [repeat.seed for repeat in repeats]
        found["retrain"] = retrain_command(repeats[0], seeds, data, settings.config_dir, where)
    # elsewhere the weights are those that the retraining before makes, and a comparison lies where it is made
    words = [word for word in settings.arguments if not word.startswith("weights=")]
    made = [word for word in shlex.split(found.get("compare") or "") if word.startswith("out=")]
    words = [f"comparison={made[0][4:]}" if made and word.startswith("comparison=") else word for word in words]
    found["export"] = shlex.join(["nas", *place(settings.config_dir), "export", *words])
    return {name: command for name, command in found.items() if command is not None}


def _report(model: Model, plain: CheckResult, checked: dict[str, CheckResult], target: Path) -> None:
    head = ["format", "files", "difference", "accuracy", "ms, 1 image", "ms, 64 images"]
    rows = [["(the network)", "", "", f"{plain.accuracy:.4f}", *_timed(plain)]]
    for name, form in checked.items():
        rows.append([name, " ".join(form.files), f"{form.difference:.1e}", f"{form.accuracy:.4f}", *_timed(form)])
    title = f"{model.text}\nchecked in fresh processes on {plural(len(model.images), 'validation image')}"
    print_table(title, head, rows, text=("format", "files"))
    if model.retraining is not None:
        tested = model.retraining.metrics["test_accuracy"]
        print(f"Weights of {model.retraining.folder}, test accuracy {tested:.4f}.")
        if card.seen(model.retraining.protocol, model.split):
            print("They may have been trained on these images too: the accuracies above say only that all forms agree.")
    print(f"In {target}/: {card.CARD} and model.json say what it is.")


def _timed(form: CheckResult) -> list[str]:
    return [milliseconds(form.latency.get(size)) for size in ("1", "64")]
