"""What an executor and its worker processes send each other: tasks, results, and errors as kinds with a message."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeVar

from nas.errors import UsageError, UserError, located

T = TypeVar("T")

ERROR_TYPES: dict[str, type[Exception]] = {"usage": UsageError, "user": UserError, "unexpected": RuntimeError}
"""Kind of an error in a worker -> exception that is raised for it here; only its message is sent."""
NOT_STARTED = (
    "worker processes cannot start: a script that uses executor {} must do its work under if __name__ == '__main__', "
    "and cannot be read from standard input"
)


def answer(run: Callable[[], Any], dumps: Callable[[Any], T]) -> T:
    """Run a task in a worker.

    Args:
        run: Returns the result of the task.
        dumps: Pickles the answer.

    Returns:
        Pickled pair of `result` and the result, or of a kind of `ERROR_TYPES` and a message.

    Raises:
        KeyboardInterrupt: Of the task itself; the worker dies of it.
    """
    try:
        return dumps(("result", run()))
    except UsageError as error:
        return dumps(("usage", str(error)))
    except UserError as error:
        return dumps(("user", str(error)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (the parent raises it)
        return dumps(("unexpected", f"in a worker process: {located(error)}"))


def reduce_proxy(proxy: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    """Lets a pickler send a read-only mapping, which pickle cannot."""
    return _frozen, (dict(proxy),)


def _frozen(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        return reduce_proxy(value) if isinstance(value, MappingProxyType) else NotImplemented


def dumps(message: Any) -> bytes:
    """Pickle a message for another machine; multiprocessing's pickler would send handles of this one's memory."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


def unsendable(error: Exception, executor: str) -> UsageError:
    """The error for a task that cannot be pickled.

    Args:
        error: Exception of the pickler.
        executor: Option of `executor=`.
    """
    reason = " ".join(str(error).split())
    local = any(
        word in reason for word in ("local object", "local class", "lambda", "not found as", "not the same object")
    )
    advice = (
        "define evaluator and space at the top of a module"
        if local
        else "exclude the object that evaluator or space hold from pickling (__getstate__)"
    )
    return UsageError(
        f"executor={executor} cannot send this task to another process ({reason}); {advice}, or use executor=inline"
    )
