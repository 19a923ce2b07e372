"""The commands that a fit is made of, as settings and as lines that a person can run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from nas.cli.fit_options import FitOptions
from nas.cli.rerun import config_dir_arguments, store_arguments
from nas.config.settings import Settings, compose, recorded_parts
from nas.fit.plan import Plan
from nas.store.leaderboard import named_run


@dataclass(frozen=True)
class FitCommands:
    """Settings of the commands on the data set and the store of a fit.

    Args:
        settings: Settings of `nas fit`.
        options: Its options.
        run: Name of its run.
        methods: Methods that it may try.
    """

    settings: Settings
    options: FitOptions
    run: str
    methods: Sequence[str]

    def search_settings(self, plan: Plan | None = None, sides: Sequence[int] = ()) -> Settings:
        """Settings of the search; without a plan those of the whole space, with these sides."""
        pixels = ",".join(map(str, sorted(sides)))
        more = [f"space.sides=[{pixels}]", f"space.finetuned_sides=[{pixels}]"] if sides else []
        return compose("search", [*self._search_words(plan), *more], self.settings.config_dir)

    def run_settings(self, command: str, words: Sequence[str]) -> Settings:
        """Settings of another command on the run."""
        more = [*self._data_words(), *store_arguments(self.settings)]
        settings = compose(command, [f"run={self.run}", *words, *more], self.settings.config_dir)
        parts = recorded_parts(named_run(settings.make("store"), self.run).config)
        return settings.inheriting({group: parts[group] for group in ("space", "data")})

    def search_facts(self, plan: Plan) -> dict[str, str]:
        """Key -> value of every choice of the search."""
        pairs = (word.partition("=") for word in self._search_words(plan))
        return {key: value for key, _, value in pairs}

    def inspect(self) -> str:
        """The `nas inspect` of the pictures."""
        return self._line("inspect", *self._data_words())

    def search(self, plan: Plan) -> str:
        """The `nas search` that searches the same space for as long."""
        return self._line("search", *self._search_words(plan))

    def all(self, plan: Plan, final: Sequence[str]) -> dict[str, str]:
        """Name -> line of everything that a person may want to do next.

        Args:
            final: Settings of the final training of the winner.
        """
        run = [f"run={self.run}", *store_arguments(self.settings)]
        return {
            "fit": self._line("fit", *self.settings.arguments),
            "search": self.search(plan),
            "retrain": self._line("retrain", *run, *final, *self._data_words(), f"seed={self.options.seed}"),
            "leaderboard": self._line("leaderboard", *run),
            "predict": shlex.join(["nas", "predict", f"model={self.options.out}", "images=FOLDER"]),
            "serve": shlex.join(["nas", "serve", f"model={self.options.out}"]),
        }

    def _line(self, command: str, *words: str) -> str:
        return shlex.join(["nas", *config_dir_arguments(self.settings.config_dir), command, *words])

    def _data_words(self) -> list[str]:
        own = [word for word in self.settings.arguments if word.startswith("data.")]
        return [f"data={self.settings.choices['data']}", *own]

    def _search_words(self, plan: Plan | None) -> list[str]:
        options = self.options
        planned = [f"space.methods=[{','.join(self.methods)}]"]
        if plan is not None:
            planned = [*plan.space_arguments(), "budget.trials=null", f"budget.hours={plan.minutes / 60:.4g}"]
        return [
            "experiment=pictures",
            *self._data_words(),
            *store_arguments(self.settings),
            f"space.backbone={options.backbone or 'null'}",
            *(["space.download=true"] if options.download else []),
            *planned,
            f"seed={options.seed}",
            f"device={options.device}",
            *(["trainer.deterministic=true"] if options.speed is not None else []),
            f"run={self.run}",
            f"dir={options.dir}",
        ]
