"""What `nas fit` tells a person while it runs, and at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nas.cli.fit_options import FitOptions
from nas.core import Objective, Trial
from nas.fit.pictures import test_files
from nas.fit.result import METHODS
from nas.formatting import plural
from nas.runtime import interrupt
from nas.runtime.streams import is_terminal, say

if TYPE_CHECKING:
    from nas.data.base import DataSet
    from nas.data.images import Split
    from nas.fit.plan import Plan
    from nas.space.base import SearchSpace

SHOWN_FINDINGS = 5
SHOWN_DECISIONS = {
    "side": "pixels",
    "finetuned_side": "pixels",
    "tuned": "trained further:",
    "rate": "learning rate x",
    "width": "width",
}
"""Decision -> how it is shown."""


class Output:
    """Messages on stderr, and the result on stdout.

    Args:
        options: Options of the command.
    """

    def __init__(self, options: FitOptions) -> None:
        self.options = options

    def say(self, text: str) -> None:
        if self.options.progress:
            say(text)

    def read(self, data: DataSet, split: Split) -> None:
        task, files = data.task, test_files(data)
        tested = "" if files is None else f", and {len(files):,} to test with,"
        size = f"{task.width} x {task.height} pixels, {'grey' if task.channels == 1 else 'colour'}"
        count = len(split.train) + len(split.valid)
        self.say(f"{count:,} pictures to learn from{tested} in {task.classes} classes, each resized to {size}")

    def inspected(self, inspection: Mapping[str, Any], signal: Mapping[str, Any] | None, command: str) -> None:
        problems = [one for one in inspection["findings"] if one["severity"] == "problem"]
        for finding in problems[:SHOWN_FINDINGS]:
            self.say(f"problem: {finding['title']}")
        if len(problems) > SHOWN_FINDINGS:
            self.say(f"and {len(problems) - SHOWN_FINDINGS} more problems")
        if problems:
            self.say(f"To see all of them, and what to do about each: {command}")
        if signal is not None:
            self.say(f"signal: {signal['sentence']}")

    def planned(self, plan: Plan, end: str, command: str) -> None:
        self.say(f"plan: each attempt takes about {plan.unit:.0f} s, and the fit ends at about {end}. It tries")
        for method in plan.methods:
            images = plan.train_images.get(method, plan.counts.train)
            length = "" if method == "frozen" else f", {plural(plan.epochs[method], 'pass', 'passes')}"
            self.say(f"  {METHODS[method]} ({method}): {images:,} pictures{length}")
        for note in plan.notes:
            self.say(note)
        self.say(f"For researchers, the search as a command of its own:\n  {command}")

    def training(self, method: str, epochs: int, images: int) -> None:
        how = "" if method == "frozen" else f", {plural(epochs, 'pass', 'passes')}"
        self.say(f"final training: {method} on {images:,} pictures{how}")

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar; the function takes what is done and the total."""
        silent = not (self.options.progress and is_terminal(sys.stderr))
        with tqdm(desc=what, disable=silent, leave=False) as shown:

            def report(done: int, total: int) -> None:
                interrupt.check()
                shown.total = total
                shown.update(done - shown.n)

            yield report

    def trials(self, space: SearchSpace) -> TrialLines:
        """A listener that prints a line for each trial."""
        return TrialLines(self, space)

    def result(self, result: Mapping[str, Any], report: Path) -> None:
        print(result["sentence"])
        if (second := result["runner_up"]) is not None:
            more = "more" if second["low"] > 0 else "not more"
            print(
                f"{result['trials']} attempts were made. The second best is another of the same kind"
                if second["method"] == result["winner"]["method"]
                else f"{result['trials']} attempts were made. The second best is {METHODS[second['method']]}",
                end=f"; the difference is {more} than chance.\n",
            )
        print(f"\nModel    {_relative(report.parent)}/\nReport   {_relative(report)}   (open it in a browser)")
        print("\nNext:")
        for name in ("predict", "serve", "leaderboard"):
            print(f"  {result['commands'][name]}")


class TrialLines:
    """Prints a line for each trial."""

    def __init__(self, output: Output, space: SearchSpace) -> None:
        self.output, self.space = output, space

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        if trials:
            self.output.say(f"{plural(len(trials), 'attempt')} from the last session")

    def on_trial_end(self, trial: Trial) -> None:
        chosen = self.space.settings(trial.proposal.architecture)
        detail = ", ".join(f"{words} {chosen[name]}" for name, words in SHOWN_DECISIONS.items() if name in chosen)
        outcome = f"{trial.metrics['valid_accuracy']:.1%}" if trial.completed else f"failed: {trial.error}"
        self.output.say(f"attempt {trial.number + 1}: {chosen['method']} ({detail})  {outcome}  {trial.seconds:.0f} s")

    def close(self) -> None: ...


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
