"""Compare strategies over many seeds on one evaluator: a table, statistics and curves.

The same command again goes on where an earlier one was interrupted, and adds strategies or seeds.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.analysis.report import terminal_table, write_report
from nas.analysis.results import RunResult
from nas.cli.commands.search import budget_of
from nas.cli.output import Bar, print_json, print_table
from nas.cli.rerun import place
from nas.config.overrides import list_items
from nas.config.settings import Settings, compose, recorded_parts
from nas.core import Objective
from nas.errors import UsageError
from nas.evaluators.base import SupportsReporting, SupportsSharedWeights
from nas.identity import identifying
from nas.store.sqlite import SQLiteStore
from nas.studies.comparison import JOURNAL, ComparisonSetup, StrategyEntry, columns, compare
from nas.training.device import resolve_device
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.executors.base import Executor
    from nas.space.base import SearchSpace

BASELINE = "random"
DEFAULT_TRIALS = 300
LONGEST_LABEL = 90
CHECKPOINTS = "checkpoints"
MOST_SEEDS = 10_000
"""Far beyond what any test needs; a larger number is a slip of the finger."""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    whole_number("seeds", settings.get("seeds"), most=MOST_SEEDS)
    objective = Objective(**settings.get("objective"))
    budget = budget_of(settings, DEFAULT_TRIALS)
    device = resolve_device(settings.get("device"))
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)
    contenders = [contender(entry, settings, space, objective) for entry in entries(settings.get("strategies"))]
    about = {
        "space": {"name": settings.choices["space"], "settings": settings.node("space")},
        **settings.evaluated(),
        "device": device.type,
    }
    out = folder(settings, about | {"budget": settings.get("budget"), "objective": settings.get("objective")})
    # what is looked up costs nothing to look up again; what is trained is kept trial by trial
    looked_up = isinstance(evaluator, SupportsReporting)
    store = None if looked_up else SQLiteStore(f"sqlite:///{out.absolute()}/runs.db")
    match = ComparisonSetup(space, evaluator, budget, objective, settings.get("duplicates"), str(device), store)
    executor = in_order(settings)
    started = time.perf_counter()
    bar = Bar(settings.get("progress"), "run")
    epochs = Bar(settings.get("progress"), "supernet epoch")
    if isinstance(evaluator, SupportsSharedWeights):
        evaluator.checkpoint_dir = out / CHECKPOINTS
    try:
        results = compare(
            match,
            contenders,
            settings.get("seeds"),
            path=out / JOURNAL,
            executor=executor,
            about=about,
            remarks={"parts": _parts(settings, about), "command": command(settings), **_config_dir(settings)},
            report=bar.report,
            trained=lambda length, curve: epochs.report(len(curve), length),
        )
    except KeyboardInterrupt:
        print(f"\ninterrupted; every finished run is kept. Go on with:\n  {command(settings, out)}", file=sys.stderr)
        return 130
    finally:
        epochs.close()
        bar.close()
    shown = columns(evaluator, objective, results)
    report = write_report(out, results, shown, remarks(settings, match, results, time.perf_counter() - started))
    if settings.get("format") == "json":
        print_json(json.loads((out / "summary.json").read_text()))
        return 0
    head, rows = terminal_table(report)
    print_table(report.headline, head, rows, text=("strategy",))
    print(f"In {out}/: summary.md (statistics), anytime.png (curves), runs.csv, summary.json")
    return 0


def in_order(settings: Settings) -> Executor:
    """The executor of a job whose tasks know nothing of one another."""
    executor: Executor = settings.make("executor")
    if executor.order == "async":
        raise UsageError(f"executor.order=async has no effect in nas {settings.command}; leave it out")
    return executor


def entries(strategies: Any) -> list[str]:
    """The strategies asked for, random search always among them."""
    if not isinstance(strategies, list) or not all(isinstance(entry, str) for entry in strategies):
        raise UsageError(f"strategies must be a list such as [random,reinforce], got {strategies!r}")
    return strategies if BASELINE in strategies else [BASELINE, *strategies]


def contender(entry: str, settings: Settings, space: SearchSpace, objective: Objective) -> StrategyEntry:
    """A strategy from `name` or `name(setting=value,…)`.

    Raises:
        UsageError: there is no such strategy or setting, or a value is wrong.
    """
    name, bracket, rest = entry.partition("(")
    if bracket and not rest.endswith(")"):
        raise UsageError(f"strategies has {entry!r}; expected a strategy such as reinforce or reinforce(lr=0.5)")
    if len(entry) > LONGEST_LABEL:
        raise UsageError(
            f"strategies has a name of {len(entry)} characters; expected at most {LONGEST_LABEL}: {entry!r}"
        )
    assignments = [f"strategy.{word}" for word in list_items(rest[:-1])] if bracket else []
    own = compose("search", [f"strategy={name}", *assignments], settings.config_dir)
    own.make("strategy", space=space, objective=objective)  # settings are told wrong here, not in a worker
    return StrategyEntry(entry, own.partial("strategy"), own.node("strategy"))


def folder(settings: Settings, about: dict[str, Any]) -> Path:
    """Where a comparison goes; without `out` a name made from what its runs have in common."""
    if settings.get("out") is not None:
        out = Path(settings.get("out")).expanduser()
        if out.exists() and not out.is_dir():
            raise UsageError(f"out={out} is a file; expected a folder")
        if out.is_dir() and any(out.iterdir()) and not (out / JOURNAL).exists():
            raise UsageError(f"out={out} holds something else than a comparison; choose another folder")
        return out
    what = settings.choices["table"] if settings.choices["evaluator"] == "table" else settings.choices["data"]
    about = about | {"duplicates": settings.get("duplicates")}

    def named(*, class_paths: bool) -> Path:
        tree = identifying(about, class_paths=class_paths)
        digest = hashlib.blake2b(json.dumps(tree, sort_keys=True, default=str).encode(), digest_size=3).hexdigest()
        return Path("comparisons") / f"{settings.choices['space']}-{what}-{digest}"

    earlier = named(class_paths=True)  # versions up to 0.2.0 named folders by class paths too
    return earlier if earlier.is_dir() else named(class_paths=False)


def command(settings: Settings, out: Path | None = None) -> str:
    """The command as it can be pasted into a shell."""
    asked = [word for word in settings.arguments if out is None or not word.startswith("out=")]
    return shlex.join(["nas", *place(settings.config_dir), "compare", *asked, *([f"out={out}"] if out else [])])


def _parts(settings: Settings, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a command on a winner inherits: the space, and the data set that the runs or the table are of."""
    parts = recorded_parts({**settings.tree(), "choices": settings.choices})
    known = "data" in about or settings.choices["evaluator"] == "table"
    return {part: found for part, found in parts.items() if known or part != "data"}


