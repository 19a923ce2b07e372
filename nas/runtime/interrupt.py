"""Ctrl-C, which a command notices from its first line on.

Importing this module in the process of a command `nas …` installs a handler. While the package is imported, it only
remembers the signal, since no code could catch an exception yet. Afterwards it also raises `KeyboardInterrupt`. Some
libraries swallow that (torch imports triton within `try`), so long-running work regularly calls `check()`. In a user's
own program no handler is installed, and `check()` does nothing.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_pending = False
_raises = False


def raise_at_once() -> None:
    """Make the handler raise `KeyboardInterrupt` from now on, and raise it if the signal has already arrived."""
    global _raises  # noqa: PLW0603 (a signal handler has no other state than that of the process)
    _raises = True
    check()


def check() -> None:
    """Raise `KeyboardInterrupt` if Ctrl-C was pressed and a library swallowed the exception."""
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
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "") in ("nas", "nas.__main__")
        if argument in ("-X", "-W"):
            next(arguments, "")
        elif not argument.startswith("-"):
            return argument.replace("\\", "/").rpartition("/")[2] in ("nas", "nas.exe", "nas-script.py")
    return False


def _install() -> None:
    # a background job of a script ignores the signal, which must stay so
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)


_install()
