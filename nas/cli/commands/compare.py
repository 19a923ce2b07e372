"""Compare strategies over many seeds on one evaluator: a table, statistics and curves.

Run the same command again to resume an interrupted comparison, or with more strategies or seeds to extend it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.analysis.report import write_report
from nas.cli.execution import budget_of, ordered_executor
from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import Bar, print_json
from nas.cli.rerun import config_dir_arguments
from nas.cli.sweep_comparison import compare_sweep, print_comparison
from nas.config.overrides import list_items
from nas.config.settings import Settings, compose, recorded_parts
from nas.core import Objective
from nas.errors import UsageError
from nas.evaluators.base import SupportsReporting, SupportsSharedWeights
from nas.identity import identifying
from nas.runtime import interrupt
from nas.runtime.drivers import has_gpu_driver
from nas.store.sqlite import SQLiteStore
from nas.studies.comparison import JOURNAL, ComparisonSetup, StrategyEntry, columns, compare
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.analysis.results import RunResult
    from nas.engine.budget import Budget
    from nas.space.base import SearchSpace

BASELINE = "random"
DEFAULT_TRIALS = 300
MAX_LABEL_LENGTH = 90
CHECKPOINTS = "checkpoints"
MAX_SEEDS = 10_000
"""Largest number of seeds, far more than any test needs; a larger one is a typing error."""


@dataclass(frozen=True)
class CompareOptions(CommandOptions):
    """Settings of `nas compare`; `configs/compare.yaml` describes them."""

    sweep: str | None
    strategies: list[str]
    seeds: int
    device: str
    duplicates: Literal["reuse", "retrain"]
    budget: Mapping[str, Any]
    objective: Mapping[str, Any]
    out: str | None
    progress: bool
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        whole_number("seeds", self.seeds, most=MAX_SEEDS)


def main(settings: Settings) -> int:
    options = CompareOptions.of(settings)
    if options.sweep is not None:
        return compare_sweep(settings, options.sweep, options.out, options.format)
    objective = Objective(**options.objective)
    budget = budget_of(options.budget, DEFAULT_TRIALS)
    device = device_type(options.device)
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)
    strategies = [strategy_entry(label, settings, space, objective) for label in entries(options.strategies)]
    about = {
        "space": {"name": settings.choices["space"], "settings": settings.node("space")},
        **settings.evaluated(),
        "device": device.partition(":")[0],
    }
    out = comparison_folder(settings, options, about)
    if isinstance(evaluator, SupportsSharedWeights):
        evaluator.checkpoint_dir = out / CHECKPOINTS
    # a lookup costs nothing to repeat; when networks are trained, every trial is stored
    looked_up = isinstance(evaluator, SupportsReporting)
    store = None if looked_up else SQLiteStore(f"sqlite:///{out.absolute()}/runs.db")
    setup = ComparisonSetup(space, evaluator, budget, objective, options.duplicates, device, store)
    started = time.perf_counter()
    try:
        results = _compare(settings, options, setup, strategies, about=about, out=out)
    except KeyboardInterrupt as error:
        print(f"\ninterrupted; every finished run is stored. Resume with:\n  {command(settings, out)}", file=sys.stderr)
        return interrupt.exit_code(error)
    remarks = report_remarks(settings, setup, results, time.perf_counter() - started)
    report = write_report(out, results, columns(evaluator, objective, results), remarks)
    if options.format == "json":
        print_json(json.loads((out / "summary.json").read_text()))
        return 0
    print_comparison(report, out)
    return 0


def _compare(
    settings: Settings,
    options: CompareOptions,
    setup: ComparisonSetup,
    strategies: Sequence[StrategyEntry],
    *,
    about: Mapping[str, Any],
    out: Path,
) -> list[RunResult]:
    """Run the unfinished part of a comparison, with progress on stderr."""
    config_dir = settings.config_dir
    # commands on a winner need the folder too
    extra = {} if config_dir is None else {"config_dir": str(config_dir.absolute())}
    runs, epochs = Bar(options.progress, "run"), Bar(options.progress, "supernet epoch")
    try:
        return compare(
            setup,
            strategies,
            options.seeds,
            path=out / JOURNAL,
            executor=ordered_executor(settings),
            about=about,
            remarks={"parts": _parts(settings, about), "command": command(settings), **extra},
            report=runs.report,
            trained=lambda length, curve: epochs.report(len(curve), length),
        )
    finally:
        epochs.close()
        runs.close()


def device_type(device: str) -> str:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names, as text.

    Raises:
        UsageError: It names no device, or one that this machine does not have.
    """
    if device == "auto" and not has_gpu_driver():
        return "cpu"  # without importing torch, which a comparison on a table does not need
    if device == "cpu":
        return device
    from nas.training.device import resolve_device

    return str(resolve_device(device))


