"""The architecture that a command works on: a trial of a run, the winner of a comparison, a genotype file, a text, or a
published name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.cli.options import CommandOptions
from nas.cli.output import run_folder
from nas.config.composition import group_options
from nas.config.settings import Settings, compose, recorded_parts
from nas.core import Architecture, Trial
from nas.errors import UsageError
from nas.export.genotype import read_genotype
from nas.identity import DECISIONS
from nas.space.base import SearchSpace
from nas.space.notation import parse
from nas.store.base import Run
from nas.store.leaderboard import find_trial
from nas.store.protocol import EvaluationProtocol
from nas.studies.winner import Winner, winner


@dataclass(frozen=True)
class ArchitectureOptions(CommandOptions):
    """The settings by which a user names an architecture."""

    run: str | None
    trial: str | int
    comparison: str | None
    arch: str | None


@dataclass(frozen=True)
class Selection:
    """An architecture, and where it was found.

    Args:
        settings: Settings of the command, with the parts that the run, the comparison or the genotype file names.
        space: Space of the architecture.
        architecture: The architecture.
        run, trial: Run and trial that found it; None for one from elsewhere.
        winner: Winner of a comparison; None for one from elsewhere.
        origin: Where it was found, as its genotype file says.
        data: Option and settings of the data set that the run or the comparison names, or None.
    """

    settings: Settings
    space: SearchSpace
    architecture: Architecture
    run: Run | None = None
    trial: Trial | None = None
    winner: Winner | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, Mapping[str, Any]] | None = None

    def searched_split(self, name: str) -> str | None:
        """Hash of the split that its search had of a data set.

        Args:
            name: Name of the data set as it is set now.

        Returns:
            None if its search used another data set, or the user has changed its settings since.
        """
        option, recorded = self.data or (None, {})
        node = self.settings.node("data")
        same = option == self.settings.choices.get("data") and all(node.get(key) == recorded[key] for key in recorded)
        return EvaluationProtocol(self.protocol).split_of(name) if same else None

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How it was evaluated in its search; empty for one from elsewhere."""
        if self.winner is not None:
            protocol: Mapping[str, Any] = self.winner.head["protocol"]
            return protocol
        return {} if self.run is None else self.run.protocol

    @property
    def facts(self) -> dict[str, Any]:
        """Where it was found, JSON-safe; empty for one from elsewhere."""
        if self.winner is not None:
            return self.winner.facts
        return dict(self.origin) if self.run is None or self.trial is None else facts_of(self.run, self.trial)

    @property
    def text(self) -> str:
        return self.space.to_text(self.architecture)

    @property
    def space_name(self) -> str:
        return str(self.settings.choices["space"])

    @property
    def space_settings(self) -> Mapping[str, Any]:
        return self.settings.node("space")


def facts_of(run: Run, trial: Trial) -> dict[str, Any]:
    """Where a trial was found, JSON-safe."""
    return {
        "run": run.name,
        "trial": trial.number,
        "metrics": dict(trial.metrics),
        "seed": trial.seed,
        "protocol": dict(run.protocol),
        "environment": dict(run.environment),
    }


def selected(settings: Settings, options: ArchitectureOptions, inherits: Sequence[str]) -> Selection:
    """Read `run=` with `trial=`, `comparison=` with `run=`, or `arch=`.

    Args:
        settings: Settings of the command.
        options: Its options.
        inherits: Parts that the run, the comparison or the genotype file names, unless the user names them.

    Raises:
        UsageError: None or several are given, or the named one does not exist or is not of the space.
    """
    name, arch, comparison = options.run, options.arch, options.comparison
    if (name is None and comparison is None) == (arch is None):
        values = {"run": name, "comparison": comparison, "arch": arch}
        given = [f"{key}={value}" for key, value in values.items() if value is not None] or ["run=null", "arch=null"]
        raise UsageError(f"{' and '.join(given)}; expected one of run=, comparison= and arch=")
    run = trial = best = None
    origin: Mapping[str, Any] = {}
    recorded: Mapping[str, tuple[str, Mapping[str, Any]]] = {}
    if comparison is not None:
        if options.trial != "best":
            raise UsageError(f"trial={options.trial}: a run of a comparison has only its winner; leave it out")
        best = winner(Path(comparison).expanduser(), name)
        recorded = best.parts
        parts = {part: recorded[part] for part in inherits if part in recorded}
        settings = settings.inheriting(parts, best.head.get("config_dir"))
        text = best.text
    elif name is not None:
        run, trial = find_trial(settings.make("store"), name, options.trial)
        recorded = recorded_parts(run.config)
        if "space" not in recorded:
            raise UsageError(
                f"run {name!r} was started from Python and does not record a space of configs/; set arch= and space="
            )
        parts = {part: recorded[part] for part in inherits if part in recorded}
        settings = settings.inheriting(parts, run.config.get("config_dir"))
        text = trial.text
    else:
        assert arch is not None
        settings, text, origin = named_architecture(settings, arch, inherits)
    space = settings.make("space")
    architecture = parse(space, text)
    if run is not None and trial is not None:
        check_meaning(space, architecture, run, trial)
    return Selection(settings, space, architecture, run, trial, best, origin, recorded.get("data"))


