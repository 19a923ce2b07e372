"""A promise: one requirement of a part, with its check. A test raises if it is broken; `nas check` prints a line."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import UserError, located, outside_libraries, text_of

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Promise:
    """One promise of one part.

    Args:
        text: Statement, such as "mutate changes exactly one decision".
        check: Raises AssertionError with a sentence if the promise is broken; any other exception breaks it too.
        source: Class, function or instance whose file and line are named with a broken promise.
        needed: Whether the promises after this one cannot be checked if it is broken.
        skipped: Reason why it cannot be checked on this machine; empty: it can.
    """

    text: str
    check: Callable[[], None]
    source: object = None
    needed: bool = False
    skipped: str = ""

    def broken(self) -> str | None:
        """The fault and its position, in one line; None if the promise is kept."""
        try:
            self.check()
        except UserError as error:
            own = _own(error)
            return (
                f"{error} ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else self._with_position(str(error))
            )
        except AssertionError as error:
            # one of the part's own asserts is an ordinary exception of it
            return self._with_position(str(error)) if _raised_here(error) else self._located(error)
        except Exception as error:  # noqa: BLE001 (any exception of the part breaks its promise)
            return self._located(error)
        return None

    def _located(self, error: Exception) -> str:
        """An exception with the last line of the part's own code; that of its definition if none of it was running."""
        return located(error) if _own(error) else self._with_position(f"{type(error).__name__}: {text_of(error)}")

    def _with_position(self, sentence: str) -> str:
        position = position_of(self.source) if self.source is not None else ""
        return f"{sentence} ({position})" if position else sentence


def hold(promises: Iterable[Promise]) -> None:
    """Check promises in their order.

    Raises:
        AssertionError: The sentence of the first broken one; exceptions of the part itself are passed on.
    """
    for promise in promises:
        if not promise.skipped:
            promise.check()


def position_of(part: object) -> str:
    """`file.py:LINE` of the definition of a class, function or instance; empty if Python does not know it."""
    target: Any = part if inspect.isclass(part) or inspect.isroutine(part) else type(part)
    target = inspect.unwrap(target) if inspect.isroutine(target) else target
    try:
        linecache.checkcache()
        file, (_, line) = inspect.getsourcefile(target), inspect.getsourcelines(target)
    except (OSError, TypeError):
        return ""
    return f"{Path(str(file)).name}:{line}"


def _own(error: Exception) -> list[traceback.FrameSummary]:
    """The frames of an exception that are the part's own."""
    return [frame for frame in outside_libraries(error) if not Path(frame.filename).is_relative_to(PACKAGE)]


def _raised_here(error: AssertionError) -> bool:
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).parent == Path(__file__).parent
