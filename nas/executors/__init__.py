"""Executors: where evaluations run."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.executors.base import Executor as Executor
    from nas.executors.inline import Inline as Inline
    from nas.executors.processes import Processes as Processes
    from nas.executors.ray import RayWorkers as RayWorkers

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Executor",),
        "inline": ("Inline",),
        "processes": ("Processes",),
        "ray": ("RayWorkers",),
    },
)