def entries(strategies: Any) -> list[str]:
    """The strategies to compare, random search always among them."""
    if not isinstance(strategies, list) or not all(isinstance(entry, str) for entry in strategies):
        raise UsageError(f"strategies must be a list such as [random,reinforce], got {strategies!r}")
    return strategies if BASELINE in strategies else [BASELINE, *strategies]


def strategy_entry(label: str, settings: Settings, space: SearchSpace, objective: Objective) -> StrategyEntry:
    """A strategy from `name` or `name(setting=value,…)`.

    Raises:
        UsageError: The strategy or a setting does not exist, or a value is wrong.
    """
    name, bracket, rest = label.partition("(")
    if bracket and not rest.endswith(")"):
        raise UsageError(f"strategies has {label!r}; expected a strategy such as reinforce or reinforce(lr=0.5)")
    if len(label) > MAX_LABEL_LENGTH:
        raise UsageError(
            f"strategies has a name of {len(label)} characters; expected at most {MAX_LABEL_LENGTH}: {label!r}"
        )
    assignments = [f"strategy.{item}" for item in list_items(rest[:-1])] if bracket else []
    own = compose("search", [f"strategy={name}", *assignments], settings.config_dir)
    own.make("strategy", space=space, objective=objective)  # wrong settings are refused here, not in a worker
    return StrategyEntry(label, own.partial("strategy"), own.node("strategy"))


def comparison_folder(settings: Settings, options: CompareOptions, about: Mapping[str, Any]) -> Path:
    """Folder of a comparison; without `out`, its name is made from the settings that its runs share."""
    if options.out is not None:
        out = Path(options.out).expanduser()
        if out.exists() and not out.is_dir():
            raise UsageError(f"out={out} is a file; expected a folder")
        if out.is_dir() and any(out.iterdir()) and not (out / JOURNAL).exists():
            raise UsageError(f"out={out} holds something other than a comparison; choose another folder")
        return out
    evaluated = settings.choices["table"] if settings.choices["evaluator"] == "table" else settings.choices["data"]
    common = {
        **about,
        "budget": options.budget,
        "objective": options.objective,
        "duplicates": options.duplicates,
    }

    def named(*, class_paths: bool) -> Path:
        tree = identifying(common, class_paths=class_paths)
        digest = hashlib.blake2b(json.dumps(tree, sort_keys=True, default=str).encode(), digest_size=3).hexdigest()
        return Path("comparisons") / f"{settings.choices['space']}-{evaluated}-{digest}"

    earlier = named(class_paths=True)  # versions up to 0.2.0 named folders by class paths too
    return earlier if earlier.is_dir() else named(class_paths=False)


def command(settings: Settings, out: Path | None = None) -> str:
    """The command, ready to be pasted into a shell."""
    arguments = [argument for argument in settings.arguments if out is None or not argument.startswith("out=")]
    config_dir = config_dir_arguments(settings.config_dir)
    return shlex.join(["nas", *config_dir, "compare", *arguments, *([f"out={out}"] if out else [])])


def _parts(settings: Settings, about: Mapping[str, Any]) -> dict[str, Any]:
    """Groups that a command on a winner inherits: the space, and the data set of the runs or the table."""
    parts = recorded_parts({**settings.tree(), "choices": settings.choices})
    known = "data" in about or settings.choices["evaluator"] == "table"
    return {part: option for part, option in parts.items() if known or part != "data"}


def report_remarks(
    settings: Settings, setup: ComparisonSetup, results: Sequence[RunResult], seconds: float
) -> dict[str, str]:
    """Provenance of the results of a report.

    Args:
        settings: Settings of the command.
        setup: Setup that the runs share.
        results: All runs.
        seconds: Wall time of this session.
    """
    remarks = {
        "command": command(settings),
        "space": str(settings.choices["space"]),
        "evaluator": str(settings.choices["evaluator"]),
    }
    if settings.choices["evaluator"] == "table":
        remarks["table"] = f"{settings.choices['table']} ({setup.protocol.table})"
    remarks["budget of a run"] = _limits(setup.budget)
    missing, queries = sum(run.missing for run in results), sum(run.queries for run in results)
    if missing:
        remarks["not in the table"] = f"{missing:,} of {queries:,} queries; they cost nothing"
    spent = sum(run.seconds for run in results)
    remarks["wall time"] = f"{seconds:.1f} s this time; the {len(results):,} runs took {spent:,.1f} s in all"
    return remarks


def _limits(budget: Budget) -> str:
    nouns = {"trials": "evaluations", "hours": "hours", "simulated_seconds": "simulated seconds"}
    limits = {noun: getattr(budget, key) for key, noun in nouns.items()}
    return " or ".join(f"{value:,g} {noun}" for noun, value in limits.items() if value is not None)
