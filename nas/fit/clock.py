"""The time that a fit has spent, over all its sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import UserError
from nas.fit.record import Record

LEDGER = "clock"
HEARTBEAT_SECONDS = 1.0
"""Time between two notes of the time, the most that a killed process forgets."""


class Clock:
    """Counts the seconds in which the command runs; what passes between two sessions does not count.

    Args:
        record: Where the time is noted.
        measured: Whether real time is counted. Otherwise only what `charge` adds is, so that a fit with recorded speeds
            makes the same decisions however fast the machine is.
        started: When the session began, in seconds of the monotonic clock; None: now.
    """

    def __init__(self, record: Record, *, measured: bool, started: float | None = None) -> None:
        self.record, self.measured = record, measured
        noted = record.read(LEDGER) or {}
        self._earlier = float(noted.get("seconds", 0.0))
        self.steps: dict[str, float] = dict(noted.get("steps", {}))
        self._running: tuple[str, float] | None = None
        self._charged = 0.0
        self._started = time.monotonic() if started is None else started
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def spent(self) -> float:
        """Seconds so far."""
        return self.real() if self.measured else self._charged

    def real(self) -> float:
        """Seconds so far by the clock on the wall, also if others are counted."""
        return self._earlier + time.monotonic() - self._started

    def charge(self, seconds: float) -> None:
        """Count planned seconds, if real ones are not counted."""
        self._charged += seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note the real time of a step, added to that of earlier sessions."""
        self._running = name, time.monotonic()
        try:
            yield
        finally:
            self.steps = self._steps()
            self._running = None
            self._note()

    @contextmanager
    def running(self) -> Iterator[Clock]:
        """Note the time every second, in a thread of its own.

        Raises:
            UsageError: Another process runs this fit.
        """
        with self.record.locked():
            yield from self._noting()

    def _noting(self) -> Iterator[Clock]:
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            self._note()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self._note()
            except UserError:  # a full disk: the next step that writes reports it
                continue

    def _steps(self) -> dict[str, float]:
        """Name of a step -> its seconds, the running one's so far included."""
        running = self._running  # which the other thread may change
        if running is None:
            return dict(self.steps)
        name, started = running
        return {**self.steps, name: self.steps.get(name, 0.0) + time.monotonic() - started}

    def _note(self) -> None:
        with self._lock:
            self.record.write(LEDGER, {"seconds": self.real(), "steps": self._steps()})
