"""Train an architecture from scratch on training and validation images, and test it once.

Give run= and trial=, comparison= with the folder of nas compare, or arch= with a genotype file, the text of an
architecture or a published name.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from nas.cli.output import print_json, run_folder
from nas.cli.selection import Selection, selected
from nas.core import uncounted
from nas.errors import UsageError
from nas.formatting import plural, short_number
from nas.listeners.tensorboard import draw_curve
from nas.runtime import interrupt
from nas.runtime.streams import is_terminal
from nas.studies.retraining import CHECKPOINT, TrainingJob, retrain
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.store.base import Retraining

INHERITS = ("space", "data")
"""Parts that the run or the genotype file names."""
DRAWN_EVERY = 10.0
"""Seconds between drawings of the curves of a training that runs."""
MOST_SEEDS = 1000
"""More is a slip of the finger."""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    one_of("tested", settings.get("tested"), ("last", "best"))
    if not isinstance(settings.get("validate"), bool):
        raise UsageError(f"validate must be true or false, got {settings.get('validate')!r}")
    whole_number("seed", settings.get("seed"), least=0)
    whole_number("seeds", settings.get("seeds"), most=MOST_SEEDS)
    chosen = selected(settings, INHERITS)
    settings = chosen.settings
    store, data, recipe = settings.make("store"), settings.make("data"), settings.make("trainer")
    run = None if chosen.run is None else chosen.run.name
    number = None if chosen.trial is None else chosen.trial.number
    subject = TrainingJob(
        chosen.space,
        chosen.space_name,
        chosen.architecture,
        chosen.space_settings,
        run,
        number,
        chosen.found_on(data.name),
    )
    first, count = settings.get("seed"), settings.get("seeds")
    done: list[tuple[Retraining, bool]] = []
    try:
        for seed in range(first, first + count):
            with ProgressView(chosen, recipe.epochs, seed) as shown:
                done.append(
                    retrain(
                        subject,
                        data,
                        recipe,
                        store,
                        shown.folder,
                        seed=seed,
                        device=settings.get("device"),
                        validate=settings.get("validate"),
                        tested=settings.get("tested"),
                        report=shown.report,
                    )
                )
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on after the last epoch that was kept", file=sys.stderr)
        return 130
    if settings.get("format") == "json":
        documents = [asdict(retraining) | {"new": new} for retraining, new in done]
        print_json(documents[0] if count == 1 else {"retrainings": documents, "test_accuracy": _spread(done)})
    elif count == 1:
        _report(*done[0], recipe.epochs, settings.get("out"))
    else:
        _report_all(done)
    return 0


class ProgressView:
    """One training: where it goes, its epochs on a bar, and its curves for TensorBoard while it runs."""

    def __init__(self, chosen: Selection, epochs: int, seed: int) -> None:
        self.settings = settings = chosen.settings
        self.chosen = chosen
        self.seed = seed
        self.several = settings.get("seeds") > 1
        self.curve: list[Mapping[str, float]] = []
        self.drawn = time.monotonic()
        self.bar: tqdm[NoReturn] = tqdm(
            total=epochs,
            unit="epoch",
            desc=f"retrain, seed {seed}" if self.several else "retrain",
            disable=not (settings.get("progress") and is_terminal(sys.stderr)),
        )

    def folder(self, digits: str) -> Path:
        base = Path(self.settings.get("dir")).expanduser() / "retrained"
        name, self.events = digits, base / "tensorboard" / digits
        if self.chosen.run is not None and self.chosen.trial is not None:
            own = run_folder(self.settings.get("dir"), self.chosen.run.name)
            base, name = own / "retrained", f"trial-{self.chosen.trial.number}-{digits}"
            self.events = own / "tensorboard" / f"retrained-{name}"
        if self.settings.get("out"):
            out = Path(self.settings.get("out")).expanduser()
            return out / f"seed-{self.seed}" if self.several else out
        return base / name

    def report(self, metrics: Mapping[str, float]) -> None:
        interrupt.check()
        self.curve.append(metrics)
        self.bar.set_postfix({name: f"{value:.4f}" for name, value in metrics.items()})
        self.bar.update()
        if time.monotonic() - self.drawn >= DRAWN_EVERY:
            draw_curve(self.events, self.curve)
            self.drawn = time.monotonic()

    def __enter__(self) -> ProgressView:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if self.curve and kind in (None, KeyboardInterrupt):
            draw_curve(self.events, self.curve)


def _report(retraining: Retraining, new: bool, epochs: int, out: str | None) -> None:
    metrics = retraining.metrics
    if not new:
        print("this training was done before; its stored result (seed=N trains a repeat):")
        if out is not None and Path(out).expanduser().absolute() != Path(retraining.folder):
            print(f"out={out} was not written: its folder is the one named below")
    when = (
        f"epoch {metrics['best_epoch']:.0f}, the best by validation"
        if "best_epoch" in metrics
        else plural(epochs, "epoch")
    )
    print(f"arch           {retraining.text}")
    print(f"test accuracy  {metrics['test_accuracy']:.4f}   (tested once, after {when})")
    if "valid_accuracy" in metrics:
        print(f"valid accuracy {metrics['valid_accuracy']:.4f}")
    print(f"parameters     {short_number(metrics['parameters'])}")
    without = f", without {', '.join(uncounted(metrics))} (no formula)" if uncounted(metrics) else ""
    print(f"FLOPs          {short_number(metrics['flops'])}{without}")
    print(f"seconds        {retraining.seconds:.1f}")
    print(f"checkpoint     {_near(Path(retraining.folder) / CHECKPOINT)}")


def _report_all(done: Sequence[tuple[Retraining, bool]]) -> None:
    print(f"arch           {done[0][0].text}")
    for retraining, new in done:
        earlier = "" if new else "   (done before)"
        print(
            f"seed {retraining.seed:<9} {retraining.metrics['test_accuracy']:.4f}   "
            f"{_near(Path(retraining.folder))}{earlier}"
        )
    spread = _spread(done)
    print(f"test accuracy  {spread['mean']:.4f} ± {spread['std']:.4f} (n = {spread['n']}), each tested once")


def _spread(done: Sequence[tuple[Retraining, bool]]) -> dict[str, float]:
    tests = [retraining.metrics["test_accuracy"] for retraining, _ in done]
    return {"mean": statistics.fmean(tests), "std": statistics.stdev(tests), "n": len(tests)}


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
