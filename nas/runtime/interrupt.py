"""Ctrl-C, remembered from the first line of a command on.

Importing this module in the process of a command `nas …` installs a handler. While the package is imported, it only
notes the signal: nobody could catch an exception yet. Afterwards it also raises `KeyboardInterrupt`. Some library code
swallows that (torch imports triton within `try`), so long-running work calls `check()` now and then. In a user's own
program nothing is installed, and `check()` does nothing.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_pending = False
_raises = False


def raise_at_once() -> None:
    """From now on `KeyboardInterrupt` is raised where the signal comes; raises one that came before."""
    global _raises  # noqa: PLW0603 (a signal handler has no other state than that of the process)
    _raises = True
    check()


def check() -> None:
    """Raise `KeyboardInterrupt` where Ctrl-C was pressed and swallowed by somebody."""
    global _pending  # noqa: PLW0603
    if _pending:
        _pending = False
        raise KeyboardInterrupt


def _remember(_number: int, _frame: FrameType | None) -> None:
    global _pending  # noqa: PLW0603
    _pending = True
    if _raises:
        raise KeyboardInterrupt


def _is_command() -> bool:
    """Whether this process is `nas …` or `python -m nas …`; its workers are not."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word == "-m":
            return next(words, "") in ("nas", "nas.__main__")
        if word in ("-X", "-W"):
            next(words, "")
        elif not word.startswith("-"):
            return word.replace("\\", "/").rpartition("/")[2] in ("nas", "nas.exe", "nas-script.py")
    return False


def _install() -> None:
    # a job in the background of a script has the signal switched off, which stays
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)


_install()
