"""The architecture that a command is about: a trial of a run, a genotype file, a text, or a published name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core import Architecture, Trial, UsageError
from nas.export.genotype import read_genotype
from nas.output import run_folder
from nas.settings import Settings, group_options, recorded_parts
from nas.settings import settings as composed
from nas.space import SearchSpace
from nas.store.base import Run
from nas.store.leaderboard import find_trial


@dataclass(frozen=True)
class Selection:
    """What was asked for.

    Args:
        settings: of the command, with the parts that the run or the genotype file names.
        space: of the architecture.
        run, trial: where it was found; None for one from elsewhere.
    """

    settings: Settings
    space: SearchSpace
    architecture: Architecture
    run: Run | None = None
    trial: Trial | None = None

    @property
    def text(self) -> str:
        return self.space.to_text(self.architecture)

    @property
    def space_name(self) -> str:
        return str(self.settings.choices["space"])

    @property
    def space_settings(self) -> Mapping[str, Any]:
        return self.settings.node("space")


def selected(settings: Settings, inherits: Sequence[str]) -> Selection:
    """Read `run=` with `trial=`, or `arch=`.

    Args:
        inherits: parts that the run or the genotype file names where the user does not.

    Raises:
        UsageError: both or neither are given, or what they name is not there or not of the space.
    """
    name, arch = settings.get("run"), settings.get("arch")
    if (name is None) == (arch is None):
        raise UsageError(f"run={name or 'null'} and arch={arch or 'null'}; expected exactly one of them")
    run = trial = None
    if name is not None:
        run, trial = find_trial(settings.make("store"), name, settings.get("trial"))
        parts = recorded_parts(run.config)
        if "space" not in parts:
            raise UsageError(f"run {name!r} was made in Python and names no space of configs/; give arch= and space=")
        settings = settings.inheriting({part: parts[part] for part in inherits if part in parts})
        text = trial.text
    else:
        settings, text = named_architecture(settings, arch, inherits)
    space = settings.make("space")
    architecture = space.from_text(text)
    space.validate(architecture)
    return Selection(settings, space, architecture, run, trial)


def folder_of(chosen: Selection, base: str) -> Path:
    """A folder of its own below `base`."""
    if chosen.run is not None and chosen.trial is not None:
        return Path(f"{run_folder(base, chosen.run.name)}-trial-{chosen.trial.number}")
    digits = hashlib.blake2b(f"{chosen.space_name} {chosen.text}".encode(), digest_size=4).hexdigest()
    return Path(base).expanduser() / digits


def named_architecture(settings: Settings, arch: str, inherits: Sequence[str]) -> tuple[Settings, str]:
    """The text of `arch=`; where that is a genotype file or a published name, the settings inherit what it implies."""
    # A file is told from text by its being there; a name that ends like one is meant as one
    if not (arch.endswith(".json") or (len(arch) < 256 and Path(arch).is_file())):
        return _of_published_name(settings, arch), arch
    genotype = read_genotype(Path(arch).expanduser())
    parts = {"space": (genotype.space, genotype.space_settings)}
    if genotype.data and "data" in inherits:
        parts["data"] = (genotype.data, genotype.data_settings)
    return settings.inheriting(parts), genotype.arch


def _of_published_name(settings: Settings, arch: str) -> Settings:
    """With the space that publishes an architecture of this name, unless the user named one.

    Raises:
        UsageError: the user named another, or it is no architecture of the space and no such name.
    """
    plain, name = settings.inheriting({}), arch.strip()
    if not re.fullmatch(r"[\w.-]+", name):
        return plain
    names: dict[str, str] = {}
    for option in group_options(settings.config_dir)["space"]:
        space = composed(settings.command, [f"space={option}"], settings.config_dir).make("space")
        names |= dict.fromkeys(space.published, option)
    if name in names:
        found = settings.inheriting({"space": (names[name], {})})
        if found.choices["space"] == names[name]:
            return found
        raise UsageError(f"arch={name} is a cell of space={names[name]}, not of space={found.choices['space']}")
    try:
        plain.make("space").from_text(arch)
    except UsageError as error:
        raise UsageError(f"{error}; published names are {', '.join(names)}") from None
    return plain
