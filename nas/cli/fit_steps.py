"""The steps of `nas fit`, each kept in a record, so that an interrupted fit resumes after the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.backbones import make_backbone
from nas.cli.commands.search import run_config
from nas.cli.fit_commands import FitCommands
from nas.cli.fit_final import FinalTrainings, Trained
from nas.cli.fit_options import FitOptions
from nas.cli.fit_output import Output
from nas.cli.output import run_folder
from nas.config.settings import Settings
from nas.core import Objective, Trial
from nas.engine.search import SearchResult, search
from nas.errors import UsageError
from nas.evaluators.training import predictions_file
from nas.export.folder import NAME as MODEL_FILE
from nas.files import check_folder
from nas.fit.budget import FitBudget, Progress
from nas.fit.clock import Clock
from nas.fit.pictures import digest_of, test_count, test_files, test_images, write_predictions
from nas.fit.plan import SIDES, Counts, Plan, make_plan
from nas.fit.record import Record
from nas.fit.result import about_training, difference, runner_up, sentence
from nas.fit.speeds import Speeds, measured
from nas.studies.retraining import TEST_PROBABILITIES
from nas.training.device import configured, resolve_device

if TYPE_CHECKING:
    from nas.backbones import Backbone
    from nas.data.base import DataSet
    from nas.data.images import Split
    from nas.space.base import SearchSpace

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
        result = self.record.read("result")
        own = result is not None and result["model"] == str(self.out)  # exported before an interruption
        if (self.out / MODEL_FILE).is_file() and not own:
            raise UsageError(
                f"{self.out} holds an earlier model, which was left unchanged; choose another folder with out="
            )
        if not own:
            check_folder(self.out)
        self.backbone  # noqa: B018 (one that is missing)
        self.speeds_given  # noqa: B018 (a file that cannot be read)

    def run_all(self) -> dict[str, Any]:
        """All steps; returns the result."""
        with self.clock.step("read"):
            split = self.split
            self._check_pictures()
        self.output.read(self.data, split)
        with self.clock.step("check"):
            inspection = self.record.once("inspection", self._inspect)
            signal = self.record.read("signal")
        self.output.inspected(inspection, signal, self.commands.inspect())
        plan = self._plan()
        self.output.planned(plan, self._expected_end(plan), self.commands.search(plan))
        with self.clock.step("search"):
            searched, final = self._search(plan)
        with self.clock.step("final"):
            trained = final.run(searched.trials)
        with self.clock.step("export"):
            result = self.record.once("result", lambda: self._result(plan, final, searched, trained))
            self._export(plan, trained[0].trial)
        return self._finished(plan, result, final.facts(trained[0].trial), trained[0].trial)

    @cached_property
    def data(self) -> DataSet:
        made: DataSet = self.settings.make("data")
        return made

    @cached_property
    def split(self) -> Split:
        return self.data.split()

    @cached_property
    def backbone(self) -> Backbone | None:
        """The pretrained network, if there is one."""
        name = self.options.backbone
        return None if name is None else make_backbone(name, download=self.options.download)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides in pixels at which it may see the pictures, largest first."""
        return () if self.backbone is None else self.backbone.sides(SIDES)

    def _check_pictures(self) -> None:
        """Raise `UsageError` if the pictures are not those of the first session."""
        now = {"split": self.split.hash, "test": digest_of(self.data)}
        if self.record.once("pictures", lambda: now) != now:
            root = self.settings.node("data").get("root")
            raise UsageError(
                f"the pictures in data.root={root} have changed since this fit began; set run= to a new name and out= "
                "to a new folder to start anew, or restore them"
            )

    def _inspect(self) -> Mapping[str, Any]:
        from nas.inspection import inspect, make_features, measure_signal, subject_of

        low, high = INSPECTION_SECONDS
        seconds = min(max(INSPECTION_SHARE * 60 * self.options.minutes, low), high)
        backbone = self.backbone
        subject = subject_of(self.data)
        side = self.sides[0] if backbone is not None and backbone.fixed_side else None
        if self.speeds_given is not None:  # so that nothing depends on real time
            seconds, side = float("inf"), self.sides[-1] if backbone else None
        with self.output.bar("checking the pictures") as report:
            features = make_features(subject, backbone, seconds, self.device, side=side, report=report)
        inspection = inspect(subject, features)
        signal = measure_signal(subject, features, self.options.seed)
        if signal is not None:
            self.record.write("signal", signal.to_json())
        return inspection.to_json()

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
        settings = self.commands.search_settings(sides=self.sides)
        space, recipe = settings.make("space"), settings.make("trainer")
        texts = {space.to_text(one): True for one in space.first_architectures() if self._is_measured(space, one)}
        if self.options.backbone is not None:
            texts |= {f"method=frozen;side={side}": False for side in self.sides}
            texts[f"method=finetuned;finetuned_side={self.sides[-1]};tuned=all;rate=1.0"] = True
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

    def _search(self, plan: Plan) -> tuple[SearchResult, FinalTrainings]:
        from nas.listeners.tensorboard import TensorBoard

        settings = self.commands.search_settings(plan)
        space = settings.make("space")
        evaluator = settings.make("evaluator", space=space)
        evaluator.use(self.split)
        evaluator.predictions_dir = self.record.folder / "valid"
        progress = Progress(space, plan, self.clock)
        decided = self.record.read("final") is not None
        folder = run_folder(self.options.dir, self.run).absolute()
        done = search(
            space,
            settings.factory("strategy"),
            evaluator,
            budget=FitBudget(has_time=lambda asked: not decided and progress.has_time(asked)),
            seed=self.options.seed,
            objective=Objective(),
            device=str(self.device),
            store=settings.make("store"),
            run=self.run,
            config=run_config(settings, self.device.type),
            listeners=[progress, TensorBoard(folder / "tensorboard"), self.output.trials(space)],
        )
        device = str(self.device)
        final = FinalTrainings(
            plan, progress, space, self.data, self.split, self.record, self.commands, self.output, device
        )
        return done, final

    def _result(
        self, plan: Plan, final: FinalTrainings, searched: SearchResult, trained: Sequence[Trained]
    ) -> dict[str, Any]:
        test = test_images(self.data)
        labels = test.labels.numpy()
        probabilities = [np.load(Path(one.retraining.folder) / TEST_PROBABILITIES) for one in trained]
        right = [each.argmax(1) == labels for each in probabilities]
        about = [about_training(one.trial, one.method, one.retraining, len(labels)) for one in trained]
        methods = {trial.number: str(final.progress.chosen(trial)["method"]) for trial in searched.trials}
        ahead = difference(*right) if len(right) > 1 else None
        winner, baseline = about[0], about[1] if len(about) > 1 else None
        write_predictions(
            self.record.folder / "predictions.npz",
            test,
            test_files(self.data),
            probabilities[0],
            right[1] if len(right) > 1 else None,
            self.split.valid.first(plan.valid_images),
            self._valid_probabilities(trained[0].trial),
        )
        return {
            "winner": winner,
            "baseline": baseline,
            "runner_up": runner_up(searched.trials, trained[0].trial, methods, plan.valid_images),
            "difference": ahead,
            "sentence": sentence(winner, baseline, ahead),
            "commands": self.commands.all(plan, final.words_of(trained[0].trial)),
            "trials": len(searched.trials),
            "model": str(self.out),
        }

    def _valid_probabilities(self, trial: Trial) -> np.ndarray:
        """Probabilities of the validation images by the trial, which was not trained on them."""
        probabilities: np.ndarray = np.load(self.record.folder / "valid" / predictions_file(trial.text, trial.seed))
        return probabilities

    def _export(self, plan: Plan, winner: Trial) -> None:
        """Export the winner, unless it was exported before the last interruption."""
        from nas.cli.fit_export import export_winner

        if (self.out / MODEL_FILE).is_file():
            return
        valid = self.split.valid.first(plan.valid_images)
        self.output.say("exporting the model")
        settings = self.commands.run_settings("export", [f"trial={winner.number}"])
        export_winner(settings, self.out, self._valid_probabilities(winner), valid.labels.numpy())

    def _finished(self, plan: Plan, result: dict[str, Any], facts: Mapping[str, Any], winner: Trial) -> dict[str, Any]:
        """The result with the time of the whole fit, once its report is written; later calls change nothing."""
        report = self.out / REPORT
        if "seconds" in result and result["model"] == str(self.out) and report.is_file():
            return result
        if "seconds" not in result:
            self.record.write("plan", {**plan.to_json(), **self._plan_for_people(plan, facts)})
            result = {**result, "seconds": self.clock.real()}
        self.record.write("result", {**result, "model": str(self.out)})
        from nas.cli.study_report import write_run_report

        store = self.settings.make("store")
        write_run_report(self.settings, store, self.run, report, self.options.dir, trial=winner.number)
        return result

    def _plan_for_people(self, plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
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
            "settings": {**self.commands.search_facts(plan), **facts},
        }

    def print_result(self, result: Mapping[str, Any]) -> None:
        """Print the answer, and what to do next."""
        self.output.result(result, self.out / REPORT)
