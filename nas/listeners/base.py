"""What a listener offers: it watches a search and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from nas.core import Metrics, Objective, Trial


class Listener(Protocol):
    """Watches a search: progress bar, TensorBoard. It cannot change anything."""

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        """Called once, with the trials of a resumed run and the number of trials planned (None: unknown)."""

    def on_trial_end(self, trial: Trial) -> None: ...

    def close(self) -> None:
        """Called once, also after an error or an interruption."""


@runtime_checkable
class SupportsEpochs(Protocol):
    """A listener that also watches the training of a supernet: of a search that a trial's architecture comes from, or
    of the weights that an evaluator scores with."""

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Called at the start of such a training and after each of its epochs.

        Args:
            number: of the trial; None: of the evaluator.
            epochs: planned.
            curve: metrics of the epochs so far, those of earlier sessions included.
        """
