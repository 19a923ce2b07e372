"""A command that another program started for a longer job ends when that program dies."""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "NAS_PARENT"
"""Environment variable with the process number of the program that started this command."""
WATCH_SECONDS = 1.0


def end_with_parent() -> None:
    """End this process by SIGTERM, cleanly, when the process that `VARIABLE` names is no longer its parent.

    The variable is removed: the processes of this command have another parent.
    """
    parent = os.environ.pop(VARIABLE, "")
    if parent.isdigit():
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
