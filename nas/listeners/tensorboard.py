"""TensorBoard events of a search: objective of every trial, the incumbent, and the curve of each trial.

The events are a view of the store. A continued run draws them anew from its stored trials, so that nothing is
missing or doubled after a kill; the curve of an evaluator's supernet comes with its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from nas.core import Metrics, Objective, Trial, UserError


class TensorBoard:
    """Writes events into a folder: `search` for the run, `trial-0007` for each trial that has a curve, `supernet` for
    the weights that the evaluator scores with.

    Args:
        folder: of this run alone; its event files are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.objective = objective
        self.best: Trial | None = None
        self.seen = False
        try:
            old = [path for path in self.folder.glob("*/events.out.tfevents.*") if path.is_file()]
            if old and not trials:  # of a run of the same name in another store
                self.folder.rename(_free_name(self.folder))
            for path in old if trials else []:
                path.unlink()
            self.writer = SummaryWriter(str(self.folder / "search"))
        except OSError as error:
            raise UserError(
                f"TensorBoard events cannot be written to {self.folder} ({error.strerror or error}); set dir="
            ) from None
        for trial in trials:
            self.told(trial)

    def told(self, trial: Trial) -> None:
        def add(tag: str, value: float) -> None:
            self.writer.add_scalar(tag, value, trial.number)

        self.seen = True
        metric = self.objective.metric
        if trial.completed:
            if self.best is None or self.objective.score(trial) > self.objective.score(self.best):
                self.best = trial
            for name, value in sorted(trial.metrics.items()):
                add(f"trial/{name}", value)
        if self.best is not None:
            add(f"incumbent/{metric}", self.best.metrics[metric])
        add("trial/failed", float(not trial.completed))
        if trial.curve and (trial.reused_from is None or "search_seconds" in trial.cost):
            self._draw(trial.number, trial.curve)

    def epoch(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """The curve so far of a search on a supernet, or of the supernet that scores."""
        if curve:
            self.seen = True
            self._draw(number, curve)

    def _draw(self, number: int | None, curve: Sequence[Metrics]) -> None:
        """Draw a curve anew, in place of what was drawn of it before."""
        draw_curve(self.folder / ("supernet" if number is None else f"trial-{number:04d}"), curve)

    def close(self) -> None:
        self.writer.close()
        if not self.seen:  # a start that came to nothing leaves no events
            for path in (self.folder / "search").glob("events.out.tfevents.*"):
                path.unlink()


def draw_curve(folder: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Events of one training, epoch by epoch, in place of those that the folder has.

    Raises:
        UserError: they cannot be written.
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
    """The first of `folder-1`, `folder-2` … that is not there."""
    return next(name for n in count(1) if not (name := folder.with_name(f"{folder.name}-{n}")).exists())
