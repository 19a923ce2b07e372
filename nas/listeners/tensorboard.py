"""TensorBoard events of a search: objective of every trial, the incumbent, and the curve of each trial.

The events are a view of the store. A resumed run writes them again from its stored trials, so that none is missing or
duplicated after a kill; the curve of an evaluator's supernet is restored with its checkpoint.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from nas.core import Metrics, Objective, Trial
from nas.errors import UsageError, UserError

MAX_WRITTEN_AGAIN = 10_000
"""Number of stored trials that a resumed run writes again, evenly spread, besides those that improved on all before.
TensorBoard itself draws a sample of 1,000."""


class TensorBoard:
    """Writes events into a folder: `search` for the run, `trial-0007` for each trial that has a curve, `supernet` for
    the weights that the evaluator scores with.

    Args:
        folder: Folder of this run only; its event files are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # now, since an evaluator may change the current folder

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.objective = objective
        self.best: Trial | None = None
        self.has_events = False
        self._lock()
        try:
            old = [path for path in self.folder.glob("*/events.out.tfevents.*") if path.is_file()]
            if old and not trials:  # from a run of the same name in another store
                self.folder.rename(_free_name(self.folder))
            for path in old if trials else []:
                path.unlink()
            self.writer = SummaryWriter(str(self.folder / "search"))
        except OSError as error:
            self.lock.release()
            raise self._unwritable(error) from None
        self._hook = threading.excepthook
        threading.excepthook = self._without_traceback
        step = len(trials) // MAX_WRITTEN_AGAIN + 1
        for place, trial in enumerate(trials):
            if place % step == 0 or self._improves(trial):
                self.on_trial_end(trial)

    def _lock(self) -> None:
        """Lock the folder: a search with the same run name in another store would mix in its curves."""
        self.lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"{self.folder} is being written by another search; choose another run= or dir=, or wait until it ends"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None

    def _without_traceback(self, thrown: threading.ExceptHookArgs) -> None:
        """Errors of the writer's thread, such as a full disk, are raised at the next event and need no traceback."""
        if "AsyncWriter" not in type(thrown.thread).__name__:
            self._hook(thrown)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"TensorBoard events cannot be written to {self.folder} ({error.strerror or error}); set dir=")

    def on_trial_end(self, trial: Trial) -> None:
        def add(tag: str, value: float) -> None:
            self.writer.add_scalar(tag, value, trial.number)

        self.has_events = True
        metric = self.objective.metric
        if self._improves(trial):
            self.best = trial
        if trial.completed:
            for name, value in sorted(trial.metrics.items()):
                add(f"trial/{name}", value)
        if self.best is not None:
            add(f"incumbent/{metric}", self.best.metrics[metric])
        add("trial/failed", float(not trial.completed))
        if trial.curve and (trial.reused_from is None or "search_seconds" in trial.cost):
            self._draw(trial.number, trial.curve)

    def _improves(self, trial: Trial) -> bool:
        if not trial.completed:
            return False
        return self.best is None or self.objective.score(trial) > self.objective.score(self.best)

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Write the curve so far of a supernet."""
        if curve:
            self.has_events = True
            self._draw(number, curve)

    def _draw(self, number: int | None, curve: Sequence[Metrics]) -> None:
        """Replace the events of a curve."""
        draw_curve(self.folder / ("supernet" if number is None else f"trial-{number:04d}"), curve)

    def close(self) -> None:
        try:
            self.writer.close()
        finally:
            threading.excepthook = self._hook
            self.lock.release()
        if not self.has_events:  # the search failed before its first trial
            for path in (self.folder / "search").glob("events.out.tfevents.*"):
                path.unlink()


def draw_curve(folder: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Write the events of one training, epoch by epoch, and replace those in the folder.

    Args:
        curve: Metrics of each epoch.

    Raises:
        UserError: The events cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    try:
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        with SummaryWriter(str(folder)) as writer:
            for epoch, metrics in enumerate(curve, start=1):
                for name, value in metrics.items():
                    writer.add_scalar(f"curve/{name}", value, epoch)
    except OSError as error:
        raise UserError(f"TensorBoard events cannot be written to {folder} ({error.strerror or error})") from None


def _free_name(folder: Path) -> Path:
    """The first of `folder-1`, `folder-2`, … that does not exist."""
    return next(name for n in count(1) if not (name := folder.with_name(f"{folder.name}-{n}")).exists())
