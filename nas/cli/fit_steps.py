"""The steps of `nas fit`, each kept in a record, so that an interrupted fit resumes after the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.backbones import make_backbone
from nas.cli.commands.search import run_config
from nas.cli.fit_commands import FitCommands
from nas.cli.fit_options import FitOptions
from nas.cli.fit_output import Output
from nas.cli.output import run_folder
from nas.config.settings import Settings
from nas.core import Objective, Trial
from nas.engine.search import SearchResult, search
from nas.errors import UsageError, UserError
from nas.evaluators.training import predictions_file
from nas.export.folder import NAME as MODEL_FILE
from nas.files import check_folder
from nas.fit.budget import FitBudget, Progress
from nas.fit.choice import best_trial
from nas.fit.clock import Clock
from nas.fit.pictures import test_count, test_files, tested, write_predictions
from nas.fit.plan import SIDES, Counts, Plan, make_plan
from nas.fit.record import Record
from nas.fit.result import about_training, difference, runner_up, sentence
from nas.fit.speeds import Speeds, measured
from nas.studies.retraining import TEST_PROBABILITIES, TrainingJob, retrain
from nas.training.device import configured, resolve_device
from nas.training.tuning import retraining_recipe

if TYPE_CHECKING:
    from nas.data.base import DataSet
    from nas.data.images import Split
    from nas.space.base import SearchSpace
    from nas.store.base import Retraining

INSPECTION_SHARE = 0.08
"""Share of the time for features of the pictures, by which they are checked."""
INSPECTION_SECONDS = (3.0, 120.0)
"""Limits of that time."""
REPORT = "report.html"


@dataclass
class Fit:
    """One fit and its parts.

    Args:
        settings: Settings of the command.
        options: Its options.
        run: Name of its run.
        out: Folder of the model.
        record: Its record.
        clock: Its clock.
    """

    settings: Settings
    options: FitOptions
    run: str
    out: Path
    record: Record
    clock: Clock

    def __post_init__(self) -> None:
        self.output = Output(self.options)
        self.device = resolve_device(self.options.device)
        pretrained = () if self.options.backbone is None else ("frozen", "finetuned")
        self.methods = ("baseline", *pretrained, "searched")
        self.commands = FitCommands(self.settings, self.options, self.run, self.methods)

    def check(self) -> None:
        """Raise `UserError` for what would only fail at the end, before any time is spent."""
        finished = self.record.read("result") is not None
        if (self.out / MODEL_FILE).is_file() and not finished:
            raise UsageError(
                f"{self.out} holds an earlier model, which was left unchanged; choose another folder with out="
            )
        if not finished:
            check_folder(self.out)
        if self.options.backbone is not None:
            make_backbone(self.options.backbone, download=self.options.download)
        self.speeds_given  # noqa: B018 (a file that cannot be read)

    def run_all(self) -> dict[str, Any]:
        """All steps; returns the result."""
        with self.clock.step("read"):
            split = self.split
        self.output.read(self.data, split)
        with self.clock.step("check"):
            inspection = self.record.once("inspection", self._inspect)
            signal = self.record.read("signal")
        self.output.inspected(inspection, signal, self.commands.inspect())
        plan = self._plan()
        self.output.planned(plan, self._expected_end(plan), self.commands.search(plan))
        with self.clock.step("search"):
            searched, progress, space = self._search(plan)
        winner = best_trial(searched.trials, plan.valid_images)
        if winner is None:
            raise UserError(self._no_winner(searched))
        with self.clock.step("final"):
            trained = self._final(plan, progress, space, winner)
        with self.clock.step("export"):
            result = self.record.once("result", lambda: self._result(plan, space, searched, trained))
            self._export(plan, winner, trained[winner.number])
            self._report(plan)
        return result

    # --- data -----------------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> DataSet:
        made: DataSet = self.settings.make("data")
        return made

    @cached_property
    def split(self) -> Split:
        return self.data.split()

    def _inspect(self) -> Mapping[str, Any]:
        from nas.inspection import inspect, make_features, measure_signal, subject_of

        low, high = INSPECTION_SECONDS
        seconds = min(max(INSPECTION_SHARE * 60 * self.options.minutes, low), high)
        backbone = self.options.backbone and make_backbone(self.options.backbone, download=self.options.download)
        subject = subject_of(self.data)
        side = None
        if self.speeds_given is not None:  # so that nothing depends on real time
            seconds, side = float("inf"), SIDES[-1] if backbone else None
        with self.output.bar("checking the pictures") as report:
            features = make_features(subject, backbone or None, seconds, self.device, side=side, report=report)
        inspection = inspect(subject, features)
        signal = measure_signal(subject, features, self.options.seed)
        if signal is not None:
            self.record.write("signal", signal.to_json())
        return inspection.to_json()

    # --- plan -----------------------------------------------------------------------------------------------------

    @cached_property
    def speeds_given(self) -> Speeds | None:
        """Speeds of an earlier fit, if the command names one."""
        if self.options.speed is None:
            return None
        path = Path(self.options.speed).expanduser()
        content = Record(path.parent).read(path.name.removesuffix(".json"))
        if content is None:
            raise UsageError(f"speed={self.options.speed} does not exist; expected plan.json of an earlier fit")
        return Speeds.from_json(content.get("speeds"), self.options.speed)

    def _plan(self) -> Plan:
        with self.clock.step("plan"):
            content = self.record.read("plan")
            if content is None:
                speeds = self.speeds_given or self._measure()
                split, classes = self.split, self.data.task.classes
                counts = Counts(len(split.train), len(split.valid), test_count(self.data), classes)
                plan = make_plan(self.options.minutes, counts, speeds, self.methods)
                self.record.write("plan", {**plan.to_json(), "device": str(self.device)})
            else:
                plan = Plan.from_json(content)
        self.clock.charge(plan.speeds.before)
        return plan

    def _measure(self) -> Speeds:
        """Speeds of this machine."""
        settings = self.commands.search_settings()
        space, recipe = settings.make("space"), settings.make("trainer")
        texts = {space.to_text(one): True for one in space.first_architectures() if self._is_measured(space, one)}
        if self.options.backbone is not None:
            texts |= {f"method=frozen;side={side}": False for side in SIDES}
            texts[f"method=finetuned;finetuned_side={SIDES[-1]};tuned=all;rate=1.0"] = True
        with configured(self.device, recipe):
            train, run = measured(space, texts, self.split.train, self.data.task, recipe, self.device)
        return Speeds(self.clock.real(), train, run)

    @staticmethod
    def _is_measured(space: SearchSpace, architecture: tuple[int, ...]) -> bool:
        chosen = space.settings(architecture)
        return chosen["method"] in ("baseline", "searched") and chosen["rate"] == 1.0

    def _expected_end(self, plan: Plan) -> str:
        left = max(plan.seconds - self.clock.real(), 0.0)
        return (datetime.now() + timedelta(seconds=left)).strftime("%H:%M")

    # --- search ---------------------------------------------------------------------------------------------------

    def _search(self, plan: Plan) -> tuple[SearchResult, Progress, SearchSpace]:
        from nas.listeners.tensorboard import TensorBoard

        settings = self.commands.search_settings(plan)
        space = settings.make("space")
        evaluator = settings.make("evaluator", space=space)
        evaluator.data = self.data  # which has been read
        evaluator.predictions_dir = self.record.folder / "valid"
        progress = Progress(space, plan, self.clock)
        decided = self.record.read("final") is not None
        folder = run_folder(self.options.dir, self.run).absolute()
        done = search(
            space,
            settings.factory("strategy"),
            evaluator,
            budget=FitBudget(has_time=lambda: not decided and progress.has_time()),
            seed=self.options.seed,
            objective=Objective(),
            device=str(self.device),
            store=settings.make("store"),
            run=self.run,
            config=run_config(settings, self.device.type),
            listeners=[progress, TensorBoard(folder / "tensorboard"), self.output.trials(space)],
        )
        return done, progress, space

    def _no_winner(self, searched: SearchResult) -> str:
        failed = next((trial.error for trial in reversed(searched.trials) if trial.error), "no trial was run")
        return f"no method could be trained on these pictures; the last error was: {failed}"

    # --- final trainings ------------------------------------------------------------------------------------------

    def _final(
        self, plan: Plan, progress: Progress, space: SearchSpace, winner: Trial
    ) -> dict[int, tuple[Trial, str, Retraining]]:
        """The winner and the baseline, each trained on training and validation images and tested once."""
        trials = [winner]
        method = str(progress.chosen(winner)["method"])
        if method != "baseline":
            baselines = [trial for trial in progress.trials if progress.chosen(trial)["method"] == "baseline"]
            baseline = best_trial(baselines, plan.valid_images)
            trials += [] if baseline is None else [baseline]
        lengths = self.record.once("final", lambda: self._lengths(plan, progress, trials))
        trained = {}
        for trial in trials:
            epochs, images = lengths["lengths"][str(trial.number)]
            chosen = progress.chosen(trial)
            self.output.training(str(chosen["method"]), epochs, images)
            trained[trial.number] = (trial, str(chosen["method"]), self._retrained(plan, space, trial, epochs, images))
        return trained

    def _lengths(self, plan: Plan, progress: Progress, trials: list[Trial]) -> dict[str, Any]:
        """Epochs and images of the final trainings, by the time that is left and the speed of the trials."""
        slowness = progress.slowness
        left = plan.seconds - plan.export - self.clock.spent()
        lengths, corrections = {}, []
        if slowness > 1.15 or slowness < 0.87:
            corrections.append(
                f"Trials took {slowness:.2f} times as long as planned; the final training was planned anew."
            )
        for position, trial in enumerate(reversed(trials)):  # the baseline first: it is quick
            last = position == len(trials) - 1
            share = left if last else 0.4 * left
            epochs, images, seconds = plan.final(progress.chosen(trial), share, slowness)
            left -= seconds
            lengths[str(trial.number)] = [epochs, images]
        return {"lengths": lengths, "corrections": corrections}

    def _retrained(self, plan: Plan, space: SearchSpace, trial: Trial, epochs: int, images: int) -> Retraining:
        words = [f"trial={trial.number}", "trainer=pictures", f"trainer.epochs={epochs}"]
        if images < plan.counts.train + plan.counts.valid:
            words.append(f"trainer.train_images={images}")
        settings = self.commands.run_settings("retrain", words)
        recipe = retraining_recipe(
            space, trial.proposal.architecture, settings.make("trainer"), None, given=("epochs", "train_images")
        )
        job = TrainingJob(
            space,
            "pictures",
            trial.proposal.architecture,
            self.data,
            recipe,
            space_settings=settings.node("space"),
            run=self.run,
            trial=trial.number,
            searched_split=self.split.hash,
            seed=self.options.seed,
            device=str(self.device),
            keep_probabilities=True,
        )
        base = run_folder(self.options.dir, self.run).absolute() / "retrained"
        with self.output.bar(f"training ({trial.text.partition(';')[0].removeprefix('method=')})") as report:
            done = 0

            def epoch(_: Mapping[str, float]) -> None:
                nonlocal done
                done += 1
                report(done, epochs)

            folder = lambda digits: base / f"trial-{trial.number}-{digits}"  # noqa: E731
            return retrain(job, settings.make("store"), folder, epoch)[0]

    # --- result ---------------------------------------------------------------------------------------------------

    def _result(
        self,
        plan: Plan,
        space: SearchSpace,
        searched: SearchResult,
        trained: Mapping[int, tuple[Trial, str, Retraining]],
    ) -> dict[str, Any]:
        test = tested(self.data)
        labels = test.labels.numpy()
        probabilities = {
            number: np.load(Path(retraining.folder) / TEST_PROBABILITIES)
            for number, (_, _, retraining) in trained.items()
        }
        about = {
            number: about_training(trial, method, retraining, len(labels))
            for number, (trial, method, retraining) in trained.items()
        }
        (first, winner), *rest = about.items()
        right = {number: probs.argmax(1) == labels for number, probs in probabilities.items()}
        baseline = rest[0][1] if rest else None
        ahead = difference(right[first], right[rest[0][0]]) if rest else None
        methods = {
            trial.number: str(space.settings(trial.proposal.architecture)["method"]) for trial in searched.trials
        }
        write_predictions(
            self.record.folder / "predictions.npz",
            test,
            test_files(self.data),
            probabilities[first],
            right[rest[0][0]] if rest else None,
            self.split.valid.first(plan.valid_images),
            self._valid_probabilities(trained[first][0]),
        )
        return {
            "winner": winner,
            "baseline": baseline,
            "runner_up": runner_up(searched.trials, trained[first][0], methods, plan.valid_images),
            "difference": ahead,
            "sentence": sentence(winner, baseline, ahead),
            "commands": self.commands.all(plan),
            "seconds": self.clock.real(),
            "trials": len(searched.trials),
            "model": str(self.out),
        }

    def _valid_probabilities(self, trial: Trial) -> np.ndarray:
        """Probabilities of the validation images by the trial, which was not trained on them."""
        probabilities: np.ndarray = np.load(self.record.folder / "valid" / predictions_file(trial.text, trial.seed))
        return probabilities

    def _export(self, plan: Plan, winner: Trial, trained: tuple[Trial, str, Retraining]) -> None:
        """Export the winner, unless it was exported before the last interruption."""
        from nas.cli.fit_export import export_winner

        if (self.out / MODEL_FILE).is_file():
            return
        valid = self.split.valid.first(plan.valid_images)
        with self.output.quiet_step("exporting the model"):
            settings = self.commands.run_settings("export", [f"trial={winner.number}"])
            export_winner(settings, self.out, self._valid_probabilities(winner), valid.labels.numpy())

    def _report(self, plan: Plan) -> None:
        from nas.cli.study_report import write_run_report

        self.record.write("plan", {**plan.to_json(), **self._plan_for_people(plan)})
        store = self.settings.make("store")
        write_run_report(self.settings, store, self.run, self.out / REPORT, self.options.dir)

    def _plan_for_people(self, plan: Plan) -> dict[str, Any]:
        """What a report says of the plan beside its numbers."""
        space = self.commands.search_settings(plan).make("space")
        candidates = [
            {
                "method": space.settings(one)["method"],
                "text": space.to_text(one),
                "epochs": space.trainer_settings(one)["epochs"],
                "seconds": plan.trial_seconds(space.settings(one)),
            }
            for one in space.first_architectures()
        ]
        corrections = (self.record.read("final") or {}).get("corrections", [])
        return {
            "device": str(self.device),
            "steps": plan.steps(self.clock.steps),
            "candidates": candidates,
            "corrections": [*plan.notes, *corrections],
            "settings": self.commands.search_facts(plan),
        }

    def print_result(self, result: Mapping[str, Any]) -> None:
        """Print the answer, and what to do next."""
        self.output.result(result, self.out / REPORT)
