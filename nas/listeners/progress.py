"""Progress of a search on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from nas.core import Metrics, Objective, Trial
from nas.errors import NOT_IN_TABLE
from nas.runtime.streams import is_terminal, say

LINE_SECONDS = 10
"""Least time between two lines where stderr is not a terminal."""


class Progress:
    """Shows the trials done, the incumbent, and every failure in words."""

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        self.objective = objective
        self.best = objective.best(trials)
        self.terminal = is_terminal(sys.stderr)
        self.total = total
        self.done = len(trials)
        self.last_line = time.monotonic() if self.terminal else 0.0
        self.bar = tqdm(total=total, initial=self.done, desc=run, unit="trial", disable=not self.terminal)
        if trials:
            rest = "nothing is left of the budget" if total and len(trials) >= total else "going on after them"
            self._say(f"run {run!r}: {len(trials)} trials are stored; {rest}")
        self._show()

    def on_trial_end(self, trial: Trial) -> None:
        self.done += 1
        if trial.completed:
            if self.best is None or self.objective.score(trial) > self.objective.score(self.best):
                self.best = trial
        elif trial.error_kind != NOT_IN_TABLE:  # thousands may be of that kind; the end says how many
            self._say(
                f"trial {trial.number} failed: {trial.error}; the trial is kept as failed and the search goes on."
            )
        self.bar.update()
        self._show()
        if not self.terminal and (time.monotonic() - self.last_line >= LINE_SECONDS or self.done == self.total):
            self.last_line = time.monotonic()
            self._say(f"{self.done}{f'/{self.total}' if self.total else ''} trials, {self._incumbent()}")

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Progress on a supernet: losses, and of a search what alpha has decided and the share of skip connections."""
        if not curve:
            return
        now = curve[-1]
        losses = [name for name in ("train", "valid") if f"supernet_{name}_loss" in now]
        health = [f"{name} loss {now[f'supernet_{name}_loss']:.3f}" for name in losses]
        if "alpha_entropy" in now:
            health += [f"entropy {now['alpha_entropy']:.3f}", f"{now['skip_share']:.0%} skip"]
        if "alpha_eigenvalue" in now:
            health.append(f"eigenvalue {now['alpha_eigenvalue']:.3g}")
        who = "supernet" if number is None else f"trial {number}"
        words = f"{who}, epoch {len(curve)}/{epochs}: {', '.join(health)}"
        self.bar.set_postfix_str(words)
        last = len(curve) == epochs
        if not self.terminal and (time.monotonic() - self.last_line >= LINE_SECONDS or last):
            self.last_line = time.monotonic()
            self._say(words)

    def close(self) -> None:
        self.bar.close()

    def _incumbent(self) -> str:
        if self.best is None:
            return "none completed yet"
        metric = self.objective.metric
        return f"best {metric} {self.best.metrics[metric]:.4f} (trial {self.best.number})"

    def _show(self) -> None:
        self.bar.set_postfix_str(self._incumbent())

    def _say(self, text: str) -> None:
        say(text)
