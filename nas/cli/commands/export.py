"""Write a network in formats that other programs read, each checked in a fresh process.

Name the architecture by run= and trial=, by comparison= with a folder of nas compare, or by arch= with a genotype file,
the architecture's text, or a published name. The weights are those of its last retraining; without one it is exported
untrained, and the output says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nas.cli.output import print_table, run_folder
from nas.cli.rerun import card_commands
from nas.cli.selection import ArchitectureOptions, Selection, facts_of, folder_of, selected
from nas.config.settings import make_space, recorded_parts
from nas.errors import UsageError
from nas.export.genotype import GENOTYPE, GenotypeFile, write_genotype
from nas.export.threshold import NONE_LABEL
from nas.files import check_folder
from nas.formatting import milliseconds, plural
from nas.identity import without_folders
from nas.store.leaderboard import find_trial
from nas.store.protocol import EvaluationProtocol
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.export.assembly import ExportJob
    from nas.export.check import CheckResult
    from nas.export.model import Model

    Part: TypeAlias = tuple[str, Mapping[str, Any]]
    """Option of a configuration group, and its settings."""

INHERITED_GROUPS = ("space", "data")
"""Parts that the run or the genotype file names."""


@dataclass(frozen=True)
class ExportOptions(ArchitectureOptions):
    """Settings of `nas export`; `configs/export.yaml` describes them."""

    weights: str | None
    format: list[str]
    images: int
    out: str | None

    def __post_init__(self) -> None:
        from nas.export.assembly import forms

        modules = forms()
        if not isinstance(self.format, list) or not self.format:
            names = ", ".join([GENOTYPE, *modules])
            raise UsageError(f"format must be a list of {names}, got {self.format!r}")
        for name in self.format:
            one_of("format", name, (GENOTYPE, *modules))
            required = modules[name].NEEDS if name in modules else {}
            for module, extra in required.items():
                if importlib.util.find_spec(module) is None:
                    raise UsageError(
                        f"format={name} needs {module}, which is not installed: pip install 'cellnas[{extra}]'"
                    )
        whole_number("images", self.images)

    @property
    def genotype_only(self) -> bool:
        return set(self.format) == {GENOTYPE}


def main(settings: Settings) -> int:
    options = ExportOptions.of(settings)
    if options.genotype_only:
        _refuse_unused(settings)
        parts = [argument for argument in settings.arguments if argument.startswith(("space", "data"))]
        if options.run is not None and options.comparison is options.arch is None and not parts:
            return _export_recorded(settings, options)
    selection = selected(settings, options, INHERITED_GROUPS)
    target = Path(options.out or folder_of(selection, "exports")).expanduser().absolute()
    if options.genotype_only:
        print(f"{write_genotype(genotype_of(selection), target)}: {selection.text}")
        return 0
    return _export(selection, options, target)


def _export(selection: Selection, options: ExportOptions, target: Path) -> int:
    """Export the network and report on every format."""
    from nas.export.assembly import assemble, export, find_retrainings
    from nas.export.folder import NAME as MODEL_FILE
    from nas.export.model import data_sets

    if (target / MODEL_FILE).is_file():
        raise UsageError(f"{target} holds an earlier export, which was left unchanged; choose another folder with out=")
    check_folder(target)
    job, store = export_job(selection), selection.settings.make("store")
    weights = Path(options.weights).expanduser() if options.weights else None
    repeats = find_retrainings(job, store, weights)
    commands = card_commands(selection, repeats, (job.data_option, job.data_settings))
    model = assemble(job, repeats[0] if repeats else None, options.images, commands)
    plain, checked = export(model, options.format, target, repeats, genotype_of(selection))
    _report(model, plain, checked, target)
    if model.retraining is None:
        others = [name for name in data_sets(store, selection.text) if name != job.data.name]
        data = f" on {job.data.name}" if others else ""
        more = f" It was retrained on {', '.join(others)}; set data= to export those weights." if others else ""
        print(f"Its weights are random: it was never retrained{data} (nas retrain trains it).{more}")
    return 0


def export_job(selection: Selection) -> ExportJob:
    """The selected architecture, to be exported with the data set of the settings."""
    from nas.export.assembly import ExportJob

    settings = selection.settings
    option = settings.choices.get("data")
    assert option is not None  # it has a default that null cannot replace
    data = settings.make("data")
    return ExportJob(
        space=selection.space,
        space_name=selection.space_name,
        space_settings=selection.space_settings,
        architecture=selection.architecture,
        data=data,
        data_option=option,
        data_settings=_data_settings(settings),
        sizes={
            **EvaluationProtocol(selection.protocol).network,
            **selection.space.decided_sizes(selection.architecture),
        },
        make_space=partial(make_space, config_dir=settings.config_dir and settings.config_dir.absolute(), trusted=True),
        run=selection.run.name if selection.run else None,
        trial=selection.trial.number if selection.trial else None,
        searched_split=selection.searched_split(data.name),
    )


def _refuse_unused(settings: Settings) -> None:
    """Refuse settings of networks if only a genotype is written."""
    for argument in settings.arguments:
        if argument.startswith(("weights=", "images=")):
            raise UsageError(f"{argument} has no effect on format=genotype; leave it out, or add a format")


def _export_recorded(settings: Settings, options: ExportOptions) -> int:
    """Export the genotype of a trial, which needs only its stored record."""
    assert options.run is not None
    run, trial = find_trial(settings.make("store"), options.run, options.trial)
    parts = recorded_parts(run.config)
    if "space" not in parts:
        raise UsageError(
            f"run {run.name!r} was started from Python and does not record a space of configs/; save the text instead"
        )
    genotype = _genotype(parts["space"], parts.get("data"), trial.text, trial.canonical, facts_of(run, trial))
    target = options.out or f"{run_folder('exports', run.name)}-trial-{trial.number}"
    print(f"{write_genotype(genotype, Path(target).expanduser())}: {trial.text}")
    return 0


def genotype_of(selection: Selection) -> GenotypeFile:
    option = selection.settings.choices.get("data")
    data = (option, _data_settings(selection.settings)) if option else None
    space = selection.space_name, selection.space_settings
    canonical = selection.space.canonical(selection.architecture)
    return _genotype(space, data, selection.text, canonical, selection.facts)


def _genotype(space: Part, data: Part | None, text: str, canonical: str, origin: Mapping[str, Any]) -> GenotypeFile:
    name, settings = data or (None, {})
    return GenotypeFile(*space, text, canonical, name, settings, origin)


def _data_settings(settings: Settings) -> dict[str, Any]:
    """Settings of the data set without the folder of this machine."""
    return without_folders(settings.node("data"))


def _report(model: Model, plain: CheckResult, checked: Mapping[str, CheckResult], target: Path) -> None:
    from nas.export import card, folder

    head = ["format", "files", "difference", "accuracy", "ms, 1 image", "ms, 64 images"]
    rows = [["(the network)", "", "", f"{plain.accuracy:.4f}", *_latencies(plain)]]
    for name, form in checked.items():
        rows.append([name, " ".join(form.files), f"{form.difference:.1e}", f"{form.accuracy:.4f}", *_latencies(form)])
    title = f"{model.text}\nchecked in fresh processes on {plural(len(model.images), 'validation image')}"
    print_table(title, head, rows, text=("format", "files"))
    if model.retraining is not None:
        tested = model.retraining.metrics["test_accuracy"]
        print(f"Weights of {model.retraining.folder}, test accuracy {tested:.4f}.")
        if model.retraining.training.trained_on_validation_images_of(model.split):
            print(
                "They may have been trained on these images too: the accuracies above show only that all formats agree."
            )
    if threshold := folder.read(target).about.get("threshold"):
        print(
            f"nas predict labels an image {NONE_LABEL!r} if its likeliest class has a probability below "
            f"{threshold['value']:g}; {threshold['kept']:.1%} of the right answers on these images are not below it."
        )
    print(f"Written to {target}/; {card.CARD} and model.json describe it.")


def _latencies(form: CheckResult) -> list[str]:
    return [milliseconds(form.latency.get(size)) for size in ("1", "64")]
