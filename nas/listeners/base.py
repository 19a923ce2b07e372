"""The interface of listeners, which watch a search and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from nas.core import Metrics, Objective, Trial


class Listener(Protocol):
    """Watches a search without changing it, such as a progress bar or TensorBoard."""

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        """Called once, at the start.

        Args:
            run: Name of the run.
            trials: Stored trials of a resumed run.
            total: Planned number of trials; None if unknown.
        """

    def on_trial_end(self, trial: Trial) -> None:
        """Called after each trial, completed or failed, in the order in which they finish."""

    def close(self) -> None:
        """Called once, also after an error or an interruption."""


@runtime_checkable
class SupportsEpochs(Protocol):
    """A listener that also watches supernets: those that architectures are derived from, and the evaluator's."""

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Called when the training of a supernet starts and after each of its epochs.

        Args:
            number: Number of the trial; None for the evaluator's supernet.
            epochs: Planned number of epochs.
            curve: Metrics of each epoch so far, including those before a resume.
        """
