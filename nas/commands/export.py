"""Write what was found in a form that others can use.

format=genotype is a JSON file with the architecture's text, for `nas retrain arch=FILE`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.core import UsageError, one_of
from nas.export.genotype import Genotype, write_genotype
from nas.output import run_folder
from nas.settings import recorded_parts
from nas.store.leaderboard import find_trial

if TYPE_CHECKING:
    from nas.output import run_folder
from nas.settings import Settings


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("genotype",))
    run, trial = find_trial(settings.make("store"), settings.get("run"), settings.get("trial"))
    parts = recorded_parts(run.config)
    if "space" not in parts:
        raise UsageError(f"run {run.name!r} was made in Python and names no space of configs/; write its text instead")
    space, data = parts["space"], parts.get("data")
    genotype = Genotype(
        space=space[0],
        space_settings=space[1],
        arch=trial.text,
        canonical=trial.canonical,
        data=data[0] if data else None,
        data_settings=data[1] if data else {},
        found={
            "run": run.name,
            "trial": trial.number,
            "metrics": dict(trial.metrics),
            "seed": trial.seed,
            "protocol": dict(run.protocol),
            "environment": dict(run.environment),
        },
    )
    folder = settings.get("out") or str(run_folder("exports", run.name)) + f"-trial-{trial.number}"
    path = write_genotype(genotype, Path(folder).expanduser())
    print(f"{path}: {trial.text}")
    return 0
