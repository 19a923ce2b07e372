"""Train an architecture from scratch on training and validation images, and test it once.

Name the architecture by run= and trial=, by comparison= with a folder of nas compare, or by arch= with a genotype file,
the architecture's text, or a published name.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from tqdm import tqdm

from nas.cli.options import RESULT_FORMATS
from nas.cli.output import print_json, run_folder
from nas.cli.selection import ArchitectureOptions, Selection, selected
from nas.config.overrides import assigned
from nas.core import uncounted
from nas.formatting import plural, short_number
from nas.listeners.tensorboard import draw_curve
from nas.runtime import interrupt
from nas.runtime.streams import is_terminal
from nas.store.protocol import EvaluationProtocol
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.store.base import Retraining

INHERITED_GROUPS = ("space", "data")
"""Parts that the run or the genotype file names."""
DRAWING_SECONDS = 10.0
"""Time between updates of the curves of a running training."""
MAX_SEEDS = 1000
"""Largest number of seeds; a larger one is a typing error."""


@dataclass(frozen=True)
class RetrainOptions(ArchitectureOptions):
    """Settings of `nas retrain`; `configs/retrain.yaml` describes them."""

    seed: int
    seeds: int
    validate: bool
    tested: Literal["last", "best"]
    device: str
    dir: str
    out: str | None
    progress: bool
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        one_of("tested", self.tested, ("last", "best"))
        whole_number("seed", self.seed, least=0)
        whole_number("seeds", self.seeds, most=MAX_SEEDS)


def main(settings: Settings) -> int:
    from nas.studies.retraining import TrainingJob, retrain
    from nas.training.tuning import retraining_recipe

    options = RetrainOptions.of(settings)
    selection = selected(settings, options, INHERITED_GROUPS)
    settings = selection.settings
    store, data = settings.make("store"), settings.make("data")
    fidelity = None if selection.trial is None else selection.trial.proposal.fidelity
    recipe = retraining_recipe(
        selection.space,
        selection.architecture,
        settings.make("trainer"),
        EvaluationProtocol(selection.facts.get("protocol") or selection.protocol).epochs(fidelity),
        given={key.removeprefix("trainer.") for key in assigned([_pair(word) for word in settings.arguments])},
    )
    job = TrainingJob(
        selection.space,
        selection.space_name,
        selection.architecture,
        data,
        recipe,
        space_settings=selection.space_settings,
        run=None if selection.run is None else selection.run.name,
        trial=None if selection.trial is None else selection.trial.number,
        searched_split=selection.searched_split(data.name),
        device=options.device,
        validate=options.validate,
        tested=options.tested,
    )
    done: list[tuple[Retraining, bool]] = []
    try:
        for seed in range(options.seed, options.seed + options.seeds):
            with ProgressView(selection, options, recipe.epochs, seed) as view:
                done.append(retrain(replace(job, seed=seed), store, view.folder, view.report))
    except KeyboardInterrupt as error:
        print("\ninterrupted; rerun the command to resume from the last checkpoint", file=sys.stderr)
        return interrupt.exit_code(error)
    if options.format == "json":
        documents = [asdict(retraining) | {"new": new} for retraining, new in done]
        single = options.seeds == 1
        print_json(documents[0] if single else {"retrainings": documents, "test_accuracy": _spread(done)})
    elif options.seeds == 1:
        _report(*done[0], recipe.epochs, options.out)
    else:
        _report_all(done)
    return 0


def _pair(argument: str) -> tuple[str, str]:
    key, _, value = argument.partition("=")
    return key, value


class ProgressView:
    """One training: its folder, its epochs on a bar, and its curves for TensorBoard while it runs."""

    def __init__(self, selection: Selection, options: RetrainOptions, epochs: int, seed: int) -> None:
        self.selection = selection
        self.options = options
        self.seed = seed
        self.curve: list[Mapping[str, float]] = []
        self.drawn = time.monotonic()
        self.bar: tqdm[NoReturn] = tqdm(
            total=epochs,
            unit="epoch",
            desc=f"retrain, seed {seed}" if options.seeds > 1 else "retrain",
            disable=not (options.progress and is_terminal(sys.stderr)),
        )

    def folder(self, digits: str) -> Path:
        """Folder of the training's checkpoint.

        Args:
            digits: Identity of the training.
        """
        base = Path(self.options.dir).expanduser() / "retrained"
        name, self.events = digits, base / "tensorboard" / digits
        if self.selection.run is not None and self.selection.trial is not None:
            run = run_folder(self.options.dir, self.selection.run.name)
            base, name = run / "retrained", f"trial-{self.selection.trial.number}-{digits}"
            self.events = run / "tensorboard" / f"retrained-{name}"
        if self.options.out:
            out = Path(self.options.out).expanduser()
            return out / f"seed-{self.seed}" if self.options.seeds > 1 else out
        return base / name

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show a finished epoch."""
        interrupt.check()
        self.curve.append(metrics)
        self.bar.set_postfix({name: f"{value:.4f}" for name, value in metrics.items()})
        self.bar.update()
        if time.monotonic() - self.drawn >= DRAWING_SECONDS:
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
        print("already trained; this is the stored result (set another seed= to train it again):")
        if out is not None and Path(out).expanduser().absolute() != Path(retraining.folder):
            print(f"out={out} was not written; the checkpoint is in the folder named below")
    when = (
        f"epoch {metrics['best_epoch']:.0f}, the best by validation"
        if "best_epoch" in metrics
        else plural(epochs, "epoch")
    )
    from nas.studies.retraining import CHECKPOINT

    print(f"arch           {retraining.text}")
    print(f"data           {_data_text(retraining)}")
    print(f"recipe         {retraining.training.recipe_description()}")
    print(f"test accuracy  {metrics['test_accuracy']:.4f}   (tested once, after {when})")
    if "valid_accuracy" in metrics:
        print(f"valid accuracy {metrics['valid_accuracy']:.4f}")
    print(f"parameters     {short_number(metrics['parameters'])}")
    without = f", not including {', '.join(uncounted(metrics))} (no formula)" if uncounted(metrics) else ""
    print(f"FLOPs          {short_number(metrics['flops'])}{without}")
    print(f"seconds        {retraining.seconds:.1f}")
    print(f"checkpoint     {_relative(Path(retraining.folder) / CHECKPOINT)}")


def _report_all(done: Sequence[tuple[Retraining, bool]]) -> None:
    first = done[0][0]
    print(f"arch           {first.text}")
    print(f"data           {_data_text(first)}")
    print(f"recipe         {first.training.recipe_description()}")
    for retraining, new in done:
        earlier = "" if new else "   (trained earlier)"
        print(
            f"seed {retraining.seed:<9} {retraining.metrics['test_accuracy']:.4f}   "
            f"{_relative(Path(retraining.folder))}{earlier}"
        )
    spread = _spread(done)
    print(f"test accuracy  {spread['mean']:.4f} ± {spread['std']:.4f} (n = {spread['n']}), each tested once")


def _spread(done: Sequence[tuple[Retraining, bool]]) -> dict[str, float]:
    tests = [retraining.metrics["test_accuracy"] for retraining, _ in done]
    return {"mean": statistics.fmean(tests), "std": statistics.stdev(tests), "n": len(tests)}


def _data_text(retraining: Retraining) -> str:
    return f"{retraining.training.data} (split {retraining.training.split})"


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
