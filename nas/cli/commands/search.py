"""Search a space for the best architecture.

Run the same command again to resume an interrupted search; a larger budget extends a finished one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.cli.execution import budget_of
from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import print_json, run_folder
from nas.cli.rerun import config_dir_arguments, shown_arguments, store_arguments
from nas.cli.search_report import FinishedSearch, print_report, summary
from nas.core import Objective
from nas.engine.search import search
from nas.engine.trial import last_error
from nas.errors import UsageError, last_frames
from nas.evaluators.base import SupportsSharedWeights
from nas.formatting import plural
from nas.identity import identifying, without_folders
from nas.runtime import interrupt
from nas.runtime.streams import say
from nas.store.base import FREE_KEYS, NoStore, check_run_name
from nas.store.sweeps import check_sweep_name
from nas.store.urls import without_password
from nas.strategies.base import SupportsPlan
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.engine.search import SearchResult
    from nas.space.base import SearchSpace
    from nas.store.base import Store
    from nas.supernets.base import SupernetSearcher

DEFAULT_TRIALS = 20
GRADIENT_TRIALS = 1
"""Default for a strategy that learns on a supernet: a trial is a whole search."""


@dataclass(frozen=True)
class SearchOptions(CommandOptions):
    """Settings of `nas search`; `configs/search.yaml` describes them."""

    run: str | None
    sweep: str | None
    seed: int
    device: str
    duplicates: Literal["reuse", "retrain"]
    budget: Mapping[str, Any]
    objective: Mapping[str, Any]
    dir: str
    progress: bool
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        one_of("duplicates", self.duplicates, ("reuse", "retrain"))
        whole_number("seed", self.seed, least=0)
        if self.sweep is not None:
            check_sweep_name(self.sweep)
        budget_of(self.budget, DEFAULT_TRIALS)
        Objective(**self.objective)


def main(settings: Settings) -> int:
    from nas.training.device import resolve_device

    options = SearchOptions.of(settings)
    gradient = learns_on_supernet(settings)
    objective = Objective(**options.objective)
    device = resolve_device(options.device)
    config = run_config(settings, device.type)
    space, store = settings.make("space"), settings.make("store")
    planned = None if gradient else _planned(settings, space, objective)
    budget = budget_of(options.budget, GRADIENT_TRIALS if gradient else planned or DEFAULT_TRIALS)
    if planned and options.progress:
        most = f"; budget.trials={budget.trials:,} of them" if budget.trials and budget.trials < planned else ""
        say(f"strategy={settings.choices['strategy']}: {plural(planned, 'combination')} in all{most}")
    run = automatic_name(config, stored_names(store)) if options.run is None else options.run
    check_run_name(run)
    evaluator = settings.make("evaluator", space=space)
    folder = run_folder(options.dir, run).absolute()  # once: an evaluator may change the current folder
    if isinstance(evaluator, SupportsSharedWeights):
        evaluator.checkpoint_dir = folder / "checkpoints"
    try:
        result = search(
            space,
            settings.factory("strategy"),
            evaluator,
            budget=budget,
            seed=options.seed,
            objective=objective,
            duplicates=options.duplicates,
            device=str(device),
            executor=settings.make("executor"),
            supernets=_gradient_search(settings, space, folder) if gradient else None,
            store=store,
            run=run,
            config=config,
            listeners=_listeners(options, folder),
        )
    except KeyboardInterrupt as error:
        stored = "every finished trial is stored" + (", and so is the search's last epoch" if gradient else "")
        print(f"\ninterrupted; {stored}. Resume with:\n  {resume_command(settings, run)}", file=sys.stderr)
        return interrupt.exit_code(error)
    finished = FinishedSearch(result, space, evaluator, store, objective, device)
    if options.format == "json":
        print_json(summary(finished))
    else:
        print_report(finished, settings, run_folder(options.dir, run))
    return _report_failure(result, settings)


def learns_on_supernet(settings: Settings) -> bool:
    """Whether the strategy itself learns on the supernet, rather than the evaluator."""
    return settings.choices.get("supernet") is not None and "supernet" not in settings.evaluated()


def run_config(settings: Settings, device_type: str) -> dict[str, Any]:
    """The settings that the store keeps for a run, JSON-safe."""
    config = settings.tree() | {"device": device_type, "choices": dict(settings.choices)}
    if config["sweep"] is None:
        del config["sweep"]
    if settings.config_dir is not None:  # later commands on the run need it too, and report it if it is missing
        config["config_dir"] = str(settings.config_dir.absolute())
    if isinstance(url := config["store"].get("url"), str):
        config["store"] = config["store"] | {"url": without_password(url)}
    del config["choices"]["experiment"]  # only an abbreviation of the others
    if settings.choices["evaluator"] != "table":  # other evaluators only compare their scores with a table, afterwards
        config.pop("table", None)
        del config["choices"]["table"]
    return config


def _planned(settings: Settings, space: SearchSpace, objective: Objective) -> int | None:
    """How many trials the strategy proposes in all, if it knows."""
    strategy = settings.factory("strategy")(space=space, objective=objective)
    return strategy.planned if isinstance(strategy, SupportsPlan) else None


def _listeners(options: SearchOptions, folder: Path) -> list[Any]:
    from nas.listeners.progress import Progress
    from nas.listeners.tensorboard import TensorBoard

    return [TensorBoard(folder / "tensorboard"), *([Progress()] if options.progress else [])]


def _report_failure(result: SearchResult, settings: Settings) -> int:
    """Print why a search failed; returns the exit code."""
    if result.best is not None and result.ended != "failures":
        return 0
    error = last_error(result.trials, result.ended)
    if not result.trials:
        reason = f"no trial was run: {error}"
    elif result.best is None:
        reason = f"no trial succeeded; the last error was: {error}"
    else:
        reason = f"search stopped after repeated failures; last error: {error}"
    print(f"nas: {reason}", file=sys.stderr)
    failed = next((trial for trial in reversed(result.trials) if not trial.completed), None)
    if failed is not None:
        if lines := last_frames(failed.traceback or ""):
            print(lines, file=sys.stderr)
        words = [f"run={result.run}", f"trial={failed.number}", *store_arguments(settings)]
        show = shlex.join(["nas", *config_dir_arguments(settings.config_dir), "show", *words])
        print(f"The whole error: {show}", file=sys.stderr)
    return 1


def _gradient_search(settings: Settings, space: SearchSpace, folder: Path) -> SupernetSearcher:
    from nas.supernets.gradient import GradientSearch

    if settings.get("supernet.epochs") != settings.get("strategy.epochs"):
        raise UsageError(
            f"supernet.epochs={settings.get('supernet.epochs')} has no effect; strategy.epochs is the length of "
            "a search"
        )
    course = {"space": settings.node("space"), "strategy": settings.node("strategy")}
    return GradientSearch(space, settings.make("data"), settings.make("supernet"), folder / "checkpoints", course)


def automatic_name(config: dict[str, Any], stored: Collection[str] = ()) -> str:
    """A run's name from its settings, so that the same command resumes the same run.

    Args:
        config: Settings of the run.
        stored: Names of the runs in the store. Versions up to 0.2.0 made names from class paths too; such a name is
            used if the store has it.
    """
    earlier = _name(config, class_paths=True)
    return earlier if earlier in stored else _name(config)


def _name(config: Mapping[str, Any], *, class_paths: bool = False) -> str:
    choices = config["choices"]
    identity = identifying(config, class_paths=class_paths)
    named = {key: value for key, value in identity.items() if key not in FREE_KEYS}
    if isinstance(named.get("data"), dict):
        named["data"] = without_folders(named["data"])
    digest = hashlib.blake2b(json.dumps(named, sort_keys=True, default=str).encode(), digest_size=3).hexdigest()
    return f"{choices['space']}-{choices['strategy']}-{choices['data']}-{digest}"


def stored_names(store: Store) -> set[str]:
    """Names of the runs of a store that may not exist yet."""
    try:
        return {run.name for run in store.runs()}
    except NoStore:
        return set()


def resume_command(settings: Settings, run: str) -> str:
    """The command that resumes a run, ready to be pasted into a shell."""
    arguments = [argument for argument in shown_arguments(settings.arguments) if not argument.startswith("run=")]
    return shlex.join(["nas", *config_dir_arguments(settings.config_dir), "search", *arguments, f"run={run}"])
