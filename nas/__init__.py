"""cellnas: reproducible neural architecture search for PyTorch."""

from __future__ import annotations

from nas.runtime.import_path import current_folder_last

current_folder_last()  # before anything of the library is imported

# ruff: noqa: E402
import nas.runtime.interrupt  # noqa: F401 (before everything that takes a second to import)

# isort: split
from typing import TYPE_CHECKING, Any

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.core import Architecture as Architecture
    from nas.core import Context as Context
    from nas.core import Metrics as Metrics
    from nas.core import Objective as Objective
    from nas.core import Proposal as Proposal
    from nas.core import Task as Task
    from nas.core import Trial as Trial
    from nas.engine.budget import Budget as Budget
    from nas.engine.search import SearchResult as SearchResult
    from nas.engine.search import search as search
    from nas.errors import TrialFailed as TrialFailed
    from nas.errors import UsageError as UsageError
    from nas.errors import UserError as UserError
    from nas.space.base import SearchSpace as SearchSpace
    from nas.training.summary import describe as describe

_public = lazy_attributes(
    __name__,
    {
        "core": ("Architecture", "Context", "Metrics", "Objective", "Proposal", "Task", "Trial"),
        "engine.budget": ("Budget",),
        "engine.search": ("SearchResult", "search"),
        "errors": ("TrialFailed", "UsageError", "UserError"),
        "space.base": ("SearchSpace",),
        "training.summary": ("describe",),
    },
)


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: commands that only read a store start in half the time."""
    return _version() if name == "__version__" else _public(name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cellnas")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0"


__all__ = [
    "Architecture",
    "Budget",
    "Context",
    "Metrics",
    "Objective",
    "Proposal",
    "SearchResult",
    "SearchSpace",
    "Task",
    "Trial",
    "TrialFailed",
    "UsageError",
    "UserError",
    "describe",
    "search",
]