def check_meaning(space: SearchSpace, architecture: Architecture, run: Run, trial: Trial) -> None:
    """Raise `UsageError` if a trial's text, in the space's own notation, has changed its meaning."""
    choices = dict(run.config.get(DECISIONS, ()))  # none in version 0.1.0, or in the order of the trial's positions
    then = {name: choices[name][option] for name, option in zip(choices, trial.proposal.architecture, strict=False)}
    now = {name: str(option) for name, option in space.settings(architecture).items()}
    for name, option in then.items():
        if now.get(name, option) != option:
            raise UsageError(
                f"trial {trial.number} of run {run.name!r} is {trial.text!r}, which was {name}={option} when it was "
                f"found and is {name}={now[name]} now; restore {type(space).__name__}.choices[{name!r}], or set arch="
            )


def folder_of(chosen: Selection, base: str) -> Path:
    """The folder in `base` that a selection's files go to if `out=` is not set."""
    if chosen.run is not None and chosen.trial is not None:
        return Path(f"{run_folder(base, chosen.run.name)}-trial-{chosen.trial.number}")
    if chosen.winner is not None:
        return run_folder(base, f"{chosen.winner.folder.absolute().name}-{chosen.winner.run.replace(' ', '-')}")
    digits = hashlib.blake2b(f"{chosen.space_name} {chosen.text}".encode(), digest_size=4).hexdigest()
    return Path(base).expanduser() / digits


def named_architecture(
    settings: Settings, arch: str, inherits: Sequence[str]
) -> tuple[Settings, str, Mapping[str, Any]]:
    """Settings, text and origin of `arch=`; the settings inherit what a genotype file or a published name implies."""
    # an existing path is a file, and so is a text that ends like one
    if not (arch.endswith(".json") or (len(arch) < 256 and Path(arch).is_file())):
        return _of_published_name(settings, arch), arch, {}
    genotype = read_genotype(Path(arch).expanduser())
    parts = {"space": (genotype.space, genotype.space_settings)}
    if genotype.data and "data" in inherits:
        parts["data"] = (genotype.data, genotype.data_settings)
    return settings.inheriting(parts), genotype.arch, genotype.found


def _of_published_name(settings: Settings, arch: str) -> Settings:
    """Settings with the space that publishes an architecture of this name, unless the user named one.

    Raises:
        UsageError: The user named another, or it is neither an architecture of the space nor a published name.
    """
    name = arch.strip()
    if not re.fullmatch(r"[\w.-]+", name):
        return settings.inheriting({})
    names: dict[str, str] = {}
    for option in group_options(settings.config_dir)["space"]:
        with suppress(UsageError):  # one that needs settings, or a broken one of the user's
            space = compose(settings.command, [f"space={option}"], settings.config_dir).make("space")
            names |= dict.fromkeys(space.published, option)
    if name in names:
        inherited = settings.inheriting({"space": (names[name], {})})
        if inherited.choices["space"] == names[name]:
            return inherited
        with suppress(UsageError):  # another space may know the name too
            parse(inherited.make("space"), arch)
            return inherited
        raise UsageError(f"arch={name} is a cell of space={names[name]}, not of space={inherited.choices['space']}")
    try:
        plain = settings.inheriting({})
        parse(plain.make("space"), arch)
    except UsageError as error:
        raise UsageError(f"{error}; published names are {', '.join(names)}") from None
    return plain