def _config_dir(settings: Settings) -> dict[str, str]:
    """The folder that commands on a winner need too, where there is one."""
    return {} if settings.config_dir is None else {"config_dir": str(settings.config_dir.absolute())}


def remarks(settings: Settings, match: ComparisonSetup, results: list[RunResult], wall: float) -> dict[str, str]:
    """What the report says of how it came about."""
    budget = match.budget
    limits = {"trials": "evaluations", "hours": "hours", "simulated_seconds": "simulated seconds"}
    found = {
        "command": command(settings),
        "space": str(settings.choices["space"]),
        "evaluator": str(settings.choices["evaluator"]),
    }
    if settings.choices["evaluator"] == "table":
        found["table"] = f"{settings.choices['table']} ({match.evaluator.protocol()['table']})"  # type: ignore[attr-defined]
    given = [f"{getattr(budget, key):,g} {noun}" for key, noun in limits.items() if getattr(budget, key) is not None]
    found["budget of a run"] = " or ".join(given)
    missing, queries = sum(run.missing for run in results), sum(run.queries for run in results)
    if missing:
        found["not in the table"] = f"{missing:,} of {queries:,} queries; they cost nothing"
    spent = sum(run.seconds for run in results)
    found["wall time"] = f"{wall:.1f} s this time; the {len(results):,} runs took {spent:,.1f} s in all"
    return found
