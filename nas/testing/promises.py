"""A promise is one thing that a part must keep, with its own check: a test raises, `nas check` prints a line."""

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
        text: the promise in words, such as "mutate changes exactly one decision".
        check: raises AssertionError with a sentence where the promise is broken; any other exception breaks it too.
        source: class, function or instance whose file and line are named with a broken promise.
        needed: whether the promises after this one mean nothing where it is broken.
        skipped: why it cannot be checked on this machine; empty: it can.
    """

    text: str
    check: Callable[[], None]
    source: object = None
    needed: bool = False
    skipped: str = ""

    def broken(self) -> str | None:
        """What is wrong and where, in one line; None where the promise is kept."""
        try:
            self.check()
        except UserError as error:
            own = _own(error)
            return f"{error} ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else self._placed(str(error))
        except AssertionError as error:
            # one of the part's own asserts is an ordinary exception of it
            return self._placed(str(error)) if _raised_here(error) else self._located(error)
        except Exception as error:  # noqa: BLE001 (whatever the part raises is what is to be said)
            return self._located(error)
        return None

    def _located(self, error: Exception) -> str:
        """An exception with the last line of the part's own; that of its definition where none of it was running."""
        return located(error) if _own(error) else self._placed(f"{type(error).__name__}: {text_of(error)}")

    def _placed(self, sentence: str) -> str:
        place = place_of(self.source) if self.source is not None else ""
        return f"{sentence} ({place})" if place else sentence


def hold(promises: Iterable[Promise]) -> None:
    """Check promises in their order.

    Raises:
        AssertionError: the first broken one, with its words; what the part itself raised passes as it is.
    """
    for promise in promises:
        if not promise.skipped:
            promise.check()


def place_of(part: object) -> str:
    """`file.py:LINE` of the definition of a class, function or instance; empty where Python does not know it."""
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
