"""Progress of a search on stderr: a bar on a terminal, lines in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from nas.core import Metrics, Objective, Trial
from nas.errors import NOT_IN_TABLE
from nas.runtime.streams import is_terminal, say

LINE_SECONDS = 10
"""Minimum time between two lines if stderr is not a terminal."""


class Progress:
    """Shows the number of finished trials, the incumbent, and every failure."""

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        self.objective = objective
        self.best = objective.best(trials)
        self.terminal = is_terminal(sys.stderr)
        self.total = total
        self.done = len(trials)
        self.last_line = time.monotonic() if self.terminal else 0.0
        self.bar = tqdm(total=total, initial=self.done, desc=run, unit="trial", disable=not self.terminal)
        if trials:
            state = "the budget is used up" if total and len(trials) >= total else "resuming after them"
            self._say(f"run {run!r}: {len(trials)} trial{'s' if len(trials) > 1 else ''} stored; {state}")
        self._show()

    def on_trial_end(self, trial: Trial) -> None:
        self.done += 1
        if trial.completed:
            if self.best is None or self.objective.score(trial) > self.objective.score(self.best):
                self.best = trial
        elif trial.error_kind != NOT_IN_TABLE:  # there may be thousands; their number is reported at the end
            self._say(f"trial {trial.number} failed: {trial.error}; it is stored as failed and the search continues.")
        self.bar.update()
        self._show()
        if not self.terminal and (time.monotonic() - self.last_line >= LINE_SECONDS or self.done == self.total):
            self.last_line = time.monotonic()
            self._say(f"{self.done}{f'/{self.total}' if self.total else ''} trials, {self._incumbent()}")

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Show the losses of a supernet and, in a gradient search, alpha's entropy and the skip connections' share."""
        if not curve:
            return
        metrics = curve[-1]
        losses = [name for name in ("train", "valid") if f"supernet_{name}_loss" in metrics]
        parts = [f"{name} loss {metrics[f'supernet_{name}_loss']:.3f}" for name in losses]
        if "alpha_entropy" in metrics:
            parts += [f"entropy {metrics['alpha_entropy']:.3f}", f"{metrics['skip_share']:.0%} skip"]
        if "alpha_eigenvalue" in metrics:
            parts.append(f"eigenvalue {metrics['alpha_eigenvalue']:.3g}")
        subject = "supernet" if number is None else f"trial {number}"
        line = f"{subject}, epoch {len(curve)}/{epochs}: {', '.join(parts)}"
        self.bar.set_postfix_str(line)
        last = len(curve) == epochs
        if not self.terminal and (time.monotonic() - self.last_line >= LINE_SECONDS or last):
            self.last_line = time.monotonic()
            self._say(line)

    def close(self) -> None:
        self.bar.close()

    def _incumbent(self) -> str:
        if self.best is None:
            return "none completed"
        metric = self.objective.metric
        return f"best {metric} {self.best.metrics[metric]:.4f} (trial {self.best.number})"

    def _show(self) -> None:
        self.bar.set_postfix_str(self._incumbent())

    def _say(self, text: str) -> None:
        say(text)
