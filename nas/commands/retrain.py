"""Train an architecture from scratch on training and validation images, and test it once.

Give run= and trial=, or arch= with a genotype file or the text of an architecture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from nas.core import one_of, whole_number
from nas.output import amount, counted, print_json, run_folder
from nas.retraining import CHECKPOINT, Subject, retrain
from nas.selection import selected

if TYPE_CHECKING:
    from nas.settings import Settings

INHERITS = ("space", "data")
"""Parts that the run or the genotype file names."""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    whole_number("seed", settings.get("seed"), least=0)
    chosen = selected(settings, INHERITS)
    settings = chosen.settings
    store, data, recipe = settings.make("store"), settings.make("data"), settings.make("trainer")
    run = None if chosen.run is None else chosen.run.name
    number = None if chosen.trial is None else chosen.trial.number
    subject = Subject(chosen.space, chosen.space_name, chosen.architecture, chosen.space_settings, run, number)

    def folder(digits: str) -> Path:
        if settings.get("out"):
            return Path(settings.get("out")).expanduser()
        base = Path(settings.get("dir")).expanduser()
        if run is None:
            return base / "retrained" / digits
        return run_folder(settings.get("dir"), run) / "retrained" / f"trial-{number}-{digits}"

    try:
        with tqdm(
            total=recipe.epochs,
            unit="epoch",
            desc="retrain",
            disable=not (settings.get("progress") and sys.stderr.isatty()),
        ) as bar:
            retraining, new = retrain(
                subject,
                data,
                recipe,
                store,
                folder,
                seed=settings.get("seed"),
                device=settings.get("device"),
                report=_shown(bar),
            )
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on after the last epoch that was kept", file=sys.stderr)
        return 130
    if settings.get("format") == "json":
        print_json(asdict(retraining) | {"new": new})
        return 0
    metrics = retraining.metrics
    if not new:
        print("this training was done before; its stored result (seed=N trains a repeat):")
    print(f"arch           {retraining.text}")
    print(f"test accuracy  {metrics['test_accuracy']:.4f}   (tested once, after {counted(recipe.epochs, 'epoch')})")
    print(f"parameters     {amount(metrics['parameters'])}")
    print(f"seconds        {retraining.seconds:.1f}")
    checkpoint = Path(retraining.folder) / CHECKPOINT
    near = checkpoint.is_relative_to(Path.cwd())
    print(f"checkpoint     {checkpoint.relative_to(Path.cwd()) if near else checkpoint}")
    return 0


def _shown(bar: tqdm[NoReturn]) -> Callable[[Mapping[str, float]], None]:
    def report(metrics: Mapping[str, float]) -> None:
        bar.set_postfix(train_loss=f"{metrics['train_loss']:.4f}")
        bar.update()

    return report
