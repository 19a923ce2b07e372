"""Launchers: where the jobs of a sweep run."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.launchers.base import Job as Job
    from nas.launchers.base import JobResult as JobResult
    from nas.launchers.base import Launcher as Launcher
    from nas.launchers.local import LocalLauncher as LocalLauncher
    from nas.launchers.ray import RayLauncher as RayLauncher
    from nas.launchers.slurm import SLURMLauncher as SLURMLauncher

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Job", "JobResult", "Launcher"),
        "local": ("LocalLauncher",),
        "ray": ("RayLauncher",),
        "slurm": ("SLURMLauncher",),
    },
)
