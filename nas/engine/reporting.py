"""Reports of a search to its listeners."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

from nas.core import Metrics, Objective, Trial
from nas.errors import UserError, located
from nas.listeners.base import Listener, SupportsEpochs
from nas.runtime import interrupt


def epoch_reporter(listeners: Sequence[Listener], number: int | None) -> Callable[[int, Sequence[Metrics]], None]:
    """The function to which the training of a supernet reports its epochs.

    Args:
        listeners: Listeners of the search.
        number: Number of the trial that the supernet belongs to; None: it belongs to the evaluator.
    """
    watching = [listener for listener in listeners if isinstance(listener, SupportsEpochs)]

    def report(epochs: int, curve: Sequence[Metrics]) -> None:
        interrupt.check()
        for listener in watching:
            listener.on_epoch_end(number, epochs, curve)

    return report


class GuardedListener:
    """A listener whose failure ends its own output and never the search.

    Args:
        listener: Listener to call.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.failed = False

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        """Start the listener; a `UserError`, such as a folder that is not writable, is passed on."""
        try:
            self.listener.start(run, trials, total, objective)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (the search does not depend on it)
            self._disable(error)

    def on_trial_end(self, trial: Trial) -> None:
        self._call(lambda: self.listener.on_trial_end(trial))

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        if isinstance(self.listener, SupportsEpochs):
            watching = self.listener
            self._call(lambda: watching.on_epoch_end(number, epochs, curve))

    def close(self) -> None:
        if self.failed:
            with suppress(Exception):
                self.listener.close()
        self._call(self.listener.close)

    def _call(self, function: Callable[[], None]) -> None:
        if not self.failed:
            try:
                function()
            except Exception as error:  # noqa: BLE001 (as above)
                self._disable(error)

    def _disable(self, error: Exception) -> None:
        self.failed = True
        reason = str(error) if isinstance(error, UserError) else located(error)
        warnings.warn(
            f"{type(self.listener).__name__} failed and was stopped; the search continues: {reason}",
            stacklevel=2,
        )
