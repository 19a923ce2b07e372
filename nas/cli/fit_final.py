"""The final trainings of a fit: the winner and the baseline, on training and validation images, each tested once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.cli.fit_commands import FitCommands
from nas.cli.fit_output import Output
from nas.cli.output import run_folder
from nas.core import Trial
from nas.errors import UserError
from nas.fit.budget import Progress
from nas.fit.choice import best_trial
from nas.fit.plan import Plan
from nas.fit.record import Record
from nas.studies.retraining import TrainingJob, UnusableTraining, retrain
from nas.training.tuning import retraining_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from nas.data.base import DataSet
    from nas.data.images import Split
    from nas.space.base import SearchSpace
    from nas.store.base import Retraining

RECORDED = "final"
BASELINE_SHARE = 0.4
"""Share of the time that is left which the baseline may take; the winner takes the rest."""
UNUSUAL = (0.87, 1.15)
"""Ratios of real to planned time between which nothing is said."""


@dataclass(frozen=True)
class Trained:
    """A trial that was trained again and tested."""

    trial: Trial
    method: str
    retraining: Retraining


@dataclass
class FinalTrainings:
    """Trains the best trials of a search; the arguments are parts of the fit.

    Args:
        device: Device that computes.
    """

    plan: Plan
    progress: Progress
    space: SearchSpace
    data: DataSet
    split: Split
    record: Record
    commands: FitCommands
    output: Output
    device: str

    def run(self, trials: Sequence[Trial]) -> list[Trained]:
        """The winner, and the baseline unless it is the winner itself or cannot be trained.

        A trial whose training fails here leaves its place to the next best.

        Raises:
            UserError: None can be trained.
        """
        reason = "no candidate was trained successfully in the search"
        while True:
            failed = (self.record.read(RECORDED) or {}).get("failed", [])
            left = [trial for trial in trials if trial.number not in failed]
            winner = best_trial(left, self.plan.valid_images)
            if winner is None:
                error = next((trial.error for trial in reversed(trials) if trial.error), reason)
                raise UserError(f"no method could be trained on these pictures; the last error was: {error}")
            baseline = best_trial([one for one in left if self._method(one) == "baseline"], self.plan.valid_images)
            wanted = [winner] if baseline is None or baseline.number == winner.number else [winner, baseline]
            lengths = self._lengths(wanted)
            try:
                return [self._trained(trial, *lengths[str(trial.number)]) for trial in wanted]
            except _Failed as failure:
                reason = str(failure)
                content = self.record.read(RECORDED) or {}
                note = f"Attempt {failure.trial.number + 1} could not be trained again and left its place to the next."
                notes = [*content.get("corrections", []), note]
                failed = [*failed, failure.trial.number]
                self.record.write(RECORDED, {**content, "failed": failed, "corrections": notes})

    def _method(self, trial: Trial) -> str:
        return str(self.progress.chosen(trial)["method"])

    def _lengths(self, trials: Sequence[Trial]) -> dict[str, list[int]]:
        """Number of a trial -> epochs and images, by the time that is left and the speed of the trials."""
        content = self.record.read(RECORDED) or {"lengths": {}, "corrections": []}
        lengths: dict[str, list[int]] = content["lengths"]
        if all(str(trial.number) in lengths for trial in trials):
            return lengths
        plan, slowness = self.plan, self.progress.slowness
        left = plan.seconds - plan.export - self.progress.clock.spent()
        notes = list(content["corrections"])
        if not UNUSUAL[0] <= slowness <= UNUSUAL[1] and not notes:
            notes.append(f"Attempts took {slowness:.2f} times as long as planned; the final training was planned anew.")
        for position, trial in enumerate(reversed(trials)):  # the baseline first, whose share is limited
            share = left if position == len(trials) - 1 else BASELINE_SHARE * left
            epochs, images, seconds = plan.final(self.progress.chosen(trial), share, slowness)
            left -= seconds
            lengths[str(trial.number)] = [epochs, images]
        self.record.write(RECORDED, {**content, "lengths": lengths, "corrections": notes})
        return lengths

    def _trained(self, trial: Trial, epochs: int, images: int) -> Trained:
        method = self._method(trial)
        words = self._words(trial, epochs, images)
        settings = self.commands.run_settings("retrain", words)
        recipe = retraining_recipe(
            self.space, trial.proposal.architecture, settings.make("trainer"), None, given=("epochs", "train_images")
        )
        options = self.commands.options
        job = TrainingJob(
            self.space,
            "pictures",
            trial.proposal.architecture,
            self.data,
            recipe,
            space_settings=settings.node("space"),
            run=self.commands.run,
            trial=trial.number,
            searched_split=self.split.hash,
            seed=options.seed,
            device=self.device,
            keep_probabilities=True,
            read_split=self.split,
        )
        base = run_folder(options.dir, self.commands.run).absolute() / "retrained"
        self.output.training(method, epochs, images)
        with self.output.bar(f"training ({method})") as report:
            done = 0

            def epoch(_: Mapping[str, float]) -> None:
                nonlocal done
                done += 1
                report(done, epochs)

            def folder(digits: str) -> Path:
                return base / f"trial-{trial.number}-{digits}"

            try:
                return Trained(trial, method, retrain(job, settings.make("store"), folder, epoch)[0])
            except UnusableTraining as error:
                raise _Failed(trial, str(error)) from None

    def words_of(self, trial: Trial) -> list[str]:
        """The settings of the `nas retrain` that trained a trial."""
        return self._words(trial, *(self.record.read(RECORDED) or {})["lengths"][str(trial.number)])

    def _words(self, trial: Trial, epochs: int, images: int) -> list[str]:
        words = [f"trial={trial.number}", "trainer=pictures", f"trainer.epochs={epochs}"]
        if images < self.plan.counts.train + self.plan.counts.valid:
            words.append(f"trainer.train_images={images}")
        return words

    def facts(self, trial: Trial) -> dict[str, Any]:
        """Key -> value of every choice of the final training of a trial."""
        pairs = (word.partition("=") for word in self.words_of(trial))
        return {f"retrain {key}": value for key, _, value in pairs}


class _Failed(Exception):
    """The final training of a trial gave no usable network."""

    def __init__(self, trial: Trial, message: str) -> None:
        super().__init__(message)
        self.trial = trial
