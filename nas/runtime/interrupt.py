"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM, and SIGUSR1, a cluster's warning before its time limit.

Importing this module in the process of a command `nas …` installs a handler. While the package is imported, it only
remembers the signal, since no code could catch an exception yet. Afterwards it also raises `Interrupted`, a
`KeyboardInterrupt`. Some libraries swallow that (torch imports triton within `try`), so long-running work regularly
calls `check()`. Signals that follow within `GRACE_SECONDS` raise nothing: the first one is being handled. A signal that
the process ignores from its start, as a background job of a script ignores SIGINT, stays ignored. In a user's own
program no handler is installed, and `check()` does nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

GRACE_SECONDS = 3.0
"""Time after a signal in which others raise nothing, so that they do not break off what the first one closes."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command; this one is SIGINT."""

    number: int = signal.SIGINT


class Terminated(Interrupted):
    """SIGTERM."""

    number = signal.SIGTERM


class TimeNearlyUp(Interrupted):
    """SIGUSR1."""

    number = signal.SIGUSR1


ERRORS = {kind.number: kind for kind in (Interrupted, Terminated, TimeNearlyUp)}
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
_pending = 0
_raises = False
_grace_ends = 0.0


def exit_code(error: KeyboardInterrupt) -> int:
    """Exit code of a command that a signal has ended, as shells count: 130, 143 (SIGTERM) or 138 (SIGUSR1)."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def raise_at_once() -> None:
    """Make the handler raise from now on, and raise if a signal has already arrived."""
    global _raises  # noqa: PLW0603 (a signal handler has no other state than that of the process)
    _raises = True
    check()


def leave_at_once() -> None:
    """Make the signals end this process without another word, after its result is complete."""
    for number in ERRORS:
        if signal.getsignal(number) is _remember:
            signal.signal(number, _leave)


def check() -> None:
    """Raise if a signal has arrived and a library swallowed the exception."""
    global _pending
    if _pending:
        number, _pending = _pending, 0
        raise ERRORS[number]


def catch_in_worker() -> None:
    """Let SIGTERM and SIGUSR1 do nothing in this worker process, and unblock them.

    A cluster sends them to every process of a job. A worker that died of them would count as one that its trial has
    killed, so only its parent ends it. Processes that it starts are not affected.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _do_nothing)
    os.register_at_fork(after_in_child=_restore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGUSR1))


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _remember(number: int, _frame: FrameType | None) -> None:
    global _pending, _grace_ends  # noqa: PLW0603
    _pending = _pending or number
    if _raises and time.monotonic() >= _grace_ends:
        _grace_ends = time.monotonic() + GRACE_SECONDS
        raise ERRORS[_pending]


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _ignore() -> None:
    """Called at the very end: Python restores the default handlers then, which would change the exit code."""
    for number in ERRORS:
        if signal.getsignal(number) in (_remember, _leave):
            signal.signal(number, signal.SIG_IGN)


def _restore() -> None:
    """Give a forked child the default handlers: it is no command and no worker."""
    for number in ERRORS:
        if signal.getsignal(number) in (_remember, _leave, _do_nothing):
            signal.signal(number, signal.SIG_DFL)


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


def _hide_in_callbacks(args: sys.UnraisableHookArgs, /) -> None:
    """Print nothing about a signal that arrived in a destructor: it is still pending, and `check()` raises it."""
    if not issubclass(args.exc_type, Interrupted):
        sys.__unraisablehook__(args)


def _install() -> None:
    if not _is_command():
        return
    for number in ERRORS:
        if signal.getsignal(number) in _DEFAULTS:  # a background job of a script ignores SIGINT, which must stay so
            signal.signal(number, _remember)
    atexit.register(_ignore)  # registered first, so it runs last
    os.register_at_fork(after_in_child=_restore)
    sys.unraisablehook = _hide_in_callbacks


_install()
